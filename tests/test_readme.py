"""What the README shows runs as it stands."""

import re
from pathlib import Path

import torch

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)


def test_python_blocks_run_one_after_the_other(capsys):
    torch.manual_seed(0)
    names = {}
    for block in BLOCKS:
        exec(compile(block, str(README), "exec"), names)
    loss, *_, share = capsys.readouterr().out.split()
    assert float(loss) < 0.6
    assert 0 < float(share) < 1


def test_there_is_an_example():
    assert BLOCKS


def test_relative_links_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README.read_text()):
        assert (README.parent / target).exists(), target
