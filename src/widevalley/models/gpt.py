"""A small GPT: a transformer that predicts the next token from those before it in its window."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from widevalley.models.dropout import dropout as dropout_layers


class GPT(nn.Module):
    r"""A pre-norm transformer of decoder blocks with learned positions: 1,030,272 parameters.

    h = E[tokens] + P[0, 1, ...]; in each block h += attention(norm(h)), causal, and
    h += W2 gelu(W1 norm(h)), four times as wide inside; logits = H norm(h). Weights start from
    N(0, 0.02^2), those that write to h divided by sqrt(2 blocks); biases from 0. Source: Radford
    et al., "Language Models are Unsupervised Multitask Learners" (2019).

    Maps tokens, int64 of shape (batch, steps), to logits of shape (batch, steps, symbols).

    Args:
        symbols: size of the alphabet.
        window: most steps it can be given.
        width: of h.
        heads: of attention; they divide the width.
        blocks: attention and fully connected layers, one after another.
        tied: let the head H be the embedding E.
        dropout: share of values dropped while training, of h at the start and of each addition
            to it, in [0, 1).

    Raises:
        ValueError: heads that do not divide the width, a dropout outside [0, 1), or, of
            `forward`, more steps than `window`.
    """

    def __init__(
        self,
        *,
        symbols: int = 87,
        window: int = 128,
        width: int = 128,
        heads: int = 4,
        blocks: int = 5,
        tied: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"heads={heads}: must divide the width, {width}")
        self.window = window
        self.tokens = nn.Embedding(symbols, width)
        self.positions = nn.Embedding(window, width)
        self.dropout = nn.Sequential(*dropout_layers("dropout", dropout))
        self.blocks = nn.Sequential(*(Block(width, heads, dropout) for _ in range(blocks)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, symbols, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        for name, weight in self.named_parameters():
            if name.endswith(("attended.weight", "narrow.weight")):
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * blocks))
        if tied:
            self.head.weight = self.tokens.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of the token after each one."""
        steps = tokens.shape[1]
        if steps > self.window:
            raise ValueError(f"tokens: {steps} steps, must be at most {self.window}")
        places = torch.arange(steps, device=tokens.device)
        values = self.dropout(self.tokens(tokens) + self.positions(places))
        logits: Tensor = self.head(self.norm(self.blocks(values)))
        return logits


class Block(nn.Module):
    """Causal attention, then a fully connected layer, each added to what it is given."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.attended = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.wide = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)
        self.dropout = nn.Sequential(*dropout_layers("dropout", dropout))

    def forward(self, values: Tensor) -> Tensor:
        """The values after both additions, (batch, steps, width)."""
        three = self.queries_keys_values(self.attention_norm(values))
        q, k, v = three.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        values = values + self.dropout(self.attended(mixed.transpose(1, 2).flatten(2)))
        inside = functional.gelu(self.wide(self.mlp_norm(values)))
        added: Tensor = self.dropout(self.narrow(inside))
        return values + added
