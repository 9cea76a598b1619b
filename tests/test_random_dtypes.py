"""Random programs on operands of mixed dtypes, with Python numbers between them: values and their dtypes are NumPy's,
each gradient has the dtype of its operand, and is that of the same program in float64.

`python tests/test_random_dtypes.py 10000` tries ten thousand.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import needle
import needle.numpy as nnp
import numpy as np
import pytest
from searching import search

HALF = np.dtype(np.float16)
DTYPES = [np.dtype(code) for code in "efdfdefd?bBhilL"]
NUMBERS = [2, 0.5, -1, True, 3]

UNARY: list[Callable[[Any, Any], Any]] = [
    lambda np, a: np.sin(a),
    lambda np, a: np.tanh(a),
    lambda np, a: np.exp(a * 0.1),
    lambda np, a: np.sqrt(np.abs(a) + 1),
    lambda np, a: np.square(a),
    lambda np, a: (a * 1) ** 2,  # of booleans, NumPy makes int8
    lambda np, a: -(a * 1),
    lambda np, a: np.abs(a),
    lambda np, a: np.sum(a, axis=-1, keepdims=True),
    lambda np, a: np.mean(a, axis=0),
    lambda np, a: np.cumsum(a, axis=-1),
    lambda np, a: np.max(a, axis=-1, keepdims=True),
    lambda np, a: np.var(a, axis=-1, keepdims=True),
    lambda np, a: np.clip(a, -1, 2),
    lambda np, a: np.where(a > 0, a, 0),
    lambda np, a: np.stack([a, a * 2])[1],
    lambda np, a: a.astype(np.float32),
    lambda np, a: np.median(a, axis=-1, keepdims=True),
    lambda np, a: np.einsum("ij->ji", a).T,
    lambda np, a: np.sort(a, axis=-1),
    lambda np, a: a[..., ::-1],
    lambda np, a: np.linalg.norm(a, axis=-1, keepdims=True),
]
BINARY: list[Callable[[Any, Any, Any], Any]] = [
    lambda np, a, b: a + b,
    lambda np, a, b: a * b,
    lambda np, a, b: np.subtract(a * 1, b * 1),
    lambda np, a, b: a / (np.abs(b) + 1),
    lambda np, a, b: np.maximum(a, b),
    lambda np, a, b: np.where(np.asarray(b) > 0, a, b),
    lambda np, a, b: np.hypot(a, b),
    lambda np, a, b: np.arctan2(a, np.abs(b) + 1),
    lambda np, a, b: np.logaddexp(a, b),
    lambda np, a, b: np.concatenate([a, a * b]),
    lambda np, a, b: np.matmul(a, np.swapaxes(a * b, -1, -2)),
    lambda np, a, b: np.dot(a, (a * b).T),
    lambda np, a, b: np.einsum("ij,ij->ij", a, a * b),
    lambda np, a, b: np.power(np.abs(a) + 1, np.abs(b)),
    lambda np, a, b: np.copysign(a, b),
]


class Program:
    """Operands, and steps that each compute a value from earlier ones."""

    def __init__(self, seed: int):
        rng = np.random.default_rng(seed)
        self.operands = [self._operand(rng) for _ in range(rng.integers(1, 4))]
        self.steps: list[tuple[Any, list[Any]]] = []
        for _ in range(rng.integers(1, 5)):
            count = len(self.operands) + len(self.steps)
            a, b = (int(rng.integers(count)) for _ in range(2))
            if rng.random() < 0.5:
                self.steps.append((UNARY[rng.integers(len(UNARY))], [a]))
            else:
                other = NUMBERS[rng.integers(len(NUMBERS))] if rng.random() < 0.3 else None
                self.steps.append((BINARY[rng.integers(len(BINARY))], [a, b if other is None else (other,)]))

    @staticmethod
    def _operand(rng: Any) -> Any:
        dtype = DTYPES[rng.integers(len(DTYPES))]
        a = rng.uniform(0.2, 2, (2, 3)) * (rng.choice([-1, 1], (2, 3)) if dtype.kind in "if" else 1)
        return a.astype(dtype)

    def __call__(self, lib: Any, operands: Any) -> Any:
        values = list(operands)
        for step, inputs in self.steps:
            values.append(step(lib, *[i[0] if isinstance(i, tuple) else values[i] for i in inputs]))
        return values[-1]


def wrong(seed: int) -> str:
    """What is not as it should be; "" if all is."""
    program = Program(seed)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            expected = np.asarray(program(np, program.operands))
        except (TypeError, ValueError, OverflowError):
            return ""  # what NumPy refuses
        try:
            got = program(nnp, [needle.Tensor(a) for a in program.operands])
        except OverflowError:
            return ""  # np.where wraps a number that its dtype does not hold
        if got.dtype != expected.dtype or got.shape != expected.shape:
            return f"{got.dtype} {got.shape}, not {expected.dtype} {expected.shape}"
        if not close(got.numpy(), expected, narrowest([expected, *program.operands])):
            return f"{got}, not {expected}"
        return wrong_gradient(program, expected) if expected.dtype.kind == "f" else ""


def wrong_gradient(program: Program, expected: Any) -> str:
    floats = tuple([i for i, a in enumerate(program.operands) if a.dtype.kind == "f"])
    if not floats or not np.isfinite(expected).all():
        return ""

    def loss(operands: Any) -> Callable[..., Any]:
        def of(*chosen: Any) -> Any:
            given = dict(zip(floats, chosen, strict=True))
            return nnp.sum(program(nnp, [given.get(i, a) for i, a in enumerate(operands)]), dtype=np.float64)

        return of

    def gradients(operands: Any) -> list[Any]:
        return list(needle.grad(loss(operands), tuple(range(len(floats))))(*[operands[i] for i in floats]))

    found = gradients(program.operands)
    wide = gradients([a.astype(np.float64) if a.dtype.kind == "f" else a for a in program.operands])
    for i, g, exact in zip(floats, found, wide, strict=True):
        g, exact = np.asarray(g), np.asarray(exact)
        if g.dtype != program.operands[i].dtype or g.shape != program.operands[i].shape:
            return f"gradient {i}: {g.dtype} {g.shape}"
        if np.isfinite(exact).all() and np.abs(exact).max() < 1e3 and not close(g, exact, HALF):
            return f"gradient {i}: {g}, not {exact}"
    return ""


def narrowest(arrays: Any) -> Any:
    """The dtype that has the fewest digits among the floats; the first one's if that has none."""
    dtypes = [a.dtype for a in arrays if a.dtype.kind == "f"]
    return min(dtypes, key=lambda dtype: dtype.itemsize) if arrays[0].dtype.kind == "f" else arrays[0].dtype


def close(got: Any, expected: Any, dtype: Any) -> bool:
    if dtype.kind != "f":
        return np.array_equal(got, expected)
    scale = np.abs(expected[np.isfinite(expected)]).max(initial=1)
    eps = float(np.finfo(dtype).eps)
    return np.allclose(got, expected, rtol=64 * eps, atol=64 * eps * float(scale), equal_nan=True)


@pytest.mark.parametrize("block", range(10))
def test_a_program_of_mixed_dtypes(block):
    for seed in range(60 * block, 60 * (block + 1)):
        assert not (what := wrong(seed)), f"seed {seed}: {what}"


if __name__ == "__main__":
    search(wrong)
