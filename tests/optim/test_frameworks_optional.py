"""Recipes of docs/frameworks.md under frameworks that are not always there."""

import copy

import pytest
import torch
from torch import nn

from tests.optim.optimizers import ANCHORED, OPTIMIZERS
from tests.optim.problems import batch, mlp, same, train, weights
from widevalley import EntropySGD, LocalEntropy


@pytest.mark.parametrize("info", OPTIMIZERS, ids=str)
def test_under_accelerate(info):
    """Its wrapper hands on train() and eval() and nothing else: at_anchor is .optimizer's."""
    accelerate = pytest.importorskip("accelerate", reason="needs accelerate")
    model, twin = mlp(), mlp()
    ours, theirs = info.build(model.parameters()), info.build(twin.parameters())
    accelerator = accelerate.Accelerator(cpu=True)
    prepared, optimizer = accelerator.prepare(model, ours)
    assert optimizer.optimizer is ours
    for i in range(8):
        inputs, targets = batch(i)
        optimizer.train()
        optimizer.zero_grad()
        accelerator.backward(nn.functional.cross_entropy(prepared(inputs), targets))
        optimizer.step()
        train(twin, theirs, [i])
        if info.anchored:
            with optimizer.optimizer.at_anchor(), theirs.at_anchor():
                assert same(weights(model), weights(twin))
            optimizer.eval()
            with theirs.at_anchor():
                assert same(weights(model), weights(twin))
            optimizer.train()
    assert same(weights(model), weights(twin))


@pytest.mark.parametrize("info", ANCHORED, ids=str)
def test_resume_under_accelerate_is_bit_for_bit(info, tmp_path):
    accelerate = pytest.importorskip("accelerate", reason="needs accelerate")
    model = mlp()
    accelerator = accelerate.Accelerator(cpu=True)
    model, optimizer = accelerator.prepare(model, info.build(model.parameters()))
    train(model, optimizer, range(4))
    accelerator.save_state(tmp_path)
    train(model, optimizer, range(4, 10))

    other = mlp(seed=9)
    again = accelerate.Accelerator(cpu=True)
    other, resumed = again.prepare(other, info.build(other.parameters()))
    again.load_state(tmp_path)
    train(other, resumed, range(4, 10))
    assert same(weights(model), weights(other))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("late", [None, False, True])
def test_lightning_saves_the_weights_that_it_monitors(late, tmp_path):
    """By the recipe: the anchor from the start of validation to the next batch, saving included."""
    lightning = pytest.importorskip("pytorch_lightning", reason="needs pytorch-lightning")

    class Network(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net, self.seen = mlp(), []

        def training_step(self, item, _):
            return nn.functional.cross_entropy(self.net(item[0]), item[1])

        def validation_step(self, item, _):
            self.seen.append(weights(self.net))
            self.log("val", nn.functional.cross_entropy(self.net(item[0]), item[1]))

        def configure_optimizers(self):
            return EntropySGD(self.net.parameters(), langevin_steps=5, noise=0.1)

        def on_validation_start(self):
            self.optimizers().optimizer.eval()

        def on_train_batch_start(self, *_):
            self.optimizers().optimizer.train()

    inputs, targets = zip(*(batch(i, size=1) for i in range(12)))
    data = torch.utils.data.TensorDataset(torch.cat(inputs), torch.cat(targets))
    loader = torch.utils.data.DataLoader(data, batch_size=4)
    keep = lightning.callbacks.ModelCheckpoint(
        tmp_path, monitor="val", save_top_k=-1, save_on_train_epoch_end=late
    )

    def fit(module, callbacks, **kw):
        trainer = lightning.Trainer(
            max_epochs=4, accelerator="cpu", logger=False, callbacks=callbacks,
            num_sanity_val_steps=0, enable_checkpointing=bool(callbacks),
            enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(module, loader, torch.utils.data.DataLoader(data, batch_size=12), **kw)

    module, again = Network(), Network()
    fit(module, [keep])
    (path,) = tmp_path.glob("epoch=1*")
    saved = torch.load(path, weights_only=True)
    kept = [t for name, t in saved["state_dict"].items() if name.startswith("net.")]
    assert same(kept, module.seen[1])
    fit(again, [], ckpt_path=path)
    assert same(again.seen[-1], module.seen[-1])
    assert not same(again.seen[-1], kept)


def schedule_free(params, name="SGDScheduleFree"):
    schedulefree = pytest.importorskip("schedulefree", reason="needs schedulefree")
    params = list(params)
    inner = getattr(schedulefree, name)(params, lr=0.1)
    outer = torch.optim.SGD(params, lr=1.0)
    return LocalEntropy(inner, outer, langevin_steps=3, noise=0.0, gamma=0.5)


@pytest.mark.parametrize("name", ["SGDScheduleFree", "AdamWScheduleFree"])
def test_train_and_eval_reach_a_schedule_free_inner_optimizer(name):
    """It refuses to step outside of train(), as a wrapper around it must know."""
    model, twin = mlp(), mlp()
    ours, theirs = schedule_free(model.parameters(), name), schedule_free(twin.parameters(), name)
    theirs.inner.train()
    ours.train()
    for i in range(8):
        train(model, ours, [i])
        train(twin, theirs, [i])
        before = weights(model)
        ours.eval()
        anchor = weights(model)
        ours.train()
        with theirs.at_anchor():
            assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(anchor, weights(twin)))
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(before, weights(model)))
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(weights(model), weights(twin)))


def test_a_schedule_free_inner_optimizer_resumes():
    model = mlp()
    optimizer = schedule_free(model.parameters())
    optimizer.train()
    train(model, optimizer, range(4))
    saved = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    other = mlp(seed=9)
    resumed = schedule_free(other.parameters())
    other.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    resumed.train()
    train(model, optimizer, range(4, 10))
    train(other, resumed, range(4, 10))
    assert same(weights(model), weights(other))
