"""What no zoo holds: each equals a dense matrix by loops over autograd, or is refused by name."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from widevalley.valley import (
    EmpiricalFisher,
    GaussNewton,
    Hessian,
    Objective,
    exact_spectrum,
    extreme_eigenvalues,
)
from widevalley.valley.hessian import DenseOperator, fisher_diagonal, top_eigenvectors

pytestmark = pytest.mark.filterwarnings("ignore:TF32 acceleration:UserWarning")  # mkldnn.flags

CUTS = (4, 3, 2)
LOSS = nn.CrossEntropyLoss()


def data(samples=9):
    torch.manual_seed(1)
    return torch.randn(samples, 4).double(), torch.randint(3, (samples,))


def cut(*values):
    return list(zip(*(value.split(CUTS) for value in values)))


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3)).double()


def rows_of(slope, parameters):
    rows = [
        torch.autograd.grad(s, parameters, retain_graph=True, materialize_grads=True) for s in slope
    ]
    return torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])


def dense(module, loss):
    """Value and Hessian of a scalar, by loops."""
    parameters = [p for p in module.parameters() if p.requires_grad and p.numel()]
    with torch.backends.mkldnn.flags(enabled=False):
        value = loss()
        slopes = torch.autograd.grad(value, parameters, create_graph=True, materialize_grads=True)
        slope = torch.cat([part.flatten() for part in slopes])
        zero = 0 * sum(p.sum() for p in parameters)
        return value.item(), rows_of(slope + zero, parameters)


def agree(objective, value, matrix, rel=1e-12):
    assert objective.value() == pytest.approx(value, rel=rel)
    operator = Hessian(objective)
    found = operator @ torch.eye(operator.size, dtype=operator.dtype)
    assert (found - matrix).norm() <= rel * matrix.norm()
    spectrum = exact_spectrum(operator)
    zeros = np.zeros(spectrum.structural_zeros)
    values = np.sort(np.concatenate([spectrum.values, zeros]))
    exact = np.linalg.eigvalsh(matrix.numpy())
    np.testing.assert_allclose(values, exact, atol=10 * rel * np.abs(exact).max())


class Scaled(nn.Module):
    """A temperature without dimensions, as CLIP has, a parameter of no numbers, one unused."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.temperature = nn.Parameter(torch.tensor(0.3))
        self.none = nn.Parameter(torch.empty(0, 3))
        self.unused = nn.Parameter(torch.randn(2))

    def forward(self, x):
        return torch.tanh(self.layer(x)) * self.temperature.exp()


class Rotated(nn.Module):
    """Complex numbers in a buffer, as in rotary embeddings."""

    def __init__(self):
        super().__init__()
        self.layer, self.last = nn.Linear(4, 4), nn.Linear(4, 3)
        self.register_buffer("turn", torch.polar(torch.ones(2), torch.tensor([0.25, 1.0])))

    def forward(self, x):
        pairs = torch.view_as_complex(self.layer(x).view(-1, 2, 2))
        return self.last(torch.view_as_real(pairs * self.turn).flatten(1).tanh())


class Solved(nn.Module):
    """Linear algebra inside, of which vmap gets a shape wrong."""

    def __init__(self):
        super().__init__()
        self.root, self.layer = nn.Parameter(torch.randn(3, 3)), nn.Linear(4, 3)

    def forward(self, x):
        matrix = self.root @ self.root.T + torch.eye(3, dtype=x.dtype)
        solved = torch.linalg.solve(torch.linalg.cholesky(matrix), self.layer(x)[..., None])
        return solved[..., 0] + torch.linalg.eigvalsh(matrix) + torch.logdet(matrix)


class Rounded(nn.Module):
    """Training aware of quantisation: rounded forward, straight through backward."""

    def forward(self, weight):
        return weight + ((weight / 0.1).round() * 0.1 - weight).detach()


