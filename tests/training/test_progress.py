"""Bars fit their terminal; elsewhere there are a few plain lines."""

import io

import pytest
from rich.console import Console

from widevalley.training.progress import Bars

RECORD = {"gradients": 4000, "train_loss": 0.12345, "test_error": 12.3456}


def shown(*, terminal, final, name="entropy-adam seed 0", width=80):
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=terminal, color_system=None)
    with Bars(console) as bars:
        bar = bars.run(name)
        bar.start(1000, 4000)
        bar.update(2000)
        bar.record(RECORD | ({"final": True} if final else {}))
    return out.getvalue()


def test_a_bar_fits_in_80_columns():
    last = shown(terminal=True, final=True).splitlines()[-2]
    for part in ("entropy-adam seed 0", "4,000/4,000", "train 0.123", "error 12.35 %"):
        assert part in last
    assert "…" not in last


@pytest.mark.parametrize(("width", "end"), [(80, "0.001 seed 0"), (70, "seed 0")])
def test_a_long_name_gives_way_to_the_bar(width, end):
    name = "entropy-adam optimizer.lr=0.001 seed 0"
    last = shown(terminal=True, final=True, name=name, width=width).splitlines()[-2]
    assert f"{end} " in last
    assert "━━━━━━ 4,000/4,000 train 0.123 error 12.35 %" in last
    assert last.count("…") == 1


def test_plain_lines_say_what_is_left(monkeypatch):
    clock = iter([0.0, 0.0, 30.0, 30.0, 30.0])
    monkeypatch.setattr("widevalley.training.progress.time.monotonic", lambda: next(clock))
    out = io.StringIO()
    bar = Bars(Console(file=out, width=80, force_terminal=False)).run("sgd seed 0")
    bar.start(1000, 6000)
    bar.record(RECORD)
    assert out.getvalue().rstrip().endswith("error 12.35 %  0:00:20 left")


def test_plain_output_is_one_line_a_short_run():
    assert shown(terminal=False, final=False) == ""
    assert shown(terminal=False, final=True) == (
        "entropy-adam seed 0  4,000/4,000 gradients  train 0.123 error 12.35 %\n"
    )
