"""The signatures of layers, losses, optimizers, schedules, data and runs: names, order and defaults that users rely on.

Each is written as it is promised; what a class has beyond that must be optional, and stand after it or be a keyword.
What has no default may have another name here.
"""

from __future__ import annotations

import inspect
from inspect import Parameter
from typing import Any

import needle
import numpy as np
import pytest
from needle import data, nn, optim
from needle.optim import schedules

POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
FACTORY = 'device=None, dtype="float32"'
CONVOLUTION = "in_channels, out_channels, kernel_size, stride=1, padding=0"

PROMISED = [
    (nn, "Parameter(array, requires_grad=True, device=None, dtype=None)"),
    (nn, "Buffer(array, persistent=True)"),
    (nn, "evaluating(model)"),
    (nn, "record(model, *patterns)"),
    (nn, "summary(model, *inputs, depth=None)"),
    (nn, "load_torch(model, state, rename=None)"),
    (nn, "torch_state_dict(model)"),
    (nn, "attention(q, k, v, mask=None, causal=False, *, scale=None)"),
    (nn, f"Linear(in_features, out_features, bias=True, {FACTORY}, *, rng=None)"),
    (nn, f"Conv(in_channels, out_channels, kernel_size, stride=1, bias=True, {FACTORY}, *, rng=None)"),
    (nn, f'Conv1d({CONVOLUTION}, dilation=1, groups=1, bias=True, *, layout="NCL", {FACTORY}, rng=None)'),
    (nn, f'Conv2d({CONVOLUTION}, dilation=1, groups=1, bias=True, *, layout="NCHW", {FACTORY}, rng=None)'),
    # PyTorch's order, in which the dilation comes last
    (
        nn,
        f"ConvTranspose1d({CONVOLUTION}, output_padding=0, groups=1, bias=True, dilation=1, *, "
        f'layout="NCL", {FACTORY}, rng=None)',
    ),
    (
        nn,
        f"ConvTranspose2d({CONVOLUTION}, output_padding=0, groups=1, bias=True, dilation=1, *, "
        f'layout="NCHW", {FACTORY}, rng=None)',
    ),
    *[
        (nn, f"BatchNorm{n}d(dim, eps=1e-5, momentum=0.1, {FACTORY}, *, affine=True, unbiased_running_var=False)")
        for n in (1, 2)
    ],
    (nn, f"LayerNorm1d(dim, eps=1e-5, {FACTORY})"),
    (nn, f"LayerNorm(shape, eps=1e-5, {FACTORY})"),
    (nn, f"RMSNorm(shape, eps=None, {FACTORY})"),
    (nn, f"GroupNorm(groups, dim, eps=1e-5, {FACTORY})"),
    *[
        (
            nn,
            f"{name}(input_size, hidden_size, num_layers=1, bias=True, {more}{FACTORY}, *, batch_first=False, "
            "bidirectional=False, dropout=0.0, rng=None)",
        )
        for name, more in (("LSTM", ""), ("GRU", ""), ("RNN", 'nonlinearity="tanh", '))
    ],
    *[
        (nn, f"{name}(input_size, hidden_size, bias=True, {more}{FACTORY}, *, rng=None)")
        for name, more in (("LSTMCell", ""), ("GRUCell", ""), ("RNNCell", 'nonlinearity="tanh", '))
    ],
    (nn.LSTM, "forward(self, x, state=None, lengths=None)"),
    (nn, "MultiHeadAttention(dim, heads, dropout=0.0, *, bias=True)"),
    (
        nn.MultiHeadAttention,
        "forward(self, q, k=None, v=None, mask=None, causal=False, return_weights=False)",
    ),
    *[
        (nn, f'{name}(dim, heads, layers, hidden=None, dropout=0.0, *, norm_first=True, activation="gelu")')
        for name in ("TransformerEncoder", "TransformerDecoder")
    ],
    (nn, 'CrossEntropyLoss(weight=None, ignore_index=None, label_smoothing=0.0, reduction="mean", axis=-1)'),
    (nn, "SoftmaxLoss()"),
    (nn.SoftmaxLoss, "forward(self, logits, y)"),
    *[
        (nn.Module, text)
        for text in (
            "train(self, mode=True)",
            "requires_grad_(self, flag=True, *patterns)",
            "to(self, dtype=None)",
            "apply(self, f)",
            "reset_parameters(self, rng=None)",
            "materialize(self, *x, **options)",
            "load_state_dict(self, state, strict=True, rename=None)",
            *[
                f"{name}(self)"
                for name in (
                    *("parameters", "named_parameters", "buffers", "named_buffers", "modules", "named_modules"),
                    *("children", "eval", "float", "double", "zero_grad", "state_dict"),
                )
            ],
        )
    ],
    (optim, "SGD(params, lr=0.01, momentum=0.0, weight_decay=0.0, *, dampening=None, nesterov=False)"),
    *[
        (
            optim,
            f"{name}(params, lr=0.001, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay={decay}, *, betas=None, "
            "amsgrad=False)",
        )
        for name, decay in (("Adam", 0.0), ("AdamW", 0.01))
    ],
    *[
        (optim.Optimizer, text)
        for text in (
            *("step(self)", "reset_grad(self)", "zero_grad(self)", "clip_grad_norm(self, max_norm=0.25)"),
            *("scale_grad(self, c)", "state_dict(self)", "load_state_dict(self, state)"),
        )
    ],
    (optim, "EMA(model, decay=0.999)"),
    (optim, "split_decay(model, weight_decay)"),
    *[
        (schedules, text)
        for text in (
            *(
                "constant(lr)",
                "linear(lr, to, steps)",
                "cosine(lr, steps, warmup=0, to=0.0)",
                "step(lr, every, by=0.1)",
            ),
            *("exponential(lr, by)", "one_cycle(peak, steps)", "join(*parts)", "piecewise(rates)"),
            "plateau(lr, by=0.1, patience=10)",
        )
    ],
    (
        data,
        "DataLoader(dataset, batch_size=1, shuffle=False, *, sampler=None, batch_sampler=None, drop_last=False, "
        'collate=None, workers=0, processes=False, prefetch=2, rng=None, device=None, dtype="float32")',
    ),
    (data.DataLoader, "state_dict(self)"),
    (data.DataLoader, "load_state_dict(self, state)"),
    (needle, "Run(folder, *, model, opt=None, loader, epochs=1, ema=None, resume=True, **objects)"),
    (needle, "save(path, **objects)"),
    (needle, "load(path, **objects)"),
]


