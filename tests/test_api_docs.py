"""docs/api.md is what the docstrings say, of every public name; and each name has one meaning."""

import importlib
import inspect
import types
from pathlib import Path

import pytest
import write_api

PACKAGES = ("optim", "training", "data", "models", "experiments", "report")
FACES = [*write_api.NAMESPACES, *(f"widevalley.{name}" for name in PACKAGES)]


def exported(path):
    """The public names of a namespace and what they are, as Python has them."""
    module = importlib.import_module(path)
    names = getattr(module, "__all__", None)
    if names is None:
        home = module.__name__
        names = [n for n, v in vars(module).items() if getattr(v, "__module__", None) == home]
        names = [name for name in names if not name.startswith("_")]
    return {name: getattr(module, name) for name in names}


def test_the_page_is_up_to_date():
    assert Path(write_api.DOCS / "api.md").read_text() == write_api.page(), "run: make docs"


@pytest.mark.parametrize("path", write_api.NAMESPACES)
def test_every_public_name_is_on_the_page(path):
    section = write_api.page().split(f"\n## `{path}`")[1].split("\n## ")[0]
    for name, value in exported(path).items():
        if not isinstance(value, types.ModuleType):
            assert f"</a>{name}\n" in section or f"### {name}\n" in section


@pytest.mark.parametrize("path", FACES)
def test_every_public_class_and_function_has_a_docstring(path):
    for name, value in exported(path).items():
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__doc__, name


def test_a_public_name_has_one_meaning():
    meanings = {}
    for path in FACES:
        for name, value in exported(path).items():
            if isinstance(value, types.ModuleType):  # its names are compared
                continue
            first, where = meanings.setdefault(name, (value, path))
            assert first is value, f"{name} in {where} and in {path}"


def test_errors_and_formulas_reach_the_page():
    """Of one name of each kind; the text is that of its docstring."""
    page = write_api.page()
    assert "```math\nF(x, \\gamma) = \\log \\int" in page
    assert "- `MemoryError`: the matrix does not fit" in page
    assert "Source: Chaudhari et al." in page
