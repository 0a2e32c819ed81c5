"""A model of the user's own: where its parts are, by name, and how they are put together."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from widevalley.valley import Loss

STATES = ("state_dict", "model_state_dict", "model")
"""Where checkpoints keep weights, beside other things; without one they are the weights."""
LOSSES: dict[str, Loss | None] = {
    "cross-entropy": functional.cross_entropy,
    "mse": functional.mse_loss,
    "model": None,
}
"""Losses by a short name; `model` takes the one in the outputs, as Hugging Face's models have."""


@dataclass(frozen=True)
class OwnModel:
    """A module with the weights of a checkpoint, its data and its loss.

    `model`, `data` and a loss without a short name are found at `package.module:name`, and called
    without arguments where they are not yet what is needed. Raises ValueError that says what was
    found instead.
    """

    model: str
    """A module, or a function that makes one."""
    data: str
    """A loader, or a function that makes one; batches are as `Objective` takes them."""
    checkpoint: Path | None = None
    """Weights; without them they stay as the model was made."""
    loss: str = "cross-entropy"
    """One of `LOSSES`, or a function of outputs and targets."""

    @property
    def name(self) -> str:
        """What it is called: NAME/seed-N as the checkpoint is, or by its file's name alone."""
        if self.checkpoint is None:
            return self.model.rpartition(":")[2]
        stem, folder = self.checkpoint.stem, self.checkpoint.resolve().parent.name
        return f"{folder}/{stem}" if stem.startswith("seed-") else stem

    def network(self) -> nn.Module:
        """The module with its weights."""
        made = _found("model", self.model)
        made = made if isinstance(made, nn.Module) else _called("model", self.model, made)
        if not isinstance(made, nn.Module):
            raise ValueError(f"model={self.model!r}: made {type(made).__name__}, not an nn.Module")
        if self.checkpoint:
            _load(made, self.checkpoint)
        return made

    def batches(self, samples: int) -> list[Any]:
        """The loader's first batches, with `samples` samples or a few more."""
        loader = _found("data", self.data)
        if not isinstance(loader, Iterable):
            loader = _called("data", self.data, loader)
        if not isinstance(loader, Iterable):
            raise ValueError(f"data={self.data!r}: made {type(loader).__name__}, not a loader")
        chosen, count = [], 0
        for batch in loader:
            chosen.append(batch)
            first = _first_of(batch)
            if not isinstance(first, Tensor):
                raise ValueError(
                    f"data={self.data!r}: its batches hold {type(first).__name__}, not tensors"
                )
            count += len(first)
            if count >= samples:
                break
        return chosen

    def loss_function(self) -> Loss | None:
        """The loss, or None for the one that the outputs hold."""
        if self.loss in LOSSES:
            return LOSSES[self.loss]
        if ":" not in self.loss:
            raise ValueError(f"loss={self.loss!r}: must be {', '.join(LOSSES)} or PKG.MODULE:NAME")
        found: Loss = _found("loss", self.loss)
        return found


def _found(what: str, spec: str) -> Any:
    path, _, name = spec.partition(":")
    if not path or not name:
        raise ValueError(f"{what}={spec!r}: must be PKG.MODULE:NAME")
    try:
        module = importlib.import_module(path)
    except TypeError as error:  # of a name that begins with a dot
        raise ValueError(f"{what}={spec!r}: must be PKG.MODULE:NAME, not a file") from error
    except (ModuleNotFoundError, ValueError) as error:
        raise ValueError(f"{what}={spec!r}: {error}") from error
    if not hasattr(module, name):
        raise ValueError(f"{what}={spec!r}: {path} has no {name!r}")
    return getattr(module, name)


def _called(what: str, spec: str, found: Any) -> Any:
    if not callable(found):
        raise ValueError(f"{what}={spec!r}: is {type(found).__name__}, neither it nor makes it")
    return found()


def _first_of(batch: Any) -> Any:
    while isinstance(batch, Mapping | tuple | list) and len(batch):
        batch = next(iter(batch.values() if isinstance(batch, Mapping) else batch))
    return batch


def _load(network: nn.Module, file: Path) -> None:
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file")
    try:
        # Nothing in the file is executed.
        loaded = torch.load(file, map_location="cpu", weights_only=True)
        nested = (loaded[key] for key in STATES if isinstance(loaded.get(key), Mapping))
        network.load_state_dict(next(nested, loaded))
    except UnpicklingError as error:
        raise ValueError(
            f"{file}: not the weights of this model but no tensors, or more than those: of a "
            "module save the state_dict()"
        ) from error
    except Exception as error:  # torch raises what zip and modules raise
        raise ValueError(f"{file}: not the weights of this model ({error})") from error
