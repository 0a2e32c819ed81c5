"""The GPT against torch's own transformer layers with the same weights."""

import pytest
import torch
from torch import nn

from widevalley.models import GPT

SMALL = {"symbols": 11, "window": 9, "width": 16, "heads": 4, "blocks": 3}


def same_in_torch(gpt):
    """torch's encoder layers holding the weights of a GPT's blocks."""
    layers = []
    for block in gpt.blocks:
        layer = nn.TransformerEncoderLayer(
            16, 4, 64, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        pairs = [
            (layer.norm1, block.attention_norm),
            (layer.self_attn.out_proj, block.attended),
            (layer.norm2, block.mlp_norm),
            (layer.linear1, block.wide),
            (layer.linear2, block.narrow),
        ]
        for theirs, ours in pairs:
            theirs.load_state_dict(ours.state_dict())
        with torch.no_grad():
            layer.self_attn.in_proj_weight.copy_(block.queries_keys_values.weight)
            layer.self_attn.in_proj_bias.copy_(block.queries_keys_values.bias)
        layers.append(layer)
    return layers


def randomised(**settings):
    torch.manual_seed(0)
    gpt = GPT(**{**SMALL, **settings})
    for p in gpt.parameters():  # biases and norms too, which start from 0 and 1
        nn.init.normal_(p, std=0.3)
    return gpt


def test_logits_and_gradients_are_those_of_torchs_layers():
    gpt = randomised()
    tokens = torch.randint(11, (5, 9))
    layers = same_in_torch(gpt)
    values = gpt.tokens(tokens) + gpt.positions.weight
    for layer in layers:
        mask = nn.Transformer.generate_square_subsequent_mask(9)
        values = layer(values, src_mask=mask, is_causal=True)
    expected = gpt.head(gpt.norm(values))
    logits = gpt(tokens)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    ours = torch.autograd.grad(logits.square().sum(), gpt.blocks[0].wide.weight)
    theirs = torch.autograd.grad(expected.square().sum(), layers[0].linear1.weight)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-2)


def test_no_token_sees_a_later_one():
    gpt = randomised()
    tokens = torch.randint(11, (2, 9))
    changed = tokens.clone()
    changed[:, 6] = (changed[:, 6] + 1) % 11
    before, after = gpt(tokens), gpt(changed)
    assert torch.equal(before[:, :6], after[:, :6])
    assert not torch.allclose(before[:, 6:], after[:, 6:])


def test_the_sizes_that_are_stated():
    assert sum(p.numel() for p in GPT().parameters()) == 1_030_272
    untied = sum(p.numel() for p in GPT(**SMALL).parameters())
    tied = GPT(**SMALL, tied=True)
    assert untied - sum(p.numel() for p in tied.parameters()) == 11 * 16
    assert tied.head.weight is tied.tokens.weight


def test_begins_as_a_guess_among_all_symbols():
    torch.manual_seed(0)
    gpt = GPT()
    tokens = torch.randint(87, (4, 128))
    loss = nn.functional.cross_entropy(gpt(tokens).flatten(0, 1), tokens.flatten())
    assert loss.item() == pytest.approx(torch.log(torch.tensor(87.0)).item(), rel=0.02)


def test_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="heads=3: must divide the width, 16"):
        GPT(**{**SMALL, "heads": 3})
    with pytest.raises(ValueError, match="tokens: 10 steps, must be at most 9"):
        GPT(**SMALL)(torch.zeros(1, 10, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"dropout=1.0: must be in \[0, 1\)"):
        GPT(**SMALL, dropout=1.0)
