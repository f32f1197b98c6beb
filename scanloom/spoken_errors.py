"""An error's message as a page may show it: the line that says what is wrong, without colours and folders."""

import re

LONGEST = 300
COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# Where it happened, which frameworks say before what happened.
STACK_ENTRY = re.compile(r'^\s*File ".*\n?.*$', re.MULTILINE)
NODE = re.compile(r"^\{\{[^}]*\}\}\s*")
WHERE = ("Graph execution error:", "Detected at node", "Exception encountered when calling", "in user code:")
QUOTED_PATH = re.compile(r"""(["'])(?:~|[A-Za-z]:|)[\\/](?:[^"'\n]*[\\/])([^"'\n]+)\1""")
FOLDERS = re.compile(r"""(?<![\w.…/\\:~-])(?:~\w*|[A-Za-z]:|)[\\/](?:[^\s"'`,:;()<>\[\]{}|\\/]+[\\/])+""")


def spoken_error(text: str) -> str:
    """First line that is not about where it happened, at most LONGEST characters; absolute paths lose their folders."""
    lines = [line.strip() for line in STACK_ENTRY.sub("", COLOURS.sub("", text)).splitlines()]
    said = next((line for line in lines if line and not line.startswith(WHERE)), "no message")
    said = QUOTED_PATH.sub(r"\1…/\2\1", NODE.sub("", said))
    return FOLDERS.sub("…/", said)[:LONGEST]
