"""Optimizers made of others: torch's Muon with AdamW, and the moving average of any."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer
from torch.optim.optimizer import StateDict
from torch.optim.swa_utils import get_ema_multi_avg_fn


class MuonWithAdamW(Optimizer):
    """torch's Muon for the hidden matrices of a network, its AdamW for all other weights.

    Other weights are vectors, filters, embeddings and the last linear layer, as Muon's author has
    it. Muon's steps are scaled to the size of AdamW's (`adjust_lr_fn="match_rms_adamw"`), so that
    one rate and one weight decay serve both. A network without hidden matrices raises ValueError.
    """

    def __init__(
        self, model: nn.Module, *, lr: float, momentum: float, weight_decay: float
    ) -> None:
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum={momentum}: must be in [0, 1)")
        matrices = hidden_matrices(model)
        if not matrices:
            raise ValueError("muon: the network has no hidden matrix")
        chosen = set(matrices)
        others = [p for p in model.parameters() if p not in chosen]
        muon = Muon(
            matrices,
            lr=lr,
            weight_decay=weight_decay,
            momentum=momentum,
            adjust_lr_fn="match_rms_adamw",
        )
        adamw = AdamW(others, lr=lr, weight_decay=weight_decay)
        self._parts: tuple[Optimizer, ...] = (muon, adamw)
        super().__init__([g for part in self._parts for g in part.param_groups], {})
        self._share()

    def _share(self) -> None:
        """Let both parts hold this optimizer's own groups and state."""
        for part, group in zip(self._parts, self.param_groups, strict=True):
            part.param_groups, part.state = [group], self.state

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of both."""
        loss = closure() if closure else None
        for part in self._parts:
            part.step()
        return loss

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Load what `state_dict` gave."""
        super().load_state_dict(state_dict)
        self._share()


def hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """The matrices of a network that stand neither in an embedding nor in its last linear layer."""
    linear = [m for m in model.modules() if isinstance(m, nn.Linear)]
    outer = [m for m in model.modules() if isinstance(m, nn.Embedding)] + linear[-1:]
    left_out = {p for module in outer for p in module.parameters()}
    return [p for p in model.parameters() if p.dim() == 2 and p not in left_out]


class MovingAverage(Optimizer):
    r"""Steps `inner` and keeps the exponential moving average of its weights.

    average <- decay average + (1 - decay) x after every step, from the weights after the first one
    on: torch's `AveragedModel` with `get_ema_multi_avg_fn`, as an optimizer.
    """

    def __init__(self, inner: Optimizer, decay: float) -> None:
        super().__init__(inner.param_groups, {})
        self.inner = inner
        self._update = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]

    @property
    def _weights(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of `inner`, then of the average."""
        loss = self.inner.step(closure)
        weights = self._weights
        if not self.state:
            for p in weights:
                self.state[p]["average"] = p.detach().clone()
        else:
            self._update([self.state[p]["average"] for p in weights], weights, 0)
        return loss

    @contextmanager
    def at_average(self) -> Iterator[None]:
        """Give the parameters the average inside the block; after it they are as before."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for p, state in self.state.items():
            before = p.clone()
            p.copy_(state["average"])
            state["average"].copy_(before)

    def state_dict(self) -> dict[str, Any]:
        """As torch's, with that of `inner` under "inner"."""
        return {**super().state_dict(), "inner": self.inner.state_dict()}

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Load what `state_dict` gave."""
        super().load_state_dict(state_dict)
        self.inner.load_state_dict(state_dict["inner"])
        self.param_groups = self.inner.param_groups
