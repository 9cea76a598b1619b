"""Errors that name the op, what it got, and the fix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np


class GradientLostError(TypeError):
    """A Tensor that needs a gradient was to become a number or an array."""


NAMES = "abcdefghijklmnopqrstuvwxyz"


def explain(error: Exception, op: Any, arrays: tuple[Any, ...]) -> NoReturn:
    """Raise what `op.compute` raised again, with the op's name, its operands and its hint."""
    if f"{op!r}: " in str(error):  # the op has done so
        raise error
    got = ", ".join(
        f"{name} of shape {a.shape} and dtype {a.dtype}" if hasattr(a, "shape") else f"{name} a tuple of {len(a)}"
        for name, a in zip(NAMES, arrays, strict=False)
    )
    kinds = (np.linalg.LinAlgError, ValueError, TypeError, IndexError, OverflowError)
    kind = next(k for k in kinds if isinstance(error, k))
    # A program may know a LinAlgError by NumPy's own words, so they come first.
    raise kind(f"{f'{error}; ' * (kind is kinds[0])}{op!r}: {op.hint(*arrays) or error} (got {got})") from error


def wrong_rule(op: Any, inputs: Sequence[Any], got: str, kind: type[Exception] = ValueError) -> Exception:
    """The error for a gradient rule that returned the wrong thing, with the rule to write."""
    names = NAMES[: len(inputs)]
    given = f"{', '.join(names)} = node.inputs" if len(names) > 1 else "a = node.inputs[0]"
    return kind(
        f"{type(op).__name__}.gradient returned {got}; write\n"
        f"    def gradient(self, out_grad, node):\n"
        f"        {given}\n"
        f"        return {', '.join(f'out_grad * d_{name}' for name in names)}{',' * (len(names) == 1)}\n"
        "with one adjoint for each of node.inputs, computed from out_grad by Tensor operations, in the output's shape "
        "or in that input's, and None in its place where there is none"
    )
