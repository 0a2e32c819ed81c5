"""Ctrl-C between two steps, never inside one."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Self


class Interrupted(Exception):
    """Ctrl-C ended a run early, after its checkpoint; the message says how far it came."""


class InterruptFlag:
    """As a context manager, turns the first of `signals` into `raised`; a second acts as ever.

    By default Ctrl-C alone. An exception raised by a handler comes anywhere, and is lost where it
    comes amid a finaliser; what is noted here is not.
    """

    raised = False

    def __init__(self, *signals: signal.Signals) -> None:
        self._signals = signals or (signal.SIGINT,)

    def __enter__(self) -> Self:
        # Python takes handlers from the main thread alone.
        main = threading.current_thread() is threading.main_thread()
        self._before = {
            number: signal.signal(number, self._note) for number in (self._signals if main else ())
        }
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        # The handlers before come back at once, so that a second Ctrl-C stops what hangs.
        self.raised = True
        self._restore()
