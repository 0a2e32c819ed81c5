"""The loop: order of samples, rates, where it evaluates, and what its seed decides."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from widevalley.data import Dataset
from widevalley.models import DigitsMLP
from widevalley.training import Classification, SGDSettings, Task, run
from widevalley.training.hardware import resolve
from widevalley.training.loop import Loop


def make_loop(task, config):
    return Loop(task, resolve(config, prefers_bf16=False))


def test_equals_a_plain_torch_loop(task, config):
    """SGD without dropout, written out by hand on the same batches."""
    config = replace(config, optimizer=SGDSettings(), dropout=0.0, schedule="linear")
    loop = make_loop(task, config)
    torch.manual_seed(config.seed)
    model = DigitsMLP(dropout=0.0)
    sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, fused=True)
    rates = torch.optim.lr_scheduler.LambdaLR(sgd, lambda step: 1 - step / 120)
    for step in range(60):
        loop.step()
        at = step % 40
        chosen = loop.feed._order[at * 32 : (at + 1) * 32]
        inputs, targets = loop.feed.splits["train_set"]
        x, y = inputs[chosen], targets[chosen]
        sgd.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        sgd.step()
        rates.step()
    for ours, plain in zip(loop.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, plain)


def test_an_epoch_visits_no_sample_twice_and_reshuffles(task, config):
    loop = make_loop(task, config)
    orders = []
    for _ in range(2):
        for _ in range(loop.batches):
            loop.step()
        orders.append(loop.feed._order)
    assert sorted(orders[0].tolist()) == list(range(1297))
    assert not torch.equal(*orders)


def test_outer_rate_and_walk_fall_each_by_its_own_schedule(task, config):
    loop = make_loop(task, replace(config, schedule="linear", walk_schedule="cosine"))
    for _ in range(31):
        loop.step()
    (group,) = loop.optimizer.param_groups
    settings = config.optimizer
    assert group["lr"] == pytest.approx(settings.lr * (1 - 30 / 120))
    assert group["langevin_lr"] == pytest.approx(settings.langevin_lr * (1 + 2**-0.5) / 2)


def test_order_does_not_depend_on_optimizer_or_dropout(task, config):
    orders = []
    for changed in (config, replace(config, optimizer=SGDSettings(), dropout=0.5)):
        loop = make_loop(task, changed)
        for _ in range(loop.batches + 1):
            loop.step()
        orders.append(loop.feed._order)
    assert torch.equal(*orders)


def test_judging_changes_nothing(task, config):
    states = []
    for evaluate in (True, False):
        loop = make_loop(task, config)
        for _ in range(30):
            loop.step()
            if evaluate:
                loop.evaluate()
        states.append([p.detach().clone() for p in loop.model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))


def test_judges_the_anchor(task, config):
    loop = make_loop(task, config)
    for _ in range(10):
        loop.step()
    inputs, targets = loop.feed.splits["test"]
    with loop.optimizer.at_anchor(), torch.no_grad():
        loop.model.eval()
        scores = loop.model(inputs)
        loop.model.train()
    judged = loop.evaluate()
    assert judged["test_loss"] == pytest.approx(
        float(functional.cross_entropy(scores, targets)), rel=1e-5
    )
    wrong = (scores.argmax(1) != targets).double().mean()
    assert judged["test_error"] == pytest.approx(100 * float(wrong))


def test_batch_norm_is_judged_with_statistics_of_the_anchor(task, config):
    def network(config):
        return torch.nn.Sequential(
            torch.nn.Linear(64, 16), torch.nn.BatchNorm1d(16), torch.nn.Linear(16, 10)
        )

    loop = make_loop(Task("bn", task.load, network), config)
    for _ in range(10):
        loop.step()
    before = {name: value.clone() for name, value in loop.model.state_dict().items()}
    loop.evaluate()
    for name, value in loop.model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_learns_and_reports_the_training_set(task, config, tmp_path):
    folder = run(task, replace(config, epochs=20.0, evaluate_every=5.0), tmp_path)
    records = folder.records
    assert [record["gradients"] for record in records] == [200, 400, 600, 800]
    assert [record["epoch"] for record in records] == [5, 10, 15, 20]
    assert records[-1]["test_error"] < 10
    assert records[-1]["train_set_error"] < 3
    assert records[-1]["train_loss"] < records[0]["train_loss"]
    assert records[-1]["gamma"] > records[0]["gamma"]
    assert [bool(record.get("final")) for record in records] == [False, False, False, True]


def test_a_holdout_is_reported_as_validation(task, config, tmp_path):
    folder = run(task, replace(config, holdout=297, epochs=1.0), tmp_path)
    assert folder.records[-1]["gradients"] == 1000 // 32
    assert "validation_error" in folder.records[-1]
    assert not any(name.startswith("test") for name in folder.records[-1])


def test_the_seed_decides_everything(task, config, tmp_path):
    def losses(name, seed):
        folder = run(task, replace(config, seed=seed), tmp_path / name)
        return [record["train_loss"] for record in folder.records]

    first = losses("a", 0)
    torch.rand(7)
    assert losses("b", 0) == first
    assert losses("c", 1) != first


def test_batch_norm_has_statistics_of_any_number_of_samples(config):
    """513 leave one beside a chunk, which has no variance."""
    inputs, targets = torch.randn(513, 4), torch.zeros(513, dtype=torch.int64)
    data = Dataset(inputs, targets, inputs, targets, 1)
    feed = Classification(data, replace(config, holdout=0), torch.device("cpu"))
    model = torch.nn.Sequential(torch.nn.BatchNorm1d(4))
    with feed.statistics(model):
        torch.testing.assert_close(model[0].running_mean, inputs.mean(0))
