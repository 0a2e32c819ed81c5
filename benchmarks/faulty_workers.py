"""Workers to one of which something happens: the processes that `faults.py` starts.

Three of them train, and before a step, or from the beginning, one of them is not as the others.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed import PrefixStore  # type: ignore[attr-defined]  # not in __all__
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict
from torch.distributed.checkpoint.state_dict import set_optimizer_state_dict as load_optimizer
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.rendezvous import rendezvous
from torch.nn.functional import cross_entropy

from widevalley import EntropySGD
from widevalley.workers import Coupling, TopK, Workers

WORLD, STEPS, WALK, AT, FAULTY, TIMEOUT = 3, 40, 4, 10, 1, 5.0
"""Workers, steps of each, steps of a walk, where the fault is, whose, and seconds of patience."""


class Training:
    """What each worker does: its own batches of random numbers, one noisy walk after another."""

    def __init__(self, hidden: int = 32, **settings: Any) -> None:
        torch.manual_seed(0)
        self.rank = dist.get_rank()
        self.model = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))
        group = Workers(everyone(), timeout=TIMEOUT, **settings)
        self.optimizer = EntropySGD(
            self.model.parameters(), langevin_steps=WALK, process_group=group
        )

    def gradient(self, step: int) -> None:
        """That of this worker's batch of this number."""
        generator = torch.Generator().manual_seed(1000 * self.rank + step)
        x = torch.randn(16, 64, generator=generator)
        y = torch.randint(10, (16,), generator=generator)
        self.optimizer.zero_grad()
        cross_entropy(self.model(x), y).backward()  # type: ignore[no-untyped-call]

    def state(self) -> dict[str, Any]:
        """What a checkpoint of all holds of this worker, under a name of its own."""
        optimizer = get_optimizer_state_dict(self.model, self.optimizer)
        mine = {"model": self.model.state_dict(), "optimizer": optimizer}
        return {"workers": {f"{self.rank}": mine}}


def everyone() -> dist.ProcessGroup:
    """The group of all workers."""
    assert dist.group.WORLD is not None
    return dist.group.WORLD


def begins() -> None:
    """Note that the fault happens now."""
    Path(os.environ["FAULT_NOTE"]).touch()


Happens = Callable[[Training], None]


def trains(happens: Happens, at: int = AT, who: int = FAULTY, **settings: Any) -> None:
    """Train; before a step something happens to a worker."""
    training = Training(**settings)
    for step in range(STEPS):
        if step == at and training.rank == who:
            begins()
            happens(training)
        training.gradient(step)
        if training.rank == who and step >= at and happens is no_gradient:
            next(training.model.parameters()).grad = None
        training.optimizer.step()


# --- what happens to a worker ---------------------------------------------------------------------


