"""The command line as its user sees it: exit codes, one-line complaints, what is left on disk."""

import dataclasses
import errno
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import widevalley
from widevalley.cli import main
from widevalley.cli import verb as verb_module
from widevalley.cli.command_line import VERBS
from widevalley.cli.watch_verb import Watch
from widevalley.experiments import CONTESTS, PAPER, RECIPES
from widevalley.training import RunFolder

FAST = ["--epochs", "1", "--threads", "1"]


@pytest.fixture(autouse=True)
def _inside_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.mark.parametrize("arguments", [[], ["--help"], ["train", "--help"]])
def test_help_names_verbs_and_recipes(capsys, arguments):
    assert main(arguments) == 0
    out = capsys.readouterr().out
    for word in ("train", "compare", "sweep", "report", *RECIPES):
        assert word in out


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_of_a_verb_is_that_verbs(capsys, verb, flag):
    assert main([verb.name, flag]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: widevalley {verb.name} ")
    fields = {f.name.replace("_", "-") for f in dataclasses.fields(verb)}
    positional = {"recipe", "recipes", "folder", "target", "ends"}
    if verb.name == "flatness":
        positional.add("runs")
    for name in fields - positional - {"config", "arguments"}:
        assert f"--{name} " in out


def test_the_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"widevalley {widevalley.__version__}\n"


def test_without_tyros_hook_its_own_words_are_shown(capsys, monkeypatch):
    monkeypatch.setattr(verb_module, "tyro_errors", None)
    assert main(["train", "digits", "--epochs", "many"]) == 2
    assert "could not convert string to float: 'many'" in capsys.readouterr().err


def test_flags_of_a_comparison_are_read_over_each_optimizers_own_defaults(tmp_path):
    flags = ["--optimizers", "entropy-sgd,sgd", *FAST, "--dropout", "0.1"]
    assert RECIPES["digits"].config("entropy-sgd").dropout == 0.1
    assert RECIPES["digits"].config("sgd").dropout == 0.3
    assert main(["compare", "digits", *flags]) == 0
    assert RunFolder(tmp_path / "runs/digits/sgd/seed-0").config["dropout"] == 0.1


@pytest.mark.parametrize("optimizer", RECIPES["digits"].optimizers)
def test_help_shows_every_field_with_the_tuned_default(capsys, optimizer):
    assert main(["train", "digits", "--optimizer", optimizer, "--help"]) == 0
    out = re.sub(r"[\s│]+", " ", capsys.readouterr().out)
    config = RECIPES["digits"].config(optimizer)
    names = [f.name for f in dataclasses.fields(config) if f.name != "optimizer"]
    names += [f"optimizer.{f.name}" for f in dataclasses.fields(config.optimizer)]
    for name in names:
        assert f"--{name.replace('_', '-')} " in out
    assert f"(default: {config.optimizer.lr})" in out


BAD = [
    (["bake"], "no verb 'bake'; there are train, compare, sweep, report, reproduce"),
    (["train"], r"train needs a RECIPE \(digits, mnistfc, .*\) right after it"),
    (["train", "cifar"], "no recipe 'cifar'; there are digits, mnistfc"),
    (["train", "digits", "--optimizer", "lion"], "optimizer 'lion': digits has optimizers"),
    (["train", "digits", "--optimizer"], "--optimizer needs a value"),
    (["train", "digits", "--optimizer=sgd", "--optimizer", "adam"], "--optimizer is given twice"),
    (["train", "digits", "--epochs", "-1"], r"epochs=-1.0: must be above 0"),
    (["train", "digits", "--epochs", "many"], "Error parsing --epochs"),
    (
        ["train", "digits", "--schedule", "steps"],
        "invalid choice 'steps' for argument '--schedule'",
    ),
    (["train", "digits", "--optimizer", "sgd", "--optimizer.gamma", "1"], "--optimizer.gamma"),
    (["train", "digits", "--optimizer.gamma", "-1"], "gamma must be >= 0"),
    (["train", "digits", "--seeds", "0"], "seeds=0: must be at least 1"),
    (["train", "digits", "extra"], "extra"),
    (["compare", "digits", "--optimizer.lr", "1"], "compare takes each optimizer's tuned settings"),
    (["compare", "digits", "--optimizers", "sgd,lion"], "optimizer 'lion'"),
    (["sweep", "digits", "--grid", "dropout"], "--grid dropout: must be FIELD=VALUE,VALUE"),
    (["sweep", "digits", "--grid", "dropped=1"], "--dropped"),
    (["sweep", "digits", "--grid", "runs=1"], "a run has no setting runs"),
    (["sweep", "digits", "--grid", "dropout=.1,x"], "could not convert string to float: 'x'"),
    (["report", "nowhere"], "nowhere: no finished run"),
    (["train", "ptb", "--variant", "last"], "variant 'last': ptb has variants paper, basel"),
    (["train", "mnistfc", "--variant", "paper", "--optimizer", "sgd"], "exclude each other"),
    (["train", "digits", "--variant", "paper"], "variant 'paper': digits has optimizers"),
    (["train", "lenet", "--clip", "-1"], "clip=-1.0: must be at least 0"),
    (["compare", "ptb"], "ptb has variants paper, .*: see widevalley reproduce"),
    (
        ["reproduce", "digits"],
        "no row 'digits'; there are mnistfc, lenet, allcnn, ptb, ptb-medium, charlstm",
    ),
    (
        ["compare", "mnist-noise"],
        "mnist-noise has variants .*: see widevalley compare --methods all",
    ),
    (["train", "mnist-noise", "--optimizer", "adamw"], "has variants .*, so --variant adamw"),
    (["sweep", "digits", "--grid", "lr=1,2"], "--grid lr=1,2: must be optimizer.lr=1,2"),
    (["reproduce", "lenet", "--variants", "last"], "variant 'last': there are paper, baseline"),
    (["reproduce", "lenet", "--scale", "tiny"], "invalid choice 'tiny'"),
    (["reproduce", "lenet", "--seeds", "0"], "seeds=0: must be at least 1"),
    (["train", "digits", "--schedule-from", "inf"], "schedule_from=inf: must be at least 0 and fi"),
    (["train", "digits", "--optimizer", ""], "an argument is empty: ''"),
    (["compare", "digits", "--optimizers="], "an argument is empty: '--optimizers='"),
    (["claims", ""], "an argument is empty: ''"),
    (["sweep", "digits", "--grid", "=1"], "--grid =1: must be FIELD=VALUE,VALUE"),
    (["landscape", "toy", "--gammas", "inf"], "gamma=inf: must be above 0"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[" ".join(a) for a, _ in BAD])
def test_misuse_is_one_line_and_code_2(capsys, tmp_path, arguments, message):
    assert main(arguments) == 2
    out, errors = capsys.readouterr()
    assert out == ""
    assert errors.startswith("widevalley: ")
    assert errors.count("\n") == 1
    assert re.search(message, errors)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("verb", ["train", "sweep", "compare"])
def test_every_recipe_has_help(capsys, verb, recipe):
    if verb == "compare" and not (RECIPES[recipe].compared or recipe in CONTESTS):
        assert main([verb, recipe, "--help"]) == 2
        return
    assert main([verb, recipe, "--help"]) == 0
    assert "--seeds" in capsys.readouterr().out


@pytest.mark.parametrize("line", [["train", "digits", "--runs"], ["report"], ["theory", "--to"]])
def test_a_path_that_no_disk_takes_is_one_line(capsys, line):
    assert main([*line, "/" + "y" * 5000]) == 1
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert "File name too long" in errors


def test_a_bad_optimizer_is_refused_before_data_are_asked_for(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("WIDEVALLEY_DATA", str(tmp_path / "empty"))
    assert main(["train", "mnistfc", "--optimizer.gamma", "-1"]) == 2
    assert "gamma must be >= 0" in capsys.readouterr().err


def test_a_full_disk_is_one_line_and_the_run_goes_on(capsys, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    train = ["train", "digits", *FAST]
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert main(train) == 1
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert "No space left on device" in errors
    assert list(Path("runs").rglob("*.part")) == []
    assert main(train) == 0


def test_train_then_the_same_again_then_other_settings(capsys):
    train = ["train", "digits", "--optimizer", "adam", *FAST, "--seeds", "2"]
    assert main([*train, "--optimizer.lr", "2e-3"]) == 0
    out = capsys.readouterr().out
    assert "runs/digits/adam/seed-1" in out
    folder = RunFolder(Path("runs/digits/adam/seed-1"))
    assert folder.config["optimizer"]["lr"] == 2e-3
    assert folder.config["epochs"] == 1
    assert main([*train, "--optimizer.lr", "2e-3"]) == 0
    assert len(folder.environments) == 1
    capsys.readouterr()
    assert main([*train, "--optimizer.lr", "3e-3"]) == 2
    assert "optimizer.lr 0.002 there, 0.003 now" in capsys.readouterr().err


def test_compare_then_report(capsys, tmp_path):
    assert (
        main(["compare", "digits", "--optimizers", "sgd,entropy-sgd", "--seeds", "2", *FAST]) == 0
    )
    out = capsys.readouterr().out
    assert "table:  runs/digits/table.md" in out
    assert "curves: runs/digits/curves.png" in out
    assert (tmp_path / "runs/digits/curves.png").stat().st_size > 10_000
    assert main(["report", "runs/digits", "--to", "results/digits"]) == 0
    assert (tmp_path / "results/digits/entropy-sgd/seed-1/metrics.jsonl").is_file()
    assert main(["report", "results/digits"]) == 0


def test_report_of_unfinished_runs(capsys, tmp_path):
    assert main(["train", "digits", "--optimizer", "sgd", *FAST]) == 0
    metrics = Path("runs/digits/sgd/seed-0/metrics.jsonl")
    metrics.write_text(metrics.read_text().replace(', "final": true', ""))
    assert main(["report", "runs/digits", "--to", "results"]) == 2
    assert not (tmp_path / "results").exists()
    assert main(["report", "runs/digits", "--unfinished", "--to", "results"]) == 0
    assert "sgd (partial)" in capsys.readouterr().out
    assert (tmp_path / "results/sgd/seed-0/metrics.jsonl").is_file()


@pytest.mark.slow
def test_a_reader_that_leaves_early_is_no_error(tmp_path):
    command = [sys.executable, "-m", "widevalley", "reproduce", "--report-only"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_reproduce_without_data_or_runs(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("WIDEVALLEY_DATA", str(tmp_path / "empty"))
    assert main(["reproduce", "--report-only"]) == 0
    assert capsys.readouterr().out.count("not run") == 2 * sum(
        len(r.variants) for r in PAPER.values()
    )
    assert main(["reproduce", "lenet", "--variants", "best", "--scale", "small"]) == 1
    out, errors = capsys.readouterr()
    assert "train-images-idx3-ubyte.gz is missing" in out
    assert errors == "widevalley: not at their end: lenet best seed 0\n"
    assert (tmp_path / "runs-small/table.md").is_file()


@pytest.mark.slow
def test_reproduce_small_then_report_and_copy(real_data, capsys, tmp_path):
    flags = ["--scale", "small", "--seeds", "2", "--threads", "1"]
    assert main(["reproduce", "mnistfc", "lenet", *flags]) == 0
    out = capsys.readouterr().out
    assert out.count("not run") == 0
    assert "written: runs-small/figure-4.png" in out
    assert not (tmp_path / "runs").exists()
    assert main(["report", "runs-small/lenet", "--to", "results/lenet"]) == 0
    assert main(["reproduce", "lenet", "--report-only", "--runs", "results"]) == 0
    assert "lenet best" in (tmp_path / "results/table.md").read_text()


@pytest.mark.slow
def test_train_a_variant_and_sweep_it(real_data, capsys, tmp_path):
    flags = ["--variant", "baseline", "--epochs", ".02", "--evaluate-every", ".02"]
    assert main(["train", "lenet", *flags]) == 0
    assert (tmp_path / "runs/lenet/baseline/seed-0/checkpoint.pt").is_file()
    assert main(["sweep", "lenet", *flags, "--grid", "optimizer.lr=1e-3,1e-4"]) == 0
    assert "lenet baseline, 2 trials" in capsys.readouterr().out
    assert len(list((tmp_path / "runs/lenet/sweeps/baseline").glob("*/seed-0"))) == 2


def test_sweep_reads_values_as_flags_are_read(capsys, tmp_path):
    sweep = ["sweep", "digits", "--optimizer", "adam", *FAST]
    sweep += ["--grid", "optimizer.betas=.9 .99,.8 .9", "--grid", "optimizer.weight-decay=0,1e-3"]
    assert main(sweep) == 0
    assert "4 trials" in capsys.readouterr().out
    runs = sorted((tmp_path / "runs/digits/sweeps/adam").glob("*/seed-0"))
    assert len(runs) == 4
    assert {tuple(RunFolder(run).config["optimizer"]["betas"]) for run in runs} == {
        (0.9, 0.99),
        (0.8, 0.9),
    }
    assert all(RunFolder(run).config["holdout"] == 397 for run in runs)


def test_a_diverging_run_is_one_line_and_code_1(capsys):
    arguments = ["train", "digits", "--optimizer", "sgd", "--optimizer.lr", "1e6", *FAST]
    assert main(arguments) == 1
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert "no longer finite after steps 1 to 40" in errors


def test_absent_data_is_one_line_and_code_1(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("WIDEVALLEY_DATA", str(tmp_path / "empty"))
    assert main(["train", "mnistfc"]) == 1
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert "train-images-idx3-ubyte.gz is missing" in errors
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_mnistfc_learns(real_data, capsys):
    flags = ["--epochs", ".1", "--evaluate-every", ".1"]
    assert main(["train", "mnistfc", *flags]) == 0
    folder = RunFolder(Path("runs/mnistfc/entropy-sgd/seed-0"))
    assert folder.records[-1]["gradients"] == 47
    assert folder.records[-1]["test_error"] < 20


def test_a_warning_is_one_line_without_code(capsys, monkeypatch):
    def run(_):
        warnings.warn("chains have\nnot mixed", stacklevel=1)

    monkeypatch.setattr(Watch, "run", run)
    with warnings.catch_warnings():  # the suite's own filter makes errors of them
        warnings.simplefilter("default")
        assert main(["watch", "runs"]) == 0
    assert capsys.readouterr().err == "widevalley: chains have not mixed\n"


@pytest.mark.parametrize("encoding", ["ascii", pytest.param("utf-8", marks=pytest.mark.slow)])
def test_complaints_are_one_line_in_any_encoding(encoding, tmp_path):
    command = [sys.executable, "-m", "widevalley", "train", "digits", "--epochs", "many"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "widevalley: Error parsing --epochs: could not convert string to float: 'many'\n"
    )
