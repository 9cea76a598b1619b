"""Random layers and losses, each of Needle and of PyTorch, with inputs: what test_torch_parity.py compares.

A case is drawn by a function of the torch module and a `Draw`, and named after it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from needle import nn


class Draw:
    """Random options."""

    def __init__(self, seed: Any):
        self.rng = np.random.default_rng(seed)

    def int(self, low: int, high: int) -> int:
        """From low to high, both included."""
        return int(self.rng.integers(low, high + 1))

    def flag(self) -> bool:
        return bool(self.rng.integers(2))

    def one(self, *options: Any) -> Any:
        return options[self.int(0, len(options) - 1)]

    def each(self, axes: int, low: int, high: int) -> Any:
        """A number, or one for each axis."""
        several = tuple([self.int(low, high) for _ in range(axes)])
        return several if axes > 1 and self.flag() else several[0]

    def number(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def normal(self, *shape: int) -> Any:
        """Normal numbers, in memory as C has them or in another order."""
        a = self.rng.standard_normal(shape)
        kind = self.int(0, 3) if shape else 0
        if kind == 1:
            return np.asfortranarray(a)
        if kind == 2:
            return np.ascontiguousarray(a[::-1])[::-1]
        if kind == 3 and a.ndim > 2:
            return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1)
        return a

    def eps(self, count: int) -> float:
        """Of a normalization over so many elements: large for few, whose variance may be next to nothing, so that no
        float32 result is precise."""
        return self.one(1e-5, 1e-2) if count > 7 else 1e-2

    def shape(self, low: int = 1, high: int = 3) -> tuple[int, ...]:
        return tuple([self.int(1, 5) for _ in range(self.int(low, high))])


@dataclass
class Case:
    ours: Any
    theirs: Any
    inputs: list[Any]
    """Floats are differentiated by unless they are among `constants`."""
    call: Callable[..., Any] = lambda model, *inputs: model(*inputs)
    call_theirs: Callable[..., Any] = lambda model, *inputs: model(*inputs)
    constants: tuple[int, ...] = ()
    dtypes: tuple[str, ...] = ("float32", "float64")
    """Those in which PyTorch computes as precisely as it should."""
    options: dict[str, Any] = field(default_factory=dict)
    """For the message of a failure."""


DRAWN: dict[str, Callable[[Any, Draw], Case]] = {}
"""By name."""


def drawn(function: Callable[[Any, Draw], Case]) -> Callable[[Any, Draw], Case]:
    DRAWN[function.__name__] = function
    return function


def of_each(*names: str) -> Callable[[Callable[[Any, Draw, str], Case]], Callable[[Any, Draw, str], Case]]:
    """One function for several layers, by the layer's name."""

    def decorate(function: Callable[[Any, Draw, str], Case]) -> Callable[[Any, Draw, str], Case]:
        for name in names:
            DRAWN[name] = lambda torch, draw, name=name: function(torch, draw, name)
        return function

    return decorate


@drawn
def Linear(torch: Any, draw: Draw) -> Case:
    sizes, bias = (draw.int(1, 9), draw.int(1, 9)), draw.flag()
    ours, theirs = nn.Linear(*sizes, bias=bias), torch.nn.Linear(*sizes, bias=bias)
    return Case(ours, theirs, [draw.normal(*draw.shape(0), sizes[0])])


@drawn
def Flatten(torch: Any, draw: Draw) -> Case:
    shape = draw.shape(2, 5)
    start = draw.int(0, len(shape) - 1)
    ends = start, draw.int(start, len(shape) - 1) - draw.one(0, len(shape))
    return Case(nn.Flatten(*ends), torch.nn.Flatten(*ends), [draw.normal(*shape)])


# -------------------------------------------------------------------------------------------------------------- images


def laid_out(draw: Draw, axes: int, options: dict[str, Any]) -> Callable[..., Any]:
    """Sometimes with the channels last: the option for it, and how our layer is called then."""
    if draw.flag():
        return lambda model, x: model(x)
    options["layout"] = ("NLC", "NHWC")[axes - 1]

    def call(model: Any, x: Any) -> Any:
        from needle import numpy as xp  # noqa: PLC0415

        first = x.ndim - axes - 1
        return xp.moveaxis(model(xp.moveaxis(x, first, -1)), -1, first)

    return call