def killed(_: Training) -> None:
    """As by `kill -9`, or for its memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def raises(_: Training) -> None:
    """An error that nobody handles."""
    raise OSError("a file that cannot be read")


def stopped(_: Training) -> None:
    """Neither dead nor alive: a machine that swaps, a debugger, a dead disk."""
    os.kill(os.getpid(), signal.SIGSTOP)


def out_of_data(_: Training) -> None:
    """Its loader is shorter: it leaves as after a run that has ended well."""
    sys.exit(0)


def out_of_data_but_there(_: Training) -> None:
    """Its loader is shorter, and it waits for the others in a barrier."""
    dist.barrier()


def another_rate(training: Training) -> None:
    """A schedule of its own."""
    training.optimizer.param_groups[0]["lr"] *= 0.5


def no_gradient(_: Training) -> None:
    """A part of the model that its data do not reach."""


def other_weights(training: Training) -> None:
    """Loaded after the optimizer was made."""
    with torch.no_grad():
        next(training.model.parameters()).add_(1)


def another_step(training: Training) -> None:
    """Resumed from an older checkpoint than the others."""
    training.optimizer.param_groups[0]["outer_step"] -= 1


# --- what is otherwise from the beginning ---------------------------------------------------------


def other_parameters() -> None:
    """A layer of another width."""
    begins()
    Training(hidden=32 + (dist.get_rank() == FAULTY))


def fewer_parameters() -> None:
    """A frozen head that one worker leaves out."""
    begins()
    model = nn.Sequential(nn.Linear(64, 32), nn.Linear(32, 10))
    kept = model[0] if dist.get_rank() == FAULTY else model
    EntropySGD(kept.parameters(), process_group=Workers(everyone(), timeout=TIMEOUT))


def never_there() -> None:
    """A worker that makes no optimizer: no data, and it waits for the others at once."""
    begins()
    if dist.get_rank() == FAULTY:
        dist.barrier()
    Training()


def late_joiner() -> None:
    """All start again; one has no checkpoint, and begins with the rate of a warm-up."""
    first = Training()
    for step in range(2 * WALK):
        first.gradient(step)
        first.optimizer.step()
    saved = first.model.state_dict(), first.optimizer.state_dict()
    begins()
    again = Training()
    again.model.load_state_dict(saved[0])
    if again.rank == FAULTY:
        again.optimizer.param_groups[0]["lr"] *= 0.1
    else:
        again.optimizer.load_state_dict(saved[1])
    for step in range(2 * WALK, STEPS):
        again.gradient(step)
        again.optimizer.step()


def restarts() -> None:
    """Under torchrun: from the newest whole checkpoint on; killed once, the first time."""
    training, folder = Training(), Path(os.environ["FAULT_NOTE"]).parent
    begun = max((int(f.parent.name) for f in folder.glob("*/.metadata")), default=0)
    if begun:
        state = training.state()
        load(state, checkpoint_id=folder / f"{begun}")
        mine = state["workers"][f"{training.rank}"]
        training.model.load_state_dict(mine["model"])
        load_optimizer(training.model, training.optimizer, mine["optimizer"])
    first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
    for step in range(begun, STEPS):
        if step == AT and training.rank == FAULTY and first and "FAULT_KILLS" in os.environ:
            begins()
            killed(training)
        training.gradient(step)
        training.optimizer.step()
        if step % 3 == 2:  # amid a walk as well as at its end
            save(training.state(), checkpoint_id=folder / f"{step + 1}")
    if training.rank == 0:
        torch.save(training.model.state_dict(), folder / "end.pt")


# --- all of them ----------------------------------------------------------------------------------

MODES: dict[str, dict[str, Any]] = {
    "at once": {},
    "late, top-k": {"delay": 2, "compression": TopK()},
    "in fragments": {"fragments": 2},
    "replicas": {"coupling": Coupling()},
}


def at_step(happens: Happens, **settings: Any) -> Callable[[], None]:
    """Workers that train until something happens."""
    return lambda: trains(happens, **settings)


LOST, DIFFER = "worker 1 of 3 did not answer", "all workers must have the same "
FAULTS: dict[str, tuple[Callable[[], None], str]] = {
    **{
        f"killed amid a walk; {mode}": (at_step(killed, **settings), LOST)
        for mode, settings in MODES.items()
    },
    "the first is killed, under torchrun": (at_step(killed, who=0), "worker 0 of 3 did not answer"),
    "the first is killed, with the store it kept": (
        at_step(killed, who=0),
        "another worker of 3 did not answer",
    ),
    "an error that nobody handles": (at_step(raises), LOST),
    "stopped, neither dead nor alive": (at_step(stopped), LOST),
    "out of data early, and gone": (at_step(out_of_data), LOST),
    "out of data early, in a barrier": (at_step(out_of_data_but_there), LOST),
    "no data at all, in a barrier": (never_there, LOST),
    "a layer of another width": (other_parameters, DIFFER + "parameters"),
    "parameters left out": (fewer_parameters, DIFFER + "parameters"),
    "a gradient that is None": (at_step(no_gradient), DIFFER + "gradients"),
    "other weights, loaded later": (at_step(other_weights, at=0), DIFFER + "anchors"),
    "another rate amid the run": (at_step(another_rate), DIFFER + "settings"),
    "another rate amid the run; late": (at_step(another_rate, delay=2), DIFFER + "settings"),
    "a late joiner with the rate of a warm-up": (late_joiner, DIFFER),
    "an older checkpoint than the others'": (at_step(another_step), DIFFER + "step"),
}
"""What is tried, and a pattern of what the others must say; all of them where it is refused."""

if __name__ == "__main__":
    torch.set_num_threads(1)
    store, number, world = next(rendezvous("env://"))
    # torchrun keeps its store when it restarts, and in it where the last ones listened
    store = PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)
    dist.init_process_group("gloo", store=store, rank=number, world_size=world)
    restarts() if sys.argv[1] == "restarts" else FAULTS[sys.argv[1]][0]()
