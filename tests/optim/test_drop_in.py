"""What training scripts and frameworks rely on."""

import copy

import pytest
import torch

from tests.optim.optimizers import ANCHORED, OPTIMIZERS
from tests.optim.problems import backward, batch, close, mlp, same, train, weights

every = pytest.mark.parametrize("info", OPTIMIZERS, ids=str)
anchored = pytest.mark.parametrize("info", ANCHORED, ids=str)


@every
def test_a_closure_is_called_once_and_first(info):
    model, twin = mlp(), mlp()
    ours, theirs = info.build(model.parameters()), info.build(twin.parameters())
    calls = []

    def closure():
        calls.append(torch.is_grad_enabled())
        return backward(model, len(calls) - 1)

    for i in range(7):
        loss = ours.step(closure)
        assert torch.equal(loss, backward(twin, i))
        theirs.step()
    assert calls == [True] * 7
    assert same(weights(model), weights(twin))


@every
def test_gradients_are_left_alone(info):
    model = mlp()
    optimizer = info.build(model.parameters())
    for i in range(7):
        backward(model, i)
        held = [p.grad for p in model.parameters()]
        values = [g.clone() for g in held]
        optimizer.step()
        assert all(p.grad is g for p, g in zip(model.parameters(), held, strict=True))
        assert same(held, values)


@every
def test_it_is_an_optimizer_that_schedulers_hooks_and_profilers_take(info):
    model = mlp()
    optimizer = info.build(model.parameters())
    seen = []
    optimizer.register_step_pre_hook(lambda *_: seen.append("before"))
    optimizer.register_step_post_hook(lambda *_: seen.append("after"))
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5)
    for i in range(3):
        train(model, optimizer, [i])
        scheduler.step()
    assert isinstance(optimizer, torch.optim.Optimizer)
    assert seen == ["before", "after"] * 3
    assert scheduler.get_last_lr()[0] == optimizer.param_groups[0]["lr"]


@every
def test_lr_zero_moves_nothing(info):
    model, twin = mlp(), mlp()
    ours, theirs = info.build(model.parameters()), info.build(twin.parameters())
    for i in range(9):
        lr = ours.param_groups[0]["lr"]
        ours.param_groups[0]["lr"] = 0.0
        before = weights(model), copy.deepcopy(ours.state_dict())
        train(model, ours, [100 + i])
        assert same(before[0], weights(model))
        assert str(before[1]) == str(ours.state_dict())
        ours.param_groups[0]["lr"] = lr
        train(model, ours, [i])
        train(twin, theirs, [i])
    assert same(weights(model), weights(twin))


@anchored
def test_a_group_at_lr_zero_stands_still_beside_one_that_moves(info):
    model = mlp()
    first, last = list(model[0].parameters()), list(model[2].parameters())
    optimizer = info.build([{"params": first}, {"params": last}])
    train(model, optimizer, range(4))
    optimizer.param_groups[0]["lr"] = 0.0
    before = weights(model[0]), [optimizer.state[p]["anchor"].clone() for p in first]
    train(model, optimizer, range(4, 11))
    assert same(before[0], weights(model[0]))
    assert same(before[1], [optimizer.state[p]["anchor"] for p in first])
    assert not same(weights(mlp()[2]), weights(model[2]))


@every
@pytest.mark.parametrize("kind", ["frozen", "unused"])
def test_parameters_without_a_gradient_stay(info, kind):
    model = mlp()
    odd = torch.nn.Parameter(torch.randn(3), requires_grad=kind == "unused")
    start = odd.detach().clone()
    optimizer = info.build([*model.parameters(), odd])
    train(model, optimizer, range(10))
    assert torch.equal(odd, start)
    if info.anchored:
        with optimizer.at_anchor():
            assert torch.equal(odd, start)


@anchored
def test_a_parameter_frozen_amid_training_stays_and_goes_on(info):
    model = mlp()
    optimizer = info.build(model.parameters())
    train(model, optimizer, range(4))
    model[0].requires_grad_(False)
    frozen = weights(model[0])
    train(model, optimizer, range(4, 12))
    assert same(frozen, weights(model[0]))
    model[0].requires_grad_(True)
    train(model, optimizer, range(12, 16))
    assert not same(frozen, weights(model[0]))


@every
def test_the_global_generator_is_left_alone(info):
    model = mlp()
    optimizer = info.build(model.parameters())
    torch.manual_seed(0)
    before = torch.get_rng_state()
    train(model, optimizer, range(7))
    assert torch.equal(before, torch.get_rng_state())


