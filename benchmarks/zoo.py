"""Networks and losses that people have, each small enough for every matrix to be formed.

Every one comes with a loss over batches of 4, 4 and 3 samples, and with the same loss of all data
at once, written without widevalley.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

SAMPLES, CUTS = 11, (4, 4, 3)
Loss = Callable[[Any, Any], Tensor]


@dataclass(frozen=True)
class Model:
    """A network with a loss and data."""

    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[], Any]
    """A tensor, a tuple or a mapping, samples along the first dimension of each."""
    targets: Callable[[], Any]
    loss: Loss
    options: dict[str, Any] = field(default_factory=dict)
    """Of `Objective`."""
    weigh: Callable[[Any], float] | None = None
    """What the loss of a batch is divided by, where that is not the number of its targets."""
    cuts: Sequence[int] = CUTS
    loss_inside: bool = False
    """Batches are mappings, and the module computes its loss from them."""
    refused: dict[str, str] = field(default_factory=dict)
    """Instruments that refuse it, by name, with a part of what they say; `all` for every one."""
    coupled: bool = False
    """Whether the loss of a sample depends on others of its batch."""

    def made(self) -> tuple[nn.Module, Any, Any]:
        """Module, inputs and targets of all samples, in float64; the same at every call."""
        torch.manual_seed(0)
        module = self.build().double()
        for layer in module.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                assert layer.running_mean is not None
                assert layer.running_var is not None
                layer.running_mean.normal_()
                layer.running_var.uniform_(0.5, 2)
        return module, in_float64(self.inputs()), in_float64(self.targets())


def in_float64(value: Any) -> Any:
    """The same containers, floating-point numbers in float64."""
    return each_tensor(lambda t: t.double() if t.is_floating_point() else t, value)


def each_tensor(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """The same containers with a function of every tensor."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, dict):
        return {name: each_tensor(function, part) for name, part in value.items()}
    if isinstance(value, tuple):
        return tuple(each_tensor(function, part) for part in value)
    return value


def normal(*shape: int) -> Callable[[], Tensor]:
    """Random numbers, of `SAMPLES` samples."""
    return lambda: torch.randn(SAMPLES, *shape)


def classes(number: int, *shape: int) -> Callable[[], Tensor]:
    """Random classes, of `SAMPLES` samples."""
    return lambda: torch.randint(number, (SAMPLES, *shape))


def mlp() -> nn.Module:
    """The plainest of networks."""
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))


def some_ignored(number: int, *shape: int) -> Callable[[], Tensor]:
    """Classes of which some, more of them in the last samples, are -100."""

    def made() -> Tensor:
        targets = torch.randint(number, (SAMPLES, *shape))
        targets[1], targets[-2:] = -100, -100
        targets[-1].fill_(1) if targets[-1].dim() else targets[-1:].fill_(1)
        return targets

    return made


def counted(targets: Tensor) -> float:
    """How many targets are not -100."""
    return float((targets != -100).sum())


