"""Replicas, an anchor each and a coupling to their centre: two real processes against formulas."""

import copy
from contextlib import nullcontext

import pytest
import torch
import torch.distributed as dist

from tests.optim.optimizers import adamw, entropy_sgd
from tests.optim.problems import Quadratic, backward, batch, close, identical, mlp, same, weights
from tests.optim.processes import run
from widevalley import EntropySGD, recompute_batch_norm, scoping
from widevalley.workers import BatchedReplicas, Coupling, TopK, Workers

WORLD, L, WALKS = 2, 3, 5
GROWTH = scoping.TotalGrowth(20.0, 3)  # to a pull of 1 from the fourth walk on
BUILDS = {
    "entropy-sgd": entropy_sgd,
    "AdamW": lambda p, **s: adamw(p, outer_lr=1.0, outer_momentum=0.0, **s),
}


def data(worker, step):
    return 1000 * worker + step


def walk(model, optimizer, worker, steps):
    for step in steps:
        backward(model, data(worker, step))
        optimizer.step()


def workers(strength=0.05, growth=GROWTH):
    return Workers(dist.group.WORLD, coupling=Coupling(strength, growth))


def together(rank, world):
    results = {}
    for name, build in BUILDS.items():
        model = mlp()
        optimizer = build(model.parameters(), process_group=workers(), **rate(name))
        walk(model, optimizer, rank, range(L * WALKS))
        with optimizer.at_anchor():
            results[name, "anchor"] = weights(model)
        with optimizer.at_average():
            results[name, "centre"] = weights(model)
        optimizer.eval()
        results[name, "eval"] = weights(model)
        results[name, "resumed"] = [resumes(rank, name, at) for at in range(2, 8)]
    results["elastic"] = elastic(rank)
    results["automatic"] = automatic(rank)
    results["scope"] = automatic_scope(rank)
    results["as in one process"] = not_batched(rank)
    results["batch norm"] = with_batch_norm(rank)
    return results


def rate(name):
    return {"lr": 1.0} if name == "entropy-sgd" else {}


def resumes(rank, name, at):
    model, other = mlp(), mlp(seed=3)
    optimizer = BUILDS[name](model.parameters(), process_group=workers(), **rate(name))
    walk(model, optimizer, rank, range(at))
    saved = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    fresh = BUILDS[name](other.parameters(), process_group=workers(), **rate(name))
    other.load_state_dict(saved[0])
    fresh.load_state_dict(saved[1])
    for a, b in ((model, optimizer), (other, fresh)):
        walk(a, b, rank, range(at, 11))
    same_state = identical(optimizer.state_dict(), fresh.state_dict())
    return same_state and same(weights(model), weights(other))


def elastic(rank):
    """Elastic-SGD on a quadratic, in float64, each worker from a start of its own."""
    problem = Quadratic(lowest=0.5)
    p = torch.nn.Parameter(problem.x0.clone())
    optimizer = EntropySGD(
        [p],
        langevin_steps=1,
        langevin_momentum=0.0,
        gamma=0.0,
        noise=0.0,
        averaging=1.0,
        process_group=workers(0.2, 0.0),
    )
    p.data += rank  # after construction, which has given all the first one's
    for _ in range(20):
        p.grad = problem.gradient(p.detach()) + rank
        optimizer.step()
    return p.detach()


def automatic(rank):
    model = mlp()
    optimizer = entropy_sgd(model.parameters(), lr=1.0, process_group=workers())
    walk(model, optimizer, rank, range(L))
    with optimizer.at_anchor():
        x = weights(model)
    return optimizer.automatic_coupling(0.001 * (1 + rank)), x


def automatic_scope(rank):
    """The scope that both agree on, and what of it this one alone would ask for."""
    model = mlp()
    settings = Workers(dist.group.WORLD)
    optimizer = entropy_sgd(model.parameters(), gamma=0.0, lr=1.0, process_group=settings)
    walk(model, optimizer, rank, range(L - 1))
    loss, distance = 0.001 * (1 + rank), optimizer.metrics()["distance"]
    gamma = optimizer.automatic_scope(loss)
    walk(model, optimizer, rank, range(L - 1, 2 * L))  # the settings are still one for all
    return gamma, loss, distance


