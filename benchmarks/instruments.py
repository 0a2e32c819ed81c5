"""Every instrument on every network of the zoo, beside dense float64 matrices made without it.

    python benchmarks/instruments.py [--to results/instruments]

The oracles are loops over `torch.autograd.grad`: the Hessian by double backward of the loss of all
samples at once, Gauss-Newton by rows of the Jacobian, the Fisher information by samples one by one.
An entry is the relative difference from them, in the Frobenius norm; or the words of a refusal.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from zoo import SAMPLES, ZOO, Model, each_tensor

from widevalley.report.table import markdown_table
from widevalley.valley import (
    EmpiricalFisher,
    GaussNewton,
    Hessian,
    Objective,
    exact_spectrum,
    extreme_eigenvalues,
    trace,
)
from widevalley.valley.entropy import laplace
from widevalley.valley.hessian import AssembledMatrix, Curvature, assemble, fisher_diagonal
from widevalley.valley.landscape import lines, sharpness

TITLE = """\
# Every instrument on every network

Relative differences from dense float64 matrices made by loops over `torch.autograd.grad`, batches
uneven; of Laplace's method what is beyond four standard errors. `python benchmarks/instruments.py`
makes this page.
"""
GAMMA_MARGIN = 1.0
"""Of the scope of Laplace's method above minus the least eigenvalue."""


