"""What users hand in: batches of every form, losses that are no mean, and what is refused."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from widevalley.valley import EmpiricalFisher, GaussNewton, Hessian, Objective, exact_spectrum
from widevalley.valley.hessian import assemble, fisher_diagonal
from widevalley.valley.hessian.linear_layer import largest_linear_layer
from widevalley.valley.samplers import SGLDSampler, sample


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double()


def data(samples=11, seed=1):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, 5, generator=generator, dtype=torch.float64)
    return x, torch.randint(3, (samples,), generator=generator)


def cut(x, y, *sizes):
    return list(zip(x.split(sizes), y.split(sizes)))


def identity(operator):
    return torch.eye(operator.size, dtype=operator.dtype)


class Named(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x, *, scale):
        return {"logits": scale[:, None] * self.body(x), "names": ["a", "b"]}


def named_loss(outputs, targets):
    return functional.cross_entropy(outputs["logits"], targets["label"])


FORMS = {
    "keywords": lambda x, y: ({"x": x, "scale": torch.ones(len(x)).double()}, {"label": y}),
    "a mapping": lambda x, y: {"x": x, "scale": torch.ones(len(x)).double(), "label": y},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", [Hessian, GaussNewton, EmpiricalFisher])
def test_every_form_of_a_batch_gives_the_same(form, kind):
    """A dict of inputs, targets and outputs beside plain tensors, an uneven last batch included."""

    class Loose(Named):
        def forward(self, x, *, scale, label=None):
            return super().forward(x, scale=scale)

    x, y = data()
    plain = kind(Objective(network(), nn.CrossEntropyLoss(), cut(x, y, 4, 4, 3)))
    batches = [FORMS[form](*pair) for pair in cut(x, y, 4, 4, 3)]
    objective = Objective(Loose(network()), named_loss, batches)
    found = kind(objective)
    torch.testing.assert_close(found @ identity(found), plain @ identity(plain))
    torch.testing.assert_close(
        fisher_diagonal(objective, chunk=3), fisher_diagonal(plain.objective, chunk=64)
    )


@pytest.mark.parametrize(
    ("batch", "what"),
    [
        ((torch.zeros(2), torch.zeros(2), torch.zeros(2)), "3 parts"),
        (torch.zeros(2), "Tensor"),
        ((torch.zeros(2),), "1 parts"),
    ],
)
def test_other_forms_are_refused(batch, what):
    with pytest.raises(ValueError, match=rf"batches\[0\]: must be a pair .* not {what}"):
        Objective(network(), nn.CrossEntropyLoss(), [batch])


WEIGHTS = torch.tensor([0.1, 1.0, 10.0]).double()


def test_class_weights_of_uneven_batches():
    """The mean over all data, whatever the cut; by a module, and by a function with weights."""
    x, y = data()
    loss = nn.CrossEntropyLoss(weight=WEIGHTS)
    whole = Hessian(Objective(network(), loss, [(x, y)]))
    expected = whole @ identity(whole)
    for sizes in ((4, 4, 3), (6, 5), (1, 9, 1)):
        found = Hessian(Objective(network(), loss, cut(x, y, *sizes)))
        torch.testing.assert_close(found @ identity(found), expected)
    given = Objective(
        network(),
        lambda o, t: functional.cross_entropy(o, t, weight=WEIGHTS),
        cut(x, y, 4, 4, 3),
        batch_weight=lambda t: WEIGHTS[t].sum(),
    )
    torch.testing.assert_close(Hessian(given) @ identity(whole), expected)


LOSSES = {
    "is not the mean that batch_weight says": lambda o, t: functional.cross_entropy(
        o, t, weight=WEIGHTS
    ),
    "adds over samples": lambda o, t: functional.mse_loss(o[:, 0], t.double(), reduction="sum"),
    "is nan on": lambda o, t: functional.cross_entropy(o, t) + torch.nan,
}


@pytest.mark.parametrize("message", LOSSES)
def test_a_loss_that_is_no_mean_is_refused(message):
    x, y = data()
    with pytest.raises(ValueError, match=f"loss: {message}"):
        Objective(network(), LOSSES[message], cut(x, y, 6, 5))


def test_targets_ignored_in_a_later_batch_are_noticed():
    x, y = data()
    y[8:10] = -100
    with pytest.raises(ValueError, match=r"is not the mean .*of batches\[2\]"):
        Objective(network(), functional.cross_entropy, cut(x, y, 4, 4, 3))


def test_a_batch_without_a_target_that_counts_is_left_out():
    x, y = data()
    y[8:] = -100
    found = Hessian(Objective(network(), nn.CrossEntropyLoss(), cut(x, y, 4, 4, 3)))
    some = Hessian(Objective(network(), nn.CrossEntropyLoss(), cut(x[:8], y[:8], 4, 4)))
    torch.testing.assert_close(found @ identity(found), some @ identity(some))
    assert found.objective.value() == pytest.approx(some.objective.value())


@pytest.mark.parametrize("where", ["model", "loss"])
def test_parameters_in_the_loss_are_refused(where):
    """A regulariser of the user's own model would be a constant here."""
    module, loss = network(), nn.CrossEntropyLoss()
    extra = module if where == "model" else nn.Linear(1, 1).double()

    def regularised(outputs, targets):
        return loss(outputs, targets) + sum(p.square().sum() for p in extra.parameters())

    with pytest.raises(ValueError, match=r"loss: depends on parameters .* penalty="):
        Objective(module, regularised, [data()])


def penalty(weights):
    return 0.1 * sum((w.square() + w.pow(4)).sum() for w in weights.values())


