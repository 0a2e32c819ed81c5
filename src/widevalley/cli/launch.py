"""Several processes for one command line, as torchrun starts them."""

from __future__ import annotations

import logging
import signal
import sys
from typing import Any

from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from widevalley.cli.verb import CRASHED, MISUSED, UsageError
from widevalley.training import RUN_ID, WorkerFailed

GRACE = 120
"""Seconds to write a checkpoint in, after Ctrl-C."""


def launch(workers: int) -> None:
    """Run this command line in that many processes; returns when all are at their end.

    The others are ended as soon as one fails. What the first says is all there is to read.

    Raises:
        SystemExit: Ctrl-C has stopped them; the first has said how far they came.
        UsageError: what they all refuse.
        WorkerFailed: one has failed, or was killed.
    """
    logging.disable()  # what torchrun logs is said below, in a line
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=workers,
        run_id=RUN_ID,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.1,
        shutdown_timeout=GRACE,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "widevalley", *sys.argv[1:])
    except SignalException as signalled:
        raise SystemExit(128 + signalled.sigval) from signalled
    except ChildFailedError as failed:
        rank, failure = min(failed.failures.items(), key=lambda item: _order(item[1]))
        said: Any = failure.error_file_data["message"]
        if failure.exitcode < 0:
            why = f"killed by {failure.signal_name()}"
        elif not isinstance(said, dict):  # it has left no word
            why = f"ended with exit code {failure.exitcode}"
        else:
            why = said["message"]
            if failure.exitcode == MISUSED:
                raise UsageError(why.partition(": ")[2]) from failed
            if failure.exitcode == CRASHED:
                print(said["extraInfo"]["py_callstack"], file=sys.stderr, end="")
        raise WorkerFailed(
            f"worker {rank} of {workers}: {why}; the same command goes on from the last checkpoint"
        ) from failed


def _order(failure: ProcessFailure) -> tuple[bool, bool, bool, int]:
    """What came first: the time is in whole seconds, and one that fails makes the others fail.

    They raise or abort for a lost connection, or go without a word, or are ended by SIGTERM.
    """
    code, said = failure.exitcode, failure.error_file_data["message"]
    failed = code > 0 or code == -signal.SIGABRT
    return code == -signal.SIGTERM, failed, not isinstance(said, dict), failure.timestamp