class Residual(nn.Module):
    """A convolution block with group norm and a way around it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.head = nn.GroupNorm(2, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = self.stem(x)
        x = x + functional.silu(self.norm(self.conv(x)))
        out: Tensor = self.head(x.mean(dim=(2, 3)))
        return out


class UNet(nn.Module):
    """Down, up and a skip: classes of every pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.low = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.up, self.out = nn.ConvTranspose2d(3, 3, 2, stride=2), nn.Conv2d(6, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of every pixel."""
        high = functional.relu(self.down(x))
        low = functional.relu(self.low(functional.max_pool2d(high, 2)))
        out: Tensor = self.out(torch.cat([high, self.up(low)], dim=1))
        return out


class Recurrent(nn.Module):
    """The last state of a recurrent layer, read by a linear one."""

    def __init__(self, layer: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.layer, self.head = layer(2, 3, batch_first=True), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        out: Tensor = self.head(self.layer(x)[0][:, -1])
        return out


class Block(nn.Module):
    """Attention and a network of two layers, each with layer norm and a way around it."""

    def __init__(self, width: int, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.back = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens to tokens, two heads."""
        n, length, width = x.shape
        parts = self.qkv(self.first(x)).view(n, length, 3, 2, width // 2)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        x = x + self.out(seen.transpose(1, 2).reshape(n, length, width))
        out: Tensor = x + self.back(functional.gelu(self.wide(self.second(x))))
        return out


class GPT(nn.Module):
    """A language model of one block; embedding and head share their weights if `tied`."""

    def __init__(self, tied: bool = False, checkpointed: bool = False) -> None:
        super().__init__()
        self.checkpointed = checkpointed
        self.tokens, self.places = nn.Embedding(5, 4), nn.Embedding(3, 4)
        self.block, self.head = Block(4, causal=True), nn.Linear(4, 5, bias=False)
        if tied:
            self.head.weight = self.tokens.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of every next token, classes second."""
        x = self.tokens(tokens) + self.places(torch.arange(tokens.shape[1]))
        x = checkpoint(self.block, x, use_reentrant=False) if self.checkpointed else self.block(x)
        out: Tensor = self.head(x).movedim(-1, 1)
        return out


class ViT(nn.Module):
    """Patches, a class token and one block."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.token = nn.Conv2d(1, 4, 2, stride=2), nn.Parameter(torch.randn(1, 1, 4))
        self.block, self.head = Block(4, causal=False), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = self.block(torch.cat([self.token.expand(len(x), -1, -1), x], dim=1))
        out: Tensor = self.head(x[:, 0])
        return out


class Encoder(nn.Module):
    """torch's own encoder layer, which has a fused path in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(4, 2, 6, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Logits of the mean over what the mask leaves."""
        out = self.layer(x, src_key_padding_mask=mask)
        keep = (~mask).to(x.dtype).unsqueeze(-1)
        logits: Tensor = self.head((out * keep).sum(dim=1) / keep.sum(dim=1))
        return logits


def sequences_and_masks() -> tuple[Tensor, Tensor]:
    """Sequences of up to four vectors, and where they have ended."""
    lengths = torch.randint(2, 5, (SAMPLES, 1))
    lengths[0] = 4
    return torch.randn(SAMPLES, 4, 4), torch.arange(4)[None] >= lengths


class Graph(nn.Module):
    """Two graph convolutions; every node is a sample and sees its neighbours."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        """Logits of every node."""
        out: Tensor = self.second(_spread(torch.tanh(self.first(_spread(x, edges))), edges))
        return out


def _spread(x: Tensor, edges: Tensor) -> Tensor:
    sources, ends = edges
    return x + torch.zeros_like(x).index_add(0, ends, x[sources]) / 2


def graph() -> tuple[Tensor, Tensor]:
    """Node features and edges (2, E)."""
    return torch.randn(SAMPLES, 3), torch.randint(SAMPLES, (2, 20))


class TwoHeads(nn.Module):
    """A class and a number for every sample."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.label, self.number = nn.Linear(5, 4), nn.Linear(4, 3), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Logits and numbers by name."""
        hidden = torch.tanh(self.body(x))
        return {"label": self.label(hidden), "number": self.number(hidden)}


def mixed_loss(outputs: dict[str, Tensor], targets: dict[str, Tensor]) -> Tensor:
    """Cross-entropy and squares together."""
    label = functional.cross_entropy(outputs["label"], targets["label"])
    return label + 0.3 * functional.mse_loss(outputs["number"], targets["number"])


class Experts(nn.Module):
    """A mixture of two experts by a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(5, 2)
        self.experts = nn.ModuleList([nn.Linear(5, 3), mlp()])

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        each = torch.stack([expert(x) for expert in self.experts], dim=1)
        out: Tensor = (self.gate(x).softmax(dim=1)[..., None] * each).sum(dim=1)
        return out


class Recommender(nn.Module):
    """Users and items by sparse embeddings, with keywords."""

    def __init__(self) -> None:
        super().__init__()
        self.users, self.items = (nn.Embedding(n, 3, sparse=True) for n in (6, 7))
        self.bias = nn.Linear(3, 1)

    def forward(self, *, user: Tensor, item: Tensor) -> Tensor:
        """A rating for each pair."""
        joint = self.users(user) * self.items(item)
        out: Tensor = self.bias(torch.tanh(joint)).squeeze(1)
        return out


class AutoEncoder(nn.Module):
    """Its inputs are its targets: the loss takes outputs alone."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(5, 2), nn.Linear(2, 5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Input and reconstruction."""
        return x, self.up(torch.tanh(self.down(x)))


class Siamese(nn.Module):
    """One network for two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """How alike they are."""
        return functional.cosine_similarity(self.body(a), self.body(b))


class Views(Siamese):
    """The same, with both embeddings out."""

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Two embeddings."""
        return self.body(a), self.body(b)


def contrastive(outputs: tuple[Tensor, Tensor], targets: Any) -> Tensor:
    """InfoNCE: the partner of a sample among those of its batch."""
    a, b = outputs
    return functional.cross_entropy(a @ b.T, torch.arange(len(a)))


class Flow(nn.Module):
    """One affine coupling, and the log-likelihood of what comes in."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        """The log-density of each sample, to a constant."""
        a, b = x.chunk(2, dim=1)
        shift, scale = self.net(a).chunk(2, dim=1)
        z = torch.cat([a, (b - shift) * (-scale).exp()], dim=1)
        out: Tensor = -z.square().sum(dim=1) / 2 - scale.sum(dim=1)
        return out


class Physics(nn.Module):
    """The residual of u'' = u, with derivatives by the inputs in the forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 5), nn.Tanh(), nn.Linear(5, 1))

    def forward(self, x: Tensor) -> Tensor:
        """u'' - u at each point."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            u = self.net(x)
            (first,) = torch.autograd.grad(u.sum(), x, create_graph=True)
            (second,) = torch.autograd.grad(first.sum(), x, create_graph=True)
        out: Tensor = second - u
        return out


class Cube(torch.autograd.Function):
    """An operation written by hand, of the kind without setup_context."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """x^3."""
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        """3 x^2."""
        (x,) = ctx.saved_tensors
        out: Tensor = 3 * x**2 * slope
        return out


class ByHand(nn.Module):
    """A network with it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        out: Tensor = self.second(Cube.apply(torch.tanh(self.first(x))))  # type: ignore[no-untyped-call]
        return out