def parameters_of(text: str) -> list[Parameter]:
    """Those of `name(...)`."""
    found: dict[str, Any] = {}
    exec(f"def _{text[text.index('(') :]}: ...", found)
    return list(inspect.signature(found["_"]).parameters.values())


@pytest.mark.parametrize(
    ("owner", "text"),
    PROMISED,
    ids=[f"{owner.__name__.split('.')[-1]}.{text.split('(')[0]}" for owner, text in PROMISED],
)
def test_a_promised_signature_is_kept(owner, text):
    promised = parameters_of(text)
    found = inspect.signature(getattr(owner, text[: text.index("(")])).parameters
    here = list(found.values())
    order = [p for p in promised if p.kind in POSITIONAL]
    for p, q in zip(order, here, strict=False):
        assert q.kind in POSITIONAL and q.default == p.default, f"{text}: {p} is {q}"
        assert q.name == p.name or p.default is Parameter.empty, f"{text}: {p} is {q}"
    assert len(here) >= len(order)
    for p in promised[len(order) :]:
        if p.kind is Parameter.KEYWORD_ONLY:
            assert found[p.name].kind is p.kind and found[p.name].default == p.default, f"{text}: {p}"
        else:
            assert p.kind in [q.kind for q in here], f"{text}: {p}"
    known = {p.name for p in promised} | {q.name for q in here[: len(order)]}
    for q in here:
        is_open = q.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
        if q.name not in known and not (is_open and q.kind in [p.kind for p in promised]):
            assert not is_open, f"{text}: whatever is given goes into {q}, so that a misspelt name is not seen"
            assert q.default is not Parameter.empty, f"{text}: {q} must be given"


def test_what_is_given_for_parameters_and_rates():
    """A Module, named parameters, a list, a list of dicts; a number, or a function of the step."""
    model = nn.Linear(2, 3)
    for params in (model, model.named_parameters(), model.parameters(), [{"params": model.parameters(), "lr": 0.5}]):
        for rate in (0.5, lambda step: 0.5 + 0 * step):
            opt = optim.SGD(params, lr=rate)
            assert opt.lr == 0.5 and len(opt.params) == 2 and opt.params[0] is model.weight
            opt.param_groups[0]["lr"] = 0.25
            assert opt.lr == 0.25


def test_a_misspelt_option_is_named():
    for layer in (nn.LSTM, nn.GRU, nn.RNN):
        with pytest.raises(TypeError, match="batchfirst"):
            layer(2, 3, batchfirst=True)


def test_losses_states_and_batches_come_in_the_promised_order():
    out, (h, c) = nn.LSTM(2, 3)(np.ones((5, 4, 2)), None, [5, 1, 0, 2])
    assert out.shape == (5, 4, 3) and h.shape == c.shape == (1, 4, 3)
    assert nn.SoftmaxLoss()(np.zeros((4, 10)), np.arange(4)).item() == pytest.approx(np.log(10))
    assert optim.SGD.zero_grad is optim.SGD.reset_grad
