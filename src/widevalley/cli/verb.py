"""A verb of the command line: its flags are the fields of a dataclass, which tyro reads."""

from __future__ import annotations

import inspect
import shlex
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Annotated, Any, ClassVar, Self, TypeVar, Union

import tyro

try:
    from tyro import _errors as tyro_errors
except ImportError:  # tyro promises nothing of this module; without it, errors are in its boxes
    tyro_errors = None  # type: ignore[assignment]

T = TypeVar("T")

MISUSED = 2
"""Exit code for a command line that is refused."""
CRASHED = 3
"""Exit code of a worker that a defect has ended: who launched it shows the traceback."""
CONFIG: Any = (tyro.conf.arg(name=""), tyro.conf.FlagConversionOff)
"""Marks a field whose own fields are flags without a prefix; yes or no is True or False."""
SWITCH: Any = tyro.conf.FlagCreatePairsOff
"""Marks a yes-or-no flag that takes no value."""


class UsageError(ValueError):
    """The command line cannot be understood; the message is one line."""


class Verb(ABC):
    """What the command line can do. The docstring of a subclass is its help."""

    name: ClassVar[str]
    needs: ClassVar[str] = "a value"
    """What must stand right after the verb, in words."""

    @classmethod
    def chosen(cls, arguments: Sequence[str]) -> type[Verb]:
        """The verb itself, or another that its first argument asks for."""
        return cls

    @classmethod
    def default(cls, arguments: Sequence[str]) -> Self | Any:
        """The flags' defaults, where they depend on other arguments."""
        return tyro.MISSING_NONPROP

    @classmethod
    def about(cls, arguments: Sequence[str]) -> str:
        """What its help says before the flags."""
        return inspect.getdoc(cls) or ""

    @classmethod
    def incomplete(cls) -> UsageError:
        """The error of a verb that lacks what it needs."""
        return UsageError(f"{cls.name} needs {cls.needs} right after it")

    @abstractmethod
    def run(self) -> None:
        """Do it."""


def command() -> str:
    """The command line as it was given."""
    return shlex.join(["widevalley", *sys.argv[1:]])


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Whether `-h` or `--help` is among the arguments."""
    return not {"-h", "--help"}.isdisjoint(arguments)


def flag_value(arguments: Sequence[str], flag: str) -> str | None:
    """The value of a flag on which the defaults of others depend, read before they are."""
    parts = [part for one in arguments for part in _split(one, flag)]
    if flag not in parts:
        return None
    at = parts.index(flag)
    # argparse's rule: what begins with a dash is a flag, never a value.
    if at + 1 == len(parts) or parts[at + 1].startswith("-"):
        raise UsageError(f"{flag} needs a value")
    if flag in parts[at + 1 :]:
        raise UsageError(f"{flag} is given twice")
    return parts[at + 1]


def _split(argument: str, flag: str) -> list[str]:
    equals = argument.startswith(f"{flag}=")
    return [flag, argument.removeprefix(f"{flag}=")] if equals else [argument]


def parse_verb(verbs: Sequence[type[Verb]], arguments: Sequence[str], about: str) -> Verb:
    """The verb that the arguments name, with its flags: each verb is a subcommand of tyro's."""
    name, *rest = arguments
    subcommands, named = [], None
    for verb in verbs:
        kind, default = verb, tyro.MISSING_NONPROP
        # Of the other verbs only the name and a line of help may be needed.
        about_verb = (inspect.getdoc(verb) or "").partition("\n\n")[0]
        if verb.name == name:
            kind = named = verb.chosen(rest)
            default, about_verb = kind.default(rest), kind.about(rest)
        marker = tyro.conf.subcommand(verb.name, default=default, description=about_verb)
        subcommands.append(Annotated[kind, marker])
    union: Any = Union[tuple(subcommands)]  # noqa: UP007
    with _one_line_errors(named):
        parsed: Verb = tyro.cli(
            union,
            args=list(arguments),
            prog="widevalley",
            description=about,
            config=(tyro.conf.AvoidSubcommands,),
        )
    return parsed


def parse_flags(default: T, arguments: Sequence[str]) -> T:
    """Read flags alone over a default, as a verb would."""
    with _one_line_errors(None):
        config = (tyro.conf.AvoidSubcommands,)
        return tyro.cli(type(default), default=default, args=list(arguments), config=config)


@contextmanager
def _one_line_errors(verb: type[Verb] | None) -> Iterator[None]:
    """Raise UsageError where tyro would draw a box and exit."""

    def refuse(event: Any) -> None:
        match event:
            case tyro_errors.InvalidChoice():
                flag, choices = event.argument.display_name(), ", ".join(event.choices)
                raise UsageError(
                    f"invalid choice {event.value!r} for argument {flag!r}; there are {choices}"
                )
            case tyro_errors.BadValue():
                raise UsageError(f"{event.argument.display_name()} needs a value")
            case tyro_errors.UnrecognizedArgs():
                raise UsageError(f"unrecognized: {' '.join(event.tokens)}")
            case tyro_errors.InstantiationFailure() if event.argument is not None:
                flags = "/".join(event.argument.lowered.name_or_flags)
                raise UsageError(f"Error parsing {flags}: {event.message}")
            case tyro_errors.InstantiationFailure():
                raise UsageError(event.message)
            case tyro_errors.MissingArgs() if verb:
                raise verb.incomplete()

    with tyro_errors.on_parse_error(refuse) if tyro_errors else nullcontext():
        yield
