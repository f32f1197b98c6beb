"""How the draws of a method's branches, and its own, share one batch dict."""

METHOD_PREFIX = "method:"
UPDATE_SHARE = "update_share"
"""Key of a batch that is a part of one update only: float32 [batch], the part's share of the update."""


def branch_prefix(branch: int) -> str:
    """What the keys of a branch's draws begin with."""
    return f"branch{branch}:"


def of_branch(batch: dict, branch: int) -> dict:
    """The draws of one branch, without their prefix."""
    return _below(batch, branch_prefix(branch))


def of_method(batch: dict) -> dict:
    """The method's own draws, without their prefix."""
    return _below(batch, METHOD_PREFIX)


def _below(batch: dict, prefix: str) -> dict:
    return {key.removeprefix(prefix): value for key, value in batch.items() if key.startswith(prefix)}
