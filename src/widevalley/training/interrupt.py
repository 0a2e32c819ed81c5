"""Ctrl-C between two steps, never inside one."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Self


class Interrupted(Exception):
    """Ctrl-C ended a run early, after its checkpoint; the message says how far it came."""


class InterruptFlag:
    """As a context manager, turns the first Ctrl-C into `raised`; a second one acts as ever."""

    raised = False

    def __enter__(self) -> Self:
        # Python takes handlers from the main thread alone.
        self._installed = threading.current_thread() is threading.main_thread()
        if self._installed:
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        # The handler before comes back at once, so that a second Ctrl-C stops what hangs.
        self.raised = True
        signal.signal(signal.SIGINT, self._before)
