"""Flags: taken by hand where they choose what others mean, else read by tyro."""

from __future__ import annotations

import contextlib
import io
import shlex
import sys
from typing import Any, TypeVar

import tyro

T = TypeVar("T")


class UsageError(ValueError):
    """The command line cannot be understood; the message is one line."""


def command() -> str:
    """The command line as it was given."""
    return shlex.join(["widevalley", *sys.argv[1:]])


def first(arguments: list[str], verb: str, what: str) -> tuple[str, list[str]]:
    """The argument right after the verb, and the others; `what` it must be, in words."""
    if not arguments or arguments[0].startswith("-"):
        raise UsageError(f"{verb} needs {what} right after it")
    return arguments[0], arguments[1:]


def leading(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The arguments before the first flag, and the others."""
    split = next((k for k, one in enumerate(arguments) if one.startswith("-")), len(arguments))
    return arguments[:split], arguments[split:]


def take(flags: list[str], name: str) -> tuple[str | None, list[str]]:
    """The value of the flag `name`, and the flags without it."""
    flags = [part for flag in flags for part in _split(flag, name)]
    if name not in flags:
        return None, flags
    at = flags.index(name)
    if at + 1 == len(flags) or flags[at + 1].startswith("-"):
        raise UsageError(f"{name} needs a value")
    if name in flags[at + 1 :]:
        raise UsageError(f"{name} is given twice")
    return flags[at + 1], flags[:at] + flags[at + 2 :]


def _split(flag: str, name: str) -> list[str]:
    return [name, flag.removeprefix(name + "=")] if flag.startswith(name + "=") else [flag]


def parse(
    kind: type[T], default: T, flags: list[str], verb: str, about: str, *, switches: bool = False
) -> T:
    """Read flags over a default; tyro's boxed complaint becomes a UsageError of one line.

    A yes-or-no flag takes True or False as its value, or with `switches` none.
    """
    yes_or_no: Any = tyro.conf.FlagCreatePairsOff if switches else tyro.conf.FlagConversionOff
    boxed = io.StringIO()
    try:
        with contextlib.redirect_stderr(boxed):
            return tyro.cli(
                kind,
                default=default,
                args=flags,
                prog=f"widevalley {verb}",
                description=about,
                config=(tyro.conf.AvoidSubcommands, yes_or_no),
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise UsageError(_unboxed(boxed.getvalue())) from None


def _unboxed(text: str) -> str:
    """What a box says under its title; without UTF-8, rules are dashes and there are no sides."""
    paragraphs: list[list[str]] = [[]]
    for line in text.splitlines():
        words = line.strip(" │╭╮╰╯─-")
        if words:
            paragraphs[-1].append(line.strip(" │╭╮╰╯─"))
        if line.startswith("╭") or not words:
            paragraphs.append([])
    said = [" ".join(lines) for lines in paragraphs if lines]
    return said[min(1, len(said) - 1)] if said else "the command line cannot be understood"
