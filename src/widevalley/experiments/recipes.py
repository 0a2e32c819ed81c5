"""The recipes by name."""

from __future__ import annotations

from widevalley.experiments.allcnn import ALLCNN
from widevalley.experiments.binary_mnist import BINARY_MNIST, RANDOM_MNIST
from widevalley.experiments.character_gpt import GPT_1M, SMALL_GPT
from widevalley.experiments.charlstm import CHARLSTM
from widevalley.experiments.digits import DIGITS
from widevalley.experiments.harder_mnist import MNIST_1000, MNIST_NOISE
from widevalley.experiments.lenet import LENET
from widevalley.experiments.mnistfc import MNISTFC
from widevalley.experiments.ptb import PTB, PTB_MEDIUM
from widevalley.experiments.recipe import Recipe
from widevalley.experiments.small_networks import SMALL_CHARLSTM, SMALL_LENET, SMALL_MNISTFC
from widevalley.experiments.width import WIDTH

PAPER: dict[str, Recipe] = {
    recipe.name: recipe for recipe in (MNISTFC, LENET, ALLCNN, PTB, PTB_MEDIUM, CHARLSTM)
}
"""The rows of the paper's Table 1, in its order, and a smaller one beside PTB's."""

SMALL: dict[str, Recipe] = {
    recipe.name: recipe for recipe in (SMALL_LENET, SMALL_MNISTFC, SMALL_CHARLSTM)
}
"""The networks whose whole Hessian the paper decomposes."""

BEYOND: dict[str, Recipe] = {
    recipe.name: recipe for recipe in (MNIST_1000, MNIST_NOISE, SMALL_GPT, GPT_1M, WIDTH)
}
"""What the paper has no network for: tasks of tournaments."""

BOUNDED: dict[str, Recipe] = {recipe.name: recipe for recipe in (BINARY_MNIST, RANDOM_MNIST)}
"""What a PAC-Bayes bound is computed for."""

RECIPES: dict[str, Recipe] = {DIGITS.name: DIGITS, **PAPER, **SMALL, **BEYOND, **BOUNDED}
