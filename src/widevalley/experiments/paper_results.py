"""What the paper reports, by recipe and variant: its Table 1, and Appendix C for SGLD.

Chaudhari et al., "Entropy-SGD: Biasing Gradient Descent Into Wide Valleys", ICLR 2017.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Quoted:
    """A result as printed: error in percent, perplexity, or nats a character."""

    test: str
    validation: str = ""
    epochs: int | None = None
    """Effective epochs: gradient evaluations / batches in the training set."""


QUOTED: dict[tuple[str, str], Quoted] = {
    ("mnistfc", "paper"): Quoted("1.37 ± 0.03", epochs=120),
    ("mnistfc", "baseline"): Quoted("1.39 ± 0.03", epochs=66),
    ("lenet", "paper"): Quoted("0.50 ± 0.01", epochs=80),
    ("lenet", "baseline"): Quoted("0.51 ± 0.01", epochs=100),
    ("lenet", "sgld"): Quoted("0.63 ± 0.1", epochs=300),
    ("allcnn", "paper"): Quoted("7.81 ± 0.09", epochs=160),
    ("allcnn", "baseline"): Quoted("7.71 ± 0.19", epochs=180),
    ("allcnn", "sgld"): Quoted("9.89 ± 0.11", epochs=500),
    ("ptb", "paper"): Quoted("77.656 ± 0.171", "80.116 ± 0.069", epochs=25),
    ("ptb", "baseline"): Quoted("78.6 ± 0.26", "81.43 ± 0.2", epochs=55),
    ("ptb", "sgld"): Quoted("94.03"),
    ("charlstm", "paper"): Quoted("1.217 ± 0.005", "1.213 ± 0.007", epochs=25),
    ("charlstm", "baseline"): Quoted("1.226 ± 0.01", "1.224 ± 0.008", epochs=40),
    ("charlstm", "sgld"): Quoted("1.3375"),
}
