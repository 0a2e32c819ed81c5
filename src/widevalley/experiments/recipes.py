"""The recipes by name."""

from __future__ import annotations

from widevalley.experiments.allcnn import ALLCNN
from widevalley.experiments.charlstm import CHARLSTM
from widevalley.experiments.digits import DIGITS
from widevalley.experiments.lenet import LENET
from widevalley.experiments.mnistfc import MNISTFC
from widevalley.experiments.ptb import PTB
from widevalley.experiments.recipe import Recipe
from widevalley.experiments.small_networks import SMALL_CHARLSTM, SMALL_LENET, SMALL_MNISTFC

PAPER: dict[str, Recipe] = {
    recipe.name: recipe for recipe in (MNISTFC, LENET, ALLCNN, PTB, CHARLSTM)
}
"""The rows of the paper's Table 1, in its order."""

SMALL: dict[str, Recipe] = {
    recipe.name: recipe for recipe in (SMALL_LENET, SMALL_MNISTFC, SMALL_CHARLSTM)
}
"""The networks whose whole Hessian the paper decomposes."""

RECIPES: dict[str, Recipe] = {DIGITS.name: DIGITS, **PAPER, **SMALL}
