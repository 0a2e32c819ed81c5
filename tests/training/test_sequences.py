"""Texts: state carried from window to window, through walks and checkpoints, and into judgement."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from widevalley.data import Corpus
from widevalley.models import PTBLSTM, CharLSTM
from widevalley.training import (
    AdamSettings,
    Characters,
    EntropyAdamSettings,
    EntropySGDSettings,
    RunConfig,
    SGDSettings,
    Task,
    Words,
    run,
)
from widevalley.training import runner as runner_module
from widevalley.training.hardware import resolve
from widevalley.training.loop import Loop

from .conftest import assert_same_end

SYMBOLS = 11
COLUMNS, WINDOW = 4, 5
BATCHES = 30  # 600 tokens in 4 columns of 150: windows of 5, the last of 4


def corpus():
    """A text with something to learn: each token is often the one before plus one."""
    generator = torch.Generator().manual_seed(0)
    steps = 1 + (torch.rand(900, generator=generator) < 0.2) * 3
    tokens = steps.cumsum(0) % SYMBOLS
    return Corpus(tokens[:600], tokens[600:750], tokens[750:], tuple("abcdefghijk"))


def words(config):
    return PTBLSTM(symbols=SYMBOLS, units=6, dropout=config.dropout)


def characters(config):
    return CharLSTM(symbols=SYMBOLS, embedding=4, units=6, dropout=config.dropout)


TASKS = {
    "words": Task("words", corpus, words, feed=Words),
    "characters": Task("characters", corpus, characters, feed=Characters),
}


@pytest.fixture
def config():
    return RunConfig(
        optimizer=EntropySGDSettings(langevin_steps=7, noise=0.01),
        epochs=3.0,
        batch_size=COLUMNS,
        window=WINDOW,
        dropout=0.2,
        clip=0.1,
        evaluate_every=0.5,
        threads=1,
    )


def make_loop(name, config):
    return Loop(TASKS[name], resolve(config, prefers_bf16=False))


@pytest.mark.parametrize("clip", [0.0, 0.1])
def test_equals_a_plain_torch_loop(config, clip):
    """SGD with torch's clipping, written out by hand over two epochs of the text."""
    settings = SGDSettings(lr=1.0, momentum=0.0)
    config = replace(config, optimizer=settings, dropout=0.0, clip=clip, schedule="constant")
    loop = make_loop("words", config)
    torch.manual_seed(config.seed)
    model = words(config)
    sgd = torch.optim.SGD(model.parameters(), lr=1.0)
    columns = corpus().train.view(COLUMNS, 150).T
    for _ in range(2):
        hidden = cells = torch.zeros(2, COLUMNS, 6)
        for start in range(0, 149, WINDOW):
            loop.step()
            x, y = columns[start : start + WINDOW], columns[start + 1 : start + WINDOW + 1]
            logits, (hidden, cells) = model(x[: len(y)], (hidden, cells))
            hidden, cells = hidden.detach(), cells.detach()
            sgd.zero_grad()
            functional.cross_entropy(logits.reshape(-1, SYMBOLS), y.reshape(-1)).backward()
            if clip:
                norm = torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
                assert norm > clip
            sgd.step()
    assert loop.gradients == 2 * BATCHES
    for ours, plain in zip(loop.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, plain)


def test_every_epoch_starts_afresh_and_windows_go_on(config):
    loop = make_loop("words", config)
    loop.step()
    assert all(part.abs().sum() > 0 and not part.requires_grad for part in loop.carried)
    zeros = loop.feed.begin(loop.model, 1)
    assert all(part.abs().sum() == 0 for part in zeros)


class Stop(Exception):
    pass


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize(
    "settings",
    [EntropySGDSettings(langevin_steps=7), EntropyAdamSettings(langevin_steps=7), AdamSettings()],
    ids=lambda settings: settings.name,
)
@pytest.mark.parametrize(
    "gradients", [25, 30, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 89))]
)
def test_resumes_bit_for_bit(
    monkeypatch, config, uninterrupted, tmp_path, name, settings, gradients
):
    config = replace(config, optimizer=settings, checkpoint_every=0.0)
    whole = uninterrupted(TASKS[name], config)
    step = runner_module.Loop.step

    def stopping(loop):
        if loop.gradients == gradients:
            raise Stop
        step(loop)

    with monkeypatch.context() as patch:
        patch.setattr(runner_module.Loop, "step", stopping)
        with pytest.raises(Stop):
            run(TASKS[name], config, tmp_path / "parts")
    assert_same_end(whole, run(TASKS[name], config, tmp_path / "parts"))


def test_the_test_text_is_judged_as_one_long_sequence(config):
    loop = make_loop("words", config)
    for _ in range(10):
        loop.step()
    text = corpus().test
    with loop.optimizer.at_anchor(), torch.no_grad():
        loop.model.eval()
        logits, _ = loop.model(text[:-1, None], loop.model.initial_state(1))
        loop.model.train()
    nats = functional.cross_entropy(logits[:, 0].double(), text[1:])
    judged = loop.evaluate(final=True)
    assert judged["test_loss"] == pytest.approx(float(nats), rel=1e-6)
    assert judged["test_perplexity"] == pytest.approx(math.exp(nats), rel=1e-6)


def test_windows_of_an_evaluation_carry_the_state(config, monkeypatch):
    from widevalley.training import sequences

    loop = make_loop("words", config)
    loop.step()
    whole = loop.evaluate()
    monkeypatch.setattr(sequences, "ROWS", 2)
    assert loop.evaluate() == pytest.approx(whole, rel=1e-6)


def test_what_is_recorded(config, tmp_path):
    for name, unit in [("words", "perplexity"), ("characters", "bits")]:
        records = run(TASKS[name], config, tmp_path / name).records
        assert [record["gradients"] for record in records] == [15, 30, 45, 60, 75, 90]
        assert all(f"validation_{unit}" in record for record in records)
        assert [f"test_{unit}" in record for record in records] == [False] * 5 + [True]
        assert f"train_set_{unit}" in records[-1]
        for record in records:
            nats, value = record["validation_loss"], record[f"validation_{unit}"]
            expected = math.exp(nats) if unit == "perplexity" else nats / math.log(2)
            assert value == pytest.approx(expected)


def test_learns(config, tmp_path):
    config = replace(config, optimizer=AdamSettings(lr=0.03), epochs=20.0, dropout=0.0, clip=5.0)
    for name, task in TASKS.items():
        loss = run(task, config, tmp_path / name).records[-1]["test_loss"]
        assert loss < 0.8 < math.log(SYMBOLS)  # 0.5 is the entropy of the text


def test_batch_norm_is_judged_with_statistics_of_the_training_text(config):
    loop = make_loop("characters", config)
    for _ in range(9):
        loop.step()
    model, norm = loop.model, loop.model.norms[0]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with loop.optimizer.at_anchor():
        columns = corpus().train.view(COLUMNS, 150).T
        with torch.no_grad():
            outputs, _ = model.lstms[0](model.embedding(columns[:149]))
        with loop.feed.statistics(model):
            mean = norm.running_mean.clone()
    torch.testing.assert_close(mean, outputs.mean((0, 1)), rtol=1e-2, atol=2e-3)
    loop.evaluate(final=True)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_holdout_is_refused(config):
    with pytest.raises(ValueError, match=r"holdout=5: must be 0 for a text"):
        make_loop("words", replace(config, holdout=5))


def test_perplexity_of_a_hopeless_loss_is_a_number():
    assert math.isfinite(Words.in_unit(1e6)["perplexity"])
