"""A command line from its verb to its exit code."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import widevalley
from widevalley.cli.flatness_verb import MeasureFlatness
from widevalley.cli.hardening_verb import Harden
from widevalley.cli.landscape_verb import DrawLandscape
from widevalley.cli.pac_bayes_verb import BoundRisk
from widevalley.cli.pictures_verb import Pictures
from widevalley.cli.report_verbs import CheckTheory, Claims, Incomplete, Report, Reproduce
from widevalley.cli.spectrum_verb import MeasureSpectrum
from widevalley.cli.training_verbs import Compare, Sweep, Train
from widevalley.cli.verb import CRASHED, MISUSED, UsageError, Verb, parse_verb
from widevalley.cli.watch_verb import Watch
from widevalley.data import DataUnavailable
from widevalley.experiments import RECIPES
from widevalley.training import (
    Diverged,
    FirstFailed,
    Interrupted,
    RunBusy,
    RunConflict,
    WorkerFailed,
    launched_here,
)
from widevalley.valley.hessian import SpectrumError

VERBS: tuple[type[Verb], ...] = (
    Train,
    Compare,
    Sweep,
    Report,
    Reproduce,
    Watch,
    Claims,
    MeasureSpectrum,
    MeasureFlatness,
    Harden,
    BoundRisk,
    DrawLandscape,
    Pictures,
    CheckTheory,
)

FAILURES = (
    DataUnavailable,
    Diverged,
    Incomplete,
    MemoryError,
    RunBusy,
    SpectrumError,
    WorkerFailed,
)
"""What can fail though the command was right."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code: 0, 1 failed, 2 misused, 130 interrupted."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: _say(message)  # without a line of code
        return _exit_code(argv)


def _exit_code(argv: Sequence[str] | None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    if int(os.environ.get("RANK", "0")):  # the first of several workers speaks for all
        sys.stdout = sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115  # for good
    try:
        _run(arguments)
        sys.stdout.flush()
    except SystemExit as stop:  # tyro has shown help
        return int(stop.code or 0)
    except BrokenPipeError:  # whoever read the output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except FirstFailed:
        return 1
    except FAILURES as error:
        return _fail(error, 1)
    except RunConflict as error:
        return _fail(f"{error} (another --runs FOLDER keeps both)", MISUSED)
    except (ValueError, FileNotFoundError, PermissionError) as error:
        return _fail(error, MISUSED)
    except OSError as error:  # a full disk, a name too long
        return _fail(error, 1)
    except Interrupted as error:
        return _fail(error, 130)
    except KeyboardInterrupt:
        return _fail("stopped", 130)
    except Exception as error:
        _note(error)
        if launched_here():
            return CRASHED
        raise
    return 0


def _run(arguments: list[str]) -> None:
    name = arguments[0]
    if name == "--version":
        print(f"widevalley {widevalley.__version__}")
        return
    # An empty folder would be this one, an empty name the default's.
    if empty := [one for one in arguments if not one or (one.startswith("--") and one[-1] == "=")]:
        raise UsageError(f"an argument is empty: {empty[0]!r}")
    names = [verb.name for verb in VERBS]
    if name not in (*names, "-h", "--help"):
        raise UsageError(f"no verb {name!r}; there are {', '.join(names)}")
    recipes = "\n\n".join(f"{recipe.name}: {recipe.title}" for recipe in RECIPES.values())
    about = f"widevalley VERB --help shows a verb's flags, --version the version.\n\n{recipes}"
    parse_verb(VERBS, arguments, about).run()


def _fail(message: object, code: int) -> int:
    if isinstance(message, Exception) and code != 130:
        _note(message)
        if launched_here():
            return code  # who launched the workers says it, once for all
    _say(message)
    return code


def _say(message: object) -> None:
    """One line, though messages of other libraries may have several."""
    print("widevalley:", " ".join(str(message).split()), file=sys.stderr)


def _note(error: Exception) -> None:
    """Leave an error where what started this process as one of several workers looks for it."""
    if "TORCHELASTIC_ERROR_FILE" in os.environ:
        from torch.distributed.elastic.multiprocessing.errors import get_error_handler

        get_error_handler().record_exception(error)
