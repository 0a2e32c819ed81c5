"""Flags that name a model of the user's own in place of a run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from widevalley.cli.verb import UsageError
from widevalley.experiments import OwnModel


@dataclass(frozen=True, kw_only=True)
class OwnModelFlags:
    """A model, its data and its weights; PKG.MODULE is imported as Python does, or from here."""

    model: str
    """PKG.MODULE:NAME of a torch module, or of a function that makes it."""
    data: str
    """PKG.MODULE:NAME of a loader, or of a function that makes it; of pairs or mappings."""
    checkpoint: tuple[Path, ...] = ()
    """Files of weights: a state_dict, or one that holds it as state_dict, model_state_dict or
    model. NAME/seed-N.pt is a seed of NAME, another file is called as it is. Without one, weights
    are as the model was made."""
    loss: str = "cross-entropy"
    """cross-entropy, mse, model for the loss that its outputs hold, or PKG.MODULE:NAME of a
    function of outputs and targets."""

    def ends(self) -> list[OwnModel]:
        """The model with the weights of each checkpoint."""
        # As `python -m` does: modules of the folder one works in are found.
        if "" not in sys.path:
            sys.path.insert(0, "")
        files = self.checkpoint or (None,)
        return [OwnModel(self.model, self.data, file, self.loss) for file in files]


def asks_for_own_model(arguments: Sequence[str]) -> bool:
    """Whether `--model` is among the arguments."""
    return any(argument == "--model" or argument.startswith("--model=") for argument in arguments)


def incomplete(verb: str) -> UsageError:
    """The error where `--model` stands without what it needs."""
    return UsageError(f"{verb} --model PKG.MODULE:FACTORY needs --data PKG.MODULE:LOADER too")