def quantisation_aware():
    module = mlp()
    nn.utils.parametrize.register_parametrization(module[0], "weight", Rounded())
    return module


class Counting(nn.Module):
    """A buffer that changes and is not read."""

    def __init__(self):
        super().__init__()
        self.body = mlp()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return self.body(x)


MODULES = {
    "a scalar": Scaled,
    "complex buffer": Rotated,
    "linear algebra": Solved,
    "rounded weights": quantisation_aware,
    "a counter": Counting,
    "compiled": lambda: torch.compile(mlp(), backend="aot_eager"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", MODULES)
def test_modules(name):
    torch.manual_seed(0)
    module = MODULES[name]().float().double()
    if name == "complex buffer":
        module.turn = module.turn.to(torch.complex128)
    eager = getattr(module, "_orig_mod", module)
    x, y = data()
    objective = Objective(module, LOSS, cut(x, y))
    agree(objective, *dense(eager, lambda: LOSS(eager(x), y)))
    parameters = [p for p in module.parameters() if p.numel()]
    each = [LOSS(eager(a[None]), b[None]) for a, b in zip(x, y)]
    gradients = rows_of(torch.stack(each), parameters)
    fisher = gradients.T @ gradients / len(x)
    found = EmpiricalFisher(objective) @ torch.eye(objective.size, dtype=torch.float64)
    torch.testing.assert_close(found, fisher)
    torch.testing.assert_close(fisher_diagonal(objective), fisher.diagonal())


def test_complex_numbers_stay_complex_in_another_precision():
    """`Module.to(torch.float64)` would take the real part of a buffer, with no more than a warning;
    so would a batch's."""
    torch.manual_seed(0)
    short = Rotated()
    long = copy.deepcopy(short).double()
    long.turn = long.turn.to(torch.complex128)
    x, y = data()
    objective = Objective(short, LOSS, cut(x.float(), y), dtype=torch.float64)
    assert objective.value() == pytest.approx(LOSS(long(x.float().double()), y).item(), rel=1e-9)

    class Absolute(nn.Linear):
        def forward(self, x):
            return super().forward(x.abs())

    layer, z = Absolute(4, 3), torch.randn(9, 4, dtype=torch.complex64)
    objective = Objective(layer, LOSS, cut(z, y), dtype=torch.float64)
    expected = LOSS(copy.deepcopy(layer).double()(z.to(torch.complex128)), y).item()
    assert objective.value() == pytest.approx(expected, rel=1e-12)


class Packed(nn.Module):
    """A recurrent network over sequences of several lengths, packed by itself or beforehand."""

    def __init__(self):
        super().__init__()
        self.cell, self.last = nn.LSTM(2, 3, batch_first=True), nn.Linear(3, 3)

    def forward(self, x, lengths=None):
        if lengths is not None:
            x = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return self.last(self.cell(x)[1][0][-1])


@pytest.mark.parametrize("beforehand", [False, True])
def test_packed_sequences(beforehand):
    torch.manual_seed(0)
    module, (_, y) = Packed().double(), data()
    x, lengths = torch.randn(9, 4, 2).double(), torch.tensor([4, 2, 3, 1, 4, 2, 2, 3, 1])

    def packed(a, b):
        return pack_padded_sequence(a, b, batch_first=True, enforce_sorted=False)

    batches = [((a, b), c) for a, b, c in cut(x, lengths, y)]
    if beforehand:
        batches = [(packed(*inputs), c) for inputs, c in batches]
    objective = Objective(module, LOSS, batches)
    agree(objective, *dense(module, lambda: LOSS(module(x, lengths), y)))
    parameters = list(module.parameters())
    with torch.backends.mkldnn.flags(enabled=False):
        each = [LOSS(module(a[None], n[None]), c[None]) for a, n, c in zip(x, lengths, y)]
        gradients = rows_of(torch.stack(each), parameters)
    fisher = gradients.T @ gradients / 9
    torch.testing.assert_close(fisher_diagonal(objective), fisher.diagonal())


class Transducer(nn.Module):
    """An encoder, a predictor and what joins them."""

    def __init__(self):
        super().__init__()
        self.encoder, self.predictor = nn.Linear(3, 3), nn.Embedding(4, 3)
        self.joint = nn.Linear(3, 4)

    def forward(self, x, labels):
        sound, text = self.encoder(x), self.predictor(labels)
        joined = self.joint(torch.tanh(sound[:, :, None] + text[:, None]))
        return {"joint": joined, "text": self.joint(text)}


def transducer_loss(outputs, labels):
    """All monotone alignments summed over, and a loss of the text alone."""
    scores = outputs["joint"].log_softmax(-1)
    _, frames, symbols, _ = scores.shape
    at = {(0, 0): torch.zeros_like(scores[:, 0, 0, 0])}
    for t in range(frames):
        for u in range(symbols):
            ways = [at[t - 1, u] + scores[:, t - 1, u, 0]] if t else []
            if u:
                spoken = scores[:, t, u - 1].gather(1, labels[:, u - 1 : u])[:, 0]
                ways.append(at[t, u - 1] + spoken)
            if ways:
                at[t, u] = torch.logsumexp(torch.stack(ways), 0)
    last = at[frames - 1, symbols - 1] + scores[:, -1, -1, 0]
    text = functional.cross_entropy(outputs["text"][:, :-1].movedim(-1, 1), labels)
    return 0.3 * text - last.mean()


def test_a_transducer_with_two_losses():
    torch.manual_seed(0)
    module = Transducer().double()
    x, labels = torch.randn(9, 4, 3).double(), torch.randint(1, 4, (9, 2))
    before = functional.pad(labels, (1, 0))
    batches = [((a, b), c) for a, b, c in cut(x, before, labels)]
    objective = Objective(module, transducer_loss, batches)
    agree(objective, *dense(module, lambda: transducer_loss(module(x, before), labels)))


class Stream(IterableDataset):
    def __iter__(self):
        return iter(TensorDataset(*data()))


def test_loaders_of_every_kind():
    module, (x, y) = mlp(), data()
    value = LOSS(module(x), y).item()
    for batches in (
        DataLoader(TensorDataset(x, y), batch_size=1),
        DataLoader(Stream(), batch_size=4),
        [*cut(x, y), (x[:0], y[:0])],
        [(x.to_sparse(), y)],
    ):
        objective = Objective(module, LOSS, batches)
        assert objective.value() == pytest.approx(value, rel=1e-12)
        agree(objective, *dense(module, lambda: LOSS(module(x), y)))


class Short(nn.Module):
    """Part of it in shorter numbers than it is asked for."""

    def __init__(self, dtype):
        super().__init__()
        self.dtype, self.body, self.last = dtype, nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.last(self.body(x).to(self.dtype).tanh().to(x.dtype))


class AutocastInside(Short):
    def forward(self, x):
        with torch.autocast("cpu", dtype=self.dtype):
            return super().forward(x).float()


def test_bfloat16_inside_is_refused():
    x, y = data()
    for kind in (Short, AutocastInside):
        objective = Objective(kind(torch.bfloat16), LOSS, cut(x.float(), y))
        assert objective.precision == torch.bfloat16
        for operator in (Hessian, GaussNewton, EmpiricalFisher):
            with pytest.raises(ValueError, match="computes in torch.bfloat16, whose products"):
                operator(objective)


def test_bounds_and_checks_follow_the_precision_inside():
    """Llama's norms compute in float32 whatever its weights are."""
    torch.manual_seed(0)
    module, (x, y) = Short(torch.float32).double(), data()
    objective = Objective(module, LOSS, cut(x, y))
    assert objective.precision == torch.float32
    operator = Hessian(objective)
    assert operator.dtype == torch.float64
    found = extreme_eigenvalues(operator, steps=operator.size, tolerance=1e-12)
    exact = copy.deepcopy(module)
    exact.dtype = torch.float64
    matrix = Hessian(Objective(exact, LOSS, cut(x, y))) @ torch.eye(operator.size).double()
    gap = abs(found.largest[0] - np.linalg.eigvalsh(matrix.numpy())[-1])
    assert 1e-14 < gap < found.largest_bounds[0]
    agree(objective, LOSS(exact(x), y).item(), matrix, rel=1e-6)


class Drifting(nn.Linear):
    """A running mean that is read and changed in evaluation too."""

    def forward(self, x):
        self.running = getattr(self, "running", 0.0) + 0.01
        return super().forward(x) * self.running


def closed_over():
    inner = mlp()
    outer = nn.Linear(4, 4).double()
    outer.forward = lambda x: inner(x)
    return outer


def complex_weights():
    module = mlp()
    module.weight = nn.Parameter(torch.randn(2, dtype=torch.complex128))
    return module


REFUSED = {
    "its forward pass uses parameters that are none of its own": closed_over,
    "the forward pass must change no buffer": lambda: Drifting(4, 3).double(),
    "weight is complex; must be real": complex_weights,
    "is compiled by torch.jit": lambda: torch.jit.script(mlp()),
    "0.weight has no numbers": lambda: mlp().to("meta"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("words", REFUSED)
def test_modules_that_are_refused(words):
    with pytest.raises(ValueError, match=words):
        Objective(REFUSED[words](), LOSS, cut(*data()))


def test_batches_and_numbers_that_are_refused():
    x, y = data()
    with pytest.raises(ValueError, match=r"batches\[0\]: must hold tensors, not ndarray"):
        Objective(mlp(), LOSS, [(x.numpy(), y.numpy())])
    with pytest.raises(ValueError, match=r"dtype=torch.int64: must be of floating-point numbers"):
        Objective(mlp(), LOSS, cut(x, y), dtype=torch.int64)
    with pytest.raises(ValueError, match="batches: there is none"):
        Objective(mlp(), LOSS, DataLoader(TensorDataset(x[:0], y[:0]), batch_size=4))


def test_operations_without_second_derivatives_are_named():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.LogSoftmax(-1)).double()
    x, labels = torch.randn(9, 6, 3).double(), torch.randint(1, 4, (9, 2))

    def loss(outputs, labels):
        sizes = [torch.full((len(labels),), n) for n in (6, 2)]
        return functional.ctc_loss(outputs.transpose(0, 1), labels, *sizes)

    objective = Objective(module, loss, cut(x, labels))
    for kind in (Hessian, GaussNewton, EmpiricalFisher):
        with pytest.raises(ValueError, match=r"no second derivative \(.*_ctc_loss_backward"):
            kind(objective)
    assert fisher_diagonal(objective).min() >= 0


@pytest.mark.parametrize("memory", [2**20, 8 * 60 * 12])
def test_eigenvalues_of_several_dimensions_are_counted(memory):
    values = np.array([5.0, 5.0, 3.0, *[0.0] * 53, -1.0, -1.0, -1.0, -2.0])
    generator = torch.Generator().manual_seed(0)
    basis, _ = torch.linalg.qr(torch.randn(60, 60, generator=generator, dtype=torch.float64))
    operator = DenseOperator(basis * torch.from_numpy(values) @ basis.T)
    found = extreme_eigenvalues(operator, 4, memory=memory)
    np.testing.assert_allclose(found.largest, [5, 5, 3, 0], atol=1e-12)
    np.testing.assert_allclose(found.smallest, [-2, -1, -1, -1], atol=1e-12)
    top, vectors = top_eigenvectors(operator, 3, memory=memory)
    np.testing.assert_allclose(top, [5, 5, 3], atol=1e-12)
    torch.testing.assert_close(operator @ vectors, vectors * torch.from_numpy(top.copy()))
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(3, dtype=torch.float64))
