"""The page of a report: what it holds, and whether it lives in a real browser."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
import write_report

from widevalley.report import find_groups, pictures_in, write_page
from widevalley.valley.hessian import Density, Spectrum
from widevalley.valley.landscape import Slice, toy_landscape

RUNS = Path(__file__).parents[2] / "results/digits"
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    title = "Digits </script> & <others>"
    file = tmp_path_factory.mktemp("page") / "report.html"
    return write_page(find_groups(RUNS), title, file, (), pictures_in(RUNS.parent))


@pytest.fixture(scope="module")
def page(file):
    """The page in a browser 390 wide, and what its console said."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not BROWSER:
        pytest.skip("there is no chromium here")
    said = []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 800})
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.route(re.compile("^https?:"), lambda route: said.append(route.request.url))
        page.goto(file.as_uri())
        page.wait_for_selector("#toy .scatterlayer")
        yield page, said
        browser.close()


def data_of(file):
    pattern = r'<script id="data" type="application/json">(.*?)</script>'
    return json.loads(re.search(pattern, file.read_text()).group(1))


def test_it_holds_the_runs_and_the_packages_own_local_entropies(file):
    text, data = file.read_text(), data_of(file)
    assert {group["name"] for group in data["groups"]} == {
        "entropy-sgd",
        "entropy-adam",
        "sgd",
        "adam",
    }
    last = json.loads((RUNS / "adam/seed-0/metrics.jsonl").read_text().splitlines()[-1])
    (adam,) = (group for group in data["groups"] if group["name"] == "adam")
    assert adam["runs"][0]["test_error"][-1] == last["test_error"]
    assert "<td>6.60 ± 0.20</td>" in text
    assert "&lt;/script&gt; &amp; &lt;others&gt;</h1>" in text
    toy, at = data["toy"], 10
    same = toy_landscape((toy["gammas"][at], min(toy["gammas"])))
    assert torch.allclose(torch.tensor(toy["entropies"][at]).double(), same.entropies[0], atol=1e-4)


def test_the_example_among_the_docs_is_up_to_date(tmp_path):
    made = data_of(write_report.write(tmp_path / "report.html"))
    assert data_of(write_report.PAGE) == made, "run: make docs"


def test_pictures_hold_what_instruments_measured():
    found = {picture["name"]: picture for picture in pictures_in(RUNS.parent)}
    spectrum, density, line, plane = (
        found[name]
        for name in (
            "spectra/small-lenet/spectrum",
            "spectra/mnistfc/density",
            "studies/flatness/mnistfc/landscapes/adam/slices",
            "studies/flatness/mnistfc/landscapes/three/plane",
        )
    )
    size = Spectrum.load(RUNS.parent / "spectra/small-lenet/spectrum.npz").size
    whole, inner = (sum(trace["y"]) for trace in spectrum["traces"])
    assert whole == size  # structural zeros among them
    assert inner == pytest.approx(0.98 * size, abs=2)
    assert sum(density["traces"][0]["y"]) == pytest.approx(1, rel=1e-4)
    assert Density.load(RUNS.parent / "spectra/mnistfc/density.npz").size > 1e6
    lines = Slice.load(RUNS.parent / "studies/flatness/mnistfc/landscapes/adam/slices.npz")
    assert len(line["traces"]) == len(lines.loss)
    assert line["traces"][3]["y"] == pytest.approx(lines.loss[3], rel=1e-5)
    three = Slice.load(RUNS.parent / "studies/flatness/mnistfc/landscapes/three/plane.npz")
    assert plane["traces"][0]["customdata"][1][2] == pytest.approx(three.loss[2, 1], rel=1e-5)
    assert plane["traces"][1]["text"] == list(three.marks)


@pytest.mark.slow
def test_it_lives_in_a_browser(page):
    """Sliders move, walkers walk, axes switch; a phone scrolls down alone; nothing complains."""
    page, said = page
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert "−F is least at x = 810" in page.inner_text("#where")
    page.focus("#gamma")
    for _ in range(15):
        page.keyboard.press("ArrowLeft")
    assert page.inner_text("#scope") == "1.0e-3"
    assert re.search("−F is least at x = 29.", page.inner_text("#where"))
    page.click("#walk")
    page.wait_for_function("document.getElementById('where').textContent.indexOf('at 810.') < 0")
    page.click("#walk")
    page.select_option("#axis", "seconds")
    page.select_option("#field", "test_loss")
    page.check("#smooth")
    assert page.text_content("#curves .xtitle") == "seconds"
    assert page.text_content("#curves .ytitle") == "test loss"
    for name in ("spectra/small-lenet/spectrum", "spectra/mnistfc/density"):
        page.select_option("#which", label=name)
        page.wait_for_selector("#picture .bars")
    page.select_option("#which", label="studies/flatness/mnistfc/landscapes/three/plane")
    page.wait_for_selector("#picture .contourlayer")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.emulate_media(media="print")
    assert not page.is_visible("#axis")
    assert page.is_visible("#curves")
    assert said == []