class Adapted(nn.Module):
    """A frozen layer with a trained change of rank one."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(5, 4)
        self.base.requires_grad_(False)
        self.down, self.up = nn.Linear(5, 1, bias=False), nn.Linear(1, 4, bias=False)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        out: Tensor = self.head(torch.tanh(self.base(x) + self.up(self.down(x))))
        return out


def without_torchvision() -> None:
    """Let transformers take torchvision for missing: beside torch's CPU build its import fails."""
    sys.modules.setdefault("torchvision", None)  # type: ignore[arg-type]


def bert() -> nn.Module:
    """A classifier of Hugging Face's, from a configuration."""
    without_torchvision()
    from transformers import BertConfig, BertForSequenceClassification

    sizes = {"vocab_size": 7, "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BertConfig(
        **sizes, intermediate_size=4, max_position_embeddings=6, type_vocab_size=1, num_labels=3
    )
    module: nn.Module = BertForSequenceClassification(config)
    return module


def gpt2() -> nn.Module:
    """A language model of Hugging Face's, from a configuration; head and embedding are tied."""
    without_torchvision()
    from transformers import GPT2Config, GPT2LMHeadModel

    module: nn.Module = GPT2LMHeadModel(
        GPT2Config(vocab_size=7, n_positions=5, n_embd=4, n_layer=1, n_head=2, n_inner=4)
    )
    return module


def bert_batch() -> dict[str, Tensor]:
    """Tokens, where they have ended, and labels."""
    mask = torch.ones(SAMPLES, 5, dtype=torch.long)
    mask[::3, 3:] = 0
    tokens = torch.randint(7, (SAMPLES, 5))
    return {"input_ids": tokens, "attention_mask": mask, "labels": torch.randint(3, (SAMPLES,))}


def gpt2_batch() -> dict[str, Tensor]:
    """Tokens, and labels of which the ends are ignored."""
    tokens = torch.randint(7, (SAMPLES, 5))
    labels = tokens.clone()
    labels[8:, 2:] = -100
    return {"input_ids": tokens, "labels": labels}