def image(draw: Draw, channels: int, lengths: Any) -> Any:
    batch = () if draw.int(0, 4) == 0 else (draw.int(1, 3),)
    return draw.normal(*batch, channels, *lengths)


def by_axis(value: Any, axes: int) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,) * axes


@of_each("Conv1d", "Conv2d")
def convolution(torch: Any, draw: Draw, name: str) -> Case:
    axes, groups = int(name[4]), draw.one(1, 1, 2, 3)
    sizes = groups * draw.int(1, 3), groups * draw.int(1, 3)
    kernel, dilation = draw.each(axes, 1, 4), draw.each(axes, 1, 3)
    padding: Any = draw.one("same", "valid", draw.each(axes, 0, 3), draw.each(axes, 0, 3))
    reach = [d * (k - 1) + 1 for d, k in zip(by_axis(dilation, axes), by_axis(kernel, axes), strict=True)]
    if padding == "same" and any(r % 2 == 0 for r in reach):  # of which PyTorch warns
        padding = "valid"
    stride = 1 if padding == "same" else draw.each(axes, 1, 3)
    options = {"padding": padding, "dilation": dilation, "groups": groups, "bias": draw.flag(), "stride": stride}
    theirs = getattr(torch.nn, name)(*sizes, kernel, **options)
    around = by_axis(0 if isinstance(padding, str) else padding, axes)
    lengths = [max(1, r - 2 * p) + draw.int(0, 6) for r, p in zip(reach, around, strict=True)]
    call = laid_out(draw, axes, options)
    return Case(getattr(nn, name)(*sizes, kernel, **options), theirs, [image(draw, sizes[0], lengths)], call)


