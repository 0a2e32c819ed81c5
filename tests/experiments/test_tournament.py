"""Tournaments: equal cost, fair choice, and runs that are made once."""

import json
import shutil
import threading
import time
from dataclasses import replace

import pytest

from widevalley.experiments import CONTESTS, METHODS, RECIPES, Parameter, Rules, play
from widevalley.experiments import tournament as played
from widevalley.experiments.search import Study, point_of
from widevalley.training import RunBusy, RunFolder

DIGITS = CONTESTS["digits"]
RULES = Rules(budget=40, trials=3, seeds=2)


def folders_in(folder, pattern):
    return [RunFolder(file.parent) for file in sorted(folder.glob(f"{pattern}/config.json"))]


def test_methods_spend_the_same_and_the_test_set_judges_fresh_seeds_alone(tmp_path):
    folder = play(DIGITS, ["sgd", "sam-sgd"], RULES, tmp_path)
    assert folder == tmp_path / "digits-40"
    trials, finals = folders_in(folder, "trials/*/*/*"), folders_in(folder, "*/*")
    assert len(trials) == 6
    assert len(finals) == 4
    assert {f.records[-1]["gradients"] for f in trials + finals} == {40}
    assert {f.config["seed"] for f in trials} == {0}
    assert {f.config["seed"] for f in finals} == {1, 2}
    assert all("test_loss" not in record for f in trials for record in f.records)
    assert all("validation_loss" not in record for f in finals for record in f.records)
    assert not list(folder.glob("trials/**/checkpoint.pt"))
    for method in ("sgd", "sam-sgd"):
        own = [f for f in trials if f.config["optimizer"]["name"] == method]
        best = min(own, key=lambda f: f.records[-1]["validation_loss"])
        chosen = [f.config["optimizer"] for f in folders_in(folder, f"{method}/*")]
        assert chosen == [best.config["optimizer"]] * 2


def test_what_is_there_is_not_made_again_and_more_may_be_added(tmp_path, monkeypatch):
    folder = play(DIGITS, ["sgd"], RULES, tmp_path)
    before = {f.path: len(f.environments) for f in folders_in(folder, "trials/*/*/*")}
    made, run = [], played.run

    def noted(task, config, path, **how):
        made.append(path)
        return run(task, config, path, **how)

    monkeypatch.setattr(played, "run", noted)
    play(DIGITS, ["sgd"], RULES, tmp_path)
    assert made == []
    play(DIGITS, ["sgd", "adamw"], replace(RULES, trials=4), tmp_path)
    assert {path.parent.parent.parent.name for path in made if "trials" in path.parts} == {"trials"}
    assert sum("adamw" in path.parts for path in made) == 4 + 2
    assert sum("sgd" in path.parts and "trials" in path.parts for path in made) == 1
    assert all(len(RunFolder(path).environments) == n for path, n in before.items())


def test_the_points_do_not_depend_on_interruptions(tmp_path):
    """A study made in two parts draws what one made in one part does."""
    method = METHODS["adamw-ema"]
    seen = {}
    for name, parts in (("whole", (12,)), ("parts", (5, 9, 12))):
        points = seen[name] = []
        for trials in parts:
            study = Study(method, tmp_path / name)

            def evaluate(point, points=points):
                points.append(point)
                return abs(point["optimizer.lr"] - 1e-3)

            study.run(trials, evaluate)
    assert seen["whole"] == seen["parts"]
    assert len(seen["whole"]) == 12
    best = min(seen["whole"], key=lambda point: abs(point["optimizer.lr"] - 1e-3))
    assert Study(method, tmp_path / "whole").best == best


@pytest.mark.parametrize("name", METHODS)
def test_points_lie_in_the_space_and_settings_take_them(name, tmp_path):
    method = METHODS[name]
    points = []
    Study(method, tmp_path).run(6, lambda point: points.append(point) or 1.0)
    for point in points:
        config = played.configured(replace(DIGITS.config, optimizer=method.settings), point)
        for one in method.space:
            value = getattr(config.optimizer, one.field.removeprefix("optimizer."))
            low, high = min(one.values), max(one.values)
            assert low * 0.999 <= value <= high * 1.001
            assert one.scale != "one of" or value in one.values


def test_a_killed_trial_is_taken_over(tmp_path):
    method = METHODS["sgd"]

    def killed(point):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Study(method, tmp_path).run(2, killed)
    study, points = Study(method, tmp_path), []
    assert not study.complete
    study.run(2, lambda point: points.append(point) or 1.0)
    assert study.complete
    assert len(points) == 2


def test_a_trial_that_another_process_is_at_is_left_to_it(tmp_path):
    method = METHODS["sgd"]

    def busy(point):
        raise RunBusy("taken")

    study = Study(method, tmp_path)
    study.run(2, busy)
    assert not study.complete
    study.run(2, lambda point: 1.0)
    assert study.complete


def test_a_diverged_trial_is_no_winner(tmp_path, monkeypatch):
    wild = replace(METHODS["sgd"], space=(Parameter("optimizer.lr", "one of", (1e6, 0.05)),))
    monkeypatch.setitem(METHODS, "sgd", wild)
    folder = play(DIGITS, ["sgd"], replace(RULES, trials=8, seeds=1), tmp_path)
    assert any(f.diverged for f in folders_in(folder, "trials/*/*/*"))
    (final,) = folders_in(folder, "*/*")
    assert final.config["optimizer"]["lr"] == 0.05