@every
def test_seed_and_worker_key_the_noise(info):
    def run(**key):
        model = mlp()
        train(model, info.build(model.parameters(), **key), range(7))
        return weights(model)

    assert same(run(seed=1), run(seed=1))
    assert not close(run(seed=1), run(seed=2), 1e-4)
    assert not close(run(seed=1), run(seed=1, worker=1), 1e-4)


@pytest.mark.parametrize("info", [i for i in OPTIMIZERS if i.maximizes], ids=str)
def test_maximize_ascends(info):
    """Maximising f is minimising -f."""
    up, down = (torch.nn.Parameter(torch.ones(4, dtype=torch.float64)) for _ in range(2))
    ours, theirs = info.build([up], maximize=True), info.build([down])
    for i in range(7):
        gradient = torch.linspace(-1, 1, 4, dtype=torch.float64) * (i + 1)
        up.grad, down.grad = gradient.clone(), -gradient
        ours.step()
        theirs.step()
    assert torch.allclose(up, down, rtol=0, atol=1e-14)


@every
def test_complex_parameters_move_as_pairs_of_reals(info):
    generator = torch.Generator().manual_seed(0)
    pairs = torch.randn(5, 2, generator=generator, dtype=torch.float64)
    gradients = torch.randn(9, 5, 2, generator=generator, dtype=torch.float64)
    z = torch.nn.Parameter(torch.view_as_complex(pairs.clone()))
    r = torch.nn.Parameter(pairs.clone())
    ours, theirs = info.build([z]), info.build([r])
    for gradient in gradients:
        z.grad, r.grad = torch.view_as_complex(gradient.clone()), gradient.clone()
        ours.step()
        theirs.step()
    assert torch.allclose(torch.view_as_real(z.detach()), r.detach(), rtol=0, atol=1e-12)


@every
def test_a_sparse_gradient_is_refused_before_anything_is_written(info):
    table = torch.nn.Embedding(5, 3, sparse=True)
    model = mlp()
    optimizer = info.build([*model.parameters(), *table.parameters()])
    backward(model, 0)
    table(torch.tensor([1, 2])).sum().backward()
    before = weights(model), str(optimizer.state_dict())
    with pytest.raises(ValueError, match=r"sparse.*parameter 4 of group 0.*sparse=False"):
        optimizer.step()
    assert same(before[0], weights(model))
    assert before[1] == str(optimizer.state_dict())


@every
def test_with_a_grad_scaler(info):
    """A step that overflowed is skipped, clock and all."""
    model, twin = mlp(), mlp()
    ours, theirs = info.build(model.parameters()), info.build(twin.parameters())
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=1000)
    for i in range(9):
        model.zero_grad()
        overflow = i == 4
        inputs, targets = batch(i)
        loss = torch.nn.functional.cross_entropy(model(inputs), targets)
        scaler.scale(loss * (float("inf") if overflow else 1.0)).backward()
        scaler.step(ours)
        scaler.update()
        if not overflow:
            train(twin, theirs, [i])
    assert close(weights(model), weights(twin), 1e-5)


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_loaded_after_construction_are_adopted(info, dtype):
    """Checkpoints are often loaded, and replicas made equal, after the optimizer is built."""
    model, twin = mlp(dtype=dtype, seed=0), mlp(dtype=dtype, seed=1)
    ours = info.build(model.parameters())
    model.load_state_dict(twin.state_dict())
    if info.anchored:
        with ours.at_anchor():
            assert same(weights(model), weights(twin))
    train(model, ours, range(7))
    train(twin, info.build(twin.parameters()), range(7))
    assert same(weights(model), weights(twin))


@every
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_parameters_learn_what_their_dtype_would_lose(info, dtype):
    """Steps far below the spacing of bf16 at 1 (2^-8) add up."""
    if not info.widens:
        pytest.skip("the arithmetic is that of the wrapped optimizers")
    p = torch.nn.Parameter(torch.ones(3, dtype=dtype))
    settings = {"noise": 0.0} if not info.anchored else {"noise": 0.0, "gamma": 0.0}
    optimizer = info.build([p], **settings)
    for _ in range(60):
        p.grad = torch.full((3,), 1e-3, dtype=dtype)
        optimizer.step()
    assert p.dtype == dtype
    assert float(p.detach()[0]) < 1 - 2**-8


@every
def test_parameters_may_be_named(info):
    model = mlp()
    if info.name.startswith("local-entropy"):
        pytest.skip("its parameters come inside two optimizers")
    optimizer = info.build(model.named_parameters())
    train(model, optimizer, range(4))
    assert optimizer.state_dict()["param_groups"][0]["param_names"][0] == "0.weight"
