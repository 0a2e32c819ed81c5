"""docs/theory.md: the paper's equations, the functions that check them, and what these gave."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from widevalley.experiments import PAC_BAYES_CHECKS, THEORY_CHECKS, TheoryCheck
from widevalley.report.table import markdown_table

INTRODUCTION = """\
# The theory, in numbers

Equations of the paper (sections 3 and 4.4, Appendices B and C), each with the function of
`widevalley.valley` that checks it and the number it gave. `widevalley theory --to docs/theory.md`
makes this page. Notation: f the loss, x the anchor, γ the scope, F(x, γ) the local entropy,
log ∫ exp(-f(x') - γ/2 ‖x - x'‖²) dx'. The Lemma assumes that f is α-Lipschitz and β-smooth, and
that no eigenvalue of its Hessian lies in [-2γ - c, c]. Bold is where the paper says too much.
"""


PAC_BAYES = """\
## PAC-Bayes

`theory.pac_bayes`, after Dziugaite and Roy, "Entropy-SGD optimizes the prior of a PAC-Bayes bound"
(ICML 2018); the table names its sections. Weights drawn from a distribution Q err with probability
R, and on m samples with frequency r. f is the mean loss over the samples; the loss of one sample
lies in an interval of length ℓ. τ is the inverse temperature, 2/noise² of a walk; kl(q ‖ p) is the
relative entropy of two coins; ε here measures how private x is, not the noise of a walk.

    P = N(x, I/(τγ)),   Q(x') ∝ P(x') exp(-τ f(x')),   ln Z(x) = ln E_P exp(-τ f) = F(x, γ) + const
    with probability 1 - δ, for all Q:   kl(r ‖ R) ≤ (KL(Q ‖ P) + ln(2 √m / δ) + c) / m
    c = 0 where x has not seen the samples
    c = m ε²/2 + ε √(m ln(4/δ) / 2) + ln 2 where x is ε-differentially private
    ε = 2 τ ℓ / m where x is one draw from exp(ln Z), or from exp(-τ f), times a law that is fixed

Proven are the bound for a fixed prior (with Maurer's constant), c (the max-information of a
private choice; the ICML paper has 2 max(ln(3/δ), m ε²) instead of c + ln(1/δ)), and ε of an
exact draw. KL(Q ‖ P) is bounded by Markov's inequality from independent draws of P; E_Q f in it and
r of the Gibbs distribution are means over a walk. Assumed are that a walk of finite length and step
size is an exact draw, so that x is as private as ε says, and that the walk's means are those of Q.
The prior as its own posterior (KL = 0, drawn exactly) does not need the second assumption; held-out
samples and `chernoff_bound` need neither.
[results/pac-bayes](../results/pac-bayes/table.md) has the bounds beside test errors.

"""


def write_theory(file: Path) -> Path:
    """Run every check and write the page."""
    file.parent.mkdir(parents=True, exist_ok=True)
    tables = [_table(THEORY_CHECKS), _table(PAC_BAYES_CHECKS)]
    file.write_text(f"{INTRODUCTION}\n{tables[0]}\n{PAC_BAYES}{tables[1]}")
    return file


def _table(checks: Sequence[TheoryCheck]) -> str:
    rows = [[check.section, check.equation, check.by, check.run()] for check in checks]
    table = markdown_table((["section", "equation", "by", "found"], rows))
    return table.replace("---:", "---")  # columns of text, not of numbers
