"""From a run folder to the curvature at the weights it is judged by."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from widevalley.data import Corpus, load_digits
from widevalley.experiments import (
    RECIPES,
    LossConfig,
    Recipe,
    finished_run,
    measure_density,
    measure_exact_spectrum,
    measure_fisher,
)
from widevalley.experiments.run_end import loss_of
from widevalley.models import CharLSTM, SmallCharLSTM
from widevalley.training import (
    AdamSettings,
    Characters,
    EntropySGDSettings,
    RunConfig,
    RunFolder,
    Task,
    run,
)


class Normed(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(64, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 10))


def text():
    tokens = torch.randint(5, (300,), generator=torch.Generator().manual_seed(0))
    return Corpus(tokens[:200], tokens[200:250], tokens[250:], tuple("abcde"))


def recipe_of(name, load, network, **task):
    config = RunConfig(
        optimizer=EntropySGDSettings(langevin_steps=4), epochs=1.1, batch_size=8, window=6
    )
    return Recipe(
        task=Task(name, load, lambda config: network(), **task),
        title=name,
        variants={"paper": replace(config, threads=1, precision="32-true")},
    )


TINY = recipe_of("tiny", load_digits, Normed)
LINES = recipe_of("lines", text, lambda: SmallCharLSTM(symbols=5, units=3), feed=Characters)
NORMED = recipe_of("normed", text, lambda: CharLSTM(symbols=5, units=3), feed=Characters)


@pytest.fixture(autouse=True)
def recipes(monkeypatch):
    for recipe in (TINY, LINES, NORMED):
        monkeypatch.setitem(RECIPES, recipe.name, recipe)


@pytest.fixture(params=["tiny", "lines", "normed"])
def folder(request, tmp_path):
    return finished_run(request.param, tmp_path)


def test_a_recipe_is_trained_once(tmp_path):
    first = finished_run("tiny", tmp_path)
    assert first.path == tmp_path / "tiny/paper/seed-0"
    assert first.finished
    assert len(finished_run("tiny", tmp_path).environments) == 1
    assert finished_run(str(first.path), tmp_path).path == first.path


def test_neither_a_recipe_nor_a_run(tmp_path):
    with pytest.raises(ValueError, match="'nowhere': neither a run folder nor one of digits, "):
        finished_run("nowhere", tmp_path)


def test_a_run_without_checkpoint_is_named(tmp_path):
    folder = finished_run("tiny", tmp_path)
    (folder.path / "checkpoint.pt").unlink()
    with pytest.raises(FileNotFoundError, match="seed-0: no checkpoint here"):
        loss_of(folder, LossConfig(samples=10))


def test_the_loss_is_that_of_the_judged_weights(folder):
    """All training samples: what the run's last record says of the training set, but for texts,
    which are judged in other columns than they are trained in."""
    samples = 1797 - 500 if folder.config["recipe"] == "tiny" else 190
    value = loss_of(folder, LossConfig(samples=samples)).value()
    told = folder.records[-1]["train_set_loss"]
    rel = 1e-5 if folder.config["recipe"] == "tiny" else 0.05
    assert value == pytest.approx(told, rel=rel)


def test_what_is_asked_for_beyond_the_data_is_refused(folder):
    with pytest.raises(ValueError, match="samples=10000: must be"):
        loss_of(folder, LossConfig(samples=10_000))


def test_exact_density_and_fisher_agree(folder):
    config = LossConfig(samples=48, chunk=20, threads=1)
    found = measure_exact_spectrum(folder, config, probes=5)
    assert found.facts["recipe"] == folder.config["recipe"]
    assert found.facts["samples"] == 48
    assert len(found.probed) == 5
    rough = measure_density(folder, config, steps=30, probes=3)
    assert rough.largest[0] == pytest.approx(found.values[-1], rel=1e-4)
    assert rough.size == found.size
    kept = measure_density(folder, config, steps=30, probes=3, keep_graphs=True)
    np.testing.assert_allclose(kept.largest, rough.largest, rtol=1e-6)
    if folder.config["recipe"] == "tiny":
        diagonal = measure_fisher(folder, config, steps=3)
        assert diagonal.exact.shape == diagonal.of_adam.shape == (found.size,)
        assert diagonal.facts["adam_steps"] == 3


def test_blocks_are_kept_and_used(tmp_path):
    folder = finished_run("tiny", tmp_path)
    config = LossConfig(samples=30)
    first = measure_exact_spectrum(folder, config, blocks=tmp_path / "blocks")
    assert list((tmp_path / "blocks").iterdir())
    spent = tmp_path / "blocks" / "seconds.txt"
    assert 0 < float(spent.read_text()) <= first.facts["seconds"]
    spent.write_text("1000.5")
    again = measure_exact_spectrum(folder, config, blocks=tmp_path / "blocks")
    assert again.facts["seconds"] > 1000.5, "what earlier calls spent counts"
    assert np.array_equal(first.values, again.values)
    with pytest.raises(ValueError, match="blocks: holds parts of another matrix"):
        measure_exact_spectrum(folder, replace(config, samples=31), blocks=tmp_path / "blocks")


def test_settings_survive_their_file(tmp_path):
    """RunConfig.from_dict of what a run folder holds."""
    task = replace(TINY.task, name="tiny")
    for settings in (AdamSettings(betas=(0.8, 0.9)), EntropySGDSettings(noise=0.0)):
        config = replace(TINY.variant("paper"), optimizer=settings, device="cpu", epochs=0.1)
        path = tmp_path / settings.name
        run(task, config, path)
        assert RunConfig.from_dict(RunFolder(path).config) == config
    with pytest.raises(ValueError, match="optimizer 'lion': must be one of"):
        RunConfig.from_dict({"optimizer": {"name": "lion"}})