def next_tokens(outputs: Any, batch: dict[str, Tensor]) -> Tensor:
    """The loss of a language model, from its logits."""
    return functional.cross_entropy(outputs.logits[:, :-1].movedim(-1, 1), batch["labels"][:, 1:])


def following(batch: dict[str, Tensor]) -> float:
    """How many next tokens count."""
    return counted(batch["labels"][:, 1:])


def ridge(weights: dict[str, Tensor]) -> Tensor:
    """A penalty that is no multiple of the square."""
    total = sum(w.square().sum() + 0.1 * w.pow(4).sum() for w in weights.values())
    assert isinstance(total, Tensor)
    return 0.01 * total


INSIDE = dict.fromkeys(("Gauss-Newton", "Fisher"), "needs outputs and loss apart")
"""Of these nothing is known where the module computes its loss itself."""
COUPLED = dict.fromkeys(("Fisher", "Fisher diagonal"), "depend on others of their batch")

_CROSS_ENTROPY = nn.CrossEntropyLoss()
_CLASSES = (normal(5), classes(3), _CROSS_ENTROPY)
_IMAGES = (normal(1, 4, 4), classes(3), _CROSS_ENTROPY)
_TEXT = (classes(5, 3), classes(5, 3), _CROSS_ENTROPY)
_WEIGHTED = nn.CrossEntropyLoss(weight=torch.tensor([0.2, 1.0, 5.0]).double())

