"""Whether all workers are at one point of one training, before they send each other more.

Each has a description of where it is, and sends its hash. Where hashes differ the descriptions are
read through the store that the process group was made with, and what differs is refused by name.
"""

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest

import torch

from widevalley.optim.workers._communication import Channel

Description = Mapping[str, Sequence[str]]
"""What workers must have in common: a matter, and the items of one worker."""


class Agreement:
    """What the workers of a channel have agreed upon; they are asked at the end of each walk."""

    def __init__(self, channel: Channel) -> None:
        self._channel, self._asked, self._hash = channel, 0, -1

    def ask(self, mine: Description, step: int, device: torch.device) -> Callable[[], None]:
        """Start to compare a description and a step; what is returned waits, and raises.

        A description other than what was agreed upon last is compared at once, before more is
        sent. A worker whose description is the same finds out when it waits for the means, for
        one that has not agreed sends none.

        Raises:
            ValueError: workers differ; the message names what in and which. The process group
                cannot be used any further.
            RuntimeError: another worker does not answer.
        """
        self._asked += 1
        about, hashed = f"{self._asked}", zlib.crc32(json.dumps(mine).encode())
        answers = self._channel.gather([hashed, step], device)

        def check() -> None:
            if len(set(answers())) > 1:
                whole = {"step": [f"step {step} of the run"], **mine}
                raise ValueError(self._difference(about, whole))

        if hashed == self._hash:
            return check
        check()
        self._hash = hashed
        return lambda: None

    def _difference(self, about: str, mine: Description) -> str:
        """What is not the same everywhere, and with whom."""
        texts = self._channel.ask(about, json.dumps(mine))
        told = {worker: json.loads(text) for worker, text in enumerate(texts) if text}
        for matter, items in mine.items():
            for worker, theirs in told.items():
                for own, other in zip_longest(items, theirs.get(matter, ())):
                    if own != other:
                        return (
                            f"all workers must have the same {matter}: worker "
                            f"{self._channel.rank} has {own or 'no more'}, worker {worker} "
                            f"{other or 'no more'}"
                        )
        return "all workers must be at one point of one training, but some of them are not"