def not_batched(rank):
    model = mlp(dtype=torch.float64)
    optimizer = entropy_sgd(model.parameters(), process_group=workers())
    walk(model, optimizer, rank, range(L * WALKS + 1))
    walkers = weights(model)
    with optimizer.at_average():
        return walkers, weights(model)


def batched(model, steps, replicas=None):
    """The same as `not_batched`, in one process."""
    replicas = replicas or BatchedReplicas(
        model, WORLD, lambda p, **group: entropy_sgd(p, **group), Coupling(0.05, GROWTH)
    )
    for step in steps:
        batches = [batch(data(i, step), dtype=torch.float64) for i in range(WORLD)]
        inputs, targets = (torch.stack(t) for t in zip(*batches))
        losses = replicas.step(torch.nn.functional.cross_entropy, inputs, targets)
        assert losses.shape == (WORLD,)
    return replicas


def with_batch_norm(rank):
    """The error of the batch-norm statistics of the centre, on one loader."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8))
    optimizer = EntropySGD(model.parameters(), langevin_steps=2, process_group=workers())
    inputs = torch.randn(64, 4)
    for _ in range(4):
        optimizer.zero_grad()
        model(inputs).square().sum().mul(1 + rank).backward()
        optimizer.step()
    with optimizer.at_average(), recompute_batch_norm(model, [inputs]):
        found = model[1].running_mean.clone()
        return found, model[0](inputs).mean(0).detach()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    found = run(together, WORLD, tmp_path_factory.mktemp("replicas") / "walks")
    for result in found:
        if isinstance(result, Exception):
            raise result
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILDS)
def test_parle(results, name):
    """Bit for bit: plain optimizers with an outer rate of 1 end their walks at the means."""
    models = [mlp() for _ in range(WORLD)]
    plain = [BUILDS[name](m.parameters(), worker=i, **rate(name)) for i, m in enumerate(models)]
    centre = None
    for t in range(WALKS):
        x = [weights(model) for model in models]
        for i, model in enumerate(models):
            walk(model, plain[i], i, range(L * t, L * (t + 1)))
            pull = min(0.05 * GROWTH(t), 1.0) if t else 0.0
            for p, old, c in zip(model.parameters(), x[i], centre or x[i]):
                p.data += (c - old) * pull
                for slot in ("anchor", "mean"):
                    if slot in plain[i].state[p]:
                        plain[i].state[p][slot].copy_(p.data)
        centre = [(a + b) / 2 for a, b in zip(*map(weights, models))]
    for rank in range(WORLD):
        assert same(results[rank][name, "anchor"], weights(models[rank]))
        assert same(results[rank][name, "centre"], centre)
        assert same(results[rank][name, "eval"], centre)
        assert results[rank][name, "resumed"] == [True] * 6
    assert not same(results[0][name, "anchor"], results[1][name, "anchor"])


@pytest.mark.slow
def test_elastic_sgd(results):
    """Zhang et al., 1412.6651, with a centre that is the mean: linear, so one line a step."""
    problem = Quadratic(lowest=0.5)
    x = torch.stack([problem.x0 + rank for rank in range(WORLD)])
    for step in range(20):
        gradients = torch.stack([problem.gradient(x[r]) + r for r in range(WORLD)])
        x = x - 0.1 * gradients - (0.2 if step else 0.0) * (x - x.mean(0))
    for rank in range(WORLD):
        torch.testing.assert_close(results[rank]["elastic"], x[rank], rtol=0, atol=1e-12)


@pytest.mark.slow
def test_automatic_coupling(results):
    """A walk's time, langevin_lr L = .3, times loss / (mean of |x - c|² / 2), of both workers."""
    x = [torch.cat([t.flatten() for t in results[r]["automatic"][1]]) for r in range(WORLD)]
    distance = sum((t - (x[0] + x[1]) / 2).double().square().sum() for t in x) / WORLD
    expected = 0.1 * L * 0.0015 / (distance / 2)
    for rank in range(WORLD):
        assert 0 < results[rank]["automatic"][0] < 1
        assert results[rank]["automatic"][0] == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.slow
