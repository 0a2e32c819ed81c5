"""The training loop: one gradient evaluation at a time, no waiting for the device.

Lightning Fabric chooses the device and the precision. Its wrappers of model and optimizer are
not used: measured on the digits network they cost 32 us on a step of 209 us, a sixth.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from widevalley.training.config import RunConfig
from widevalley.training.evaluation import evaluation_weights
from widevalley.training.feed import Carried, key_of
from widevalley.training.schedules import rate_factor, total_gradients
from widevalley.training.settings import WalkSettings
from widevalley.training.task import Task
from widevalley.training.workers import Workers

if TYPE_CHECKING:
    from lightning_fabric import Fabric

DROPOUT = 1
"""Sets these seeds apart from those of an epoch's order."""


class Loop:
    """The moving parts of one run: network, optimizer, data, and how far it has come.

    `config` must be resolved (no "auto"). Seeds torch's global generator, which draws the
    initial weights and dropout.
    """

    def __init__(self, task: Task, config: RunConfig, workers: Workers | None = None) -> None:
        torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        self.config = config
        self.workers = workers or Workers()
        self.fabric = _fabric(config)
        # Before the data are loaded, so that a bad setting of the optimizer is refused at once;
        # built on the CPU, whose generator gives the same weights whatever the device.
        model: nn.Module = self.fabric.to_device(task.build(config))
        self.model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = self._optimizer()
        self.feed = task.feed(task.load(), config, self.fabric.device)
        self.feed.share = slice(self.workers.rank, None, self.workers.count)
        self.batches = self.feed.batches
        self.per_step = config.optimizer.gradients_per_step
        steps = max(1, total_gradients(config, self.batches) // self.per_step)
        self.total = steps * self.per_step
        self.gradients = 0
        """Gradient evaluations done."""
        self.loss_sum = torch.zeros((), device=self.fabric.device)
        """Sum of the batch losses of the last `loss_steps` steps."""
        self.loss_steps = 0
        self.carried: Carried = ()
        """What the last batch hands to the next."""

    def _optimizer(self) -> Optimizer:
        settings, seed = self.config.optimizer, self.config.seed
        if self.workers.count == 1 or self.config.sync == "step":
            return settings.build(self.model, seed)
        assert isinstance(settings, WalkSettings)
        return settings.build(self.model, seed, dist.group.WORLD)

    @property
    def between_walks(self) -> bool:
        """Whether all workers are at one point, from which any number of them could go on."""
        return not self.optimizer.param_groups[0].get("inner_step")

    @property
    def epoch(self) -> float:
        """Passes over the training set done."""
        return self.gradients / self.batches

    @property
    def lr(self) -> float:
        """Rate of the next step."""
        return self.config.optimizer.lr * self._rate_factors()[0]

    def _rate_factors(self) -> tuple[float, float]:
        """What the schedule and the walk's schedule multiply rates by at the next step."""
        config, at = self.config, self.gradients
        both = (config.schedule, config.walk_schedule)
        outer, walk = (rate_factor(config, at, self.batches, schedule=one) for one in both)
        return outer, walk

    def step(self) -> None:
        """Take one step of the optimizer, which spends one gradient, or two of the same batch."""
        epoch, k = divmod(self.gradients // self.per_step, self.batches)
        if k == 0:
            self.carried = self.feed.begin(self.model, epoch)
        initial = self.carried
        loss = self._gradient(k, initial)
        self.config.optimizer.set_rates(self.optimizer, *self._rate_factors())
        if self.per_step == 2:
            # Both gradients start from one state; what goes on is the state of the first.
            carried = self.carried
            self.optimizer.step(lambda: float(self._gradient(k, initial)))
            self.carried = carried
        else:
            self.optimizer.step()
        # A sum on the device: reading each loss would make every step wait for it.
        self.loss_sum += loss
        self.loss_steps += 1
        self.gradients += self.per_step

    def _gradient(self, k: int, initial: Carried) -> Tensor:
        """Put the gradient of batch `k` into the parameters; returns its loss."""
        together = self.workers.count > 1
        if together:  # else dropout would be the same everywhere
            torch.manual_seed(key_of(self.config.seed, self.workers.rank, self.gradients, DROPOUT))
        self.optimizer.zero_grad()
        with self.fabric.autocast():
            loss, self.carried = self.feed.loss(self.model, k, initial)
        loss.backward()  # type: ignore[no-untyped-call]
        if together and self.config.sync == "step":
            self.workers.average_gradients(self.model.parameters())
        if self.config.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        return loss.detach()

    def pop_mean_loss(self) -> float:
        """Mean batch loss since the last call; NaN or infinity if one was. Waits for the device."""
        mean = float(self.loss_sum) / self.loss_steps
        self.loss_sum.zero_()
        self.loss_steps = 0
        return mean

    def evaluation_weights(self) -> AbstractContextManager[None]:
        """A block in which the model has the weights the method stands for."""
        return evaluation_weights(self.model, self.optimizer, self.feed)

    def evaluate(self, *, final: bool = False) -> dict[str, float]:
        """Metrics of those weights by split: the monitored one, or with `final` all of them.

        The whole training set is among these, without dropout.
        """
        feed = self.feed
        splits = (*feed.final_splits, "train_set") if final else (feed.monitored_split,)
        with self.evaluation_weights():
            return {
                f"{split}_{name}": value
                for split in splits
                for name, value in self.feed.measure(self.model, split).items()
            }

    def finite(self) -> bool:
        """Whether all losses not yet taken and all weights are finite. Waits for the device."""
        weights = [torch.isfinite(p).all() for p in self.model.parameters()]
        return bool(torch.stack([*weights, torch.isfinite(self.loss_sum)]).all())

    def state_dict(self) -> dict[str, Any]:
        """Everything the next step depends on."""
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "carried": self.carried,
            "gradients": self.gradients,
            "loss_sum": self.loss_sum,
            "loss_steps": self.loss_steps,
            "rng": torch.get_rng_state(),
        }
        if self.fabric.device.type == "cuda":
            state["cuda_rng"] = torch.cuda.get_rng_state(self.fabric.device)
        return state

    def own_part(self, state: dict[str, Any]) -> dict[str, Any]:
        """What of a state is this worker's own: all of it, or where gradients are shared a part."""
        if self.config.sync == "walk":
            return state
        own = ("carried", "loss_sum", "loss_steps", "rng", "cuda_rng")
        return {name: state[name] for name in own if name in state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state_dict` was taken, bit for bit."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.gradients = state["gradients"]
        self.loss_sum.copy_(state["loss_sum"])
        self.loss_steps = state["loss_steps"]
        torch.set_rng_state(state["rng"])
        if self.fabric.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_rng"], self.fabric.device)
        # Amid an epoch its batches are prepared again; at the start of one `step` will do it.
        epoch, k = divmod(self.gradients // self.per_step, self.batches)
        if k:
            self.feed.begin(self.model, epoch)
        device = self.fabric.device
        self.carried = tuple(part.to(device) for part in state.get("carried", ()))


def _fabric(config: RunConfig) -> Fabric:
    from lightning_fabric import Fabric  # takes a second to import, which --help need not wait for

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    assert config.precision != "auto"
    accelerator = "gpu" if config.device == "cuda" else "cpu"
    return Fabric(accelerator=accelerator, devices=1, precision=config.precision)
