"""Bounds at the ends of runs, on a sliver of MNIST's recipe with the digits' data."""

import json
import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from widevalley.cli import main
from widevalley.data import in_two_classes, load_digits, with_random_labels
from widevalley.experiments import (
    RECIPES,
    PacBayes,
    PacBayesConfig,
    Recipe,
    load_pac_bayes,
    measure_pac_bayes,
    seeds_of,
    train,
)
from widevalley.experiments import pac_bayes_laws as laws
from widevalley.experiments import pac_bayes_of_runs as module
from widevalley.experiments.measured_runs import plain_settings, write_measures
from widevalley.models import BoundedLogProbabilities, FullyConnected
from widevalley.report import broken_bounds, pac_bayes_cells, write_pac_bayes
from widevalley.training import (
    EntropySGDSettings,
    EntropySGLDSettings,
    RunConfig,
    SGDSettings,
    SGLDSettings,
    Task,
)
from widevalley.training.loop import Loop
from widevalley.valley.theory import pac_bayes

QUICK = PacBayesConfig(draws=3, passes=2, walk=12, records=4, batch_size=64)
SPLITS = ("train", "test")
RUN = RunConfig(
    optimizer=SGLDSettings(lr=0.05, noise=0.2, weight_decay=0.5),
    epochs=3.0,
    batch_size=32,
    schedule="constant",
    threads=1,
)


def task(name, load):
    def build(_):
        return FullyConnected((64, 20, 2)).append(BoundedLogProbabilities(4.0))

    return Task(name, load, build)


@pytest.fixture
def digits(monkeypatch):
    """A bounded recipe that trains in a second."""
    recipe = Recipe(task("binary-digits", lambda: in_two_classes(load_digits())), "", {"sgld": RUN})
    for table in (RECIPES, module.BOUNDED):
        monkeypatch.setitem(table, recipe.task.name, recipe)
    return recipe


def test_labels():
    data = load_digits()
    two = in_two_classes(data)
    assert torch.equal(two.test_targets == 1, data.test_targets >= 5)
    random = with_random_labels(two, seed=0)
    share = (random.train_targets == two.train_targets).double().mean()
    assert float(share) == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(1297))
    assert not torch.equal(random.test_targets, two.test_targets)


def test_the_loss_is_bounded_and_a_probability():
    scores = torch.tensor([[-90.0, 90.0], [0.3, -0.2], [1.0, 1.0]], dtype=torch.float64)
    found = BoundedLogProbabilities(4.0)(scores)
    torch.testing.assert_close(found.exp().sum(dim=1), torch.ones(3, dtype=torch.float64))
    losses = functional.cross_entropy(found, torch.zeros(3, dtype=torch.int64), reduction="none")
    assert float(losses[0]) == pytest.approx(4.0)
    assert float(losses[2]) == pytest.approx(math.log(2))
    assert torch.equal(found.argmax(dim=1)[:2], scores.argmax(dim=1)[:2])
    with pytest.raises(ValueError, match=r"bound=0\.5: must be above ln 2"):
        BoundedLogProbabilities(0.5)