def test_automatic_scope_is_one_for_all_workers(results):
    gammas, losses, distances = zip(*(results[rank]["scope"] for rank in range(WORLD)), strict=True)
    expected = 2 * sum(losses) / sum(d * d for d in distances)
    assert gammas == (pytest.approx(expected, rel=1e-5),) * WORLD
    assert gammas[0] == gammas[1]


def test_replicas_in_one_process_couple_themselves_by_their_losses():
    model = mlp(dtype=torch.float64)
    replicas = batched(model, range(L))
    x = [
        torch.cat([o.state[p]["anchor"].flatten() for p in o.param_groups[0]["params"]])
        for o in replicas.optimizers
    ]
    distance = sum(float((t - (x[0] + x[1]) / 2).square().sum()) for t in x) / WORLD
    found = replicas.automatic_coupling(torch.tensor([0.001, 0.002]))
    assert found == pytest.approx(0.1 * L * 0.0015 / (distance / 2), rel=1e-6)
    assert [o.param_groups[0]["coupling"] for o in replicas.optimizers] == [found] * WORLD
    with pytest.raises(ValueError, match="loss must be > 0"):
        replicas.automatic_coupling(torch.tensor([0.001, 0.0]))
    with pytest.raises(ValueError, match="asked together, by BatchedReplicas"):
        replicas.optimizers[0].automatic_coupling(0.001)


def test_what_the_model_freezes_stays_in_every_replica():
    model = mlp(dtype=torch.float64)
    replicas = batched(model, range(2 * L))
    model[0].weight.requires_grad_(False)
    before = [o.param_groups[0]["params"][0].detach().clone() for o in replicas.optimizers]
    batched(model, range(2 * L, 4 * L), replicas)
    assert same(before, [o.param_groups[0]["params"][0].detach() for o in replicas.optimizers])


def test_the_coupling_is_that_of_the_anchors_whatever_is_shown():
    losses = torch.tensor([0.001, 0.002])
    found = []
    for show in (nullcontext, lambda r: r.at_centre()):
        replicas = batched(mlp(dtype=torch.float64), range(L))
        with show(replicas) if show is not nullcontext else nullcontext():
            found.append(replicas.automatic_coupling(losses))
    assert found[0] == found[1]


def test_the_scope_of_replicas_in_one_process_is_one_for_all():
    replicas = batched(mlp(dtype=torch.float64), range(L - 1))
    squares = [o.metrics()["distance"] ** 2 for o in replicas.optimizers]
    found = replicas.automatic_scope(torch.tensor([0.001, 0.002]))
    assert found == pytest.approx(2 * 0.0015 / (sum(squares) / WORLD))
    assert [o.param_groups[0]["gamma"] for o in replicas.optimizers] == [found] * WORLD


def test_replicas_tell_how_their_anchors_move():
    replicas = BatchedReplicas(
        mlp(dtype=torch.float64), WORLD, lambda p, **g: entropy_sgd(p, lr=0.5, **g), Coupling()
    )
    for optimizer in replicas.optimizers:
        optimizer.metrics()
    batched(replicas.model, range(2 * L), replicas)
    for optimizer in replicas.optimizers:
        found = optimizer.metrics()
        assert found["gain"] == pytest.approx(0.5)
        assert -1 <= found["cosine"] <= 1


@pytest.mark.slow
def test_batch_norm_is_recomputed_at_the_centre(results):
    for rank in range(WORLD):
        found, mean = results[rank]["batch norm"]
        torch.testing.assert_close(found, mean)
        assert torch.equal(found, results[0]["batch norm"][0])


