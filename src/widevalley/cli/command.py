"""A command line from its verb to its exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from widevalley.cli.flags import UsageError
from widevalley.cli.flatness import flatness
from widevalley.cli.landscape import landscape
from widevalley.cli.reporting import Incomplete, claims, report, reproduce, theory
from widevalley.cli.running import compare, sweep, train
from widevalley.cli.spectra import spectrum
from widevalley.data import DataUnavailable
from widevalley.experiments import RECIPES
from widevalley.training import Diverged, Interrupted, RunBusy
from widevalley.valley.hessian import SpectrumError

HELP = """usage: widevalley VERB ...

  train RECIPE [--optimizer NAME]    train a recipe with one optimizer, or by --variant NAME with
                                     the paper's settings, its baseline, SGLD or ours
  compare RECIPE                     train it with several, at equal gradient evaluations
  sweep RECIPE [--optimizer NAME]    a grid over settings, judged on held-out training samples
  report FOLDER                      table and curves of finished runs, from their folders
  reproduce [RECIPE ...]             run what is missing of the paper's tables and figures, and
                                     show them beside the paper's numbers
  claims FOLDER                      the paper's claims, each with the evidence of the runs there
  spectrum RUN|RECIPE                eigenvalues of the Hessian at the end of a run
  flatness RUN [RUN ...]             every measure of flatness at the ends of runs, side by side
  landscape toy|RUN [RUN [RUN]]      the loss around and between the ends of runs, drawn
  theory                             the paper's equations, each checked in numbers, as a page

recipes:
{recipes}
Flags, their units and defaults: widevalley VERB RECIPE [--optimizer NAME] --help"""

FAILURES = (DataUnavailable, Diverged, Incomplete, MemoryError, RunBusy, SpectrumError)
"""What can fail though the command was right."""

VERBS: dict[str, Callable[[list[str]], None]] = {
    "train": train,
    "compare": compare,
    "sweep": sweep,
    "report": report,
    "reproduce": reproduce,
    "claims": claims,
    "spectrum": spectrum,
    "flatness": flatness,
    "landscape": landscape,
    "theory": theory,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code: 0, 1 failed, 2 misused, 130 interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        _dispatch(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except FAILURES as error:
        return _say(error, 1)
    except (ValueError, FileNotFoundError, PermissionError) as error:
        return _say(error, 2)
    except Interrupted as error:
        return _say(error, 130)
    except KeyboardInterrupt:
        return _say("stopped", 130)
    return 0


def _say(message: object, code: int) -> int:
    print("widevalley:", " ".join(str(message).split()), file=sys.stderr)
    return code


def _dispatch(arguments: list[str]) -> None:
    verb, *rest = arguments or ["--help"]
    asks = rest[:1] in (["-h"], ["--help"]) and verb != "reproduce"
    if verb in ("-h", "--help") or (verb in VERBS and asks):
        print(HELP.format(recipes="".join(f"  {r.name:14} {r.title}\n" for r in RECIPES.values())))
    elif verb in VERBS:
        VERBS[verb](rest)
    else:
        raise UsageError(f"no verb {verb!r}; there are {', '.join(VERBS)}")
