"""docs/theory.md: the paper's equations, the functions that check them, and what these gave."""

from __future__ import annotations

from pathlib import Path

from widevalley.experiments import THEORY_CHECKS
from widevalley.report.table import markdown_table

INTRODUCTION = """\
# The theory, in numbers

Equations of the paper (sections 3 and 4.4, Appendices B and C), each with the function of
`widevalley.valley` that checks it and the number it gave. `widevalley theory --to docs/theory.md`
makes this page. Notation: f the loss, x the anchor, γ the scope, F(x, γ) the local entropy,
log ∫ exp(-f(x') - γ/2 ‖x - x'‖²) dx'. The Lemma assumes that f is α-Lipschitz and β-smooth, and
that no eigenvalue of its Hessian lies in [-2γ - c, c]. Bold is where the paper says too much.
"""


def write_theory(file: Path) -> Path:
    """Run every check and write the page."""
    rows = [[check.section, check.equation, check.by, check.run()] for check in THEORY_CHECKS]
    file.parent.mkdir(parents=True, exist_ok=True)
    table = markdown_table((["section", "equation", "by", "found"], rows))
    table = table.replace("---:", "---")  # columns of text, not of numbers
    file.write_text(f"{INTRODUCTION}\n{table}")
    return file
