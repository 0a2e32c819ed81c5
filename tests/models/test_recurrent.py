"""Sizes, and a state that carries all there is to know from one window to the next."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, one_hot

from widevalley.models import PTBLSTM, CharLSTM, SmallCharLSTM, detach

SMALL = {
    PTBLSTM: {"symbols": 7, "units": 5},
    CharLSTM: {"symbols": 7, "embedding": 3, "units": 5},
    SmallCharLSTM: {"symbols": 7, "units": 5},
}
MODELS = pytest.mark.parametrize("model", SMALL)


def small(model, **settings):
    torch.manual_seed(0)
    return model(**SMALL[model], **settings).double()


def tokens(steps, batch):
    return torch.randint(7, (steps, batch), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("model", "parameters"),
    [(PTBLSTM, 66_034_000), (CharLSTM, 261_306), (SmallCharLSTM, 32_640)],
)
def test_size(model, parameters):
    with torch.device("meta"):
        assert sum(p.numel() for p in model().parameters()) == parameters


def test_the_small_one_has_the_papers_parts():
    sizes = {
        name: sum(p.numel() for p in m.parameters()) for name, m in SmallCharLSTM().named_children()
    }
    assert sizes == {"gates": 27_840, "output": 4_704}


@MODELS
def test_shapes(model):
    net = small(model)
    begun = net.initial_state(3)
    logits, ended = net(tokens(4, 3), begun)
    assert logits.shape == (4, 3, 7)
    for before, after in zip(begun, ended):
        assert before.shape == after.shape == (1 if model is SmallCharLSTM else 2, 3, 5)
        assert before.dtype == after.dtype == torch.float64


@MODELS
def test_two_windows_with_the_state_carried_are_one_long_window(model):
    net, text = small(model).eval(), tokens(9, 3)
    whole, end = net(text, net.initial_state(3))
    first, state = net(text[:4], net.initial_state(3))
    second, state = net(text[4:], detach(state))
    torch.testing.assert_close(torch.cat([first, second]), whole)
    torch.testing.assert_close(state, end)
    forgetful, _ = net(text[4:], net.initial_state(3))
    assert (forgetful[0] - second[0]).abs().max() > 1e-6


@MODELS
def test_columns_do_not_see_each_other_nor_the_future(model):
    net, text = small(model).eval(), tokens(6, 3)
    changed = text.clone()
    changed[4:, 1] = (changed[4:, 1] + 1) % 7
    before, after = (net(t, net.initial_state(3))[0] for t in (text, changed))
    torch.testing.assert_close(before[:4], after[:4])
    torch.testing.assert_close(before[:, [0, 2]], after[:, [0, 2]])
    assert (before[4:, 1] - after[4:, 1]).abs().min() > 0


@MODELS
def test_every_parameter_is_trained(model):
    net, text = small(model), tokens(6, 3)
    logits, _ = net(text[:-1], net.initial_state(3))
    cross_entropy(logits.flatten(0, 1), text[1:].flatten()).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_detach_cuts_the_graph():
    net = small(SmallCharLSTM)
    state = net.initial_state(2)
    assert all(s.requires_grad for s in state)
    assert not any(s.requires_grad for s in detach(state))
    torch.testing.assert_close(detach(state), state)


def test_the_small_cell_is_torchs_lstm():
    """torch's gates stand in the same order; its second bias is set to zero."""
    net = small(SmallCharLSTM)
    nn.init.normal_(net.initial_hidden)
    nn.init.normal_(net.initial_cells)
    oracle = nn.LSTM(7, 5).double()
    with torch.no_grad():
        oracle.weight_ih_l0.copy_(net.gates.weight[:, :7])
        oracle.weight_hh_l0.copy_(net.gates.weight[:, 7:])
        oracle.bias_ih_l0.copy_(net.gates.bias)
        oracle.bias_hh_l0.zero_()
    text, state = tokens(6, 3), net.initial_state(3)
    logits, ended = net(text, state)
    values, expected = oracle(one_hot(text, 7).double(), tuple(s.contiguous() for s in state))
    torch.testing.assert_close(logits, net.output(values))
    torch.testing.assert_close(ended, expected)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # by torch's own import
def test_the_small_one_has_a_forward_derivative():
    net, text = small(SmallCharLSTM), tokens(6, 3)
    begun = detach(net.initial_state(3))

    def loss(parameters):
        logits, _ = torch.func.functional_call(net, parameters, (text[:-1], begun))
        return cross_entropy(logits.flatten(0, 1), text[1:].flatten())

    start = {name: p.detach() for name, p in net.named_parameters()}
    direction = {name: torch.randn_like(p) for name, p in start.items()}
    _, forward = torch.func.jvp(loss, (start,), (direction,))
    backward = torch.func.grad(loss)(start)
    torch.testing.assert_close(forward, sum((backward[n] * direction[n]).sum() for n in start))


@pytest.mark.parametrize(("settings", "spread"), [({}, 0.04), ({"spread": 0.05}, 0.05)])
def test_ptb_weights_start_uniform_within_their_spread(settings, spread):
    net = PTBLSTM(symbols=50, units=20, **settings)
    for parameter in net.parameters():
        assert parameter.abs().max() <= spread
    weights = torch.cat([p.flatten() for p in net.parameters()])
    assert abs(weights.std() - spread / 3**0.5) < 1e-3


def test_char_batch_norm_is_over_steps_and_columns():
    net = small(CharLSTM)
    seen = []
    net.norms[1].register_forward_hook(lambda layer, inputs, output: seen.append(output))
    net(tokens(6, 3), net.initial_state(3))
    assert seen[0].shape == (18, 5)
    torch.testing.assert_close(seen[0].mean(dim=0), torch.zeros(5, dtype=torch.float64))


@pytest.mark.parametrize("model", [PTBLSTM, CharLSTM])
def test_dropout_acts_while_training_only(model):
    net, text = small(model, dropout=0.5), tokens(6, 3)

    def logits():
        return net(text, net.initial_state(3))[0]

    assert not torch.equal(logits(), logits())
    net.eval()
    assert torch.equal(logits(), logits())


@pytest.mark.parametrize("share", [-0.1, 1.0])
@pytest.mark.parametrize("model", [PTBLSTM, CharLSTM])
def test_bad_dropout(model, share):
    with pytest.raises(ValueError, match=rf"^dropout={share}: must be in \[0, 1\)$"):
        small(model, dropout=share)
