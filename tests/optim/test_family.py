"""Every row of docs/family.md, as it stands there, against twenty lines of its formula."""

import re
from pathlib import Path

import pytest
import torch
from torch.optim import SGD, Adam, AdamW

import widevalley
from widevalley import LocalEntropy, gradient_point, readout
from widevalley.optim._noise import gaussian, step_key
from widevalley.optim._part import BESIDE

PAGE = Path(__file__).parents[2] / "docs/family.md"
ROWS = re.findall(
    r"^\| ([^|(]+?) (?:\([^|]*\) )?\|[^|]*\| `([^`]+)` \| `(\w+)` \|$", PAGE.read_text(), re.M
)
WORDS = {**vars(widevalley), "SGD": SGD, "Adam": Adam, "AdamW": AdamW}
SHAPES = (3, 4), (5,)
SIZE = 17
generator = torch.Generator().manual_seed(0)
A = torch.randn(SIZE, SIZE, generator=generator, dtype=torch.float64) / SIZE**0.5
START = torch.randn(SIZE, generator=generator, dtype=torch.float64)


def gradient(w, k):
    """Of mini-batch k of a loss that is neither convex nor separable."""
    return A.T @ torch.sin(A @ w + k) + 0.1 * w


def ours(build, steps, evaluated):
    """The points where gradients are taken, and after each step the weights to evaluate."""
    params = [torch.nn.Parameter(t.clone()) for t in cut(START)]
    optimizer = build(params)
    ys, weights = [], []
    for k in range(steps):
        ys.append(joined(params))
        for p, g in zip(params, cut(gradient(ys[-1], k)), strict=True):
            p.grad = g.clone()
        optimizer.step()
        with getattr(optimizer, evaluated)():
            weights.append(joined(params))
    return ys, weights


def cut(w):
    return [w[:12].view(SHAPES[0]), w[12:].view(SHAPES[1])]


def joined(params):
    return torch.cat([p.detach().flatten() for p in params])


# --- the formulas, each on one vector ------------------------------------------------------------


class AdamWStep:
    """A(w, g), torch's defaults."""

    def __init__(self, lr=1e-2, betas=(0.9, 0.999), decay=0.01):
        self.lr, self.betas, self.decay = lr, betas, decay
        self.m = self.v = torch.zeros(SIZE, dtype=torch.float64)
        self.t = 0

    def __call__(self, w, g):
        (b1, b2), self.t = self.betas, self.t + 1
        self.m, self.v = b1 * self.m + (1 - b1) * g, b2 * self.v + (1 - b2) * g * g
        m, v = self.m / (1 - b1**self.t), self.v / (1 - b2**self.t)
        return w - self.lr * self.decay * w - self.lr * m / (v.sqrt() + 1e-8)


def sgd(lr):
    return lambda w, g: w - lr * g


def averaged(step, weights_of, *, between=0.0):
    """z <- step(z, g(y)), y = between x + (1 - between) z, x the mean that has these weights."""
    z = x = START
    for k in range(10**6):
        y = between * x + (1 - between) * z
        z = step(z, gradient(y, k))
        c = weights_of(k + 1)
        x = (1 - c) * x + c * z
        yield y, x


def two_loops(step, length, lr, momentum=0.0):
    """Lookahead, SNOO, DiLoCo."""
    x = fast = START
    b = torch.zeros(SIZE, dtype=torch.float64)
    for k in range(10**6):
        y, fast = fast, step(fast, gradient(fast, k))
        if k % length == length - 1:
            s = x - fast
            b = momentum * b + s
            x = fast = x - lr * (s + momentum * b)
        yield y, x


def msam(lr=0.1, momentum=0.9, rho=0.3):
    x, v = START, torch.zeros(SIZE, dtype=torch.float64)
    for k in range(10**6):
        y = x - rho * v / v.norm() if k else x
        v = momentum * v + gradient(y, k)
        x = x - lr * v
        yield y, x


def ema_nesterov(beta=0.3, gamma=0.99):
    x, m, step = START, torch.zeros(SIZE, dtype=torch.float64), AdamWStep()
    for k in range(10**6):
        y = x + beta * m
        after = step(y, gradient(y, k))
        m = gamma * m + (1 - gamma) * (after - x)
        x = after
        yield y, x


def perturbed(sigma=0.05, lr=0.1, *, relative):
    x = y = START
    for k in range(10**6):
        x = x - lr * gradient(y, k)
        yield y, x
        z = gaussian(x, step_key(0, 0, k + 1, 0, BESIDE))
        matrix, vector = cut(x)
        rms = [matrix.square().mean(1, keepdim=True).sqrt().expand_as(matrix).flatten(),
               vector.square().mean().sqrt().expand_as(vector)]  # fmt: skip
        y = x + sigma * (torch.cat(rms) if relative else 1.0) * z


def rounded(levels=7):
    x, y, step = START, START, AdamWStep()
    for k in range(10**6):
        x = step(x, gradient(y, k))
        yield y, x
        matrix, vector = cut(x)
        s = matrix.abs().max(1, keepdim=True).values / levels
        y = torch.cat([(s * torch.round(matrix / s)).flatten(), vector])


def entropy_sgd(noise, alpha, momentum, lr=1.0, length=20, eta=0.1, gamma=1e-4, growth=1e-3):
    x = START
    for t in range(10**6):
        walker = mu = x
        b = torch.zeros(SIZE, dtype=torch.float64)
        for l in range(length):
            y, g = walker, gradient(walker, t * length + l)
            b = momentum * b + g
            scope = gamma * (1 + growth) ** t
            z = gaussian(x, step_key(0, 0, t, l))
            walker = walker - eta * (g + momentum * b + scope * (walker - x)) + noise * z
            mu = (1 - alpha) * mu + alpha * walker
            if l == length - 1:
                x = x - lr * (x - mu)
            yield y, x


