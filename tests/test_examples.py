"""Every file of examples/ runs to its end, under the libraries that it is for, and learns."""

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py") if path.stem != "digits")
ROOT = EXAMPLES.parent
RUN = """
import runpy, sys
sys.path[:0] = [{folder!r}, {root!r}]
import tests.torchvision_hidden
runpy.run_path({file!r}, run_name="__main__")
"""


def run(name, folder, *launcher):
    file = EXAMPLES / f"{name}.py"
    for node in ast.walk(ast.parse(file.read_text())):
        names = [alias.name for alias in getattr(node, "names", ())]
        module = getattr(node, "module", None) or (names[0] if isinstance(node, ast.Import) else "")
        top = module.partition(".")[0]
        if top and top != "digits" and importlib.util.find_spec(top) is None:
            pytest.skip(f"needs {top}")
    code = ["-c", RUN.format(folder=str(EXAMPLES), root=str(ROOT), file=str(file))]
    done = subprocess.run(
        [sys.executable, *(launcher or code), *([str(file)] if launcher else [])],
        cwd=folder, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "widevalley" not in done.stderr, done.stderr  # no warning of ours
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name in NAMES if name not in ("small_gpt", "local_walks")]
)
def test_it_classifies_digits(name, tmp_path):
    (error,) = re.findall(r"test error ([\d.]+) %", run(name, tmp_path))
    assert float(error) < 15


@pytest.mark.slow
def test_the_average_of_anchors_takes_the_place_of_a_schedule(tmp_path):
    said = run("small_gpt", tmp_path)
    walker, average = re.findall(r"([\d.]+)(?: nats)", said)
    assert float(average) < float(walker) < 1.5


@pytest.mark.slow
def test_two_workers_walk_alone(tmp_path):
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    (error,) = re.findall(r"test error ([\d.]+) %", run("local_walks", tmp_path, *launcher))
    assert float(error) < 15


def test_the_page_names_every_example():
    page = (EXAMPLES.parent / "docs/frameworks.md").read_text()
    assert {name for name in NAMES if f"examples/{name}.py" not in page} == set()
