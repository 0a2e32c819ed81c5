"""Every recipe has fair, complete defaults."""

from dataclasses import replace

import pytest
import torch

from widevalley.data import Corpus, Dataset
from widevalley.experiments import PAPER, QUOTED, RECIPES, compare, small
from widevalley.experiments.recipe import check_equal_cost
from widevalley.training import SGDSettings
from widevalley.training.hardware import resolve
from widevalley.training.loop import Loop

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


VARIANTS = [(recipe, name) for recipe in PAPER.values() for name in recipe.variants]


@pytest.mark.parametrize("name", dict.fromkeys(name for name, _ in QUOTED))
def test_every_row_of_the_paper_has_its_variants(name):
    recipe = PAPER[name]
    names = [name for name in recipe.variants if name != "tuned"]
    assert names == ["paper", "baseline", "best", "sgld"]
    assert recipe.variant("sgld").optimizer.name == "sgld"
    assert recipe.variant("sgld").schedule == "inverse-power"
    assert recipe.variant("best").epochs <= QUOTED[recipe.name, "paper"].epochs
    assert (recipe.holdout > 0) != recipe.task.feed.validates


@pytest.mark.parametrize("recipe", PAPER.values(), ids=lambda recipe: recipe.name)
def test_the_tuned_baseline_costs_what_ours_costs(recipe):
    if "tuned" not in recipe.variants:
        pytest.skip(f"{recipe.name} has no baseline tuned by us")
    check_equal_cost([recipe.variant("best"), recipe.variant("tuned")])
    assert recipe.variant("tuned").optimizer.name in ("sgd", "adam")


@pytest.mark.parametrize("recipe", PAPER.values(), ids=lambda recipe: recipe.name)
def test_no_variant_is_judged_by_held_out_samples(recipe):
    assert all(config.holdout == 0 for config in recipe.variants.values())


@pytest.mark.parametrize(
    ("recipe", "name"),
    [
        pytest.param(
            recipe,
            name,
            id=f"{recipe.name}-{name}",
            # 66 million weights; one of the variants shows that network and feed fit together
            marks=[pytest.mark.slow] if recipe.name == "ptb" and name != "paper" else [],
        )
        for recipe, name in VARIANTS
    ],
)
def test_every_variant_takes_a_step_of_its_network(recipe, name):
    """On made-up data of a few samples: network, feed and optimizer fit together."""
    brief = small(recipe)
    config = replace(brief.variant(name), threads=1, precision="32-true", batch_size=4)
    loop = Loop(replace(brief.task, load=lambda: made_up(recipe.name)), resolve_cpu(config))
    before = [p.detach().clone() for p in loop.model.parameters()]
    loop.step()
    assert loop.finite()
    after = loop.model.parameters()
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


def made_up(name):
    torch.manual_seed(0)
    if RECIPES[name].task.feed.validates:
        text = torch.randint(87, (200,))
        return Corpus(text, text, text, ())
    shape = (3, 32, 32) if name == "allcnn" else (784,)
    inputs, targets = torch.randn(8, *shape), torch.arange(8)
    return Dataset(inputs, targets, inputs, targets, classes=10)


def resolve_cpu(config):
    return resolve(replace(config, device="cpu"), prefers_bf16=False)


def test_unknown_variants_are_named():
    with pytest.raises(ValueError, match="variant 'last': ptb has variants paper, baseline"):
        RECIPES["ptb"].variant("last")
    with pytest.raises(ValueError, match="optimizer 'sgd': ptb has variants paper, baseline"):
        RECIPES["ptb"].config("sgd")


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
