"""docs/example-report.html: what `widevalley report` makes of results/digits and the spectra.

python docs/write_report.py
"""

from pathlib import Path

from widevalley.report import find_groups, pictures_in, write_page

RESULTS = Path(__file__).parents[1] / "results"
PAGE = Path(__file__).parent / "example-report.html"


def write(page: Path = PAGE) -> Path:
    """Write the page."""
    pictures = pictures_in(RESULTS / "spectra") + pictures_in(RESULTS / "studies")
    title = "Four optimizers on handwritten digits"
    return write_page(find_groups(RESULTS / "digits"), title, page, (), pictures)


if __name__ == "__main__":
    write()
