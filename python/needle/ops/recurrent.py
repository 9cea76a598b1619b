"""Recurrent layers over a whole sequence: RNN, GRU and LSTM, each as one op.

All of them are given z, the product of the inputs with their weights, which is taken once for the whole sequence: its
first axis is time, its last one the gates side by side. They multiply the state by w step by step, and return the
states of all steps, the one at the start included. `runs`, a mask with a last axis of length 1, says where the sequence
goes on: elsewhere the state stays what it is.

Their gradients are a `LinearRecurrence`, whose coefficients are computed from the states for all steps at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import Op, Tensor, TensorOp, TensorTuple, TensorTupleOp, unmasked
from .joining import Concatenate
from .linear_recurrence import LinearRecurrence, batch_first, buffer_of, real_dtypes, rows, time_first
from .matmul import MATMUL
from .reduction import Summation


class _Sequence(Op):
    """What the three have in common."""

    __slots__ = ()
    names: str
    """The inputs: z, w, the bias b, the states h and c. A mask r, `runs`, may follow."""
    gates: int
    """How many blocks z and w have."""

    def hint(self, *arrays: Any) -> str:
        return self._problem(arrays) if len(arrays) >= len(self.names) else ""

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        pairs = list(zip(self.names + "r", values, depths, strict=False))
        if any(depth is not None for name, _, depth in pairs if name in "wb"):
            return NotImplemented
        return batch_first(self(*[time_first(a, depth) if name in "zr" else a for name, a, depth in pairs]))

    def _problem(self, arrays: tuple[Any, ...]) -> str:
        """What is wrong with the shapes; "" if they fit."""
        shapes = {name: a.shape for name, a in zip(self.names + "r", arrays, strict=False)}
        z, w = shapes["z"], shapes["w"]
        size = w[0] if w else 0
        if len(w) != 2 or w[1] != self.gates * size:
            return f"w must be of shape (H, {self.gates} * H), H being the size of the state, got {w}"
        if len(z) < 2 or z[-1] != w[1]:
            return f"z must be of shape (steps, ..., {w[1]}), as w is of shape {w}, got {z}"
        if shapes.get("b", w[1:]) != w[1:]:
            return f"the bias must be of shape {w[1:]}, as w is of shape {w}, got {shapes['b']}"
        states = [shapes[name] for name in "hc" if name in shapes]
        if any(len(state) != len(z) - 1 or state[-1] != size for state in states):
            return f"a state must have the axes of z without the first, and {size} as its last, got {states}; z has {z}"
        runs = shapes.get("r", (*z[:-1], 1))
        if len(runs) != len(z) or runs[0] != z[0] or runs[-1] != 1:
            return f"the mask must be of shape {(*z[:-1], 1)}, got {runs}"
        if len(arrays) > len(self.names) and arrays[-1].dtype.kind != "b":
            return f"the mask must be of booleans, got dtype {arrays[-1].dtype}"
        try:
            np.broadcast_shapes(z[1:-1], runs[1:-1], *[state[:-1] for state in states])
        except ValueError:
            return f"the batch axes of z, {z[1:-1]}, and of the states, {states}, must broadcast"
        return ""

    def _start(self, arrays: tuple[Any, ...], widths: dict[str, int]) -> tuple[Any, ...]:
        """What `compute` begins with: the dtype of the results; z, w and b in the dtype to compute in; buffers for the
        outputs, of which the states are so many steps of so many blocks; and the mask of who rests, or None."""
        if problem := self._problem(arrays):
            raise ValueError(problem)
        count = len(self.names)
        dtype, work = real_dtypes(self, arrays[:count])
        given = dict(zip(self.names, [a.astype(work, copy=False) for a in arrays[:count]], strict=True))
        z, w = given["z"], given["w"]
        batch = np.broadcast_shapes(z.shape[1:-1], *[a.shape[1:-1] for a in arrays[count:]])
        batch = np.broadcast_shapes(batch, *[given[name].shape[:-1] for name in "hc" if name in given])
        buffers = []
        for name, blocks in widths.items():
            buffers.append(buffer_of((len(z) + (name in given), *batch, blocks * w.shape[0]), work))
            if name in given:
                buffers[-1][0] = given[name]
        return dtype, given, buffers, ~arrays[count] if len(arrays) > count else None

    def _rests(self, node: Any) -> list[Any]:
        """The mask of who rests, in a list; an empty one if all run."""
        return [~runs for runs in node.inputs[len(self.names) :]]


class RNNSequence(_Sequence, TensorOp):
    """h[t + 1] = tanh(z[t] + h[t] @ w), or relu of it; of z, w, h[0]."""

    saves, names, gates = ("inputs", "output"), "zwh", 1
    __slots__ = ("relu",)

    def __init__(self, relu: bool = False):
        self.relu = relu

    def compute(self, *arrays: Any) -> Any:
        dtype, given, (h,), rests = self._start(arrays, {"h": 1})
        z, w = given["z"], given["w"]
        product, product_rows, h_rows = _products(h, w)
        for t in range(len(z)):
            np.dot(h_rows[t], w, out=product_rows)
            np.add(z[t], product, out=h[t + 1])
            np.maximum(h[t + 1], 0, out=h[t + 1]) if self.relu else np.tanh(h[t + 1], out=h[t + 1])
            if rests is not None:
                np.copyto(h[t + 1], h[t], where=rests[t])
        return h.astype(dtype, copy=False)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        w, h, rests = node.inputs[1], node.output, self._rests(node)
        p = (h[1:] > 0).astype(h.dtype) if self.relu else 1 - h[1:] * h[1:]
        coefficients = {"w": w, "p": p}
        if rests:
            coefficients |= {"p": p * ~rests[0], "f": rests[0]}
        by_h, by_q = _pulled_back(coefficients, h=out_grad)
        return by_q, _by_matrix(h, by_q), by_h[0], *[None for _ in rests]


def rnn(z: Any, w: Any, h: Any, runs: Any = None, relu: bool = False) -> Tensor:
    """The states (steps + 1, ..., H) of a recurrent layer, h first: each is tanh(z[t] + h[t] @ w), or relu of it.

    z is (steps, ..., H), w (H, H), h (..., H), and `runs` a mask (steps, ..., 1) of the steps that a sequence has.
    """
    return RNNSequence(relu)(z, w, h, *([] if runs is None else [runs]))


class GRUSequence(_Sequence, TensorTupleOp):
    """With q = h[t] @ w + b, and blocks of q and z for the gates r, u, n:

        r, u = sigmoid(z + q);  n = tanh(z + r * q);  h[t + 1] = n + u * (h[t] - n)

    of z, w, b, h[0]. The outputs are h and (r, u, n, q of n), side by side.
    """

    saves, names, gates = ("inputs", "output"), "zwbh", 3
    __slots__ = ()

    def compute(self, *arrays: Any) -> Any:
        dtype, given, (h, y), rests = self._start(arrays, {"h": 1, "y": 4})
        z, w, b = given["z"], given["w"], given["b"]
        size = len(w)
        product, product_rows, h_rows = _products(h, w)
        y_ru, y_r, y_u, y_n, y_q = y[..., : 2 * size], *_split(y, 4)
        z_ru, z_n = z[..., : 2 * size], z[..., 2 * size :]
        q_ru, q_n = product[..., : 2 * size], product[..., 2 * size :]
        for t in range(len(z)):
            np.dot(h_rows[t], w, out=product_rows)
            product += b
            np.add(z_ru[t], q_ru, out=y_ru[t])
            _sigmoid_in_place(y_ru[t])
            y_q[t] = q_n
            n, new = y_n[t], h[t + 1]
            np.multiply(y_r[t], q_n, out=n)
            n += z_n[t]
            np.tanh(n, out=n)
            np.subtract(h[t], n, out=new)
            new *= y_u[t]
            new += n
            if rests is not None:
                np.copyto(new, h[t], where=rests[t])
        return h.astype(dtype, copy=False), y.astype(dtype, copy=False)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        (h, y), (by_h, by_y), rests = node.output, map(unmasked, out_grad), self._rests(node)
        r, u, n, q = _split(y, 4)
        by_n = (1 - u) * (1 - n * n)  # the slope of the new state by what is in the tanh
        slope_r = r * (1 - r) * q
        p = Concatenate(-1).on(by_n * slope_r, u * (1 - u) * (h[:-1] - n), by_n * r)
        coefficients = {"w": node.inputs[1], "p": p, "f": u}
        if rests:
            runs = ~rests[0]
            by_n = by_n * runs
            coefficients |= {"p": p * runs, "f": u * runs + rests[0]}
        seeds = {} if by_h is None else {"h": by_h}
        if by_y is not None:
            by_r, by_u, in_n, by_q = _split(by_y, 4)
            in_n = in_n * (1 - n * n)
            seeds["q"] = Concatenate(-1).on(by_r * r * (1 - r) + in_n * slope_r, by_u * u * (1 - u), in_n * r + by_q)
        found_h, found_q = _pulled_back(coefficients, **seeds)

        def by_z() -> Any:
            by_tanh = by_n * found_h[1:]
            ru = found_q[..., : 2 * h.shape[-1]]
            if by_y is None:
                return Concatenate(-1).on(ru, by_tanh)
            return Concatenate(-1).on(ru, by_tanh + in_n)

        return (
            by_z,
            _by_matrix(h, found_q),
            lambda: SUM_OF_ROWS.on(rows(found_q)),
            found_h[0],
            *[None for _ in rests],
        )


def gru(z: Any, w: Any, b: Any, h: Any, runs: Any = None) -> TensorTuple:
    """(the states (steps + 1, ..., H), the gates (steps, ..., 4 * H)) of a gated recurrent layer (GRU), h first.

    The reset gate is applied after the product with w, as in PyTorch and in ONNX's `linear_before_reset`. z is
    (steps, ..., 3 * H), w (H, 3 * H), b (3 * H,), h (..., H), and `runs` a mask (steps, ..., 1) of the steps that a
    sequence has. Cho et al. 2014, arXiv:1406.1078.
    """
    return GRUSequence()(z, w, b, h, *([] if runs is None else [runs]))


class LSTMSequence(_Sequence, TensorTupleOp):
    """With blocks of z and of h[t] @ w for the gates i, f, g, o:

        i, f, o = sigmoid(z + h[t] @ w);  g = tanh(z + h[t] @ w)
        c[t + 1] = f * c[t] + i * g;  h[t + 1] = o * tanh(c[t + 1])

    of z, w, h[0], c[0]. The outputs are h, c and (i, f, g, o), side by side.
    """

    saves, names, gates = ("inputs", "output"), "zwhc", 4
    __slots__ = ()

    def compute(self, *arrays: Any) -> Any:
        dtype, given, (h, c, y), rests = self._start(arrays, {"h": 1, "c": 1, "y": 4})
        # sigmoid(x) is (1 + tanh(x / 2)) / 2, and NumPy's tanh is fast: so one tanh does for all gates.
        scale = np.repeat(np.array([0.5, 0.5, 1, 0.5], y.dtype), len(given["w"]))
        shift = 1 - scale
        w = given["w"] * scale
        np.multiply(given["z"], scale, out=y)
        product, product_rows, h_rows = _products(h, w)
        y_i, y_f, y_g, y_o = _split(y, 4)
        added = np.empty(h.shape[1:], h.dtype)
        for t in range(len(y)):
            gates, new_h, new_c = y[t], h[t + 1], c[t + 1]
            np.dot(h_rows[t], w, out=product_rows)
            gates += product
            np.tanh(gates, out=gates)
            gates *= scale
            gates += shift
            np.multiply(y_f[t], c[t], out=new_c)
            np.multiply(y_i[t], y_g[t], out=added)
            new_c += added
            np.tanh(new_c, out=new_h)
            new_h *= y_o[t]
            if rests is not None:
                np.copyto(new_h, h[t], where=rests[t])
                np.copyto(new_c, c[t], where=rests[t])
        return tuple([a.astype(dtype, copy=False) for a in (h, c, y)])

    def gradient(self, out_grad: Any, node: Any) -> Any:
        (h, c, y), (by_h, by_c, by_y), rests = node.output, map(unmasked, out_grad), self._rests(node)
        i, f, g, o = _split(y, 4)
        p, a = _slopes_in_place(c, y) if type(y) is np.ndarray else _slopes(c, y)
        coefficients = {"w": node.inputs[1], "p": p, "f": f, "a": a}
        if rests:
            runs = ~rests[0]
            coefficients |= {"p": p * runs, "f": f * runs + rests[0], "a": a * runs, "k": rests[0]}
        seeds = {name: g for name, g in zip("hc", (by_h, by_c), strict=True) if g is not None}
        if by_y is not None:
            seeds["q"] = by_y * Concatenate(-1).on(i * (1 - i), f * (1 - f), 1 - g * g, o * (1 - o))
        found_h, found_c, found_q = _pulled_back(coefficients, **seeds)
        return found_q, _by_matrix(h, found_q), found_h[0], found_c[0], *[None for _ in rests]


def lstm(z: Any, w: Any, h: Any, c: Any, runs: Any = None) -> TensorTuple:
    """(the states (steps + 1, ..., H), the cell states of that shape, the gates (steps, ..., 4 * H)) of a layer of long
    short-term memory (LSTM), h and c first.

    z is (steps, ..., 4 * H), w (H, 4 * H), both with the gates in the order i, f, g, o; h and c are (..., H), and
    `runs` is a mask (steps, ..., 1) of the steps that a sequence has. Hochreiter and Schmidhuber 1997; the forget gate:
    Gers et al. 2000.
    """
    return LSTMSequence()(z, w, h, c, *([] if runs is None else [runs]))


def _slopes(c: Any, y: Any) -> tuple[Any, Any]:
    """The slopes of an LSTM: of the states by what is in the gates, and of h by c."""
    i, f, g, o = _split(y, 4)
    t = np.tanh(c[1:])
    p = Concatenate(-1).on((1 - i) * i * g, (1 - f) * f * c[:-1], (1 - g * g) * i, (1 - o) * o * t)
    return p, (1 - t * t) * o


def _slopes_in_place(c: Any, y: Any) -> tuple[Any, Any]:
    """`_slopes` of arrays, bit for bit, in a quarter of the time."""
    i, _, g, o = _split(y, 4)
    p, t = buffer_of(y.shape, y.dtype), np.tanh(c[1:])
    by_i, by_f, by_g, by_o = _split(p, 4)
    np.subtract(1, y, out=p)
    p *= y
    np.multiply(g, g, out=by_g)
    np.subtract(1, by_g, out=by_g)
    for part, factor in [(by_i, g), (by_f, c[:-1]), (by_g, i), (by_o, t)]:
        part *= factor
    t *= t
    np.subtract(1, t, out=t)
    t *= o
    return p, t


def _products(h: Any, w: Any) -> tuple[Any, Any, Any]:
    """A buffer for h[t] @ w; it as a matrix, and the states of each step as one."""
    product = np.empty((*h.shape[1:-1], w.shape[1]), h.dtype)
    count = product.size // w.shape[1] if w.size else 0
    return product, product.reshape(count, w.shape[1]), h.reshape(len(h), count, w.shape[0])


def _split(y: Any, count: int) -> list[Any]:
    """The blocks of the last axis."""
    size = y.shape[-1] // count
    return [y[..., i * size : (i + 1) * size] for i in range(count)]


def _sigmoid_in_place(a: Any) -> None:
    a *= 0.5
    np.tanh(a, out=a)
    a *= 0.5
    a += 0.5


def _pulled_back(coefficients: dict[str, Any], **seeds: Any) -> Any:
    """The adjoints of the states, and of the products with w, from those of the states and gates."""
    back = LinearRecurrence("".join([*coefficients, *seeds]), reverse=True)
    return back.on(*coefficients.values(), *[unmasked(g) for g in seeds.values()])


def _by_matrix(h: Any, by_q: Any) -> Any:
    """The adjoint of w: all steps in one product."""
    return lambda: MATMUL.on(rows(h[:-1]).mT, rows(by_q))


SUM_OF_ROWS = Summation(0)
