"""How the draws of a method's branches share one batch dict."""


def branch_prefix(branch: int) -> str:
    """What the keys of a branch's draws begin with."""
    return f"branch{branch}:"


def of_branch(batch: dict, branch: int) -> dict:
    """The draws of one branch, without their prefix."""
    prefix = branch_prefix(branch)
    return {key.removeprefix(prefix): value for key, value in batch.items() if key.startswith(prefix)}
