"""`scanloom COMMAND ...`: what is useful outside the workflow, one file of scanloom/commands each."""

import argparse
import sys
from importlib.metadata import version

from scanloom import plugins


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit status. Errors a user can mend are one line on stderr and status 1."""
    parser = argparse.ArgumentParser(prog="scanloom", description=__doc__.partition(":")[0].strip("`"))
    parser.add_argument("--version", action="version", version=f"scanloom {version('scanloom')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in plugins.names("commands"):
        module = plugins.load("commands", name)
        summary, _, rest = module.__doc__.partition("\n")
        command = commands.add_parser(
            name,
            help=summary,
            description=f"{summary}\n{rest}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
    chosen = parser.parse_args(arguments)
    try:
        return plugins.load("commands", chosen.command).run(chosen)
    except BrokenPipeError:  # the reader of a pipe (head, less) has seen enough
        return 0
    except (ValueError, OSError) as error:
        named = isinstance(error, OSError) and error.filename is not None and error.strerror
        said = f"{error.filename}: {error.strerror}" if named else error
        print(f"scanloom {chosen.command}: {said}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
