"""Commands of `scanloom`, one file each: `add_arguments(parser)` and `run(arguments) -> exit status`.

The first line of a command's docstring is its help.
"""