@pytest.mark.slow
def test_replicas_in_one_process_are_those_of_many(results):
    """Noise, coupling and centre; the walks of both, to the rounding of batched products."""
    model = mlp(dtype=torch.float64)
    replicas = batched(model, range(L * WALKS + 1))
    for rank, optimizer in enumerate(replicas.optimizers):
        walkers, centre = results[rank]["as in one process"]
        found = [p.detach() for p in optimizer.param_groups[0]["params"]]
        assert close(found, walkers, 1e-12)
        with replicas.at_centre():
            assert close(weights(model), centre, 1e-12)
    assert close(weights(model), results[0]["as in one process"][0], 1e-12)


@pytest.mark.parametrize("at", range(2, 8))
def test_replicas_in_one_process_resume_bit_for_bit(at):
    model, other = mlp(dtype=torch.float64), mlp(dtype=torch.float64, seed=5)
    replicas = batched(model, range(at))
    saved = copy.deepcopy(replicas.state_dict())
    fresh = batched(other, ())
    fresh.load_state_dict(saved)
    batched(model, range(at, 10), replicas)
    batched(other, range(at, 10), fresh)
    assert identical(replicas.state_dict(), fresh.state_dict())
    assert same(weights(model), weights(other))


def test_batched_replicas_have_batch_norm_and_dropout_of_their_own():
    """Each replica's statistics are those of its inputs; the model shows the first one's."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.5)
    )
    inputs = torch.randn(2, 64, 4)
    means = [model[0](x).mean(0).detach() for x in inputs]
    replicas = BatchedReplicas(model, 2, EntropySGD, Coupling())
    zeros = torch.zeros(2, 64, 8)
    losses = replicas.step(torch.nn.functional.mse_loss, torch.stack([inputs[0]] * 2), zeros)
    assert losses[0] != losses[1]  # by dropout
    torch.testing.assert_close(model[1].running_mean, 0.1 * means[0])
    replicas.load_state_dict(copy.deepcopy(replicas.state_dict()))
    replicas.step(torch.nn.functional.mse_loss, inputs, zeros)
    assert int(model[1].num_batches_tracked) == 2
    running = replicas.state_dict()["replicas"]["1.running_mean"]
    assert torch.equal(running[0], model[1].running_mean)
    assert not torch.equal(running[0], running[1])


def test_settings_are_refused_by_name():
    for given in ({"delay": 1}, {"fragments": 2}, {"compression": TopK()}):
        with pytest.raises(ValueError, match="coupling must be None with a delay, fragments"):
            Workers(None, coupling=Coupling(), **given)
    with pytest.raises(ValueError, match="coupling must be None or a Coupling, got 0.1"):
        Workers(None, coupling=0.1)
    with pytest.raises(ValueError, match="growth must map the count of outer updates"):
        Coupling(growth=lambda: 1.0)
    with pytest.raises(ValueError, match="state_dict must be that of BatchedReplicas"):
        BatchedReplicas(mlp(), 2, EntropySGD, Coupling()).load_state_dict({})
    with pytest.raises(ValueError, match="strength must be >= 0, got -1"):
        Coupling(-1)
    with pytest.raises(ValueError, match="growth must be > -1, or a schedule.*got -2"):
        Coupling(growth=-2)
    with pytest.raises(ValueError, match="with a coupling for automatic_coupling"):
        EntropySGD([torch.nn.Parameter(torch.zeros(2))]).automatic_coupling(1.0)
    with pytest.raises(ValueError, match="count must be a whole number >= 1, got 0"):
        BatchedReplicas(mlp(), 0, EntropySGD, Coupling())
    with pytest.raises(ValueError, match="build must make an optimizer with an anchor"):
        BatchedReplicas(mlp(), 2, lambda p, **_: EntropySGD(p), Coupling())
    replicas = BatchedReplicas(mlp(), 2, EntropySGD, Coupling())
    with pytest.raises(ValueError, match="as many replicas"):
        replicas.load_state_dict(BatchedReplicas(mlp(), 3, EntropySGD, Coupling()).state_dict())