class Oracle:
    """Loss, gradient and matrices of a model, by plain loops."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.module, self.inputs, self.targets = model.made()
        self.module.eval()
        for layer in self.module.modules():
            if isinstance(layer, nn.Embedding):
                layer.sparse = False  # which double backward cannot take
            if type(layer).__name__ == "_WeightNorm":  # whose double backward is wrong (torch 2.13)
                layer.forward = _weight_norm
        if model.options.get("batch_norm") == "batch":
            self.module.train()
        self.parameters = [p for p in self.module.parameters() if p.requires_grad]
        names = {p: name for name, p in self.module.named_parameters()}
        self.names = [names[p] for p in self.parameters]

    def slices(self) -> list[slice]:
        """Where batches begin and end."""
        ends = np.cumsum([0, *self.model.cuts])
        return [slice(a, b) for a, b in pairwise(ends.tolist())]

    def part(self, value: Any, samples: slice) -> Any:
        """Some samples; of a graph, whose edges are no samples, all there is."""
        return each_tensor(lambda t: t[samples] if len(t) == SAMPLES else t, value)

    def batches(self) -> list[Any]:
        """As a loader yields them."""
        pairs = [(self.part(self.inputs, s), self.part(self.targets, s)) for s in self.slices()]
        mappings = self.model.loss_inside or self.model.name.startswith("Hugging Face")
        return [inputs for inputs, _ in pairs] if mappings else pairs

    def objective(self, **options: Any) -> Objective:
        """What the instruments are given."""
        loss = None if self.model.loss_inside else self.model.loss
        every = self.model.options | options
        return Objective(self.module, loss, self.batches(), **every)

    def outputs(self, samples: slice) -> Any:
        """Of the module itself."""
        inputs = self.part(self.inputs, samples)
        if isinstance(inputs, dict):
            return self.module(**inputs)
        return self.module(*inputs) if isinstance(inputs, tuple) else self.module(inputs)

    def targets_of(self, samples: slice) -> Any:
        """As the loss takes them."""
        mappings = self.model.name.startswith("Hugging Face")
        return self.part(self.inputs if mappings else self.targets, samples)

    def loss_of(self, samples: slice) -> Tensor:
        """The mean loss of some samples."""
        return self.model.loss(self.outputs(samples), self.targets_of(samples))

    def loss(self) -> Tensor:
        """Of everything at once, or where samples are coupled of batches by their sizes."""
        if not self.model.coupled:
            return self.loss_of(slice(0, SAMPLES)) + self.penalty()
        sizes = [s.stop - s.start for s in self.slices()]
        each = zip(sizes, self.slices(), strict=True)
        return sum(
            (size / SAMPLES * self.loss_of(s) for size, s in each), start=torch.zeros(())
        ).double()

    def penalty(self) -> Tensor:
        """Of the weights."""
        penalty = self.model.options.get("penalty")
        named = dict(zip(self.names, self.parameters, strict=True))
        value: Tensor = penalty(named) if penalty else torch.zeros((), dtype=torch.float64)
        return value

    def gradient(self, scalar: Tensor, **how: Any) -> Tensor:
        """By all parameters, flat."""
        found = torch.autograd.grad(scalar, self.parameters, materialize_grads=True, **how)
        return torch.cat([each.flatten() for each in found])

    def hessian(self, scalar: Tensor) -> Tensor:
        """Row by row."""
        slope = self.gradient(scalar, create_graph=True)
        rows = [
            self.gradient(s, retain_graph=True) if s.requires_grad else torch.zeros_like(slope)
            for s in slope
        ]
        return torch.stack(rows).detach()

    def gauss_newton(self) -> Tensor:
        """J^T H J, batch by batch where samples are coupled."""
        cuts = self.slices() if self.model.coupled else [slice(0, SAMPLES)]
        total = torch.zeros(())
        for samples in cuts:
            outputs = self.outputs(samples)
            values: list[Tensor] = []
            _collect(outputs, values)
            flat = torch.cat([v.flatten() for v in values if v.requires_grad])
            jacobian = torch.stack([self.gradient(f, retain_graph=True) for f in flat])

            def loss(at: Tensor, outputs: Any = outputs, samples: slice = samples) -> Tensor:
                return self.model.loss(_with(outputs, at), self.targets_of(samples))

            middle = torch.autograd.functional.hessian(loss, flat.detach())  # type: ignore[no-untyped-call]
            weight = (samples.stop - samples.start) / SAMPLES
            total = total + weight * jacobian.T @ middle @ jacobian
        if self.model.options.get("penalty"):
            total = total + self.hessian(self.penalty())
        return total

    def fisher(self) -> Tensor:
        """Sum of p_n g_n g_n^T, sample by sample."""
        total, weights = torch.zeros(()), []
        for n in range(SAMPLES):
            one = slice(n, n + 1)
            weigh = self.model.weigh
            weights.append(weigh(self.targets_of(one)) if weigh else 1.0)
            if weights[-1]:
                g = self.gradient(self.loss_of(one))
                total = total + weights[-1] * torch.outer(g, g)
        mean: Tensor = torch.div(total, sum(weights))
        return mean


def _weight_norm(magnitude: Tensor, direction: Tensor) -> Tensor:
    weight: Tensor = magnitude * direction / direction.norm(dim=1, keepdim=True)
    return weight


def _collect(outputs: Any, values: list[Tensor]) -> None:
    if isinstance(outputs, Tensor):
        values.append(outputs)
    elif hasattr(outputs, "logits"):
        values.append(outputs.logits)
    else:
        for part in outputs.values() if isinstance(outputs, dict) else outputs:
            _collect(part, values)


def _with(outputs: Any, flat: Tensor) -> Any:
    """The same outputs with these numbers, in the order of `_collect`."""
    values: list[Tensor] = []
    _collect(outputs, values)
    varied = [v for v in values if v.requires_grad]
    parts = iter(torch.split(flat, [v.numel() for v in varied]))
    new = {id(v): next(parts).view(v.shape) for v in varied}
    if hasattr(outputs, "logits"):
        return type(outputs)(logits=new[id(outputs.logits)])
    return each_tensor(lambda t: new.get(id(t), t), outputs)


def measures(model: Model) -> dict[str, Callable[[], float]]:
    """What is compared, by name; each call gives a relative difference."""
    oracle = Oracle(model)
    cache: dict[str, Any] = {}

    def once(name: str, make: Callable[[], Any]) -> Any:
        if name not in cache:
            cache[name] = make()
        return cache[name]

    def objective() -> Objective:
        made: Objective = once("objective", oracle.objective)
        return made

    def matrix() -> Tensor:
        made: Tensor = once("matrix", lambda: oracle.hessian(oracle.loss()))
        return made

    def products(kind: type[Curvature], expected: Callable[[], Tensor]) -> float:
        operator = kind(objective())
        dense = expected()
        block = operator @ torch.eye(operator.size, dtype=operator.dtype)
        vector = operator @ block[:, 0]
        return max(_gap(block, dense), _gap(vector, dense @ dense[:, 0]))

    def eigenvalues() -> np.ndarray:
        values: np.ndarray = np.linalg.eigvalsh(matrix().numpy())
        return values

    def ends() -> float:
        found = extreme_eigenvalues(Hessian(objective()), steps=len(matrix()), tolerance=1e-12)
        values = eigenvalues()
        both = np.array([found.largest[0], found.smallest[0]])
        return _gap_of(both, values[[-1, 0]])

    def spectrum() -> float:
        found = exact_spectrum(Hessian(objective()))
        every = np.sort(np.concatenate([found.values, np.zeros(found.structural_zeros)]))
        return _gap_of(every, eigenvalues())

    def second_order() -> float:
        """Laplace's log-determinant and slope terms with every direction probed."""
        at, values = oracle.loss(), eigenvalues()
        gamma = float(GAMMA_MARGIN + max(0.0, -values[0]))
        found = laplace(Hessian(objective()), [gamma], probes=10, steps=30)
        shifted = matrix() + gamma * torch.eye(len(matrix()), dtype=torch.float64)
        slope = oracle.gradient(at)
        exact = float(torch.logdet(matrix() / gamma + torch.eye(len(slope)).double())) / 2
        exact -= float(slope @ torch.linalg.solve(shifted, slope)) / 2
        return max(abs(found.excess[0].value - exact) - 4 * found.excess[0].error, 0.0) / abs(exact)

    def ascent() -> float:
        slope = oracle.gradient(oracle.loss())
        worst = 0.1 * slope / slope.norm()
        return _gap_of(sharpness(objective(), 0.1), max(_moved(oracle, worst), 0.0))

    def slices() -> float:
        direction = torch.randn(objective().size, dtype=torch.float64)
        rise = lines(objective(), [direction], [0.1]).loss[0, 0] - oracle.loss().item()
        return _gap_of(rise, _moved(oracle, 0.1 * direction))

    return {
        "loss": lambda: _gap_of(objective().value(), oracle.loss().item()),
        "gradient": lambda: _gap(objective().gradient(), oracle.gradient(oracle.loss())),
        "Hessian": lambda: products(Hessian, matrix),
        "Gauss-Newton": lambda: products(GaussNewton, oracle.gauss_newton),
        "Fisher": lambda: products(EmpiricalFisher, oracle.fisher),
        "Fisher diagonal": lambda: _gap(fisher_diagonal(objective()), oracle.fisher().diagonal()),
        "whole matrix": lambda: _gap(_whole(assemble(Hessian(objective()))), matrix()),
        "spectrum": spectrum,
        "ends": ends,
        "trace": lambda: _gap_of(
            trace(Hessian(objective()), products=3 * len(matrix())).value, float(matrix().trace())
        ),
        "Laplace": second_order,
        "sharpness": ascent,
        "slice": slices,
    }