def test_a_run_that_another_process_is_at_keeps_nobody_from_the_others(tmp_path, monkeypatch):
    """Two processes share the runs with fresh seeds; the last that is left is waited for."""
    monkeypatch.setattr(played, "PATIENCE", 0.05)
    first, second = (RunFolder(tmp_path / f"digits-40/sgd/seed-{n}") for n in (1, 2))
    locked, in_order = threading.Event(), []

    def another_process():
        with first.locked():
            locked.set()
            for _ in range(600):
                if second.finished:
                    break
                time.sleep(0.05)
            in_order.append((second.finished, first.begun))

    other = threading.Thread(target=another_process)
    other.start()
    locked.wait()
    play(DIGITS, ["sgd"], replace(RULES, trials=1), tmp_path)
    other.join()
    assert in_order == [(True, False)]
    assert first.finished


def test_other_rules_are_refused(tmp_path, monkeypatch):
    folder = play(DIGITS, ["sgd"], RULES, tmp_path)
    decided = json.loads((folder / "tournament.json").read_text())
    assert decided["methods"]["sgd"]["said"][0] == "lr 0.001 to 1 (log)"
    other = replace(METHODS["sgd"], space=METHODS["sgd"].space[:1])
    monkeypatch.setitem(METHODS, "sgd", other)
    with pytest.raises(ValueError, match="sgd was tuned over another space"):
        play(DIGITS, ["sgd"], RULES, tmp_path)
    with pytest.raises(ValueError, match="other rules: criterion loss there, error now$"):
        play(replace(DIGITS, criterion="error"), ["adamw"], RULES, tmp_path)
    with pytest.raises(ValueError, match="method 'lion': there are sgd, sgd-ema"):
        play(DIGITS, ["lion"], RULES, tmp_path)
    with pytest.raises(ValueError, match="trials=0: must be at least 1"):
        Rules(trials=0)
    del decided["run"]["sync"]  # as before there was this setting
    decided["run"]["batch_size"] = 31
    (folder / "tournament.json").write_text(json.dumps(decided))
    with pytest.raises(ValueError, match="other rules: batch_size 31 there, [0-9]+ now$"):
        play(DIGITS, ["adamw"], RULES, tmp_path)
    shutil.rmtree(folder)


def test_a_value_is_rounded_to_a_readable_one():
    method = METHODS["sgd-ema"]
    drawn = {
        "optimizer.lr": 0.0123456,
        "optimizer.weight_decay": 1.23456e-5,
        "optimizer.decay": 0.00123456,
    }
    assert point_of(method, drawn) == {
        "optimizer.lr": 0.0123,
        "optimizer.weight_decay": 1.23e-5,
        "optimizer.decay": 0.99877,
    }


@pytest.mark.parametrize("contest", CONTESTS.values(), ids=lambda contest: contest.name)
def test_every_task_can_be_tuned_on_held_out_data(contest):
    assert RECIPES[contest.recipe.name] is contest.recipe
    assert (contest.holdout > 0) != contest.recipe.task.feed.validates
    assert contest.tuned_on.feed is contest.recipe.task.feed
    assert contest.config.holdout == 0


def test_a_trial_can_be_judged_by_its_rounded_weights(tmp_path):
    coarse = replace(DIGITS, bits=2)
    folder = play(coarse, ["sgd"], RULES, tmp_path)
    trials = folders_in(folder, "trials/*/*/*")
    rounded = [played.held_out(f, "loss") for f in trials]
    plain = [f.records[-1]["validation_loss"] for f in trials]
    assert all(abs(a - b) > 1e-4 for a, b in zip(rounded, plain, strict=True))
    best = trials[rounded.index(min(rounded))]
    assert {str(f.config["optimizer"]) for f in folders_in(folder, "sgd/*")} == {
        str(best.config["optimizer"])
    }


def test_who_rounds_a_trial_keeps_its_checkpoint_from_others(tmp_path, monkeypatch):
    def rounding(player, folder):
        with pytest.raises(RunBusy), RunFolder(folder.path).locked():
            pass
        (folder.path / played.ROUNDED).write_text('{"loss": 1.0}')

    monkeypatch.setattr(played._Player, "_round", rounding)
    play(replace(DIGITS, bits=2), ["sgd"], replace(RULES, trials=1), tmp_path)


def test_methods_that_two_processes_add_at_once_are_both_there(tmp_path):
    names, together = ("sgd", "adamw", "muon", "sam-sgd"), threading.Barrier(4)

    def add(name):
        together.wait()
        played.write_down(tmp_path, DIGITS, [METHODS[name]], RULES)

    processes = [threading.Thread(target=add, args=(name,)) for name in names]
    for one in processes:
        one.start()
    for one in processes:
        one.join()
    decided = json.loads((tmp_path / "tournament.json").read_text())
    assert sorted(decided["methods"]) == sorted(names)


def test_hardening_begins_late_and_changes_nothing_before(tmp_path):
    folder = play(DIGITS, ["hardened-adamw"], RULES, tmp_path)
    starts = {
        f.config["optimizer"]["smoothing_start"] for f in folders_in(folder, "hardened-adamw/*")
    }
    assert starts == {32}


def test_a_setting_that_came_later_does_not_make_it_another_tournament(tmp_path):
    folder = play(DIGITS, ["entropy-sgd"], replace(RULES, trials=1, seeds=1), tmp_path)
    file = folder / "tournament.json"
    noted = json.loads(file.read_text())
    del noted["methods"]["entropy-sgd"]["fixed"]["smoothing_start"]
    file.write_text(json.dumps(noted))
    play(DIGITS, ["entropy-sgd"], replace(RULES, trials=1, seeds=1), tmp_path)
    noted["methods"]["entropy-sgd"]["fixed"]["noise"] = 0.5
    file.write_text(json.dumps(noted))
    with pytest.raises(ValueError, match="another space"):
        play(DIGITS, ["entropy-sgd"], replace(RULES, trials=1, seeds=1), tmp_path)
