"""What the README shows runs as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import write_choices
import write_picture

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)


def test_python_blocks_run_one_after_the_other(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names = {}
    for block in BLOCKS:
        exec(compile(block, str(README), "exec"), names)
    loss, *_, share = capsys.readouterr().out.split()
    assert float(loss) < 0.6
    assert 0 < float(share) < 1
    assert (tmp_path / "density.png").stat().st_size > 5000


def test_the_list_of_who_it_is_for_says_what_results_do():
    """By the rows of the picture below it, which are read from run folders."""
    shares = {words: gap.middle for words, gap in write_picture.rows()}
    text = " ".join(README.read_text().split())
    for words, pattern in (
        (
            "error, 40 % wrong labels: Entropy-SGD – AdamW",
            r"Entropy-SGD has (\S+) % error, "
            r"AdamW ([\d.]+)",
        ),
        (
            "loss, 1,000 images: Entropy-Adam – AdamW",
            r"reaches (\S+) nats .*? AdamW (\S+) and",
        ),
        (
            "loss, small GPT in 4 bits: rounded gradients – AdamW",
            r"in 4 bits has (\S+) nats, AdamW's ([\d.]+);",
        ),
    ):
        ours, theirs = map(float, re.search(pattern, text).groups())
        assert shares[words] == pytest.approx(100 * (ours / theirs - 1), abs=0.3), words
    for words, pattern in (
        ("curvature at equal loss: Entropy-SGD – AdamW", r"\(trace (\S+),"),
        (
            "curvature at equal loss: Entropy-SGD – SGD at 0.1",
            r"and (\S+) and \S+ of SGD",
        ),
    ):
        share = float(re.search(pattern, text).group(1))
        assert shares[words] == pytest.approx(100 * (share - 1), abs=0.6), words


def test_there_is_an_example():
    assert BLOCKS


def test_relative_links_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README.read_text()):
        assert (README.parent / target).exists(), target


def test_files_that_the_architecture_names_exist():
    """Each file of the floors above the library; `a.py` alone may stand on any of them."""
    text = (README.parent / "docs/architecture.md").read_text()
    above = text[: text.index("## The optimizers")] + text[text.index("## Data and networks") :]
    paths = [str(path) for path in (README.parent / "src/widevalley").rglob("*.py")]
    named = set(re.findall(r"[\w/]+\.py\b", above))
    assert len(named) > 50
    for name in named:
        assert any(path.endswith(f"/{name}") for path in paths), name


def blocks_of_how_to_choose():
    page = (README.parent / "docs/how-to-choose.md").read_text()
    return re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)


@pytest.mark.parametrize("block", blocks_of_how_to_choose())
def test_each_block_of_how_to_choose_trains(block):
    """With nothing but a model and data; what the block leaves to a loop is done after it."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    names = {"model": model, "x": torch.randn(32, 4), "y": torch.randint(3, (32,))}

    def loss():
        return torch.nn.functional.cross_entropy(model(names["x"]), names["y"])

    before = loss().item()
    exec(compile(block, "how-to-choose.md", "exec"), names)
    optimizers = names.get("optimizers", [names.get("optimizer")])
    schedulers = [names["scheduler"]] if "scheduler" in names else []
    for _ in range(names.get("steps", 300)):
        loss().backward()
        for one in (*optimizers, *schedulers):
            one.step()
        model.zero_grad()
    for optimizer in optimizers:
        optimizer.eval()
    assert loss().item() < before - 0.1


def test_the_table_of_how_to_choose_is_up_to_date():
    assert write_choices.PAGE.read_text() == write_choices.page(), "run: make docs"


def test_python_blocks_of_the_first_page_run_one_after_the_other(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    page = README.parent / "docs/start.md"
    names = {}
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL):
        exec(compile(block, str(page), "exec"), names)
    assert names["loss"] < 0.3
    assert names["curvature"].value > 0
    assert (tmp_path / "model.pt").exists()
    assert (tmp_path / "density.png").stat().st_size > 5000


def test_links_between_pages_lead_somewhere():
    for page in (README.parent / "docs").glob("*.md"):
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_page_is_in_the_site():
    named = set(re.findall(r": ([\w/-]+\.md)", (README.parent / "mkdocs.yml").read_text()))
    pages = {page.name for page in (README.parent / "docs").glob("*.md")}
    assert named == pages | {"index.md", "results/README.md"}


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "-d", tmp_path]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=README.parent, env=quiet, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    for page in ("index", "start", "results/index"):
        assert "widevalley" in (tmp_path / f"{page}.html").read_text()
