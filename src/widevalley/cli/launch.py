"""Several processes for one command line, as torchrun starts them."""

from __future__ import annotations

import logging
import sys
from typing import Any

from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from widevalley.cli.verb import UsageError
from widevalley.training import RUN_ID, WorkerFailed

MISUSED = 2
"""Exit code of a worker that refuses its command line, as all of them do."""
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
        rank, failure = failed.get_first_failure()
        why: Any = failure.error_file_data if failure.exitcode > 0 else None
        while isinstance(why, dict):
            why = why.get("message")
        if why and failure.exitcode == MISUSED:
            raise UsageError(str(why).partition(": ")[2]) from failed
        raise WorkerFailed(
            f"worker {rank} of {workers}: {why or 'killed by ' + failure.signal_name()}; "
            "the same command goes on from the last checkpoint"
        ) from failed
