"""Time and memory of a Hessian product on larger networks, beside two other packages.

    python benchmarks/scale.py [--cases cnn gpt resnet50] [--rounds 3] [--threads 2] [--only time]

Every contender takes the same mean loss of the same batch in float32, in turns; the ratio is to one
gradient. Memory is the peak of a process of its own above what it held before the first product.
hessian-eigenthings takes part where it is installed. Beside products stand the two instruments
that are built of them: the extreme eigenvalues in a space of six vectors, and the trace. Rows of
networks that are not measured stay as they are.
"""

import argparse
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from figures import Figures, Row, in_turns, rows
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from zoo import without_torchvision

from widevalley.report.table import markdown_table
from widevalley.valley import Hessian, Objective, extreme_eigenvalues, trace

PRODUCTS = 4
"""Of the trace; the extreme eigenvalues take as many steps."""
VECTORS = 6
TITLE = """\
# Time and memory of products, beside two packages

`python benchmarks/scale.py` makes this page.
"""
FOLDER = Path(__file__).parents[1] / "results" / "instruments"


class Logits(nn.Module):
    """The logits of one of Hugging Face's models, classes second."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.model(x).logits
        return logits.movedim(-1, 1)


def cnn() -> nn.Module:
    """Six convolutions, 4.7 million weights."""
    layers: list[nn.Module] = []
    for a, b in ((3, 64), (64, 128), (128, 256), (256, 512), (512, 512), (512, 128)):
        layers += [nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if b in (128, 256, 512) and a != 512 else []
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))


def gpt() -> nn.Module:
    """GPT-2 of ten million weights, head and embedding tied."""
    without_torchvision()
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=8000, n_positions=64, n_embd=320, n_layer=6, n_head=8)
    config.use_cache = False
    return Logits(GPT2LMHeadModel(config))


def resnet50() -> nn.Module:
    """ResNet-50 at its full size."""
    without_torchvision()
    from transformers import ResNetConfig, ResNetForImageClassification

    return Logits(ResNetForImageClassification(ResNetConfig(num_labels=1000)))


Data = tuple[Tensor, Tensor]
CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[], Data]]] = {
    "cnn": (cnn, lambda: (torch.randn(8, 3, 32, 32), torch.randint(10, (8,)))),
    "gpt": (gpt, lambda: (torch.randint(8000, (2, 64)), torch.randint(8000, (2, 64)))),
    "resnet50": (resnet50, lambda: (torch.randn(1, 3, 128, 128), torch.randint(1000, (1,)))),
}
Work = Callable[[], object]


def ours(network: nn.Module, data: Data) -> dict[str, Work]:
    """What widevalley does."""
    objective = Objective(network, functional.cross_entropy, [data])
    hessian = Hessian(objective)
    v = torch.randn(objective.size)
    memory = 8 * objective.size * VECTORS
    return {
        "gradient": objective.gradient,
        "Hessian @ v": lambda: hessian @ v,
        f"extreme_eigenvalues, a step of {PRODUCTS}": lambda: extreme_eigenvalues(
            hessian, steps=PRODUCTS, memory=memory
        ),
        f"trace, a product of {PRODUCTS}": lambda: trace(
            hessian, products=PRODUCTS, chunk=1, memory=memory
        ),
    }


def curvlinops(network: nn.Module, data: Data) -> dict[str, Work]:
    """The same product by curvlinops."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on import: uses torch.jit
        from curvlinops import HessianLinearOperator
    weights = [p for p in network.parameters() if p.requires_grad]
    peer = HessianLinearOperator(
        network, nn.CrossEntropyLoss(), weights, [data], check_deterministic=False
    )
    v = torch.randn(sum(p.numel() for p in weights))
    return {"curvlinops' Hessian @ v": lambda: peer @ v}