ZOO = [
    Model("MLP, tanh", mlp, *_CLASSES),
    Model(
        "MLP, ReLU, dropout",
        lambda: nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 3)),
        *_CLASSES,
    ),
    Model(
        "class weights",
        mlp,
        normal(5),
        classes(3),
        _WEIGHTED,
        weigh=lambda t: float(torch.tensor([0.2, 1.0, 5.0])[t].sum()),
    ),
    Model("ignored targets", mlp, normal(5), some_ignored(3), _CROSS_ENTROPY, weigh=counted),
    Model(
        "ignored targets, a function",
        mlp,
        normal(5),
        some_ignored(3),
        functional.cross_entropy,
        {"batch_weight": counted},
        weigh=counted,
    ),
    Model("label smoothing", mlp, normal(5), classes(3), nn.CrossEntropyLoss(label_smoothing=0.1)),
    Model("soft targets", mlp, normal(5), lambda: torch.rand(SAMPLES, 3), _CROSS_ENTROPY),
    Model("regression", mlp, normal(5), normal(3), nn.MSELoss()),
    Model("Huber loss", mlp, normal(5), normal(3), nn.HuberLoss()),
    Model(
        "many labels",
        mlp,
        normal(5),
        lambda: torch.randint(2, (SAMPLES, 3)).double(),
        nn.BCEWithLogitsLoss(pos_weight=torch.tensor([1.0, 2.0, 0.5]).double()),
    ),
    Model(
        "counts",
        mlp,
        normal(5),
        lambda: torch.randint(5, (SAMPLES, 3)).double(),
        nn.PoissonNLLLoss(),
    ),
    Model("penalty of the weights", mlp, *_CLASSES, {"penalty": ridge}),
    Model("low-rank adapter", Adapted, *_CLASSES),
    Model("mixture of experts", Experts, *_CLASSES),
    Model(
        "two heads, mixture of losses",
        TwoHeads,
        normal(5),
        lambda: {"label": torch.randint(3, (SAMPLES,)), "number": torch.randn(SAMPLES, 1)},
        mixed_loss,
    ),
    Model(
        "autoencoder, no targets",
        AutoEncoder,
        normal(5),
        lambda: None,
        lambda outputs, _: functional.mse_loss(outputs[1], outputs[0]),
    ),
    Model("flow, no targets", Flow, normal(4), lambda: None, lambda outputs, _: -outputs.mean()),
    Model(
        "derivatives by inputs",
        Physics,
        normal(1),
        lambda: None,
        lambda outputs, _: outputs.square().mean(),
    ),
    Model(
        "sparse embeddings, keywords",
        Recommender,
        lambda: {
            "user": torch.randint(6, (SAMPLES,)),
            "item": torch.randint(7, (SAMPLES,)),
        },
        normal(),
        nn.MSELoss(),
    ),
    Model(
        "siamese, two inputs",
        Siamese,
        lambda: (torch.randn(SAMPLES, 4), torch.randn(SAMPLES, 4)),
        normal(),
        nn.MSELoss(),
    ),
    Model(
        "contrastive loss",
        Views,
        lambda: (torch.randn(SAMPLES, 4), torch.randn(SAMPLES, 4)),
        lambda: None,
        contrastive,
        refused=COUPLED,
        coupled=True,
    ),
    Model(
        "graph network",
        Graph,
        graph,
        classes(3),
        _CROSS_ENTROPY,
        cuts=(SAMPLES,),
        refused=COUPLED,
        coupled=True,
    ),
    Model(
        "convolution, batch norm",
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Softplus(), nn.Flatten(), nn.Linear(8, 3)
        ),
        *_IMAGES,
    ),
    Model(
        "batch norm on batch statistics",
        lambda: nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 3)),
        *_CLASSES,
        {"batch_norm": "batch"},
        cuts=(6, 5),
        refused=COUPLED,
        coupled=True,
    ),
    Model("residual block, group norm", Residual, *_IMAGES),
    Model(
        "U-Net, ignored pixels",
        UNet,
        normal(1, 4, 4),
        some_ignored(3, 4, 4),
        _CROSS_ENTROPY,
        weigh=counted,
    ),
    Model("LSTM", lambda: Recurrent(nn.LSTM), normal(4, 2), classes(3), _CROSS_ENTROPY),
    Model("GRU", lambda: Recurrent(nn.GRU), normal(4, 2), classes(3), _CROSS_ENTROPY),
    Model("GPT block", GPT, *_TEXT),
    Model("GPT block, tied weights", lambda: GPT(tied=True), *_TEXT),
    Model("GPT block, checkpointed", lambda: GPT(checkpointed=True), *_TEXT),
    Model("ViT", ViT, *_IMAGES),
    Model("nn.TransformerEncoderLayer", Encoder, sequences_and_masks, classes(3), _CROSS_ENTROPY),
    Model(
        "weight norm",
        lambda: nn.Sequential(
            parametrizations.weight_norm(nn.Linear(5, 4)), nn.Tanh(), nn.Linear(4, 3)
        ),
        *_CLASSES,
    ),
    Model(
        "spectral norm",
        lambda: nn.Sequential(
            parametrizations.spectral_norm(nn.Linear(5, 4)), nn.Tanh(), nn.Linear(4, 3)
        ),
        *_CLASSES,
    ),
    Model("an operation by hand", ByHand, *_CLASSES),
    Model("DataParallel", lambda: nn.DataParallel(mlp()), *_CLASSES),
    Model(
        "Hugging Face BERT",
        bert,
        bert_batch,
        lambda: None,
        lambda outputs, _: outputs.loss,
        loss_inside=True,
        refused=INSIDE,
    ),
    Model(
        "Hugging Face GPT-2, padded",
        gpt2,
        gpt2_batch,
        lambda: None,
        next_tokens,
        {"batch_weight": following},
        weigh=following,
    ),
    Model(
        "reduction sum",
        mlp,
        normal(5),
        classes(3),
        nn.CrossEntropyLoss(reduction="sum"),
        refused={"all": "reduction='sum' adds over samples"},
    ),
    Model(
        "a sum by a function",
        mlp,
        normal(5),
        classes(3),
        lambda o, t: functional.cross_entropy(o, t, reduction="sum"),
        refused={"all": "adds over samples"},
    ),
    Model(
        "ignored targets, no weights",
        mlp,
        normal(5),
        some_ignored(3),
        functional.cross_entropy,
        refused={"all": "is not the mean that batch_weight says"},
    ),
    Model(
        "max_norm",
        lambda: nn.Sequential(nn.Embedding(5, 4, max_norm=1.0), nn.Flatten(), nn.Linear(12, 3)),
        classes(5, 3),
        classes(3),
        _CROSS_ENTROPY,
        refused={"all": "has max_norm=1.0"},
    ),
]
"""All of them."""
