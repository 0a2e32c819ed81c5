"""What the README shows runs as it stands."""

import re
from pathlib import Path

import pytest
import torch

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_python_blocks_run(block, capsys):
    torch.manual_seed(0)
    exec(compile(block, str(README), "exec"), {})
    assert float(capsys.readouterr().out) < 0.6


def test_there_is_an_example():
    assert BLOCKS


def test_relative_links_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README.read_text()):
        assert (README.parent / target).exists(), target
