"""The package without its extras, and as conda has it."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import widevalley

ROOT = Path(__file__).parents[1]
CONDA = {"torch": "pytorch", "matplotlib": "matplotlib-base"}
"""What has another name there."""

MISSING = "import sys; [sys.modules.__setitem__(name, None) for name in {names!r}]; "
EXTRAS = ("lightning_fabric", "matplotlib", "numpy", "pooch", "rich", "sklearn", "tyro")


def run(code, names=EXTRAS):
    return subprocess.run(
        [sys.executable, "-c", MISSING.format(names=names) + code],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_optimizers_need_torch_and_nothing_else():
    done = run("import widevalley; print(widevalley.EntropySGD.__name__)")
    assert done.stdout == "EntropySGD\n", done.stderr


def test_the_command_says_in_one_line_what_it_lacks():
    done = run("from widevalley.__main__ import main; sys.exit(main())")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (  # torch may warn that it has no numpy, before
        "widevalley: the command needs tyro: pip install 'widevalley[experiments]'"
    )


def test_importing_the_optimizers_imports_no_compiler():
    """What torch.compile needs takes seconds to import."""
    heavy = "[m for m in ('torch._dynamo', 'torch._inductor', 'sympy') if m in sys.modules]"
    assert run(f"import widevalley; print({heavy})", ()).stdout == "[]\n"


def test_the_schedules_are_a_module():
    code = (
        "import widevalley.scoping; from widevalley.scoping import Exponential;"
        "import widevalley; print(widevalley.scoping.Exponential(0.5)(1) == Exponential(0.5)(1))"
    )
    done = run(code)
    assert done.stdout == "True\n", done.stderr


def test_pictures_say_which_extra_they_need():
    done = run(
        "import widevalley.valley; print('there'); from widevalley import plot", ("matplotlib",)
    )
    assert done.stdout == "there\n"
    assert done.stderr.splitlines()[-1] == (
        "ImportError: widevalley.plot needs matplotlib: pip install 'widevalley[plot]'"
    )


def test_instruments_say_which_extra_they_need():
    done = run("import widevalley; print('there'); import widevalley.valley", ("numpy",))
    assert done.stdout == "there\n"
    assert done.stderr.splitlines()[-1] == (
        "ImportError: widevalley.valley needs numpy: pip install 'widevalley[valley]'"
    )


def test_condas_recipe_asks_for_what_the_package_does():
    recipe = (ROOT / "conda/recipe.yaml").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert f'version: "{widevalley.__version__}"' in recipe
    asked = dict(re.findall(r"- ([\w-]+) >=([\d.]+)", recipe))
    assert asked.pop("hatchling") == "1.27"
    assert asked.pop("python") == project["requires-python"].removeprefix(">=")
    ours = {*project["dependencies"], *extras["valley"], *extras["experiments"]}
    named = dict(one.split(">=") for one in ours)
    assert asked == {CONDA.get(name, name): least for name, least in named.items()}
