"""The tasks of tournaments: a problem, what a run of it spends, and what tuning is judged by."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

from widevalley.experiments.character_gpt import GPT_1M, SMALL_GPT
from widevalley.experiments.charlstm import CHARLSTM
from widevalley.experiments.digits import DIGITS
from widevalley.experiments.harder_mnist import (
    HELD_OUT,
    MNIST_1000,
    MNIST_1000_TUNING,
    MNIST_NOISE,
    MNIST_NOISE_TUNING,
)
from widevalley.experiments.lenet import LENET
from widevalley.experiments.mnistfc import MNISTFC
from widevalley.experiments.recipe import Recipe
from widevalley.training import AdamWSettings, RateSchedule, RunConfig, Task

Criterion = Literal["loss", "error"]


@dataclass(frozen=True)
class Contest:
    """A task on which methods are tuned and then compared, at equal gradient evaluations."""

    name: str
    recipe: Recipe
    config: RunConfig
    """Settings of a run but for the optimizer, its schedule and the length."""
    budget: int
    """Gradient evaluations of a run unless told."""
    holdout: int = 0
    """Training samples that tuning is judged by; 0 where the data have a validation split."""
    tuning: Task | None = None
    """The task that tuning sees where it is not the recipe's own."""
    criterion: Criterion = "loss"
    """What tuning makes small, on held-out data, and what methods are ranked by."""
    bits: int = 0
    """Of round-to-nearest, which the weights pass before tuning judges them; 0 leaves them."""
    schedule: RateSchedule = "cosine"
    """Fall of the rates that a method anneals."""

    @property
    def tuned_on(self) -> Task:
        """The task that tuning sees."""
        return self.tuning or self.recipe.task


_run = partial(RunConfig, optimizer=AdamWSettings())
_gpt = partial(_run, batch_size=16, clip=1.0)

CONTESTS: dict[str, Contest] = {
    one.name: one
    for one in (
        Contest("digits", DIGITS, _run(batch_size=32, dropout=0.1), 2_000, holdout=397),
        Contest(
            "mnist-1000",
            MNIST_1000,
            _run(batch_size=100),
            1_000,
            holdout=HELD_OUT,
            tuning=MNIST_1000_TUNING,
        ),
        # The held-out labels are as noisy as the others: nobody would have clean ones. Their error
        # ranks as the clean one does, while their loss asks for confidence in wrong labels.
        Contest(
            "mnist-noise",
            MNIST_NOISE,
            _run(batch_size=100),
            2_000,
            holdout=HELD_OUT,
            tuning=MNIST_NOISE_TUNING,
            criterion="error",
        ),
        Contest("mnistfc", MNISTFC, _run(dropout=0.3, input_dropout=0.2), 2_000, holdout=10_000),
        Contest("lenet", LENET, _run(dropout=0.25), 2_000, holdout=10_000),
        Contest("charlstm", CHARLSTM, _run(window=50, clip=5.0), 1_000),
        Contest("lenet-rounded", LENET, _run(dropout=0.25), 2_000, holdout=10_000, bits=3),
        Contest("gpt", GPT_1M, _gpt(window=128), 600),
        Contest("gpt-constant", GPT_1M, _gpt(window=128), 600, schedule="constant"),
        Contest("small-gpt-rounded", SMALL_GPT, _gpt(window=64), 1_000, bits=4),
        Contest("small-gpt", SMALL_GPT, _gpt(window=64), 1_000),
        Contest("small-gpt-constant", SMALL_GPT, _gpt(window=64), 1_000, schedule="constant"),
    )
}
