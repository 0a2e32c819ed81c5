"""The command line: reads verbs and flags, calls what they name, prints what comes back."""

from widevalley.cli.command_line import main

__all__ = ["main"]