@drawn
def Conv(torch: Any, draw: Draw) -> Case:
    """The course's: PyTorch's with a padding of half of the kernel."""
    sizes, kernel, stride, bias = (draw.int(1, 4), draw.int(1, 4)), draw.one(1, 3, 5), draw.int(1, 4), draw.flag()
    theirs = torch.nn.Conv2d(*sizes, kernel, stride, kernel // 2, bias=bias)
    x = draw.normal(draw.int(1, 3), sizes[0], draw.int(1, 9), draw.int(1, 9))
    return Case(nn.Conv(*sizes, kernel, stride, bias), theirs, [x])


@of_each("ConvTranspose1d", "ConvTranspose2d")
def transposed_convolution(torch: Any, draw: Draw, name: str) -> Case:
    axes, groups = int(name[-2]), draw.one(1, 1, 2)
    sizes = groups * draw.int(1, 3), groups * draw.int(1, 3)
    kernel, dilation, stride = draw.each(axes, 1, 4), draw.each(axes, 1, 2), draw.each(axes, 1, 3)
    reach = [d * (k - 1) + 1 for d, k in zip(by_axis(dilation, axes), by_axis(kernel, axes), strict=True)]
    room = [max(s, d) - 1 for s, d in zip(by_axis(stride, axes), by_axis(dilation, axes), strict=True)]
    padding = tuple([draw.int(0, (r - 1) // 2) for r in reach])
    added = tuple([draw.int(0, most) for most in room])
    options = {"stride": stride, "padding": padding, "output_padding": added, "groups": groups, "dilation": dilation}
    options["bias"] = draw.flag()
    theirs = getattr(torch.nn, name)(*sizes, kernel, **options)
    call = laid_out(draw, axes, options)
    x = image(draw, sizes[0], [draw.int(1, 5) for _ in range(axes)])
    return Case(getattr(nn, name)(*sizes, kernel, **options), theirs, [x], call)


@of_each("MaxPool1d", "MaxPool2d", "AvgPool1d", "AvgPool2d")
def pooling(torch: Any, draw: Draw, name: str) -> Case:
    axes = int(name[-2])
    kernel = draw.each(axes, 1, 4)
    padding = tuple([draw.int(0, k // 2) for k in by_axis(kernel, axes)])
    options: dict[str, Any] = {"padding": padding, "ceil_mode": draw.flag()}
    if draw.flag():
        options["stride"] = draw.each(axes, 1, 3)
    reach = by_axis(kernel, axes)
    if name.startswith("Max"):
        options["dilation"] = draw.each(axes, 1, 2)
        reach = tuple([d * (k - 1) + 1 for d, k in zip(by_axis(options["dilation"], axes), reach, strict=True)])
    else:
        options["count_include_pad"] = draw.flag()
    theirs = getattr(torch.nn, name)(kernel, **options)
    least = by_axis(
        options.get("dilation", 1), axes
    )  # where a window's taps miss the image, PyTorch writes out of bounds
    lengths = [max(d, r - 2 * p) + draw.int(0, 6) for d, r, p in zip(least, reach, padding, strict=True)]
    call = laid_out(draw, axes, options)
    return Case(getattr(nn, name)(kernel, **options), theirs, [image(draw, draw.int(1, 3), lengths)], call)


@of_each("AdaptiveAvgPool1d", "AdaptiveAvgPool2d")
def adaptive_pooling(torch: Any, draw: Draw, name: str) -> Case:
    axes, options = int(name[-2]), dict[str, Any]()
    size: Any = draw.int(1, 6)
    if axes == 2 and draw.flag():
        size = draw.one(None, draw.int(1, 6)), draw.one(None, draw.int(1, 6))
    call = laid_out(draw, axes, options)
    x = image(draw, draw.int(1, 3), [draw.int(1, 9) for _ in range(axes)])
    return Case(getattr(nn, name)(size, **options), getattr(torch.nn, name)(size), [x], call)


# ------------------------------------------------------------------------------------------------------- normalization


@of_each("BatchNorm1d", "BatchNorm2d", "BatchNorm3d")
def batch_norm(torch: Any, draw: Draw, name: str) -> Case:
    dim, axes = draw.int(1, 5), int(name[-2])
    after = [draw.int(1, 4) for _ in range(axes - (axes == 1 and draw.flag()))]
    x = draw.normal(draw.int(2, 6), dim, *after) * 3 + 1
    options = {"eps": draw.eps(x.size // dim), "momentum": draw.number(0, 1), "affine": draw.flag()}
    ours = getattr(nn, name)(dim, unbiased_running_var=True, **options)
    return Case(ours, getattr(torch.nn, name)(dim, **options), [x])


@drawn
def LayerNorm(torch: Any, draw: Draw) -> Case:
    shape, affine, bias = draw.shape(), draw.flag(), draw.flag()
    shape = (*shape[:-1], shape[-1] + 1)
    eps = draw.eps(prod(shape))
    ours = nn.LayerNorm(shape if len(shape) > 1 or draw.flag() else shape[0], eps, affine=affine, bias=bias)
    theirs = torch.nn.LayerNorm(shape, eps, elementwise_affine=affine, bias=bias)
    return Case(ours, theirs, [draw.normal(*draw.shape(0), *shape) * 2 + 1])


@drawn
def LayerNorm1d(torch: Any, draw: Draw) -> Case:
    dim = draw.int(2, 20)
    eps = draw.eps(dim)
    return Case(nn.LayerNorm1d(dim, eps), torch.nn.LayerNorm(dim, eps), [draw.normal(*draw.shape(0), dim) * 2 + 1])


@drawn
def RMSNorm(torch: Any, draw: Draw) -> Case:
    shape, eps, affine = draw.shape(), draw.one(None, 1e-5, 1e-2), draw.flag()
    ours, theirs = nn.RMSNorm(shape, eps, affine=affine), torch.nn.RMSNorm(shape, eps, elementwise_affine=affine)
    return Case(ours, theirs, [draw.normal(*draw.shape(0), *shape) * 2 + 1])


@drawn
def GroupNorm(torch: Any, draw: Draw) -> Case:
    groups, affine = draw.int(1, 3), draw.flag()
    dim, more = groups * draw.int(2, 3), draw.shape(0)
    eps = draw.eps(dim // groups * prod(more))
    ours, theirs = nn.GroupNorm(groups, dim, eps, affine=affine), torch.nn.GroupNorm(groups, dim, eps, affine)
    return Case(ours, theirs, [draw.normal(draw.int(1, 4), dim, *more) * 2 + 1])


@of_each("InstanceNorm1d", "InstanceNorm2d")
def instance_norm(torch: Any, draw: Draw, name: str) -> Case:
    dim, affine = draw.int(1, 4), draw.flag()
    lengths = [draw.int(2, 5) for _ in range(int(name[-2]))]
    eps = draw.eps(prod(lengths))
    ours, theirs = getattr(nn, name)(dim, eps, affine=affine), getattr(torch.nn, name)(dim, eps, affine=affine)
    return Case(ours, theirs, [draw.normal(draw.int(1, 4), dim, *lengths) * 2 + 1])


# ---------------------------------------------------------------------------------------------------------- recurrence


@of_each("RNN", "GRU", "LSTM")
def recurrent(torch: Any, draw: Draw, name: str) -> Case:
    sizes = draw.int(1, 5), draw.int(1, 6)
    options: dict[str, Any] = {"num_layers": draw.int(1, 3), "bias": draw.flag(), "bidirectional": draw.flag()}
    options["batch_first"] = batch_first = draw.flag()
    if name == "RNN":
        options["nonlinearity"] = draw.one("tanh", "relu")
    steps, batch = draw.int(1, 6), draw.int(1, 4)
    batched = draw.int(0, 4) > 0
    x = draw.normal(*((batch, steps) if batch_first else (steps, batch)) if batched else (steps,), sizes[0])
    shape = (options["num_layers"] * (1 + options["bidirectional"]), *[batch] * batched, sizes[1])
    states = [draw.normal(*shape) for _ in range((1 + (name == "LSTM")) * draw.flag())]
    lengths = [draw.int(1, steps) for _ in range(batch)] if batched and draw.flag() else None

    def packed_state(given: Any) -> Any:
        return None if not given else given[0] if len(given) == 1 else tuple(given)

    def flat(out: Any) -> list[Any]:
        return [out[0], *(out[1] if isinstance(out[1], tuple) else [out[1]])]

    def call(model: Any, x: Any, *state: Any) -> Any:
        return flat(model(x, packed_state(state), lengths))

    def call_theirs(model: Any, x: Any, *state: Any) -> Any:
        if lengths is None:
            return flat(model(x, packed_state(state)))
        packing: Any = torch.nn.utils.rnn
        rows = packing.pack_padded_sequence(x, lengths, batch_first=batch_first, enforce_sorted=False)
        out, last = model(rows, packed_state(state))
        out, _ = packing.pad_packed_sequence(out, batch_first=batch_first, total_length=steps)
        return flat((out, last))

    ours, theirs = getattr(nn, name)(*sizes, **options), getattr(torch.nn, name)(*sizes, **options)
    return Case(ours, theirs, [x, *states], call, call_theirs, options={"lengths": lengths})


@of_each("RNNCell", "GRUCell", "LSTMCell")
def cell(torch: Any, draw: Draw, name: str) -> Case:
    sizes, bias = (draw.int(1, 5), draw.int(1, 6)), draw.flag()
    options: dict[str, Any] = {"nonlinearity": draw.one("tanh", "relu")} if name == "RNNCell" else {}
    batch = [draw.int(1, 4)] if draw.flag() else []
    x = draw.normal(*batch, sizes[0])
    states = [draw.normal(*batch, sizes[1]) for _ in range((1 + (name == "LSTMCell")) * draw.flag())]

    def call(model: Any, x: Any, *state: Any) -> Any:
        out = model(x, None if not state else state[0] if len(state) == 1 else state)
        return list(out) if isinstance(out, tuple) else out

    ours = getattr(nn, name)(*sizes, bias=bias, **options)
    return Case(ours, getattr(torch.nn, name)(*sizes, bias=bias, **options), [x, *states], call, call)


@drawn
def Embedding(torch: Any, draw: Draw) -> Case:
    count, dim = draw.int(2, 9), draw.int(1, 6)
    padding = draw.one(None, draw.int(-count, count - 1))
    ids = draw.rng.integers(0, count, draw.shape(0))
    return Case(
        nn.Embedding(count, dim, padding_idx=padding), torch.nn.Embedding(count, dim, padding_idx=padding), [ids]
    )


# ----------------------------------------------------------------------------------------------------------- attention


def visible(draw: Draw, *shape: int) -> Any:
    """A mask of what may be seen, in which each query sees the first key: PyTorch has NaN where one sees nothing."""
    mask = draw.rng.random(shape) < 0.6
    mask[..., 0] = True
    return mask


@drawn
def MultiHeadAttention(torch: Any, draw: Draw) -> Case:
    heads, bias = draw.int(1, 3), draw.flag()
    dim, n, queries = heads * draw.int(1, 4), draw.int(1, 3), draw.int(1, 5)
    theirs = torch.nn.MultiheadAttention(dim, heads, bias=bias, batch_first=True)
    ours = nn.MultiHeadAttention(dim, heads, bias=bias)
    kind = draw.one("self", "two", "three")
    keys = queries if kind == "self" else draw.int(1, 5)
    inputs = [
        draw.normal(n, length, dim) for length in (queries, keys, keys)[: ("self", "two", "three").index(kind) + 1]
    ]
    causal = kind == "self" and draw.flag()
    which = draw.one("none", "of pairs", "of examples", "of heads", "of padding")
    shapes = {"of pairs": (queries, keys), "of examples": (n, queries, keys), "of heads": (n, heads, queries, keys)}
    mask = None if which == "none" else visible(draw, *shapes.get(which, (n, keys)))

    def call(model: Any, q: Any, *others: Any) -> Any:
        seen = mask[:, None, :] if which == "of padding" else mask
        return list(model(q, *others, mask=seen, causal=causal, return_weights=True))

    def call_theirs(model: Any, q: Any, *others: Any) -> Any:
        k, v = others if len(others) == 2 else (*others, *others) or (q, q)
        seen = np.tril(np.ones((queries, keys), bool)) if causal else np.ones((queries, keys), bool)
        if mask is not None and which != "of padding":
            seen = seen & (mask[:, None] if which == "of examples" else mask)
        if seen.ndim > 2:
            seen = np.broadcast_to(seen, (n, heads, queries, keys)).reshape(n * heads, queries, keys)
        padding = torch.tensor(~mask) if which == "of padding" else None
        hidden = torch.tensor(~seen)
        return list(model(q, k, v, padding, True, hidden, average_attn_weights=False))

    options = {"kind": kind, "mask": which, "causal": causal}
    return Case(ours, theirs, inputs, call, call_theirs, options=options)


def transformer_options(draw: Draw) -> tuple[tuple[int, int, int], dict[str, Any]]:
    heads = draw.int(1, 3)
    sizes = heads * -(-8 // heads), heads, draw.int(1, 9)
    return sizes, {"activation": draw.one("relu", "gelu"), "norm_first": draw.flag()}


@of_each("TransformerEncoderLayer", "TransformerEncoder")
def encoder(torch: Any, draw: Draw, name: str) -> Case:
    (dim, heads, hidden), options = transformer_options(draw)
    theirs = torch.nn.TransformerEncoderLayer(dim, heads, hidden, 0.0, batch_first=True, **options)
    if name == "TransformerEncoder":
        layers, final = draw.int(1, 3), draw.flag()
        norm = torch.nn.LayerNorm(dim) if final else None
        theirs = torch.nn.TransformerEncoder(theirs, layers, norm, enable_nested_tensor=False)
        ours: Any = nn.TransformerEncoder(dim, heads, layers, hidden, final_norm=final, **options)
    else:
        ours = nn.TransformerEncoderLayer(dim, heads, hidden, **options)
    n, steps = draw.int(1, 3), draw.int(1, 5)
    causal, mask = draw.flag(), draw.one(None, visible(draw, n, steps))

    def call(model: Any, x: Any) -> Any:
        return model(x, mask=None if mask is None else mask[:, None, :], causal=causal)

    def call_theirs(model: Any, x: Any) -> Any:
        hidden = torch.triu(torch.ones(steps, steps, dtype=bool), 1) if causal else None
        return model(x, hidden, src_key_padding_mask=None if mask is None else torch.tensor(~mask))

    return Case(ours, theirs, [draw.normal(n, steps, dim)], call, call_theirs, options={"mask": mask, "causal": causal})


@of_each("TransformerDecoderLayer", "TransformerDecoder")
def decoder(torch: Any, draw: Draw, name: str) -> Case:
    (dim, heads, hidden), options = transformer_options(draw)
    theirs = torch.nn.TransformerDecoderLayer(dim, heads, hidden, 0.0, batch_first=True, **options)
    if name == "TransformerDecoder":
        layers, final = draw.int(1, 3), draw.flag()
        theirs = torch.nn.TransformerDecoder(theirs, layers, torch.nn.LayerNorm(dim) if final else None)
        ours: Any = nn.TransformerDecoder(dim, heads, layers, hidden, final_norm=final, **options)
    else:
        ours = nn.TransformerDecoderLayer(dim, heads, hidden, **options)
    n, steps, keys = draw.int(1, 3), draw.int(1, 5), draw.int(1, 5)
    causal, mask = draw.flag(), draw.one(None, visible(draw, n, keys))

    def call(model: Any, x: Any, memory: Any) -> Any:
        return model(x, memory, memory_mask=None if mask is None else mask[:, None, :], causal=causal)

    def call_theirs(model: Any, x: Any, memory: Any) -> Any:
        hidden = torch.triu(torch.ones(steps, steps, dtype=bool), 1) if causal else None
        return model(x, memory, hidden, memory_key_padding_mask=None if mask is None else torch.tensor(~mask))

    inputs = [draw.normal(n, steps, dim), draw.normal(n, keys, dim)]
    return Case(ours, theirs, inputs, call, call_theirs, options={"mask": mask, "causal": causal})


# --------------------------------------------------------------------------------------------- activations and dropout


@of_each(
    "Hardsigmoid", "Hardswish", "LogSigmoid", "Mish", "ReLU", "ReLU6", "SELU", "SiLU", "Sigmoid", "Tanh", "Identity"
)
def activation(torch: Any, draw: Draw, name: str) -> Case:
    case = Case(getattr(nn, name)(), getattr(torch.nn, name)(), [draw.normal(*draw.shape(0)) * 4])
    if name == "Hardsigmoid":
        case.dtypes = ("float32",)  # in float64, the slope of PyTorch's is 1/6 rounded to float32
    return case


@of_each("ELU", "LeakyReLU", "Softplus", "GELU")
def activation_with_option(torch: Any, draw: Draw, name: str) -> Case:
    option = draw.one("none", "tanh") if name == "GELU" else draw.number(0.1, 2)
    keyword = {"GELU": "approximate", "Softplus": "beta", "ELU": "alpha", "LeakyReLU": "negative_slope"}[name]
    more = {"threshold": 50} if name == "Softplus" else {}  # from 20 on, PyTorch's is x
    return Case(
        getattr(nn, name)(option),
        getattr(torch.nn, name)(**{keyword: option}, **more),
        [draw.normal(*draw.shape(0)) * 4],
    )


@of_each("Softmax", "LogSoftmax", "GLU")
def activation_along(torch: Any, draw: Draw, name: str) -> Case:
    shape = [2 * n for n in draw.shape()]
    axis = draw.int(-len(shape), len(shape) - 1)
    return Case(getattr(nn, name)(axis), getattr(torch.nn, name)(axis), [draw.normal(*shape) * 3])


@drawn
def PReLU(torch: Any, draw: Draw) -> Case:
    channels = draw.one(1, draw.int(2, 4))
    shape = draw.int(1, 4), channels if channels > 1 else draw.int(1, 4), *draw.shape(0)
    return Case(nn.PReLU(channels), torch.nn.PReLU(channels), [draw.normal(*shape)])


@of_each("Dropout", "Dropout1d", "Dropout2d")
def dropout(torch: Any, draw: Draw, name: str) -> Case:
    """Nothing is dropped, or all: in between, the masks differ. In `eval()`, any p is the identity."""
    p = draw.one(0.0, 1.0)
    shape = draw.shape(0) if name == "Dropout" else [draw.int(1, 4) for _ in range(2 + int(name[-2]))]
    return Case(getattr(nn, name)(p), getattr(torch.nn, name)(p), [draw.normal(*shape)])


# -------------------------------------------------------------------------------------------------------------- losses


def reduction(draw: Draw) -> str:
    return draw.one("mean", "sum", "none")


@of_each("MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss")
def regression(torch: Any, draw: Draw, name: str) -> Case:
    option = {"SmoothL1Loss": "beta", "HuberLoss": "delta"}.get(name)
    options: dict[str, Any] = {"reduction": reduction(draw)} | ({option: draw.number(0.2, 2)} if option else {})
    shape = draw.shape(0)
    inputs = [draw.normal(*shape) * 2, draw.normal(*shape) * 2]
    return Case(getattr(nn, name)(**options), getattr(torch.nn, name)(**options), inputs)


@drawn
def CrossEntropyLoss(torch: Any, draw: Draw) -> Case:
    classes, n, more = draw.int(2, 5), draw.int(1, 6), draw.shape(0, 2)
    weight = draw.one(None, draw.rng.random(classes) + 0.1)
    options: dict[str, Any] = {"reduction": reduction(draw), "label_smoothing": draw.one(0.0, draw.number(0, 1))}
    labels: Any = draw.rng.integers(0, classes, (n, *more))
    if soft := draw.int(0, 2) == 0:
        shares = draw.rng.random((n, classes, *more))
        labels = shares / shares.sum(1, keepdims=True)
    elif draw.flag():
        options["ignore_index"] = ignored = draw.one(-100, 0, classes - 1)
        labels[draw.rng.random(labels.shape) < 0.3] = ignored
        labels.flat[0] = draw.one(*[c for c in range(classes) if c != ignored])  # PyTorch has NaN where all are ignored
    ours = nn.CrossEntropyLoss(None if weight is None else weight.copy(), axis=1, **options)
    theirs = torch.nn.CrossEntropyLoss(None if weight is None else torch.tensor(weight), **options)
    described = {**options, "soft": soft, "weight": weight}
    return Case(ours, theirs, [draw.normal(n, classes, *more) * 3, labels], options=described)


@drawn
def SoftmaxLoss(torch: Any, draw: Draw) -> Case:
    n, classes = draw.int(1, 9), draw.int(1, 6)
    labels = draw.rng.integers(0, classes, n)
    return Case(nn.SoftmaxLoss(), torch.nn.CrossEntropyLoss(), [draw.normal(n, classes) * 3, labels])


@drawn
def NLLLoss(torch: Any, draw: Draw) -> Case:
    classes, n, more = draw.int(2, 5), draw.int(1, 6), draw.shape(0, 2)
    weight = draw.one(None, draw.rng.random(classes) + 0.1)
    options: dict[str, Any] = {"reduction": reduction(draw)}
    labels = draw.rng.integers(0, classes, (n, *more))
    if draw.flag():
        options["ignore_index"] = ignored = draw.one(-100, 0)
        labels[draw.rng.random(labels.shape) < 0.3] = ignored
        labels.flat[0] = 1
    ours = nn.NLLLoss(None if weight is None else weight.copy(), axis=1, **options)
    theirs = torch.nn.NLLLoss(None if weight is None else torch.tensor(weight), **options)
    return Case(ours, theirs, [draw.normal(n, classes, *more), labels])


@of_each("BCEWithLogitsLoss", "BCELoss")
def binary(torch: Any, draw: Draw, name: str) -> Case:
    shape = draw.shape()
    given: dict[str, Any] = {}
    if draw.flag():
        given["weight"] = draw.rng.random(shape) + 0.1
    if name == "BCEWithLogitsLoss" and draw.flag():
        given["pos_weight"] = draw.rng.random(shape[-1]) + 0.1
    how = reduction(draw)
    ours = getattr(nn, name)(reduction=how, **{key: a.copy() for key, a in given.items()})
    theirs = getattr(torch.nn, name)(reduction=how, **{key: torch.tensor(a) for key, a in given.items()})
    x = draw.normal(*shape) * 3 if name == "BCEWithLogitsLoss" else draw.rng.random(shape) * 0.98 + 0.01
    y = draw.rng.random(shape) if draw.flag() else draw.rng.integers(0, 2, shape).astype(float)
    return Case(ours, theirs, [x, y], constants=(1,))


@drawn
def KLDivLoss(torch: Any, draw: Draw) -> Case:
    shape, log_target = draw.shape(), draw.flag()
    how = draw.one("mean", "sum", "none", "batchmean")
    y = draw.rng.random(shape) + 0.01
    inputs = [draw.normal(*shape), np.log(y) if log_target else y]
    ours, theirs = nn.KLDivLoss(how, log_target), torch.nn.KLDivLoss(reduction=how, log_target=log_target)
    return Case(ours, theirs, inputs, constants=(1,))


@drawn
def CosineEmbeddingLoss(torch: Any, draw: Draw) -> Case:
    options: dict[str, Any] = {"margin": draw.number(-0.5, 0.5), "reduction": reduction(draw)}
    n, dim = draw.int(1, 5), draw.int(2, 6)
    target = draw.rng.integers(0, 2, n) * 2 - 1
    inputs = [draw.normal(n, dim) for _ in range(2)]
    for x in inputs:  # not short: to the squares of lengths, PyTorch adds 1e-12
        x *= np.maximum(1, 1 / np.linalg.norm(x, axis=1, keepdims=True))
    inputs.append(target)
    return Case(nn.CosineEmbeddingLoss(**options), torch.nn.CosineEmbeddingLoss(**options), inputs)


@drawn
def TripletMarginLoss(torch: Any, draw: Draw) -> Case:
    options: dict[str, Any] = {"margin": draw.number(0, 2), "p": draw.one(1.0, 2.0, 3.0), "swap": draw.flag()}
    options["reduction"] = reduction(draw)
    shape = draw.int(1, 5), draw.int(2, 6)
    inputs = [draw.normal(*shape) for _ in range(3)]
    return Case(nn.TripletMarginLoss(**options), torch.nn.TripletMarginLoss(**options), inputs)


# ------------------------------------------------------------------------------------------------------ several layers

NETS = ("ImageNet", "LanguageModel")
"""Cases that are no layers."""


@drawn
def ImageNet(torch: Any, draw: Draw) -> Case:
    """A convolutional net of random parts."""
    pairs: list[tuple[Any, Any]] = []
    channels = first = draw.int(1, 3)
    for _ in range(draw.int(1, 3)):
        width, kernel = draw.int(1, 4), draw.one(1, 3)
        sizes = channels, width, kernel, draw.int(1, 2), kernel // 2
        normalized = draw.flag()  # after which a bias has no effect, and its gradient is rounding errors
        pairs.append((nn.Conv2d(*sizes, bias=not normalized), torch.nn.Conv2d(*sizes, bias=not normalized)))
        if normalized:
            pairs.append((nn.BatchNorm2d(width, unbiased_running_var=True), torch.nn.BatchNorm2d(width)))
        name = draw.one("Tanh", "SiLU", "GELU", "Identity")
        pairs.append((getattr(nn, name)(), getattr(torch.nn, name)()))
        channels = width
    pairs.append((nn.AdaptiveAvgPool2d(2), torch.nn.AdaptiveAvgPool2d(2)))
    pairs += [(nn.Flatten(), torch.nn.Flatten()), (nn.Linear(4 * channels, 3), torch.nn.Linear(4 * channels, 3))]
    ours, theirs = zip(*pairs, strict=True)
    x = draw.normal(draw.int(2, 4), first, draw.int(5, 9), draw.int(5, 9))
    return Case(nn.Sequential(*ours), torch.nn.Sequential(*theirs), [x])


@drawn
def LanguageModel(torch: Any, draw: Draw) -> Case:
    """An embedding, a recurrent layer of any kind, a linear one."""
    kind, layers = draw.one("RNN", "GRU", "LSTM"), draw.int(1, 2)
    words, width, hidden = draw.int(2, 9), draw.int(1, 5), draw.int(1, 6)

    def parts(m: Any) -> list[Any]:
        return [m.Embedding(words, width), getattr(m, kind)(width, hidden, layers), m.Linear(hidden, words)]

    def call(model: Any, ids: Any) -> Any:
        embedding, layer, head = model[0], model[1], model[2]
        return head(layer(embedding(ids))[0])

    ids = draw.rng.integers(0, words, (draw.int(1, 6), draw.int(1, 4)))
    return Case(nn.ModuleList(parts(nn)), torch.nn.ModuleList(parts(torch.nn)), [ids], call, call)
