"""What the ends of runs withstand."""

import copy
import json
from dataclasses import replace

import pytest
import torch
from scipy import stats
from torch.nn import functional

from widevalley.cli import main
from widevalley.data import load_digits, rotated
from widevalley.experiments import (
    RECIPES,
    HardeningConfig,
    load_flatness,
    load_hardening,
    load_pac_bayes,
    measure_hardening,
    seeds_of,
    train,
)
from widevalley.report import hardening_differences, write_hardening
from widevalley.training import AdamWSettings, RunConfig, RunFolder, restore
from widevalley.valley.robustness import round_to_nearest

SMALL = HardeningConfig(bits=(8, 3), radii=(0.2,), draws=2, tuning=30, tuning_lr=3e-3)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    settings = AdamWSettings(lr=3e-3)
    config = RunConfig(optimizer=settings, epochs=8.0, batch_size=32, threads=1, evaluate_every=8.0)
    runs = [("adamw", one) for one in seeds_of(config, 2)]
    return train(RECIPES["digits"], runs, tmp_path_factory.mktemp("runs"))


def test_losses_are_those_of_weights_rounded_by_hand(folders, tmp_path):
    (found,) = load_hardening(measure_hardening(folders[:1], SMALL, tmp_path))
    loop = restore(folders[0], RECIPES["digits"].task)
    data = load_digits()

    def loss(model):
        with torch.no_grad():
            return float(
                functional.cross_entropy(model.eval()(data.test_inputs), data.test_targets)
            )

    clean = loss(loop.model)
    assert found.run == "adamw/seed-0"
    assert found.losses["loss"] == pytest.approx(clean, rel=1e-5)
    assert clean == pytest.approx(folders[0].records[-1]["test_loss"], rel=1e-5)
    for bits in (8, 3):
        model = copy.deepcopy(loop.model)
        with torch.no_grad():
            for p in model.parameters():
                if p.dim() == 2:
                    p.copy_(round_to_nearest(p, bits))
        assert found.losses[f"{bits} bits"] == pytest.approx(loss(model) - clean, abs=1e-6)
    assert found.losses["3 bits"] > abs(found.losses["8 bits"])
    assert found.losses["noise 0.2"] > 0


def test_training_on_turned_digits_learns_them_and_forgets_the_others(folders, tmp_path):
    none = replace(SMALL, tuning=1, tuning_lr=1e-9)
    (before,) = load_hardening(measure_hardening(folders[:1], none, tmp_path / "before"))
    (after,) = load_hardening(measure_hardening(folders[:1], SMALL, tmp_path / "after"))
    assert before.losses["forgetting"] == pytest.approx(0, abs=1e-5)
    assert after.losses["forgetting"] > 0.1
    assert after.losses["other data"] < 0.7 * before.losses["other data"]
    data = rotated(load_digits())
    loop = restore(folders[0], RECIPES["digits"].task)
    with torch.no_grad():
        turned = functional.cross_entropy(loop.model.eval()(data.test_inputs), data.test_targets)
    assert before.losses["other data"] == pytest.approx(float(turned), rel=1e-4)


def test_measures_that_stand_are_not_made_again(folders, tmp_path):
    told = []
    measure_hardening(folders[:1], SMALL, tmp_path, progress=told.append)
    file = measure_hardening(folders, SMALL, tmp_path, progress=told.append)
    assert told == ["adamw/seed-0 (1 of 1)", "adamw/seed-1 (1 of 1)"]
    assert len(json.loads(file.read_text())) == 2
    with pytest.raises(ValueError, match="holds measures by other settings"):
        measure_hardening(folders, replace(SMALL, draws=3), tmp_path)


def test_differences_are_those_of_the_same_seed(tmp_path):
    file = tmp_path / "hardening.json"
    facts = {"settings": {"draws": 5, "tuning": 200, "tuning_lr": 3e-4}}
    losses = {"a/seed-1": 1.0, "a/seed-2": 5.0, "b/seed-2": 4.0, "b/seed-1": 0.25, "c/seed-9": 0.0}
    rows = [{"run": k, "losses": {"loss": v}, "facts": facts} for k, v in losses.items()]
    file.write_text(json.dumps(rows))
    heads, cells = hardening_differences(file)
    assert heads == ["minus a", "loss"]
    low, high = stats.ttest_rel([0.25, 4.0], [1.0, 5.0]).confidence_interval(0.95)
    assert cells == [["b", f"-0.8750 ({low:+.4f} to {high:+.4f})"]]
    assert "## Differences" in write_hardening(file).read_text()


def test_measuring_leaves_the_run_as_it_is(folders, tmp_path):
    path = folders[0].path / "checkpoint.pt"
    before = path.read_bytes()
    measure_hardening(folders[:1], SMALL, tmp_path)
    assert path.read_bytes() == before


def test_a_recipe_without_other_data_is_named(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    (folder.path / "config.json").write_text('{"recipe": "ptb"}')
    with pytest.raises(ValueError, match="tuning=200: must be 0 for ptb, which has no other data"):
        measure_hardening([folder], HardeningConfig(), tmp_path)
    (folder.path / "config.json").write_text('{"recipe": "mine"}')
    with pytest.raises(ValueError, match="its recipe 'mine' is not known here"):
        measure_hardening([folder], HardeningConfig(tuning=0), tmp_path)
    with pytest.raises(ValueError, match="draws=0: must be at least 1"):
        HardeningConfig(draws=0)


def test_the_verb_shows_and_writes_a_table(folders, tmp_path, capsys):
    runs = str(folders[0].path.parent)
    flags = ["--bits", "4", "--radii", "0.1", "--draws", "1", "--tuning", "5"]
    assert main(["harden", runs, *flags, "--to", str(tmp_path)]) == 0
    assert "forgetting" in capsys.readouterr().out
    table = (tmp_path / "table.md").read_text()
    assert "| adamw | 2 |" in table
    assert "5 gradients of AdamW at 0.0003 on other data" in table
    assert main(["harden"]) == 2
    assert main(["harden", str(tmp_path)]) == 2


@pytest.mark.parametrize("content", ['[{"run": "a"}]', '[{"name": "a"}]', "[1]", "not JSON"])
def test_a_file_of_something_else_is_refused_by_name(tmp_path, content):
    file = tmp_path / "measures.json"
    file.write_text(content)
    for load in (load_hardening, load_pac_bayes, load_flatness):
        with pytest.raises(ValueError, match="measures.json: not a file of"):
            load(file)
