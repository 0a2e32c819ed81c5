"""The local learning coefficient of a network beside devinterp's, by equal chains.

    python benchmarks/learning_coefficient.py [--steps 1500] [--chains 4] [--to results/instruments]

devinterp's SGLD of step lr, inverse temperature n beta and localization g moves as ours does with
h = lr n beta / 2, beta = n beta and gamma = g / (n beta); its estimate averages the losses from the
first step on, so ours has no burn-in either. Both begin at the weights and take all data at each
step. devinterp is for language models: a sample is its number, written as a token.
"""

from __future__ import annotations

import argparse
import math
import warnings
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional
from zoo import without_torchvision

from widevalley.report.table import markdown_table
from widevalley.valley import Estimate, Objective
from widevalley.valley.entropy import local_learning_coefficient
from widevalley.valley.samplers import SGLDSampler, sample

SAMPLES = 200
BETA, LR, LOCALIZATION = 200.0, 1e-4, 100.0
TITLE = """\
# The local learning coefficient beside devinterp's

Of a fully connected network of {size:,} weights on {samples} digits, trained to a loss of
{loss:.4f}; {chains} chains of {steps} steps by each, of one law.
`python benchmarks/learning_coefficient.py` makes this page.
"""


def trained() -> tuple[nn.Module, Tensor, Tensor]:
    """A network at the end of training, and its data."""
    torch.manual_seed(0)
    pixels, digits = load_digits(return_X_y=True)
    x = torch.tensor(pixels[:SAMPLES], dtype=torch.float32) / 16
    y = torch.tensor(digits[:SAMPLES])
    module = nn.Sequential(nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10))
    adam = torch.optim.Adam(module.parameters(), lr=1e-2)
    for _ in range(300):
        adam.zero_grad()
        functional.cross_entropy(module(x), y).backward()  # type: ignore[no-untyped-call]
        adam.step()
    return module, x, y


def ours(module: nn.Module, x: Tensor, y: Tensor, chains: int, steps: int) -> Estimate:
    """From chains of widevalley."""
    objective = Objective(module, nn.CrossEntropyLoss(), [(x, y)])
    sampler = SGLDSampler(step_size=LR * BETA / 2, beta=BETA)
    how: dict[str, Any] = {"steps": steps, "burn_in": 0, "chains": chains, "starts": "anchor"}
    return local_learning_coefficient(sample(objective, sampler, LOCALIZATION / BETA, **how))


def devinterp(module: nn.Module, x: Tensor, y: Tensor, chains: int, steps: int) -> Estimate:
    """From devinterp's; the error is over chains."""
    without_torchvision()
    from devinterp.slt.llc import llc

    numbers: Any = [{"input_ids": torch.tensor([n, n])} for n in range(SAMPLES)]

    def loss(network: nn.Module, tokens: Tensor) -> Tensor:
        chosen = tokens[:, 0]
        each = functional.cross_entropy(network(x[chosen]), y[chosen], reduction="none")
        return each[:, None]

    found = llc(
        module, numbers, {}, lr=LR, n_beta=BETA, loss_fn=loss,
        localization=LOCALIZATION, num_chains=chains, num_draws=steps, batch_size=SAMPLES,
        num_init_loss_batches=1, device="cpu",
    )  # fmt: skip
    each = found["llc_per_chain"].values
    return Estimate(each.mean(), each.std(ddof=1) / math.sqrt(chains), chains - 1)


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--chains", type=int, default=4)
    parser.add_argument("--to", type=Path, default=Path("results/instruments"))
    given = parser.parse_args()
    module, x, y = trained()
    rows = []
    for name, measure in (("widevalley", ours), ("devinterp", devinterp)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of chains that are short, and of unsaved samples
            found = measure(module, x, y, given.chains, given.steps)
        low, high = found.interval()
        rows.append([name, f"{found.value:.2f} ± {found.error:.2f}", f"{low:.2f} to {high:.2f}"])
        print(*rows[-1], flush=True)
    facts = {
        "size": sum(p.numel() for p in module.parameters()),
        "samples": SAMPLES,
        "loss": float(functional.cross_entropy(module(x), y)),
        "chains": given.chains,
        "steps": given.steps,
    }
    table = markdown_table((["", "coefficient", "95 % interval"], rows))
    given.to.mkdir(parents=True, exist_ok=True)
    (given.to / "learning-coefficient.md").write_text(f"{TITLE.format(**facts)}\n{table}")


if __name__ == "__main__":
    main()
