"""Compares Needle's layers and losses with PyTorch's, values and gradients: run it where torch is installed.

    PYTHONPATH=python python tools/as_pytorch.py

The tests do the same by formulas, and with torch where there is one. It fails where a difference exceeds 1e-9 in
float64; each line names what was compared, and the largest difference.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import needle
import numpy as np
import torch
from needle import Tensor, nn
from torch.nn import functional as their_f

Case = tuple[str, Callable[..., Any], Callable[..., Any], list[Any]]
rng = np.random.default_rng(0)
X, Y = rng.standard_normal((5, 6)) * 4, rng.standard_normal((5, 6))
PROBABILITIES = rng.random((5, 6))
WEIGHT = rng.random(6) + 0.1
F = nn.functional


def tensor(a: Any) -> Any:
    return None if a is None else torch.tensor(a)


def activations() -> Iterator[Case]:
    names = "relu relu6 leaky_relu elu selu gelu silu mish softplus hardswish hardsigmoid logsigmoid sigmoid tanh glu"
    for name in names.split():
        yield name, getattr(F, name), getattr(their_f, name), [X]
    yield "gelu by tanh", lambda x: F.gelu(x, "tanh"), lambda x: their_f.gelu(x, approximate="tanh"), [X]
    yield "softplus of 2", lambda x: F.softplus(x, 2.0), lambda x: their_f.softplus(x, 2.0), [X]
    yield "softmax", F.softmax, lambda x: their_f.softmax(x, -1), [X]
    yield "log_softmax", F.log_softmax, lambda x: their_f.log_softmax(x, -1), [X]
    yield "prelu", F.prelu, their_f.prelu, [X, WEIGHT]


def losses() -> Iterator[Case]:
    signs = np.array([1.0, -1, 1, -1, 1])
    logp = np.log(PROBABILITIES)
    for r in ("mean", "sum", "none"):
        for name in ("mse_loss", "l1_loss", "huber_loss", "smooth_l1_loss"):
            ours, theirs = getattr(F, name), getattr(their_f, name)
            yield (
                f"{name}, {r}",
                lambda x, y, f=ours, r=r: f(x, y, reduction=r),
                lambda x, y, f=theirs, r=r: f(x, y, reduction=r),
                [X, Y],
            )
        yield (
            f"binary_cross_entropy_with_logits, {r}",
            lambda x, y, r=r: F.binary_cross_entropy_with_logits(x, y, WEIGHT, r, WEIGHT + 1),
            lambda x, y, r=r: their_f.binary_cross_entropy_with_logits(
                x, y, tensor(WEIGHT), reduction=r, pos_weight=tensor(WEIGHT + 1)
            ),
            [X, PROBABILITIES],
        )
        yield (
            f"kl_div, {r}",
            lambda x, r=r: F.kl_div(x, PROBABILITIES, "batchmean" if r == "mean" else r),
            lambda x, r=r: their_f.kl_div(x, tensor(PROBABILITIES), reduction="batchmean" if r == "mean" else r),
            [logp],
        )
        yield (
            f"cosine_embedding_loss, {r}",
            lambda x, y, r=r: F.cosine_embedding_loss(x, y, signs, 0.1, r),
            lambda x, y, r=r: their_f.cosine_embedding_loss(x, y, tensor(signs), 0.1, reduction=r),
            [X, Y],
        )
        for p, swap in itertools.product((2.0, 3.0), (False, True)):
            yield (
                f"triplet_margin_loss, p={p}, swap={swap}, {r}",
                lambda x, y, z, p=p, s=swap, r=r: F.triplet_margin_loss(x, y, z, p=p, swap=s, reduction=r),
                lambda x, y, z, p=p, s=swap, r=r: their_f.triplet_margin_loss(x, y, z, p=p, swap=s, reduction=r),
                [X, X + 0.5 * Y, Y],
            )


def classification() -> Iterator[Case]:
    labels, soft = np.array([1, 5, 0, 2, 1]), PROBABILITIES / PROBABILITIES.sum(1, keepdims=True)
    images, masks = rng.standard_normal((2, 6, 3, 2)), rng.integers(0, 6, (2, 3, 2))
    for w, ignore, s, r in itertools.product((None, WEIGHT), (None, 1), (0.0, 0.1, 1.0), ("mean", "sum", "none")):
        what = f"weight={'yes' if w is not None else 'no'}, ignore_index={ignore}, label_smoothing={s}, {r}"
        theirs = {"ignore_index": -100 if ignore is None else ignore, "label_smoothing": s, "reduction": r}
        for name, x, target, axis in [("", X, labels, -1), (" of images", images, masks, 1), (" by soft", X, soft, -1)]:
            if name != " by soft" or ignore is None:
                yield (
                    f"cross_entropy{name}, {what}",
                    lambda x, t=target, w=w, i=ignore, s=s, r=r, a=axis: F.cross_entropy(x, t, w, i, s, r, a),
                    lambda x, t=target, w=w, o=theirs: their_f.cross_entropy(x, tensor(t), tensor(w), **o),
                    [x],
                )


def linear() -> Iterator[Case]:
    theirs = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).double()
    ours = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    nn.load_torch(ours, theirs.state_dict())
    yield "Linear, Tanh, Linear", ours, theirs, [X]


def difference(ours: Callable[..., Any], theirs: Callable[..., Any], arrays: list[Any]) -> float:
    """The largest one, of values and gradients."""
    a, b = [Tensor(x) for x in arrays], [torch.tensor(x, requires_grad=True) for x in arrays]
    y, z = ours(*a), theirs(*b)
    seed = rng.standard_normal(y.shape)
    y.backward(Tensor(seed))
    z.backward(torch.tensor(seed))
    pairs = [(y.numpy(), z.detach().numpy())]
    pairs += [(p.grad.numpy(), q.grad.numpy()) for p, q in zip(a, b, strict=True)]  # type: ignore[union-attr]
    return max(float(abs(p - q).max()) for p, q in pairs)


def main() -> int:
    print(f"needle {needle.__version__}, torch {torch.__version__}")
    failed = 0
    for name, ours, theirs, arrays in itertools.chain(activations(), losses(), classification(), linear()):
        found = difference(ours, theirs, arrays)
        is_right = found < (1e-8 if name == "hardsigmoid" else 1e-9)  # theirs has 1 / 6 in float32
        failed += not is_right
        print(f"{'ok' if is_right else 'NO'}  {found:.0e}  {name}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
