"""The recipes by name."""

from __future__ import annotations

from widevalley.experiments.allcnn import ALLCNN
from widevalley.experiments.charlstm import CHARLSTM
from widevalley.experiments.digits import DIGITS
from widevalley.experiments.lenet import LENET
from widevalley.experiments.mnistfc import MNISTFC
from widevalley.experiments.ptb import PTB
from widevalley.experiments.recipe import Recipe

PAPER: dict[str, Recipe] = {
    recipe.name: recipe for recipe in (MNISTFC, LENET, ALLCNN, PTB, CHARLSTM)
}
"""The rows of the paper's Table 1, in its order."""

RECIPES: dict[str, Recipe] = {DIGITS.name: DIGITS, **PAPER}