FORMULAS = {
    "Lookahead": lambda: two_loops(sgd(0.1), 5, 0.5),
    "SNOO": lambda: two_loops(AdamWStep(), 20, 0.7, 0.5),
    "DiLoCo, one worker": lambda: two_loops(AdamWStep(), 500, 0.7, 0.9),
    "GPA": lambda: averaged(AdamWStep(), lambda t: 0.1, between=0.8),
    "Schedule-Free SGD": lambda: averaged(sgd(0.5), lambda t: 1 / t, between=0.9),
    "Schedule-Free AdamW": lambda: averaged(
        AdamWStep(betas=(0.0, 0.999), decay=0.0), lambda t: 1 / t, between=0.9
    ),
    "MSAM": msam,
    "EMA-Nesterov": ema_nesterov,
    "RWP": lambda: perturbed(relative=False),
    "LPF-SGD, one sample": lambda: perturbed(relative=True),
    "BinaryConnect, of more bits": rounded,
    "Entropy-SGD, the paper's text": lambda: entropy_sgd(0.1**0.5 * 1e-4, 0.75, 0.0),
    "Entropy-SGD, the released code": lambda: entropy_sgd(0.2**0.5 * 1e-4, 0.25, 0.9),
    "Polyak averaging": lambda: averaged(AdamWStep(), lambda t: 1 / t),
    "SWA": lambda: averaged(AdamWStep(), lambda t: 1 / max(t - 29, 1)),
    "EMA": lambda: averaged(AdamWStep(), lambda t: 0.01 / (1 - 0.99**t)),
}


def test_every_row_has_its_formula_here():
    assert [name for name, _, _ in ROWS] == list(FORMULAS)


@pytest.mark.parametrize(("name", "call", "evaluated"), ROWS, ids=[row[0] for row in ROWS])
def test_the_call_does_what_the_formula_says(name, call, evaluated):
    steps = 1100 if "500" in call else 65
    ys, weights = ours(lambda params: eval(call, {**WORDS, "params": params}), steps, evaluated)
    for k, (y, x) in zip(range(steps), FORMULAS[name]()):
        torch.testing.assert_close(ys[k], y, rtol=0, atol=1e-12, msg=f"gradient {k}")
        torch.testing.assert_close(weights[k], x, rtol=0, atol=1e-12, msg=f"weights {k}")


# --- the same against the methods' own packages ---------------------------------------------------


def theirs(build, steps, change=None):
    """As `ours`; Schedule-Free's optimizers evaluate in eval mode, Lookahead at slow weights."""
    params = [torch.nn.Parameter(t.clone()) for t in cut(START)]
    optimizer = build(params)
    free = hasattr(optimizer, "train")
    ys, weights = [], []
    for k in range(steps):
        if free:
            optimizer.train()
        ys.append(joined(params))
        for p, g in zip(params, cut(gradient(ys[-1], k)), strict=True):
            p.grad = g.clone()
        optimizer.step()
        if free:
            optimizer.eval()
            weights.append(joined(params))
        else:
            weights.append(joined([optimizer.state[p]["slow_params"] for p in params]))
    return ys, weights


def warming(build, rates):
    """An optimizer whose rate is set before each step."""
    made = []

    def rated(params):
        made.append(build(params))
        step, k = made[0].step, iter(rates)

        def at_its_rate():
            for group in made[0].param_groups:
                group["lr"] = next(k)
            step()

        made[0].step = at_its_rate
        return made[0]

    return rated


CALLS = {name: (call, evaluated) for name, call, evaluated in ROWS}


def called(name):
    call, evaluated = CALLS[name]
    return ours(lambda params: eval(call, {**WORDS, "params": params}), 65, evaluated)


def agree(one, two):
    for a, b in zip(one, two, strict=True):
        torch.testing.assert_close(torch.stack(a), torch.stack(b), rtol=0, atol=1e-11)


def test_lookahead_is_that_of_pytorch_optimizer():
    peer = pytest.importorskip("pytorch_optimizer", reason="needs pytorch_optimizer").Lookahead
    agree(called("Lookahead"), theirs(lambda p: peer(SGD(p, lr=0.1), k=5, alpha=0.5), 65))


@pytest.mark.parametrize("kind", ["SGD", "AdamW"])
def test_schedule_free_is_that_of_schedulefree(kind):
    peer = pytest.importorskip("schedulefree", reason="needs schedulefree")
    build = {
        "SGD": lambda p: peer.SGDScheduleFree(p, lr=0.5, momentum=0.9),
        "AdamW": lambda p: peer.AdamWScheduleFree(p, lr=1e-2, betas=(0.9, 0.999)),
    }[kind]
    agree(called(f"Schedule-Free {kind}"), theirs(build, 65))


def test_under_a_warm_up_it_weighs_by_the_square_of_the_rate():
    peer = pytest.importorskip("schedulefree", reason="needs schedulefree")
    rates = [0.5 * min(k / 20, 1) for k in range(1, 66)]
    build = warming(
        lambda p: LocalEntropy(
            SGD(p, lr=0.5),
            langevin_steps=1,
            averaging=1,
            readout=readout.Weighted(lambda k: rates[k - 1] ** 2),
            gradient_point=gradient_point.Interpolation(0.9),
        ),
        rates,
    )
    warm = theirs(lambda p: peer.SGDScheduleFree(p, lr=0.5, momentum=0.9, warmup_steps=20), 65)
    agree(ours(build, 65, "at_average"), warm)