@pytest.mark.slow
def test_anchors_of_entropy_sgld_have_the_law_that_they_sample():
    """On a quadratic the local entropy is one: anchors are Gaussian, of a known variance."""
    noise, gamma, curvature, decay = 0.3, 1.0, 0.5, 0.2
    settings = EntropySGLDSettings(
        lr=0.1, langevin_lr=0.05, langevin_steps=80, gamma=gamma, noise=noise, weight_decay=decay
    )
    model = torch.nn.Linear(5000, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    optimizer, anchor = settings.build(model, seed=3), []
    for k in range(80 * 130):
        model.weight.grad = curvature * model.weight.detach()
        optimizer.step()
        if k % 80 == 79 and k > 80 * 60:
            anchor.append(float(model.weight.detach().square().mean()))  # the walk has restarted
    tau = 2 / noise**2
    expected = 1 / (tau * (gamma * curvature / (gamma + curvature) + decay))
    assert sum(anchor) / len(anchor) == pytest.approx(expected, rel=0.06)


def test_fresh_weights_err_as_often_as_weights_drawn(digits):
    loop = Loop(digits.task, replace(RUN, device="cpu", precision="32-true"))
    data = digits.task.load()
    samples = data.test_inputs, data.test_targets
    generator = torch.Generator().manual_seed(0)
    passes = [laws.fresh_weights_error(loop.model, *samples, 0.2, generator) for _ in range(400)]
    drawn = [
        laws.evaluated(laws.perturbed(loop.model, 0.2, generator), *samples).error
        for _ in range(2000)
    ]
    mean = sum(drawn) / len(drawn)
    error = torch.tensor(drawn).std() / math.sqrt(len(drawn))
    assert sum(passes) / len(passes) == pytest.approx(mean, abs=4 * float(error) + 0.005)


def test_bounds_of_runs(digits, tmp_path):
    folders = train(digits, [("sgld", one) for one in seeds_of(RUN, 2)], tmp_path / "runs")
    few = replace(RUN, optimizer=EntropySGDSettings(noise=0.005), holdout=1000)
    folders += train(digits, [("few", few)], tmp_path / "runs")
    file = measure_pac_bayes(folders, QUICK, tmp_path / "out")
    one, _, cold = load_pac_bayes(file)
    assert one.run == "binary-digits/sgld/seed-0"
    assert one.numbers["tau"] == pytest.approx(50)
    assert one.numbers["epsilon"] == pytest.approx(2 * 50 * 4 / 1297)
    wrong = folders[0].records[-1]
    assert one.numbers["end test error"] == pytest.approx(wrong["test_error"] / 100)
    assert one.numbers["end train error"] == pytest.approx(wrong["train_set_error"] / 100)
    cost = math.log(2 * math.sqrt(1297) / 0.03)
    cost += pac_bayes.privacy_cost(one.numbers["epsilon"], 1297, 0.03)
    most = pac_bayes.chernoff_bound(one.numbers["prior train error"], 2 * 1297, 0.01)
    gap = pac_bayes.bernoulli_kl(most, one.numbers["prior bound"])
    assert gap == pytest.approx(cost / 1297, rel=1e-6)
    assert one.numbers["Gibbs bound"] > one.numbers["Gibbs train error"]
    assert cold.numbers["samples"] == 297
    assert cold.numbers["Gibbs bound"] == cold.numbers["prior bound"] == 1.0
    validation = folders[2].records[-1]["validation_error"] / 100
    assert cold.numbers["held-out error"] == pytest.approx(validation)
    assert validation < cold.numbers["held-out bound"] < validation + 0.1
    assert broken_bounds(file) == []
    heads, rows = pac_bayes_cells(file)
    assert [row[:3] for row in rows] == [["true, sgld", "2", "1,297"], ["true, few", "1", "297"]]
    assert all(len(row) == len(heads) for row in rows)
    broken = [{**vars(one), "numbers": one.numbers | {"prior bound": 0.0}}]
    file.write_text(json.dumps(broken))
    assert broken_bounds(file) == ["binary-digits/sgld/seed-0: prior"]


def test_the_command(digits, tmp_path, capsys):
    train(digits, [("sgld", RUN)], tmp_path)
    line = ["pac-bayes", str(tmp_path / "binary-digits/sgld"), "--to", str(tmp_path / "out")]
    few = ["--draws", "2", "--passes", "1", "--walk", "8", "--records", "4"]
    assert main([*line, *few]) == 0
    assert "| true, sgld | 1 | 1,297 |" in (tmp_path / "out/table.md").read_text()
    assert main(line) == 2
    assert "holds measures by other settings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"recipe": "digits"}, "its loss must be bounded"),
        ({"optimizer": {"name": "sgd"}}, "sgd has no thermal noise"),
    ],
)
def test_runs_without_a_bound_are_refused(digits, tmp_path, changed, message):
    (folder,) = train(digits, [("sgd", replace(RUN, optimizer=SGDSettings()))], tmp_path)
    file = folder.path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))
    with pytest.raises(ValueError, match=message):
        measure_pac_bayes([type(folder)(folder.path)], QUICK, tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gamma": 0.0}, r"gamma=0\.0: must be above 0"),
        ({"delta": 2.0}, r"delta=2\.0: must be in \(0, 1\)"),
        ({"draws": 0}, "draws=0: must be at least 1"),
        ({"records": 0}, "records=0: must be at least 2"),
        ({"walk": 10}, "records=20: must be at most walk, 10"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        PacBayesConfig(**settings)


def test_the_walk_keeps_nothing_of_the_runs_schedules(digits):
    loop = Loop(digits.task, replace(RUN, device="cpu", precision="32-true", clip=1.0))
    loop.config = replace(loop.config, walk_schedule="cosine")
    config = module._walking(loop, 245.0, QUICK)
    assert (config.schedule, config.walk_schedule, config.clip) == ("constant", "constant", 0.0)


def test_a_bound_fails_with_what_its_estimates_do(tmp_path):
    """Of the Gibbs law three: Z from below, the walk's mean loss and its mean error."""
    numbers = {f"{law} {split} error": 0.1 for law in ("end", "Gibbs", "prior") for split in SPLITS}
    numbers |= {"KL": 1.0, "Gibbs bound": 0.2, "prior bound": 0.2}
    numbers |= {"samples": 100, "tau": 10, "epsilon": 0.1}
    facts = {"settings": plain_settings(PacBayesConfig()), "command": ""}
    file = tmp_path / "pac-bayes.json"
    write_measures([PacBayes("binary-mnist/sgld/seed-0", numbers, facts)], file)
    assert "A bound holds with probability 0.94 over" in write_pac_bayes(file).read_text()
