"""docs/pictures.md runs as it stands."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs/pictures.md"


@pytest.mark.slow
def test_blocks_run_one_after_the_other(tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(), flags=re.DOTALL)
    assert len([line for line in blocks[1].splitlines() if line]) == 5
    names = {}
    for block in blocks:
        exec(compile(block, str(DOCS), "exec"), names)
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {"density.png", "density.npz", "again.svg", "three.png", "bert.png"}
