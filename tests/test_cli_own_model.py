"""`widevalley spectrum|flatness|landscape --model`: one's own model, loader and checkpoints."""

import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

from widevalley.cli import main
from widevalley.experiments import load_flatness
from widevalley.valley.hessian import Density, FisherDiagonal, Spectrum
from widevalley.valley.landscape import Slice

NETS = """
import torch
from torch import nn

def net():
    return nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))

def loader():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(40, 4, generator=generator), torch.arange(40) % 2
    return [(x[:16], y[:16]), (x[16:32], y[16:32]), (x[32:], y[32:])]

def squares(outputs, targets):
    return (outputs[:, 0] - targets).square().mean()

class Scored(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = net()
    def forward(self, x, labels):
        class Output:
            loss = nn.functional.cross_entropy(self.inner(x), labels)
        return Output

scored = Scored()
mappings = [dict(x=x, labels=y) for x, y in loader()]
three = 3
"""
OWN = ["--model", "own_nets:net", "--data", "own_nets:loader"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with a module of the user's and three checkpoints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "own_nets.py").write_text(NETS)
    sys.modules.pop("own_nets", None)
    for k, name in enumerate(("a", "b", "c")):
        torch.manual_seed(k)
        state = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).state_dict()
        torch.save({"state_dict": state, "epoch": 3} if name == "a" else state, f"{name}.pt")
    torch.save(nn.Linear(4, 3), "whole.pt")
    return tmp_path


def dense(state, batches, loss):
    """All eigenvalues by torch.func over the flat weights."""
    state = {name: value.double() for name, value in state.items()}
    net = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).double()
    sizes = [value.numel() for value in state.values()]
    x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))

    def f(flat):
        parts = torch.split(flat, sizes)
        pairs = zip(state.items(), parts, strict=True)
        weights = {name: part.view_as(value) for (name, value), part in pairs}
        return loss(functional_call(net, weights, x.double()), y)

    flat = torch.cat([value.flatten() for value in state.values()])
    return torch.linalg.eigvalsh(torch.autograd.functional.hessian(f, flat)).numpy()


def test_a_spectrum_is_that_of_the_dense_hessian(folder, capsys):
    line = ["spectrum", *OWN, "--checkpoint", "a.pt", "--loss", "own_nets:squares", "--to", "out"]
    assert main(line) == 0
    import own_nets

    state = torch.load("a.pt")["state_dict"]
    expected = dense(state, own_nets.loader(), own_nets.squares)
    found = Spectrum.load(folder / "out/spectrum.npz")
    # What the loss does not depend on is counted, not solved for.
    zeros = np.zeros(found.structural_zeros)
    np.testing.assert_allclose(np.sort([*found.values, *zeros]), expected, atol=1e-12)
    assert found.facts["recipe"] == "own_nets:net"
    assert found.facts["samples"] == 40
    assert (folder / "out/spectrum.png").stat().st_size > 5000
    assert "largest:" in capsys.readouterr().out


def test_a_density_and_a_fisher_diagonal(folder):
    few = ["--method", "density", "--steps", "4", "--probes", "2", "--to", "out"]
    scored = ["--model", "own_nets:scored", "--data", "own_nets:mappings", "--loss", "model"]
    assert main(["spectrum", *scored, *few]) == 0
    assert Density.load(folder / "out/density.npz").values.shape == (2, 4)
    assert main(["spectrum", *OWN, "--samples", "20", "--method", "fisher", "--to", "out"]) == 0
    fisher = FisherDiagonal.load(folder / "out/fisher.npz")
    assert fisher.exact.shape == (23,)
    assert fisher.facts["samples"] == 32, "whole batches, until there are enough"


def test_checkpoints_side_by_side(folder):
    line = ["flatness", *OWN, "--checkpoint", "a.pt", "b.pt", "--chains", "0", "--energies", "2"]
    assert main([*line, "--gammas", "30", "--to", "out"]) == 0
    found = load_flatness(folder / "out/flatness.json")
    assert [each.name for each in found] == ["a", "b"]
    assert found[0].measures["trace"].value != found[1].measures["trace"].value
    assert (folder / "out/flatness.png").stat().st_size > 5000


def test_slices_and_the_plane_through_three(folder):
    few = ["--points", "5", "--directions", "2", "--to", "out"]
    assert main(["landscape", *OWN, "--checkpoint", "b.pt", *few]) == 0
    assert Slice.load(folder / "out/slices.npz").loss.shape == (3, 5)
    assert main(["landscape", *OWN, "--checkpoint", "a.pt", "b.pt", "c.pt", *few]) == 0
    plane = Slice.load(folder / "out/plane.npz")
    assert list(plane.marks) == ["a", "b", "c"]
    np.testing.assert_allclose(plane.lengths, 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            ["spectrum", "--model", "own_nets:net"],
            "spectrum --model PKG.MODULE:FACTORY needs",
        ),
        (["spectrum", "--model", "own_nets:none", *OWN[2:]], "own_nets has no 'none'"),
        (["spectrum", "--model", "nowhere:net", *OWN[2:]], "No module named 'nowhere'"),
        (["spectrum", "--model", "./own_nets.py:net", *OWN[2:]], "NAME, not a file"),
        (
            ["spectrum", "--model", "own_nets", *OWN[2:]],
            "model='own_nets': must be PKG.MODULE",
        ),
        (["spectrum", "--model", "own_nets:three", *OWN[2:]], "is int, neither it nor makes it"),
        (["spectrum", "--model", "own_nets:loader", *OWN[2:]], "made list, not an nn.Module"),
        (["spectrum", *OWN[:2], "--data", "own_nets:net"], "its batches hold Linear, not tensors"),
        (["spectrum", *OWN, "--loss", "none"], "loss='none': must be cross-entropy, mse, model or"),
        (["spectrum", *OWN, "--samples", "0"], "samples=0: must be at least 1"),
        (["spectrum", *OWN, "--checkpoint", "none.pt"], "none.pt: no such file"),
        (["spectrum", *OWN, "--checkpoint", "own_nets.py"], "own_nets.py: not the weights of this"),
        (["spectrum", *OWN, "--checkpoint", "whole.pt"], "of a module save the state_dict()"),
        (["spectrum", *OWN, "--checkpoint", "a.pt", "b.pt"], "checkpoint: must be one, not 2"),
        (["landscape", *OWN, "--checkpoint", *["a.pt"] * 4], "must be one to three, not 4"),
        (["flatness", *OWN, "--checkpoint", "a.pt", "a.pt"], "two have one name and seed, a, a"),
    ],
)
def test_bad_lines(line, message, capsys):
    assert main(line) == 2
    assert message in capsys.readouterr().err
