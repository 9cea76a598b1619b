"""Random nests of transforms around functions with own rules, some of which close over what is differentiated: their
derivatives are those of the plain function, or an error names the variable.

    python tests/test_random_closures.py 10000

tries this many, and prints what went wrong."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

import needle
import numpy as np
import pytest
from needle import Tensor, ops
from numpy.testing import assert_allclose

Function = Callable[..., Any]
REFUSED = re.compile(r"(closes over|uses) c,|self\.c is one,")


def plain(c: Any, y: Any) -> Any:
    return ops.sin(c * y) + c * c * 0.3


def by_gradient(c: Any, y: Any) -> Any:
    return needle.custom_gradient(lambda y: (plain(c, y), lambda g: g * c * ops.cos(c * y)))(y)


def by_gradient_of_both(c: Any, y: Any) -> Any:
    def f(c: Any, y: Any) -> Any:
        return plain(c, y), lambda g: (g * (y * ops.cos(c * y) + 0.6 * c), g * c * ops.cos(c * y))

    return needle.custom_gradient(f)(c, y)


def by_jvp(c: Any, y: Any) -> Any:
    f = needle.custom_jvp(lambda y: plain(c, y))
    f.defjvp(lambda primals, tangents: (f(*primals), c * ops.cos(c * primals[0]) * tangents[0]))
    return f(y)


def by_jvp_of_both(c: Any, y: Any) -> Any:
    f = needle.custom_jvp(plain)

    @f.defjvp
    def rule(primals: Any, tangents: Any) -> Any:
        (c, y), (c_dot, y_dot) = primals, tangents
        return f(c, y), ops.cos(c * y) * (c * y_dot + y * c_dot) + 0.6 * c * c_dot

    return f(c, y)


class Sine(needle.TensorOp):
    def __init__(self, c: Any):
        self.c = c

    def compute(self, y: Any) -> Any:
        return np.sin(self.c * y) + self.c * self.c * 0.3

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad * self.c * ops.cos(self.c * node.inputs[0])


def by_op(c: Any, y: Any) -> Any:
    return Sine(c)(y)


def by_checkpoint(c: Any, y: Any) -> Any:
    return needle.checkpoint(lambda y: plain(c, y))(y)


def by_checkpoint_of_own(c: Any, y: Any) -> Any:
    return needle.checkpoint(lambda c, y: by_gradient_of_both(c, y) * 1.0)(c, y)


def by_rule_alone(c: Any, y: Any) -> Any:
    """What is computed does not depend on c, but the rule does."""
    return needle.custom_gradient(lambda y: (ops.sin(y), lambda g: g * ops.cos(y) * (c / c)))(y)


def by_jvp_rule_alone(c: Any, y: Any) -> Any:
    f = needle.custom_jvp(ops.sin)
    f.defjvp(lambda primals, tangents: (f(*primals), ops.cos(primals[0]) * tangents[0] * (c / c)))
    return f(y)


CLOSING = [by_gradient, by_jvp, by_op, by_rule_alone, by_jvp_rule_alone]
FOLLOWING = [by_gradient_of_both, by_jvp_of_both, by_checkpoint, by_checkpoint_of_own]
PLAIN = {by_rule_alone: lambda c, y: ops.sin(y), by_jvp_rule_alone: lambda c, y: ops.sin(y)}


def by_backward(f: Function, x: Any) -> Any:
    v = Tensor(x)
    y = f(v)
    if not y.requires_grad:
        return 0.0
    y.backward()
    return v.grad.item()


def by_both(f: Function, x: Any) -> Any:
    """The second derivative by the recorded gradient."""
    v = Tensor(x)
    y = f(v)
    if not y.requires_grad:
        return 0.0
    y.backward()
    v.grad.backward()
    return v.grad.item()


INNER = [
    lambda f, x: f(x),
    lambda f, x: needle.grad(f)(x),
    lambda f, x: needle.jvp(f, (x,), (x * 0 + 1.0,))[1],
    lambda f, x: needle.vjp(f, x)[1](x * 0 + 1.0)[0],
    lambda f, x: needle.hessian(f)(x),
    lambda f, x: needle.jacobian(f, mode="forward")(x),
]
OUTER = [*INNER[1:], lambda f, x: needle.hvp(f, (x,), (1.0,)), by_backward, by_both]


def random_case(seed: int, own: bool) -> tuple[Function, str]:
    """A derivative, as a function of nothing, by functions with own rules or by the plain ones; and how they are
    written."""
    rng = np.random.default_rng(seed)
    outer, inner = OUTER[rng.integers(len(OUTER))], INNER[rng.integers(len(INNER))]
    which = [*CLOSING, *FOLLOWING][rng.integers(len(CLOSING) + len(FOLLOWING))]
    f = which if own else PLAIN.get(which, plain)
    how = rng.integers(0, 5, 3)
    x = float(rng.uniform(0.5, 1.5))

    def mixed(k: int, a: Any, b: Any) -> Any:
        return [a * b, a + 0.5 * b, ops.sin(a) * 1.0, ops.tanh(b) * 1.0, 1.1 * a * a][how[k]]

    def program(a: Any) -> Any:
        def within(b: Any) -> Any:
            return f(mixed(0, a, b), mixed(1, b, a)) * (a + b)

        return inner(within, mixed(2, a, a)) * 1.0

    return lambda: outer(program, x), which.__name__


def check(seed: int) -> str:
    """ "right" or "refused"; AssertionError for anything else."""
    case, name = random_case(seed, own=True)
    expected = random_case(seed, own=False)[0]()
    try:
        found = case()
    except TypeError as error:
        assert name in {f.__name__ for f in CLOSING}, f"{name} refuses: {error}"
        assert REFUSED.search(str(error)), error
        return "refused"
    found, expected = (np.asarray(a.numpy() if type(a) is Tensor else a) for a in (found, expected))
    assert found.dtype.kind == "f", repr(found)
    assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    return "right"


@pytest.mark.parametrize("seed", range(300))
def test_the_whole_derivative_or_an_error_that_names_the_variable(seed):
    check(seed)


def main() -> None:
    count: dict[str, int] = {}
    for seed in range(int(sys.argv[1])):
        try:
            result = check(seed)
        except Exception as error:
            result = f"wrong: {random_case(seed, own=True)[1]}"
            if count.get(result, 0) < 5:
                print(seed, result, type(error).__name__, error)
        count[result] = count.get(result, 0) + 1
    print(count)


if __name__ == "__main__":
    main()
