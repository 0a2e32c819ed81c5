"""Running the paper's rows: what is missing, and nothing else."""

from dataclasses import replace

import pytest

from widevalley.data import Corpus, DataUnavailable
from widevalley.experiments import PAPER, RECIPES, Recipe, reproduce, small
from widevalley.training import AdamSettings, EntropySGDSettings, RunConfig, RunFolder, SGDSettings

DIGITS = RECIPES["digits"]


@pytest.fixture
def recipe():
    def config(optimizer):
        return RunConfig(optimizer=optimizer, epochs=1.0, batch_size=32, threads=1)

    variants = {"paper": config(EntropySGDSettings()), "baseline": config(AdamSettings())}
    return Recipe(task=DIGITS.task, title="digits", variants=variants)


def started(root):
    paths = sorted(path.parent for path in root.rglob("config.json"))
    return {str(p.relative_to(root)): len(RunFolder(p).environments) for p in paths}


def test_runs_what_is_missing_and_no_more(recipe, tmp_path):
    assert reproduce([recipe], ["paper"], 1, tmp_path, threads=1) == []
    assert started(tmp_path) == {"digits/paper/seed-0": 1}
    assert reproduce([recipe], ["paper", "baseline"], 2, tmp_path, threads=1) == []
    runs = ["baseline/seed-0", "baseline/seed-1", "paper/seed-0", "paper/seed-1"]
    assert started(tmp_path) == {f"digits/{run}": 1 for run in runs}


def test_a_run_goes_on_with_the_threads_it_was_begun_with(recipe, tmp_path):
    reproduce([recipe], ["paper"], 1, tmp_path, threads=1)
    metrics = tmp_path / "digits/paper/seed-0/metrics.jsonl"
    metrics.write_text("")
    assert reproduce([recipe], ["paper"], 1, tmp_path, threads=2) == []
    folder = RunFolder(metrics.parent)
    assert folder.finished
    assert folder.config["threads"] == 1


def test_what_cannot_run_is_named_and_left_behind(recipe, tmp_path, capsys):
    def absent():
        raise DataUnavailable("digits are missing")

    wild = replace(recipe.variants["baseline"], optimizer=SGDSettings(lr=1e6))
    lost = replace(recipe, task=replace(recipe.task, name="lost", load=absent))
    broken = replace(recipe, variants={**recipe.variants, "baseline": wild})
    left = reproduce([lost, broken], ["baseline", "paper"], 1, tmp_path, threads=1)
    assert left == ["lost baseline seed 0", "lost paper seed 0", "digits baseline seed 0"]
    assert RunFolder(tmp_path / "digits/paper/seed-0").finished
    out = capsys.readouterr().out
    assert "digits are missing" in out
    assert "no longer finite" in out


def test_a_run_of_other_settings_is_left_alone(recipe, tmp_path, capsys):
    reproduce([recipe], ["paper"], 1, tmp_path, threads=1)
    other = replace(recipe.variants["paper"], dropout=0.4)
    changed = replace(recipe, variants={"paper": other})
    assert reproduce([changed], ["paper"], 1, tmp_path) == ["digits paper seed 0"]
    assert "dropout 0.0 there, 0.4 now" in capsys.readouterr().out


def test_an_unknown_variant_runs_nothing(recipe, tmp_path):
    with pytest.raises(ValueError, match="variant 'sgdl': there are paper, baseline"):
        reproduce([recipe], ["paper", "sgdl"], 1, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_variant_that_a_recipe_lacks_is_passed_over(recipe, tmp_path):
    fewer = replace(recipe, variants={"baseline": recipe.variants["baseline"]})
    other = replace(recipe, task=replace(recipe.task, name="other"))
    assert reproduce([fewer, other], ["paper"], 1, tmp_path, threads=1) == []
    assert started(tmp_path) == {"other/paper/seed-0": 1}


def test_small_keeps_a_sliver_of_the_data_and_the_shape_of_the_schedule():
    recipe = small(replace(DIGITS, variants=PAPER["lenet"].variants))
    data, whole = recipe.task.load(), DIGITS.task.load()
    assert data.train_targets.tolist() == whole.train_targets[:640].tolist()
    assert len(data.test_inputs) == 160
    config = recipe.variant("baseline")
    assert (config.epochs, config.schedule_from, config.schedule_every) == (1.0, 0.3, 0.3)
    assert config.optimizer == PAPER["lenet"].variant("baseline").optimizer


def test_small_texts():
    tokens = DIGITS.task.load().train_targets.repeat(5)
    text = Corpus(tokens, tokens, tokens, tuple("0123456789"))
    ptb = PAPER["ptb"]
    data = small(replace(ptb, task=replace(ptb.task, load=lambda: text))).task.load()
    assert [len(part) for part in (data.train, data.valid, data.test)] == [2400, 600, 600]
