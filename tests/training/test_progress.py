"""Bars fit their terminal; elsewhere there are a few plain lines."""

import io

from rich.console import Console

from widevalley.training.progress import Bars

RECORD = {"gradients": 4000, "train_loss": 0.12345, "test_error": 12.3456}


def shown(*, terminal, final):
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=terminal, color_system=None)
    with Bars(console) as bars:
        bar = bars.run("entropy-adam seed 0")
        bar.start(1000, 4000)
        bar.update(2000)
        bar.record(RECORD | ({"final": True} if final else {}))
    return out.getvalue()


def test_a_bar_fits_in_80_columns():
    last = shown(terminal=True, final=True).splitlines()[-2]
    for part in ("entropy-adam seed 0", "4,000/4,000 gradients", "train 0.123", "error 12.35 %"):
        assert part in last
    assert "…" not in last


def test_plain_output_is_one_line_a_short_run():
    assert shown(terminal=False, final=False) == ""
    assert shown(terminal=False, final=True) == (
        "entropy-adam seed 0  4,000/4,000 gradients  train 0.123 error 12.35 %\n"
    )
