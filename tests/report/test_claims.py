"""What runs say of the paper's claims, from run folders written by hand."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from widevalley.cli import main
from widevalley.report import write_claims, write_power
from widevalley.report.claims import CLAIMS
from widevalley.report.evidence import Sample, below, difference, gradients_to, together
from widevalley.report.groups import folders_in, group_runs
from widevalley.report.power import power_of, seeds_for
from widevalley.report.results_folder import value_of
from widevalley.training import RunFolder

from .test_report import START

FASTER, AS_GOOD, LOSS, RATES, STEPS, NOISE, ANNEALING, WIDER, SGLD = (
    claim.title for claim in CLAIMS
)


def write_runs(root, path, curves, *, final="test", loss=0.01, **settings):
    """One run a curve, judged every 100 gradients."""
    for seed, errors in enumerate(curves):
        folder = RunFolder(root / path / f"seed-{seed}")
        about = {"recipe": path.split("/")[1], "optimizer": {"name": "sgd"}}
        folder.start(about | settings, START)
        for k, error in enumerate(errors, 1):
            last = {"final": True, "train_set_loss": loss + seed / 1000} if k == len(errors) else {}
            judged = {f"{final}_error": error, f"{final}_loss": error / 100}
            folder.append(
                {"gradients": 100 * k, "epoch": float(k), "seconds": 60.0, "train_loss": 0.1}
                | judged
                | last
            )


def verdicts(root):
    return dict(write_claims(root, root / "claims.md"))


def rows(root, title):
    section = (root / "claims.md").read_text().split(f"## {title}\n")[1].split("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("| ")][2:]


def test_the_interval_is_that_of_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 2, 5), rng.normal(0, 2, 3)
    ours = difference(Sample("a", tuple(a)), Sample("b", tuple(b)))
    oracle = stats.ttest_ind(a, b).confidence_interval(0.95)
    assert ours.middle == pytest.approx(a.mean() - b.mean())
    assert (ours.low, ours.high) == pytest.approx((oracle.low, oracle.high))


def test_a_single_run_is_held_against_the_scatter_of_the_others():
    gap = difference(Sample("one", (1.0,)), Sample("three", (2.0, 3.0, 4.0)))
    half = stats.t.ppf(0.975, 2) * math.sqrt(1 + 1 / 3)  # the three have variance 1
    assert (gap.middle, gap.high) == pytest.approx((-2, half - 2))


def test_two_single_runs_settle_nothing():
    gap = difference(Sample("one", (1.0,)), Sample("other", (9.0,)))
    assert below(gap) == "not settled"
    assert gap.shown(2) == "-8.00 (no interval)"


def test_verdicts_follow_the_bounds():
    gap = difference(Sample("a", (1.0, 1.1, 0.9)), Sample("b", (2.0, 2.1, 1.9)))
    assert below(gap) == "holds"
    assert below(gap, -0.9) == "not settled"
    assert below(gap, -2.0) == "does not hold"
    assert together(["holds", "not settled"]) == "not settled"
    assert together(["holds", "does not hold", "not settled"]) == "does not hold"
    assert together(["holds", "holds"]) == "holds"
    assert together([]) == "not settled"


def test_gradients_to_a_target(tmp_path):
    write_runs(tmp_path, "paper/lenet/best", [[5, 3, 1], [5, 4, 3]])
    (group,) = group_runs(folders_in(tmp_path / "paper/lenet/best"))
    assert gradients_to(group, 3).values == (200, 300)
    assert gradients_to(group, 1.5).values == (300, math.inf)
    assert gradients_to(group, 1.5, missed=7).values == (300, 7)


def test_a_results_folder_without_runs_settles_nothing(tmp_path):
    assert set(verdicts(tmp_path).values()) == {"not settled"}
    assert (tmp_path / "claims.md").read_text().count("Not run.") == len(CLAIMS)


def test_the_pairs(tmp_path):
    curve, slow = [9, 1.0, 0.9], [9, 8, 7, 6, 1.0, 0.9]
    write_runs(tmp_path, "paper/lenet/paper", [curve, [9, 1.0, 0.91], curve], loss=0.1)
    write_runs(tmp_path, "paper/lenet/baseline", [slow, [9, 8, 7, 6, 1.0, 0.92], slow])
    found = verdicts(tmp_path)
    assert found[FASTER] == "holds"  # at .99 or less after 300 gradients against 600
    assert rows(tmp_path, FASTER)[0].startswith(
        "| lenet | paper 300 ± 0 (3) | baseline 600 ± 0 (3)"
    )
    assert found[AS_GOOD] == "holds"
    assert found[LOSS] == "does not hold"
    assert found[SGLD] == "not settled"


def test_rows_at_a_part_of_their_epochs_say_so(tmp_path):
    write_runs(tmp_path, "paper/allcnn/paper", [[9, 1.0]], epochs=8.0)
    write_runs(tmp_path, "paper/allcnn/baseline", [[9, 1.1]], epochs=8.0)
    assert verdicts(tmp_path)[AS_GOOD] == "not settled"
    (row,) = rows(tmp_path, AS_GOOD)
    assert row.startswith("| allcnn, 8 of 200 epochs | paper 1.00 (1) |")
    assert row.endswith("| not settled (one seed) |")


def test_a_target_that_ours_never_reaches_refutes_speed(tmp_path):
    write_runs(tmp_path, "paper/lenet/paper", [[9, 8], [9, 8]])
    write_runs(tmp_path, "paper/lenet/baseline", [[9, 8, 1], [9, 8, 1]])
    assert verdicts(tmp_path)[FASTER] == "does not hold"


@pytest.mark.parametrize(("seeds", "verdict"), [(1, "not settled"), (2, "does not hold")])
def test_a_single_run_that_never_comes_there(tmp_path, seeds, verdict):
    """Against another single run it settles nothing, as nowhere else."""
    write_runs(tmp_path, "paper/lenet/paper", [[9, 8]])
    write_runs(tmp_path, "paper/lenet/baseline", [[9, 8, 1]] * seeds)
    assert verdicts(tmp_path)[FASTER] == verdict
    assert rows(tmp_path, FASTER)[0].endswith(f"| {verdict} (one seed) |")


def test_sgld_of_one_seed(tmp_path):
    write_runs(tmp_path, "paper/lenet/sgld", [[9, 2.0]])
    write_runs(tmp_path, "paper/lenet/baseline", [[9, 0.5], [9, 0.51], [9, 0.49]])
    assert verdicts(tmp_path)[SGLD] == "holds"
    assert "sgld 2.00 (1)" in rows(tmp_path, SGLD)[0]


def test_points_of_a_sweep_over_several_settings_come_last():
    names = ["lr=0.2,dropout=0.5", "lr=1e-1", "lr=none", "lr=3"]
    assert sorted(names, key=value_of) == ["lr=1e-1", "lr=3", "lr=0.2,dropout=0.5", "lr=none"]


def test_the_studies(tmp_path):
    def study(variant, setting, results):
        for value, error in results.items():
            path = f"studies/lenet/sweeps/{variant}/{setting}={value}"
            curves = [[9, error], [9, error + 0.01], [9, error - 0.01]]
            write_runs(tmp_path, path, curves, final="validation")

    study("entropy-sgd", "optimizer.langevin_steps", {5: 1.0, 20: 1.02})
    study("entropy-sgd", "optimizer.noise", {0: 1.0, 1: 1.5})
    study("entropy-sgd", "walk_schedule", {"constant": 1.0, "cosine": 1.5})
    study("entropy-sgd", "optimizer.lr", {1: 1.0, 3: 1.2, 10: 1.3})
    study("sgd", "optimizer.lr", {1: 1.0, 3: 1.4})
    found = verdicts(tmp_path)
    assert found[STEPS] == "holds"
    assert found[NOISE] == "does not hold"
    assert found[ANNEALING] == "holds"
    assert found[RATES] == "holds"
    assert "usable to 3 against 1" in rows(tmp_path, RATES)[0]
    lost = tmp_path / "studies/lenet/sweeps/sgd/optimizer.lr=10/seed-0"
    lost.mkdir(parents=True)
    (lost / "config.json").write_text("{}")
    RunFolder(lost).record_divergence(20)
    verdicts(tmp_path)
    assert "lr=3 1.40 ± 0.01 (3), lr=10 diverged" in rows(tmp_path, RATES)[0]


def test_width_is_read_from_flatness(tmp_path):
    def measured(name, seed, trace, loss):
        measures = {"trace": [trace, 0.1], "loss": [loss, 0.0], "smallest eigenvalue": [loss, 0.0]}
        return {"run": f"{name}/seed-{seed}", "measures": measures, "facts": {}}

    folder = tmp_path / "studies/flatness/mnistfc"
    folder.mkdir(parents=True)
    found = [measured("entropy-sgd", k, 1.0 + 0.01 * k, 9.0) for k in range(3)]
    found += [measured("sgd", k, 2.0 + 0.01 * k, 1.0) for k in range(3)]
    (folder / "flatness.json").write_text(json.dumps(found))
    assert verdicts(tmp_path)[WIDER] == "holds"
    (row,) = rows(tmp_path, WIDER)
    assert "mnistfc: trace" in row
    assert "entropy-sgd 1.01 ± 0.01 (3)" in row
    found += [measured("adam", k, 0.5 + 0.01 * k, 1.0) for k in range(3)]
    (folder / "flatness.json").write_text(json.dumps(found))
    assert verdicts(tmp_path)[WIDER] == "does not hold"


def test_the_command(tmp_path, capsys):
    write_runs(tmp_path, "paper/lenet/sgld", [[9, 2.0]])
    assert main(["claims", str(tmp_path)]) == 0
    assert f"not settled    {SGLD}" in capsys.readouterr().out
    assert "widevalley compare digits --seeds 3" in (tmp_path / "claims.md").read_text()
    assert main(["claims", str(tmp_path / "absent")]) == 2
    assert main(["claims", str(tmp_path), "--seeds", "3"]) == 2


@pytest.mark.parametrize(("effect", "seeds"), [(0.5, 64), (0.8, 26), (1.0, 17), (2.0, 6)])
def test_seeds_are_those_of_cohens_tables(effect, seeds):
    """Cohen (1988), two samples, 5 % on both sides, power 0.8, in standard deviations."""
    assert seeds_for(effect, 1.0) == seeds
    assert seeds_for(3 * effect, 3.0) == seeds


def test_seeds_that_nobody_has():
    assert seeds_for(0.01, 1.0) is None
    assert seeds_for(0.0, 1.0) is None
    assert seeds_for(0.1, 0.0) == 2


def test_power_is_how_often_simulated_seeds_settle():
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(3000, 2, 6)) + np.array([0.0, 1.5])[:, None]
    settled = [
        below(difference(Sample("a", tuple(a)), Sample("b", tuple(b)))) == "holds"
        for a, b in samples
    ]
    assert power_of(1.5, 1.0, 6) == pytest.approx(np.mean(settled), abs=0.03)


def test_the_page_of_power(tmp_path):
    """What is settled is left out; a margin counts; one seed a side has no spread."""
    write_runs(tmp_path, "paper/lenet/paper", [[9, 1.00], [9, 1.10]])
    write_runs(tmp_path, "paper/lenet/baseline", [[9, 1.00], [9, 1.12]])
    write_runs(tmp_path, "paper/mnistfc/best", [[9, 1.0]])
    write_runs(tmp_path, "paper/mnistfc/tuned", [[9, 1.0]])
    text = write_power(tmp_path, tmp_path / "power.md").read_text()
    section = text.split(f"## {AS_GOOD}\n")[1].split("\n## ")[0]
    one, two = [line for line in section.splitlines() if line.startswith("| ")][2:]
    assert one.startswith("| mnistfc: best, tuned | 1, 1 | 0.1 | unknown: one seed a side |")
    gap = 0.1 * 1.06 + 0.01  # a tenth of the baseline's mean, and the lead
    spread = math.sqrt((0.1**2 + 0.12**2) / 2 / 2)
    wanted = seeds_for(gap, spread)
    assert two.startswith(
        f"| lenet: paper, baseline | 2, 2 | {gap:.2g} | {spread:.2g} | {wanted} |"
    )
    write_runs(tmp_path, "paper/charlstm/paper", [[9, 1.0]])
    write_runs(tmp_path, "paper/charlstm/baseline", [[9, 2.0], [9, 2.1]])
    verdicts(tmp_path)
    assert rows(tmp_path, LOSS)[-1].endswith("(one seed) |")
