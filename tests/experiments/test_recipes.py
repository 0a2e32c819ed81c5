"""Every recipe has fair, complete defaults."""

from dataclasses import replace

import pytest
import torch

from widevalley.experiments import RECIPES, compare
from widevalley.experiments.recipe import check_equal_cost
from widevalley.training import SGDSettings

NAMES = {"entropy-sgd", "entropy-adam", "sgd", "adam", "sgld"}


COMPARED = [recipe for recipe in RECIPES.values() if recipe.tuned]


@pytest.mark.parametrize("recipe", COMPARED, ids=lambda recipe: recipe.name)
def test_every_optimizer_has_a_default_of_equal_cost(recipe):
    assert set(recipe.optimizers) == NAMES
    assert set(recipe.compared) <= NAMES
    check_equal_cost(recipe.tuned)
    assert all(config.holdout == 0 for config in recipe.tuned)
    assert all(recipe.config(name).optimizer.name == name for name in NAMES)


@pytest.mark.parametrize("recipe", COMPARED, ids=lambda recipe: recipe.name)
def test_dropout_settings_reach_the_network(recipe):
    config = replace(recipe.tuned[0], dropout=0.4, input_dropout=0.3)
    network = recipe.task.build(config)
    shares = [m.p for m in network.modules() if isinstance(m, torch.nn.Dropout)]
    assert shares[0] == 0.3
    assert shares[1:]
    assert set(shares[1:]) == {0.4}


def test_an_unknown_optimizer_is_named():
    with pytest.raises(ValueError, match=r"optimizer 'lion': digits has optimizers entropy-sgd"):
        RECIPES["digits"].config("lion")


def test_unequal_costs_are_not_compared(tmp_path):
    digits = RECIPES["digits"]
    configs = [digits.config("sgd"), replace(digits.config("adam"), epochs=7.0)]
    with pytest.raises(ValueError, match=r"equal gradient evaluations, not sgd .*; adam 7 epochs"):
        compare(digits, configs, 1, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_compare_runs_every_optimizer_with_every_seed(tmp_path):
    digits = RECIPES["digits"]
    configs = [replace(digits.config(n), epochs=1.0, seed=5) for n in ("sgd", "entropy-sgd")]
    folders = compare(digits, configs, 2, tmp_path)
    assert [str(f.path.relative_to(tmp_path)) for f in folders] == [
        "digits/sgd/seed-5",
        "digits/sgd/seed-6",
        "digits/entropy-sgd/seed-5",
        "digits/entropy-sgd/seed-6",
    ]
    assert {f.records[-1]["gradients"] for f in folders} == {40}
    assert [f.config["seed"] for f in folders] == [5, 6, 5, 6]
    assert isinstance(configs[0].optimizer, SGDSettings)
