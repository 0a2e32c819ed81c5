"""Recurrent networks that predict the next token of a text.

Each maps tokens, int64 of shape (steps, batch), and a state to logits of shape
(steps, batch, symbols) and the state after the last step. A state is two tensors of shape
(layers, batch, units), hidden values and cells; whoever trains carries it from one window of the
text to the next, cut off from the graph::

    state = model.initial_state(batch_size)
    for inputs, targets in windows(columns, steps):
        logits, state = model(inputs, state)
        ...
        state = detach(state)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from widevalley.models.dropout import dropout as dropout_layers

State = tuple[Tensor, Tensor]
"""Hidden values and cells, each (layers, batch, units)."""


def detach(state: State) -> State:
    """The same values, cut off from the graph that computed them."""
    hidden, cells = state
    return hidden.detach(), cells.detach()


class PTBLSTM(nn.Module):
    """The paper's PTB-LSTM, a word model of two layers of 1,500 units: 66,034,000 parameters.

    Embedding, two LSTM layers and an output layer of its own weights (untied); dropout on the
    connections that are not recurrent: after the embedding, between the layers, before the
    output. Source: the paper, section 5, after the "large" network of Zaremba et al. (2014), whose
    "medium" one has 650 units, dropout 0.5 and a spread of 0.05: 19,780,400 parameters.

    Args:
        symbols: size of the vocabulary.
        units: of the embedding and of each layer.
        dropout: share of values dropped while training, in [0, 1).
        spread: all weights, biases too, start from U(-spread, spread).

    Raises:
        ValueError: a dropout outside [0, 1).
    """

    layers = 2

    def __init__(
        self,
        *,
        symbols: int = 10_000,
        units: int = 1500,
        dropout: float = 0.65,
        spread: float = 0.04,
    ) -> None:
        super().__init__()
        self.dropout = nn.Sequential(*dropout_layers("dropout", dropout))
        self.embedding = nn.Embedding(symbols, units)
        self.lstm = nn.LSTM(units, units, self.layers, dropout=dropout)
        self.output = nn.Linear(units, symbols)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -spread, spread)

    def initial_state(self, batch_size: int) -> State:
        """Zeros."""
        return _zeros(self.output.weight, self.layers, batch_size)

    def forward(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits and the state after the last step."""
        values, state = self.lstm(self.dropout(self.embedding(tokens)), state)
        return self.output(self.dropout(values)), state


class CharLSTM(nn.Module):
    """The paper's char-LSTM, two layers of 128 units with batch norm: 261,306 parameters.

    Embedding of 85 values, two LSTM layers each followed by batch norm and dropout, and an
    output layer. Batch norm takes its statistics over all steps and columns of a window.
    Source: the paper, section 5, which gives neither the embedding nor the count; the
    embedding is that of the authors' script.

    Args:
        symbols: size of the alphabet.
        embedding: values a symbol is mapped to.
        units: of each layer.
        dropout: share of values dropped after each batch norm while training, in [0, 1).

    Raises:
        ValueError: a dropout outside [0, 1).
    """

    layers = 2

    def __init__(
        self, *, symbols: int = 87, embedding: int = 85, units: int = 128, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.dropout = nn.Sequential(*dropout_layers("dropout", dropout))
        self.embedding = nn.Embedding(symbols, embedding)
        self.lstms = nn.ModuleList([nn.LSTM(embedding, units), nn.LSTM(units, units)])
        self.norms = nn.ModuleList([nn.BatchNorm1d(units) for _ in range(self.layers)])
        self.output = nn.Linear(units, symbols)

    def initial_state(self, batch_size: int) -> State:
        """Zeros."""
        return _zeros(self.output.weight, self.layers, batch_size)

    def forward(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits and the state after the last step."""
        values = self.embedding(tokens)
        after = []
        before = zip(torch.split(state[0], 1), torch.split(state[1], 1), strict=True)
        for lstm, norm, initial in zip(self.lstms, self.norms, before, strict=True):
            values, last = lstm(values, initial)
            # Batch norm sees every step and column of the window as a sample.
            values = self.dropout(norm(values.flatten(0, 1)).view_as(values))
            after.append(last)
        hidden, cells = (torch.cat(parts) for parts in zip(*after, strict=True))
        return self.output(values), (hidden, cells)


class SmallCharLSTM(nn.Module):
    """The network of the paper's spectrum of an LSTM, one layer of 48: 32,640 parameters.

    One-hot symbols, one LSTM layer (27,840: a single bias a gate), an output layer (4,704), and
    an initial state that is learned (96): ask for it anew after each change of the weights.
    Written out step by step, so that every kind of derivative passes through it. Source: the
    paper, Fig. 3.

    Args:
        symbols: size of the alphabet.
        units: of the layer.
    """

    def __init__(self, *, symbols: int = 96, units: int = 48) -> None:
        super().__init__()
        self.symbols = symbols
        self.initial_hidden = nn.Parameter(torch.zeros(units))
        self.initial_cells = nn.Parameter(torch.zeros(units))
        self.gates = nn.Linear(symbols + units, 4 * units)
        self.output = nn.Linear(units, symbols)

    def initial_state(self, batch_size: int) -> State:
        """The learned state, for every column; gradients flow into it."""
        return (
            self.initial_hidden.expand(1, batch_size, -1),
            self.initial_cells.expand(1, batch_size, -1),
        )

    def forward(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits and the state after the last step."""
        hidden, cells = state[0][0], state[1][0]
        values = []
        one_hot = torch.eye(self.symbols, dtype=hidden.dtype, device=hidden.device)
        for symbol in one_hot[tokens]:
            gates = self.gates(torch.cat([symbol, hidden], dim=1))
            i, f, g, o = gates.chunk(4, dim=1)  # input, forget and output gates, g the candidate
            cells = f.sigmoid() * cells + i.sigmoid() * g.tanh()
            hidden = o.sigmoid() * cells.tanh()
            values.append(hidden)
        return self.output(torch.stack(values)), (hidden[None], cells[None])


def _zeros(like: Tensor, layers: int, batch_size: int) -> State:
    shape = (layers, batch_size, like.shape[1])
    return like.new_zeros(shape), like.new_zeros(shape)
