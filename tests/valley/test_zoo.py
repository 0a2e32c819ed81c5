"""Models and losses that people have: every instrument equals its oracle or says why not."""

import pytest
from instruments import measured
from zoo import ZOO

QUICK = ("MLP, tanh", "class weights", "regression")
"""On these the instruments are tried by `make test`, on the others where all tests are run."""
TOLERANCE = 1e-8


def models():
    for model in ZOO:
        marks = [] if model.name in QUICK else [pytest.mark.slow]
        yield pytest.param(model, id=model.name, marks=marks)


def test_there_are_enough():
    accepted = [model for model in ZOO if "all" not in model.refused]
    assert len(accepted) >= 25


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("model", list(models()))
def test_every_instrument(model):
    row = measured(model)
    for name, entry in row.items():
        refusal = model.refused.get(name, model.refused.get("all"))
        if refusal:
            assert isinstance(entry, str), f"{name}: {entry}"
            assert refusal in entry
        else:
            assert not isinstance(entry, str), f"{name}: {entry}"
            assert entry < TOLERANCE, f"{name}: {entry}"