@pytest.mark.parametrize("kind", [Hessian, GaussNewton])
def test_a_penalty_is_counted_once(kind):
    x, y = data()
    plain = Objective(network(), nn.CrossEntropyLoss(), cut(x, y, 4, 4, 3))
    found = Objective(network(), nn.CrossEntropyLoss(), cut(x, y, 4, 4, 3), penalty=penalty)
    w = plain.flat_weights
    assert found.value() == pytest.approx(
        plain.value() + 0.1 * float((w.square() + w.pow(4)).sum()), rel=1e-12
    )
    torch.testing.assert_close(found.gradient(), plain.gradient() + 0.1 * (2 * w + 4 * w.pow(3)))
    added = torch.diag(0.1 * (2 + 12 * w.square()))
    torch.testing.assert_close(
        kind(found) @ identity(kind(found)), kind(plain) @ identity(kind(plain)) + added
    )
    trace = sample(found, SGLDSampler(step_size=1e-9), 1.0, steps=1, burn_in=0, chains=1)
    assert trace.loss[0, 0] > plain.value()


class MeanLess(nn.Module):
    """Takes the mean over its batch off, so that samples are coupled by the network."""

    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        out = self.body(x)
        return out - out.mean(dim=0)


def balanced(outputs, targets):
    """Cross-entropy, and the entropy of the mean prediction: samples are coupled by the loss."""
    mean = outputs.softmax(dim=1).mean(dim=0)
    return functional.cross_entropy(outputs, targets) + (mean * mean.log()).sum()


@pytest.mark.parametrize(
    ("module", "loss"),
    [(MeanLess(network()), nn.CrossEntropyLoss()), (network(), balanced)],
    ids=["by the network", "by the loss"],
)
def test_coupled_samples_leave_the_layer_to_products(module, loss):
    objective = Objective(module, loss, [data()])
    assert objective.couples_samples
    assert largest_linear_layer(objective) is None
    operator = Hessian(objective)
    matrix = assemble(operator).values
    torch.testing.assert_close(matrix, operator @ identity(operator), rtol=1e-9, atol=1e-12)
    assert exact_spectrum(operator).size == operator.size
    for refused in (lambda: EmpiricalFisher(objective), lambda: fisher_diagonal(objective)):
        with pytest.raises(ValueError, match="depend on others of their batch"):
            refused()


def test_pairs_within_a_batch_are_noticed():
    """Samples 2k and 2k + 1 together: halves of a batch, cut in the middle, would agree."""

    class Pairs(nn.Module):
        def __init__(self, body):
            super().__init__()
            self.body = body

        def forward(self, x):
            out = self.body(x)
            return out + out.view(-1, 2, 3).flip(1).reshape(out.shape)

    x, y = data(12)
    assert Objective(Pairs(network()), nn.CrossEntropyLoss(), [(x, y)]).couples_samples
    assert not Objective(network(), nn.CrossEntropyLoss(), [(x, y)]).couples_samples


def test_a_loss_with_tensors_goes_where_the_weights_are():
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0]))
    before = copy.deepcopy(loss.weight)
    objective = Objective(network().float(), loss, [data()], dtype=torch.float64)
    assert objective.value() > 0
    assert loss.weight.dtype == torch.float32
    assert torch.equal(loss.weight, before)


def test_a_linear_loss_has_a_hessian_of_zero():
    """Said as such: nothing but structural zeros."""
    module = nn.Linear(3, 1).double()
    objective = Objective(module, lambda o, t: (o - t).mean(), [data_of_a_line()])
    operator = Hessian(objective)
    assert float((operator @ identity(operator)).abs().max()) == 0
    found = exact_spectrum(operator)
    assert found.structural_zeros == found.size == 4


def data_of_a_line():
    return torch.randn(6, 3, dtype=torch.float64), torch.randn(6, 1, dtype=torch.float64)


def test_low_precision_is_refused():
    x, y = data()
    module = network().bfloat16()
    with pytest.raises(ValueError, match=r"are torch.bfloat16, .* dtype=torch.float32"):
        Hessian(Objective(module, nn.CrossEntropyLoss(), [(x, y)]))
    Hessian(Objective(module, nn.CrossEntropyLoss(), [(x, y)], dtype=torch.float32))
    module[0].float()
    with pytest.raises(ValueError, match="parameters are of torch.bfloat16, torch.float32"):
        Objective(module, nn.CrossEntropyLoss(), [(x, y)])


def test_autocast_leaves_products_alone():
    x, y = data()
    objective = Objective(network(), nn.CrossEntropyLoss(), [(x, y)], dtype=torch.float32)
    operator = Hessian(objective)
    expected = operator @ identity(operator)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(Hessian(objective) @ identity(operator), expected)


def test_vectors_of_another_kind_are_refused():
    operator = Hessian(Objective(network(), nn.CrossEntropyLoss(), [data()]))
    n = operator.size
    assert operator.shape == (n, n)
    for block, message in (
        (torch.zeros(n - 1), rf"block: must be of shape \({n},\) or \({n}, k\), not \({n - 1},\)"),
        (torch.zeros(n, 2, 2), "block: must be of shape"),
        (torch.zeros(n, dtype=torch.int64), "floating-point numbers, not torch.int64"),
        (np.zeros(n), "floating-point numbers, not ndarray"),
    ):
        with pytest.raises(ValueError, match=message):
            operator @ block


def test_scipy_takes_an_operator():
    from scipy.sparse.linalg import eigsh

    operator = Hessian(Objective(network(), nn.CrossEntropyLoss(), [data()]))
    matrix = (operator @ identity(operator)).numpy()
    linear = operator.to_scipy()
    assert linear.shape == operator.shape
    np.testing.assert_allclose(linear @ matrix, matrix @ matrix, atol=1e-12)
    (largest,) = eigsh(linear, k=1, which="LA", return_eigenvectors=False)
    assert largest == pytest.approx(np.linalg.eigvalsh(matrix)[-1])
