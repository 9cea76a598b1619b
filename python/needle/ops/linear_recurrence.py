"""The linear recurrence of small changes along a recurrent net, forward in time or backward."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from ..autograd import TensorTuple, TensorTupleOp, unmasked
from ..pool import empty
from .joining import Concatenate
from .matmul import MATMUL
from .shape import permute_dims

COEFFICIENTS = "wpfak"


class LinearRecurrence(TensorTupleOp):
    """How small changes of the states h and c and of the products q of a recurrent net follow from each other:

        q[t] += h[t] @ w
        c[t + 1] += p[t] * q[t], summed over the blocks of q,  + f[t] * c[t]
        h[t + 1] += a[t] * c[t + 1]  + p[t] * q[t], the last block,  + k[t] * h[t]

    for t = 0, 1, ..., from the h, c and q that are given (those that are not given are 0). Without a there is one
    state: c is h, and all blocks go into it. With `reverse` it is the transpose, from the last t to the first:

        c[t + 1] += a[t] * h[t + 1]
        q[t] += p[t] * c[t + 1] in each block, the last: p[t] * h[t + 1]
        c[t] += f[t] * c[t + 1]
        h[t] += q[t] @ w.T  + k[t] * h[t + 1]

    That makes it the gradient of every recurrent net, and its own. `parts` names the inputs in their order. Time is
    the first axis of all but w, which is a matrix; h and c have one step more than the rest. The axes in between
    broadcast. f, a and k have h's last axis or one of length 1, p and q that of w. The output is (h, q), or (h, c, q)
    if there is an a.
    """

    __slots__ = ("parts", "reverse")

    def __init__(self, parts: str, reverse: bool = False):
        self.parts = parts
        self.reverse = reverse

    @property
    def states(self) -> str:
        """The names of the outputs."""
        return "hcq" if "a" in self.parts else "hq"

    def compute(self, *arrays: Any) -> Any:
        dtype, work = real_dtypes(self, arrays)
        given = {name: a.astype(work, copy=False) for name, a in zip(self.parts, arrays, strict=True)}
        (size, width), steps = given["w"].shape, len(given["p"])
        batch = np.broadcast_shapes(*[a.shape[1:-1] for name, a in given.items() if name != "w"])
        for name in self.states:
            shape = (steps, *batch, width) if name == "q" else (steps + 1, *batch, size)
            buffer = buffer_of(shape, work)
            if name in given:
                buffer[...] = given[name]
            elif name != "q" or not self.reverse:
                buffer[...] = 0
            given[name] = buffer
        (_backward if self.reverse else _forward)(given, prod(batch), "q" not in self.parts)
        return tuple([given[name].astype(dtype, copy=False) for name in self.states])

    def gradient(self, out_grad: Any, node: Any) -> Any:
        named = dict(zip(self.parts, node.inputs, strict=True))
        coefficients = {name: a for name, a in named.items() if name in COEFFICIENTS}
        seeds = {name: unmasked(g) for name, g in zip(self.states, out_grad, strict=True) if g is not None}
        transposed = LinearRecurrence("".join([*coefficients, *seeds]), not self.reverse)
        found = transposed.on(*coefficients.values(), *seeds.values())
        forth, back = (found, node.output) if self.reverse else (node.output, found)
        (h, *c, q), (by_h, *by_c, by_q) = forth, back
        state, by_state = (c[0], by_c[0]) if c else (h, by_h)
        adjoints: dict[str, Callable[[], Any] | Any] = {
            "w": lambda: MATMUL.on(rows(h[:-1]).mT, rows(by_q)),
            "p": lambda: q * over_blocks(by_state[1:], by_h[1:], q.shape[-1] // max(h.shape[-1], 1)),
            "f": lambda: state[:-1] * by_state[1:],
            "a": lambda: state[1:] * by_h[1:],
            "k": lambda: h[:-1] * by_h[1:],
            **dict(zip(self.states, found, strict=True)),
        }
        return tuple([adjoints[name] for name in self.parts])

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        if depths[self.parts.index("w")] is not None:
            return NotImplemented
        pairs = zip(self.parts, values, depths, strict=True)
        return batch_first(self(*[a if name == "w" else time_first(a, depth) for name, a, depth in pairs]))


def _forward(part: dict[str, Any], count: int, _: bool) -> None:
    h, q, w, p = (part[name] for name in "hqwp")
    f, k, a = (part.get(name) for name in "fka")
    c = part.get("c", h)
    inner, last = _blocks(p, c, a)
    q_inner, q_last = _blocks(q, c, a)
    h_rows = h.reshape(len(h), count, h.shape[-1])
    for t in range(len(p)):
        q[t] += np.dot(h_rows[t], w).reshape(q[t].shape)
        c[t + 1] += (inner[t] * q_inner[t]).sum(-2)
        if f is not None:
            c[t + 1] += f[t] * c[t]
        if a is not None:
            h[t + 1] += a[t] * c[t + 1]
            h[t + 1] += last[t] * q_last[t]
        if k is not None:
            h[t + 1] += k[t] * h[t]


def _backward(part: dict[str, Any], count: int, fresh: bool) -> None:
    """`fresh`: q holds nothing yet. This is half of the time that training takes, so it makes no arrays on its way."""
    h, q, w, p = (part[name] for name in "hqwp")
    f, k, a = (part.get(name) for name in "fka")
    c = part.get("c", h)
    inner, last = _blocks(p, c, a)
    q_inner, q_last = _blocks(q, c, a)
    q_rows, w = q.reshape(len(q), count, q.shape[-1]), np.ascontiguousarray(w.T)
    product = np.empty(h.shape[1:], h.dtype)
    product_rows = product.reshape(count, h.shape[-1])
    put = np.multiply if fresh else _add_product
    for t in range(len(p) - 1, -1, -1):
        now_h, now_c, before_h, before_c = h[t + 1], c[t + 1], h[t], c[t]
        if a is not None:
            np.multiply(a[t], now_h, out=product)
            now_c += product
            put(last[t], now_h, out=q_last[t])
        put(inner[t], now_c[..., None, :], out=q_inner[t])
        if f is not None:
            np.multiply(f[t], now_c, out=product)
            before_c += product
        np.dot(q_rows[t], w, out=product_rows)
        before_h += product
        if k is not None:
            np.multiply(k[t], now_h, out=product)
            before_h += product


def _add_product(a: Any, b: Any, out: Any) -> None:
    out += a * b


def _blocks(q: Any, c: Any, a: Any) -> tuple[Any, Any]:
    """The blocks of q that go into c, along an axis of their own; and the last block, if that goes into h."""
    size = c.shape[-1]
    inner = q if a is None else q[..., : q.shape[-1] - size]
    return inner.reshape(*q.shape[:-1], inner.shape[-1] // size if size else 0, size), q[..., inner.shape[-1] :]


def over_blocks(inner: Any, last: Any, count: int) -> Any:
    """One array for each of so many blocks, side by side: `inner` for all but the last."""
    return Concatenate(-1).on(*[inner] * (count - 1), last) if count > 1 else last


def rows(a: Any) -> Any:
    """All rows of all steps, as one matrix."""
    return a.reshape((prod(a.shape[:-1]), a.shape[-1]))


def real_dtypes(op: object, arrays: tuple[Any, ...]) -> tuple[Any, Any]:
    """The dtype of the results, float64 for integers, and the dtype to compute in, float32 for float16."""
    dtype = np.result_type(*[a.dtype for a in arrays])
    if dtype.kind == "c":
        raise TypeError(f"{op!r}: needs real numbers, got {dtype}; compute with their real and imaginary parts")
    if dtype.kind != "f":
        dtype = np.dtype(np.float64)
    return dtype, np.dtype(np.float32) if dtype == np.float16 else dtype


def buffer_of(shape: tuple[int, ...], dtype: Any) -> Any:
    return empty(shape, dtype, prod(shape) * dtype.itemsize)


def time_first(a: Any, depth: int | None) -> Any:
    """A batch of sequences with time as the first axis and the batch as the second."""
    if depth is None:
        return a.reshape((a.shape[0], 1, *a.shape[1:]))
    return permute_dims(a, (1, 0, *range(2, a.ndim)))


def batch_first(out: Any) -> Any:
    """What was computed of time_first sequences, with the batch as the first axis again."""
    if isinstance(out, TensorTuple):
        return tuple(map(batch_first, out))
    return permute_dims(out, (1, 0, *range(2, out.ndim)))
