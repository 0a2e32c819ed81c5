"""The recipes by name."""

from __future__ import annotations

from widevalley.experiments.digits import DIGITS
from widevalley.experiments.mnistfc import MNISTFC
from widevalley.experiments.recipe import Recipe

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (DIGITS, MNISTFC)}