def measured(model: Model) -> dict[str, float | str]:
    """Every entry of a model's row: a relative difference, or a refusal."""
    row: dict[str, float | str] = {}
    # For the oracles: fused attention and recurrence have no second derivatives.
    with sdpa_kernel(SDPBackend.MATH), torch.backends.mkldnn.flags(enabled=False):
        for name, measure in measures(model).items():
            try:
                row[name] = measure()
            except ValueError as error:
                row[name] = str(error)
    return row


def _moved(oracle: Oracle, step: Tensor) -> float:
    """How much the oracle's loss rises by a step."""
    base = oracle.loss().item()
    parts = torch.split(step, [p.numel() for p in oracle.parameters])
    with torch.no_grad():
        for p, part in zip(oracle.parameters, parts, strict=True):
            p.add_(part.view(p.shape))
        rise = oracle.loss().item() - base
        for p, part in zip(oracle.parameters, parts, strict=True):
            p.sub_(part.view(p.shape))
    return rise


def _whole(found: AssembledMatrix) -> Tensor:
    full = found.values.new_zeros(found.size, found.size)
    full[found.support[:, None], found.support] = found.values
    return full


def _gap(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm().clamp_min(1e-300))


def _gap_of(found: Any, expected: Any) -> float:
    gap = float(np.linalg.norm(np.subtract(found, expected)))
    return gap / max(float(np.linalg.norm(expected)), 1e-300)


def page() -> str:
    """The table, a row a model, and what the refusals say."""
    heads, cells, words = ["network and loss", "weights"], [], []
    for model in ZOO:
        row = measured(model)
        heads = ["network and loss", "weights", *row]
        size = str(sum(p.numel() for p in model.build().parameters() if p.requires_grad))
        cells.append([model.name, size, *(_cell(entry) for entry in row.values())])
        refusals = sorted({entry for entry in row.values() if isinstance(entry, str)})
        words += [f"- {model.name}: {refusal}" for refusal in refusals]
    said = "\n".join(words)
    return (
        f"{TITLE}\n{markdown_table((heads, cells))}\nWhat is refused, in these words:\n\n{said}\n"
    )


def _cell(entry: float | str) -> str:
    if isinstance(entry, str):
        return "refused"
    return f"{entry:.0e}" if entry else "0"


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--to", type=Path, default=Path("results/instruments"))
    flags = parser.parse_args()
    flags.to.mkdir(parents=True, exist_ok=True)
    (flags.to / "oracles.md").write_text(page())


if __name__ == "__main__":
    main()