def eigenthings(network: nn.Module, data: Data) -> dict[str, Work]:
    """The same product by hessian-eigenthings, if it is there."""
    try:
        import hessian_eigenthings as peers
    except ModuleNotFoundError:
        return {}
    loss = peers.supervised_loss(functional.cross_entropy)
    peer = peers.HessianOperator(network, [data], loss)
    v = torch.randn(sum(p.numel() for p in network.parameters() if p.requires_grad))
    return {"hessian-eigenthings' H @ v": lambda: peer.matvec(v)}


def contenders(case: str, only: str = "") -> dict[str, Work]:
    """By name, all of the same network and data; as far as one of them, if only that is wanted."""
    torch.manual_seed(0)
    build, make = CASES[case]
    network, data = build().eval(), make()
    found: dict[str, Work] = {}
    for package in (ours, curvlinops, eigenthings):
        found |= package(network, data)
        if only in found:
            break
    return found


def peak(case: str, name: str) -> float:
    """MiB that a contender takes, in a process of its own."""
    command = [sys.executable, "-W", "ignore", __file__, "--peak", case, name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def print_peak(case: str, name: str) -> None:
    """The child's part of it."""
    work = contenders(case, name)[name]
    # The kernel forgets the peak of building the contender (Linux alone knows how).
    Path("/proc/self/clear_refs").write_text("5")
    before = _memory("VmRSS")
    with sdpa_kernel(SDPBackend.MATH):
        work()
    print((_memory("VmHWM") - before) / 1024)


def _memory(what: str) -> int:
    """KiB of this process: what it holds, or the most it held."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[what].split()[0])


def measured(case: str, rounds: int) -> list[Row]:
    """Times of all contenders at a network."""
    works = contenders(case)
    # Without it the peers' products of attention fail on a processor.
    with sdpa_kernel(SDPBackend.MATH):
        taken = in_turns(works, rounds, torch.device("cpu"))
    each = {
        name: [t / (PRODUCTS if f"of {PRODUCTS}" in name else 1) for t in values]
        for name, values in taken.items()
    }
    return rows(case, each, {})


def with_peaks(found: list[Row]) -> list[Row]:
    """The rows of a network with the memory of each contender."""
    return [replace(row, also={"peak_mib": peak(row.case, row.name)}) for row in found]


def with_peaks_of(before: list[Row], found: list[Row]) -> list[Row]:
    """The rows of a network with the memory that was measured before."""
    known = {row.name: row.also for row in before}
    return [replace(row, also=known.get(row.name, {})) for row in found]


def table_of(measured: list[Row]) -> str:
    """A row a contender."""
    heads = ["network", "", "ms", "gradients", "peak MiB"]
    body: list[list[Any]] = [
        [r.case, r.name, f"{r.ms:,.0f}", f"{r.ratio:.2f}", f"{r.also.get('peak_mib', 0):,.0f}"]
        for r in measured
    ]
    return markdown_table((heads, body))


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--to", type=Path, default=FOLDER)
    parser.add_argument(
        "--only", choices=["time", "memory"], help="measure that; the other stays as it is"
    )
    parser.add_argument("--peak", nargs=2, metavar=("CASE", "NAME"), help="of one contender alone")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.peak:
        print_peak(*given.peak)
        return
    file = given.to / "scale.json"
    before = Figures.read(file).rows if file.exists() else []
    every = {case: [row for row in before if row.case == case] for case in CASES}
    for case in given.cases:
        if given.only != "memory":
            every[case] = with_peaks_of(every[case], measured(case, given.rounds))
        if given.only != "time":
            every[case] = with_peaks(every[case])
        settings = {"rounds": given.rounds, "threads": given.threads}
        kept = [row for of_case in every.values() for row in of_case]
        figures = Figures.of("scale", kept, settings, torch.device("cpu"))
        figures.write(file)
        table = table_of(kept)
        (given.to / "scale.md").write_text(f"{TITLE}\n{table}\n{figures}; median of rounds.\n")


if __name__ == "__main__":
    main()
