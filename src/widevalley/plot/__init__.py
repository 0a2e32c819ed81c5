"""Pictures of what the instruments measured: results and arrays in, matplotlib axes out.

Every function draws into `ax`, or into a new figure where it is None, and returns the axes; the
numbers come first and the picture is drawn from them alone. `figure` makes the whole picture of a
result. Needs matplotlib and rich: `pip install 'widevalley[plot]'`.
"""

try:
    import matplotlib as _matplotlib  # noqa: F401
    import rich as _rich  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"widevalley.plot needs {error.name}: pip install 'widevalley[plot]'"
    ) from error

from widevalley.plot.comparisons import forest, learning_curves
from widevalley.plot.landscapes import contours, local_entropy, slices, walks
from widevalley.plot.progress import progress_bar
from widevalley.plot.spectra import density, diagonal, ritz_weights, spectrum, spectrum_by_rank
from widevalley.plot.style import STYLES, caption, empty_figure, label
from widevalley.plot.whole_figures import figure, planes_figure, walks_figure

__all__ = [
    "STYLES",
    "caption",
    "contours",
    "density",
    "diagonal",
    "empty_figure",
    "figure",
    "forest",
    "label",
    "learning_curves",
    "local_entropy",
    "planes_figure",
    "progress_bar",
    "ritz_weights",
    "slices",
    "spectrum",
    "spectrum_by_rank",
    "walks",
    "walks_figure",
]
