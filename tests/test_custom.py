"""Own derivatives: aggregates made one op, custom rules, differences, checkpoints; in all orders and modes."""

from __future__ import annotations

import gc
import math
import tracemalloc
import warnings
from typing import Any

import needle
import needle.numpy as np_
import numpy as np
import pytest
import scipy.linalg.lapack
from needle import Tensor, autograd, ops
from numpy.testing import assert_allclose

X, T = np.array([0.3, -0.7, 1.1]), np.array([1.0, 0.5, -2.0])


def assert_same_derivatives(f: Any, plain: Any, x: Any = X, t: Any = T, rtol: float = 1e-11) -> None:
    """Of a function of one array that returns a number: to third order, in all mixtures."""
    first = needle.grad(plain)(x)
    assert_allclose(needle.grad(f)(x), first, rtol=rtol)
    assert_allclose(needle.jvp(f, (x,), (t,))[1], (first * t).sum(), rtol=rtol)
    second = needle.hessian(plain)(x)
    assert_allclose(needle.hvp(f, (x,), (t,)), second @ t, rtol=rtol, atol=rtol)
    for outer in ("forward", "reverse"):
        for inner in ("forward", "reverse"):
            found = needle.jacobian(needle.jacobian(f, mode=inner), mode=outer)(x)
            assert_allclose(found, second, rtol=rtol, atol=rtol)
    third = needle.jacobian(needle.hessian(plain))(x)
    assert_allclose(needle.jacobian(needle.hessian(f))(x), third, rtol=rtol, atol=10 * rtol)
    v = Tensor(x)
    y = f(v)
    y.backward()
    assert_allclose(v.grad.numpy(), first, rtol=rtol)
    (v.grad * Tensor(t)).sum().backward()
    assert_allclose(v.grad.numpy(), second @ t, rtol=rtol, atol=rtol)


# ----------------------------------------------------------------------------------------- aggregates made one op


class Recomputes(needle.TensorOp):
    """t = a + b; r = t * b, where the rule computes t again."""

    def compute(self, a, b):
        return (a + b) * b

    def gradient(self, out_grad, node):
        a, b = node.inputs
        return out_grad * b, out_grad * (a + b) + out_grad * b


class Returns(needle.TensorTupleOp):
    """The same, where t is a second output, for the rule and for others."""

    def compute(self, a, b):
        t = a + b
        return t * b, t

    def gradient(self, out_grad, node):
        by_r, by_t = out_grad
        b, t = node.inputs[1], node[1]
        by_a = by_b = None
        if by_r is not None:
            by_a, by_b = by_r * b, by_r * (t + b)
        if by_t is not None:
            by_a = by_t if by_a is None else by_a + by_t
            by_b = by_t if by_b is None else by_b + by_t
        return by_a, by_b


@pytest.mark.parametrize(
    "aggregate",
    [
        Recomputes(),
        lambda a, b: Returns()(a, b)[0],
        lambda a, b: sum(w * y for w, y in zip([1, 0], Returns()(a, b), strict=True)),
    ],
    ids=["recomputed", "second output unused", "second output used"],
)
def test_aggregates_are_right_in_every_order(aggregate):
    def f(x: Any) -> Any:
        return (aggregate(x * x, ops.sin(x)) ** 2).sum()

    def plain(x: Any) -> Any:
        a, b = x * x, ops.sin(x)
        return (((a + b) * b) ** 2).sum()

    assert_same_derivatives(f, plain)


def test_an_unused_output_is_a_structural_zero():
    seen = []

    class Two(needle.TensorTupleOp):
        def compute(self, a):
            return a * 2, a * 3

        def gradient(self, out_grad, node):
            seen.append(tuple(g is None for g in out_grad))
            g, h = out_grad
            return (2 * g if h is None else 3 * h if g is None else 2 * g + 3 * h,)

    x = Tensor(X)
    for chosen, expected in [((0,), 2), ((1,), 3), ((0, 1), 5)]:
        pair = Two()(x)
        sum(pair[i].sum() for i in chosen).backward()
        assert_allclose(x.grad.numpy(), expected)
    assert seen == [(False, True), (True, False), (False, False)]


# ---------------------------------------------------------------------------------------------------- custom gradients


def test_custom_gradients_in_every_order():
    runs = 0

    @needle.custom_gradient
    def log1pexp(x):
        nonlocal runs
        runs += 1
        e = ops.exp(x)
        return ops.log(1 + e), lambda out_grad: out_grad * (1 - 1 / (1 + e))

    assert_same_derivatives(lambda x: (log1pexp(x) ** 2).sum(), lambda x: (ops.log(1 + ops.exp(x)) ** 2).sum())
    runs = 0
    log1pexp(Tensor(X)).sum().backward()
    assert runs == 1  # plain training does not compute twice


def test_custom_gradients_of_nested_arguments():
    @needle.custom_gradient
    def layer(p: Any, x: Any, *, scale: float = 1.0) -> Any:
        y = {"out": (p["w"] * x + p["b"]) * scale, "twice": x * 2}

        def rule(out_grad: Any) -> Any:
            g = out_grad["out"] * scale
            return g * x, g, g * p["w"] + 2 * out_grad["twice"], None

        return y, rule

    p = {"w": X, "b": T}

    def f(p: Any, x: Any) -> Any:
        y = layer(p, x, scale=3.0)
        return (y["out"] * y["out"]).sum() + y["twice"].sum()

    def plain(p: Any, x: Any) -> Any:
        y = (p["w"] * x + p["b"]) * 3.0
        return (y * y).sum() + (x * 2).sum()

    for found, expected in zip(needle.grad(f, (0, 1))(p, T), needle.grad(plain, (0, 1))(p, T), strict=True):
        found, expected = (a if isinstance(a, dict) else {"": a} for a in (found, expected))
        for key in expected:
            assert_allclose(found[key], expected[key])


def test_custom_gradients_change_what_is_passed_back():
    @needle.custom_gradient
    def clipped(x):
        return x, lambda out_grad: ops.where(abs(out_grad) > 1, ops.sign(out_grad), out_grad)

    x = Tensor(X)
    (clipped(x) * Tensor(T)).sum().backward()
    assert_allclose(x.grad.numpy(), [1, 0.5, -1])


def test_custom_functions_that_are_wrong_are_told_so():
    with pytest.raises(TypeError, match=r"custom_gradient: g must return its output and a gradient rule.*\n.*return y"):

        @needle.custom_gradient
        def g(x):
            return x

        g(1.0)
    with pytest.raises(ValueError, match=r"gradient returned 2 adjoint"):
        needle.grad(needle.custom_gradient(lambda x: (x, lambda g: (g, g))))(1.0)
    with pytest.raises(TypeError, match=r"cube has no rule yet; write\n    @f.defjvp"):

        @needle.custom_jvp
        def cube(x):
            return x**3

        cube(1.0)
    with pytest.raises(TypeError, match=r"must return the output and its tangent"):
        cube.defjvp(lambda primals, tangents: tangents[0])
        needle.grad(cube)(1.0)


def test_custom_jvps_in_every_order():
    @needle.custom_jvp
    def f(x, y):
        return ops.sin(x) * y

    @f.defjvp
    def rule(primals, tangents):
        (x, y), (x_dot, y_dot) = primals, tangents
        return f(x, y), ops.cos(x) * y * x_dot + ops.sin(x) * y_dot

    assert_same_derivatives(lambda x: (f(x, x * x) ** 2).sum(), lambda x: ((ops.sin(x) * x * x) ** 2).sum())
    assert f.__name__ == "f"


# --------------------------------------------------------------------------------------------------------- black boxes


def test_differences_of_a_black_box():
    def box(x, n):
        out = np.empty_like(x)
        for i in range(len(x)):
            out[i] = math.sin(x[i]) * x[-1] ** n
        return out

    f = needle.numerical(box)

    def wrapped(x: Any) -> Any:
        return (f(x, 2) * f(x, 2)).sum()

    def plain(x: Any) -> Any:
        y = ops.sin(x) * x[-1] ** 2
        return (y * y).sum()

    assert_allclose(needle.grad(wrapped)(X), needle.grad(plain)(X), rtol=1e-10)
    assert_allclose(needle.jvp(wrapped, (X,), (T,))[1], (needle.grad(plain)(X) * T).sum(), rtol=1e-10)
    assert_allclose(needle.hessian(wrapped)(X), needle.hessian(plain)(X), rtol=1e-6, atol=1e-7)
    assert_allclose(needle.hvp(wrapped, (X,), (T,)), needle.hessian(plain)(X) @ T, rtol=1e-6)
    assert_allclose(needle.grad(needle.numerical(math.gamma))(3.0), 1.8455686701969343, rtol=1e-11)
    single = needle.grad(lambda x: needle.numerical(np.sin)(x).sum())(X.astype("f"))
    assert single.dtype == np.float32
    assert_allclose(single, np.cos(X), rtol=1e-4)
    empty = needle.grad(lambda x: needle.numerical(np.sin)(x).sum())(np.zeros((0, 3)))
    assert empty.shape == (0, 3)
    with pytest.raises(TypeError, match="one array"):
        needle.numerical(lambda x: "text")(X)


COMPLEX = {
    "real": lambda z: abs(z * (2 - 1j)) ** 2 + (z * z).real,
    "holomorphic": lambda z: z**3 * (1 - 2j),
    "neither": lambda z: z * np.conj(z) * z + 1j * np.conj(z),
    "part": lambda z: z.imag * z,
}


@pytest.mark.parametrize("name", COMPLEX)
def test_differences_by_complex_numbers(name):
    f, box = COMPLEX[name], needle.numerical(COMPLEX[name])
    z, t = np.array([1 + 2j, -0.5j]), np.array([0.3 - 1j, 2.0])
    weights = np.array([1 - 1j, 0.5 + 2j])

    def total(own: Any) -> Any:
        return lambda z: (own(z) * weights).sum().real

    for got, expected in zip(needle.jvp(box, (z,), (t,)), needle.jvp(f, (z,), (t,)), strict=True):
        assert_allclose(got, expected, rtol=1e-9)
    assert_allclose(needle.grad(total(box))(z), needle.grad(total(f))(z), rtol=1e-9)
    assert_allclose(needle.hvp(total(box), (z,), (t,)), needle.hvp(total(f), (z,), (t,)), rtol=1e-6, atol=1e-7)
    single = needle.grad(total(box))(z.astype(np.complex64))
    assert single.dtype == np.complex64
    assert_allclose(single, needle.grad(total(f))(z), rtol=2e-2, atol=2e-2)
    v, w = Tensor(z), Tensor(z)
    total(box)(v).backward()
    total(f)(w).backward()
    assert_allclose(v.grad, w.grad, rtol=1e-9)


def test_differences_of_mixed_arguments():
    box = needle.numerical(lambda z, x, n: z * x**n)
    arguments = (1 + 2j, 1.5, 3)
    f = lambda z, x, n: z * x**n  # noqa: E731

    def total(own: Any) -> Any:
        return lambda *args: (own(*args) * (2 - 3j)).real

    found, expected = (needle.grad(total(own), (0, 1, 2))(*arguments) for own in (box, f))
    assert_allclose(found, expected, rtol=1e-9)
    assert [type(g) for g in found] == [complex, float, float]
    tangents = (1 - 1j, 0.5, 2.0)
    assert_allclose(needle.jvp(box, arguments, tangents)[1], needle.jvp(f, arguments, tangents)[1], rtol=1e-9)
    n = Tensor([2, 3])
    needle.numerical(lambda n: n * n)(n).sum().backward()
    assert n.grad.dtype == np.float64
    assert_allclose(n.grad, [4, 6], rtol=1e-9)


# -------------------------------------------------------------------------------- what rules and functions close over


class Layer:
    def __init__(self) -> None:
        self.W = Tensor([[1.0, 2.0], [3.0, 4.0]])
        self.rows = [Tensor(2.0), self.W]

    def gradient(self, x: Any) -> Any:
        return x @ self.W, lambda g: g @ self.W.T

    def jvp(self, x: Any) -> Any:
        return x @ self.rows[1]

    def numerical(self, x: Any) -> Any:
        return x @ self.W

    def default(self, x: Any) -> Any:
        return needle.custom_gradient(lambda x, V=self.W: (x @ V, lambda g: g))(x)


class Scale(needle.TensorOp):
    __slots__ = ("factor",)

    def __init__(self, factor: Any):
        self.factor = factor

    def compute(self, a: Any) -> Any:
        return a * self.factor

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad * self.factor


class ScaleByValue(Scale):
    def compute(self, a: Any) -> Any:
        return a * self.factor.numpy()


def test_a_weight_that_is_closed_over_is_named():
    layer, x = Layer(), Tensor(np.ones((1, 2)))
    with pytest.raises(TypeError, match=r"gradient: this custom_gradient closes over self.W, .*pass self.W as an arg"):
        needle.custom_gradient(layer.gradient)(x)
    f = needle.custom_jvp(layer.jvp)
    f.defjvp(lambda primals, tangents: (f(*primals), tangents[0]))
    with pytest.raises(TypeError, match=r"jvp: this custom_jvp closes over self.(W|rows\[1\])"):
        f(x)
    with pytest.raises(TypeError, match=r"numerical: this numerical function closes over self.W"):
        needle.numerical(layer.numerical)(x)
    with pytest.raises(TypeError, match="closes over V,"):
        layer.default(x)
    with pytest.raises(TypeError, match=r"Scale: compute must return an array, got a Tensor; self.factor is one"):
        Scale(Tensor(2.0))(x)
    with pytest.raises(TypeError, match=r"Tensor; it sees arrays, so compute with NumPy's functions"):

        class OfTensors(needle.TensorOp):
            def compute(self, a: Any) -> Any:
                return needle.exp(Tensor(a))

        OfTensors()(x)
    for mode in (needle.grad, lambda f: lambda x: needle.jvp(f, (x,), (1.0,))):
        with pytest.raises(TypeError, match=r"the rule of ScaleByValue uses self.factor, which is differentiated"):
            mode(needle.grad(lambda x: ScaleByValue(x)(x * x)))(1.0)
    with needle.no_grad():
        assert_allclose(needle.custom_gradient(layer.gradient)(x), [[4, 6]])
    layer.W.requires_grad = False
    assert_allclose(needle.grad(lambda x: needle.custom_gradient(layer.gradient)(x).sum())(np.ones((1, 2))), [[3, 7]])


def test_what_a_function_makes_itself_it_does_not_close_over():
    def f(x: Any) -> Any:
        table = Tensor([1.0, 2.0, 3.0])
        return x * table, lambda g: g * table

    assert_allclose(needle.grad(lambda x: needle.custom_gradient(f)(x).sum())(X), [1, 2, 3])
    assert_allclose(needle.grad(lambda x: needle.numerical(lambda x: f(x)[0])(x).sum())(X), [1, 2, 3], rtol=1e-9)


def test_a_rule_may_close_over_what_changes_only_the_gradient():
    strength = Tensor(-2.0)
    reversed_ = needle.custom_gradient(lambda x: (x * 1, lambda g: g * strength))
    x = Tensor(X)
    (reversed_(x) * Tensor(T)).sum().backward()
    assert_allclose(x.grad, -2 * T)
    assert strength.grad is None


class Tridiagonal(needle.TensorOp):
    """The solution of a tridiagonal system, by LAPACK's Fortran: five lines."""

    def compute(self, lower, diagonal, upper, right):
        return scipy.linalg.lapack.dgtsv(lower, diagonal, upper, right)[3]

    def gradient(self, out_grad, node):
        lower, diagonal, upper, _ = node.inputs
        g = self(upper, diagonal, lower, out_grad)  # the transposed system
        return -g[1:] * node[:-1], -g * node, -g[:-1] * node[1:], g


def test_a_fortran_kernel_is_an_op():
    rng = np.random.default_rng(0)
    lower, diagonal, upper, right = rng.normal(size=4), 4 + rng.random(5), rng.normal(size=4), rng.normal(size=5)
    solve = Tridiagonal()
    matrix = np.diag(diagonal) + np.diag(lower, -1) + np.diag(upper, 1)
    assert_allclose(solve(lower, diagonal, upper, right).numpy(), np.linalg.solve(matrix, right))
    v = np.concatenate([lower, diagonal, upper, right])

    def f(v: Any) -> Any:
        return (solve(v[:4], v[4:9], v[9:13], v[13:]) ** 2).sum()

    black_box = needle.numerical(lambda v: f(Tensor(v)).numpy())
    assert_allclose(needle.grad(f)(v), needle.grad(black_box)(v), rtol=1e-8, atol=1e-10)
    h = needle.hessian(f)(v)
    assert_allclose(h, h.T, atol=1e-12)
    assert_allclose(h, needle.jacobian(needle.numerical(needle.grad(f)))(v), rtol=1e-7, atol=1e-8)


# --------------------------------------------------------------------------------------------------------- checkpoints


def test_checkpoints_in_every_order():
    W = np.linspace(-1, 1, 9).reshape(3, 3)

    def layer(h: Any) -> Any:
        return ops.tanh(h @ W) * h

    def f(x: Any) -> Any:
        return needle.checkpoint(lambda h: needle.checkpoint(layer)(h) + 1)(needle.checkpoint(layer)(x)).sum()

    assert_same_derivatives(f, lambda x: (layer(layer(x)) + 1).sum())


def test_checkpoints_reach_what_they_close_over():
    def run(wrap: Any) -> list[Any]:
        W, V = Tensor(np.linspace(-1, 1, 9).reshape(3, 3)), Tensor(X)
        D = Tensor(T).detach()
        U = ops.exp(V)  # recorded before: its history must not be gone through twice

        def body(h: Any) -> Any:
            return ops.tanh(h @ W) * U + D, h * 2

        a, b = wrap(body)(U * U)
        loss = (a * b).sum() + U.sum()
        loss.backward()
        first = [t.grad.numpy() for t in (W, V, D)]
        (W.grad * W.grad).sum().backward()
        return [*first, W.grad.numpy(), V.grad.numpy()]

    for found, expected in zip(run(needle.checkpoint), run(lambda f: f), strict=True):
        assert_allclose(found, expected, rtol=1e-12)
    # in transforms by what is closed over
    f = lambda w: needle.checkpoint(lambda h: (h * w) ** 3)(Tensor(X)).sum()  # noqa: E731
    plain = lambda w: ((Tensor(X) * w) ** 3).sum()  # noqa: E731
    assert_same_derivatives(f, plain)


class Effects:
    """Functions that do more than compute: `seen` holds what they did besides."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(5)
        self.seen: list[Any] = []
        self.running, self.work, self.total = np_.zeros(()), np_.zeros(3), Tensor(T) * 1
        self.weight, self.own = Tensor(T), DrawingOp()

    def counts(self, x: Any) -> Any:
        self.seen.append(len(self.seen))
        return x * x * len(self.seen)

    def draws(self, x: Any) -> Any:
        return x * x * self.rng.random(3) * np.random.rand(3)

    def draws_in_an_op(self, x: Any) -> Any:
        return self.own(x * x) * x

    def draws_in_a_rule(self, x: Any) -> Any:
        mask = np.random.rand(3)
        return needle.custom_gradient(lambda y: (y * mask, lambda g: g * mask))(x * x) * x

    def keeps_a_running_mean(self, h: Any) -> Any:
        mean = h.mean()
        self.running[...] = 0.9 * self.running + 0.1 * mean.detach()
        self.seen.append(self.running.item())
        return (h - mean) * self.running * h

    def writes_and_reads_and_writes(self, x: Any) -> Any:
        self.running[...] = 2.0
        y = ops.sin(x * x + self.running) * self.running
        self.running[...] = 5.0
        return y + self.running

    def fills_a_work_array(self, h: Any) -> Any:
        self.work[:] = h
        return self.work * h

    def adds_up(self, h: Any) -> Any:
        self.total += h * h
        return self.total * h

    def sets_a_weight(self, h: Any) -> Any:
        y = h * self.weight * h
        self.weight.data = self.weight.data * 2
        return y * self.weight

    def is_followed_by_a_step(self, h: Any) -> Any:
        return ops.tanh(h * self.weight) * h

    def hands_out_what_it_reads(self, h: Any) -> Any:
        constant = Tensor(T, requires_grad=False)
        y = (h * h + constant) * h
        constant.cached_data[:] = 7.0
        return y * constant

    def hands_out_what_it_computed(self, h: Any) -> Any:
        y = h * h
        before = y * h
        y.cached_data[:] = 7.0
        return before * y

    def sets_what_it_computed(self, h: Any) -> Any:
        y = h * h
        before = y * h
        y.data = y.data * 2
        return before * y

    def keeps_a_tensor(self, h: Any) -> Any:
        self.work = ops.exp(h)
        return self.work * h


class DrawingOp(needle.TensorOp):
    """Draws when it computes, and remembers what."""

    def compute(self, a: Any) -> Any:
        self.factor = np.random.rand(*a.shape)
        return a * self.factor

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad * self.factor


@pytest.mark.parametrize("name", [name for name in vars(Effects) if not name.startswith("_")])
@pytest.mark.parametrize("nested", [False, True])
def test_what_a_function_under_checkpoint_does_besides_it_does_once(name, nested):
    """Values, first and second derivatives, all that is seen outside, and the next random number: as without it."""

    def run(wrap: Any) -> list[Any]:
        np.random.seed(3)
        effects, x = Effects(), Tensor(X)
        f = wrap(getattr(effects, name))
        y = f(f(x) * 0.5)
        effects.weight.data = effects.weight.data * 3
        loss = (y * y).sum() + (effects.work * effects.total).sum()
        loss.backward()
        found = [y, x.grad.numpy(), effects.weight.grad]
        (x.grad * x.grad).sum().backward()
        found += [x.grad, effects.weight.grad, effects.running, effects.work, effects.total, effects.weight]
        return [a if a is None or type(a) is np.ndarray else a.numpy() for a in found] + [
            *effects.seen,
            np.random.rand(),
            effects.rng.random(),
        ]

    def twice(f: Any) -> Any:
        return needle.checkpoint(lambda x: needle.checkpoint(f)(x) * 1)

    for got, expected in zip(run(twice if nested else needle.checkpoint), run(lambda f: f), strict=True):
        assert (got is None) == (expected is None)
        if got is not None:
            assert_allclose(got, expected, rtol=1e-12)


def test_checkpoints_with_nothing_to_differentiate():
    with needle.no_grad():
        assert not needle.checkpoint(lambda x: x * Tensor(X))(Tensor(X)).requires_grad
    same, constant, number = needle.checkpoint(lambda x: (x, x.detach() * 2, 3.0))(Tensor(X))
    assert same.requires_grad
    assert not constant.requires_grad
    assert number == 3.0


def test_checkpoints_keep_less():
    x = Tensor(np.ones(50_000))

    def segment(h: Any) -> Any:
        for _ in range(20):
            h = ops.sin(h) * 0.9
        return h

    def peak(wrap: Any) -> float:
        gc.collect()
        tracemalloc.start()
        h = x
        for _ in range(20):
            h = wrap(segment)(h)
        h.sum().backward()
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most / x.nbytes

    plain, checkpointed = peak(lambda f: f), peak(needle.checkpoint)
    assert plain > 400
    assert checkpointed < 100
    assert autograd.is_grad_enabled()


# ------------------------------------------------------------------------ rules of users behind what was not chosen


def second_alone(x: Any) -> Any:
    """The slope of the first element is infinite, and it is not chosen."""
    return needle.where(np.array([False, True]), needle.sqrt(x), 0.0).sum()


def clip_by_where(g: Any) -> Any:
    return needle.where(g < 1, g, 1.0)


def clip_by_numpy(g: Any) -> Any:
    return Tensor(np.fmax(np.fmin(g.numpy(), 1), -1))


def insist(g: Any) -> Any:
    assert np.isfinite(g.numpy()).all()
    return g


@pytest.mark.parametrize("rule", [clip_by_where, clip_by_numpy, insist])
def test_a_rule_that_is_not_linear_is_handed_zeros_and_no_nan(rule):
    own = needle.custom_gradient(lambda x: (x * 1.0, rule))
    x = Tensor(np.array([0.0, 4.0]), requires_grad=True)
    second_alone(own(x)).backward()
    assert_allclose(x.grad, [0, 0.25])


def test_a_captured_rule_that_is_not_linear_is_handed_zeros_at_every_replay():
    own = needle.custom_gradient(lambda x: (x * 1.0, clip_by_where))
    gradient = needle.compile(needle.grad(lambda x: second_alone(own(x))))
    for first in (1.0, 1.0, 0.0, 1.0):
        assert_allclose(gradient(np.array([first, 4.0])), [0, 0.25])


class Enormous(needle.TensorOp):
    saves = ()

    def compute(self, a: Any) -> Any:
        return a.copy()

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return Tensor(out_grad.numpy() * 1e308 * 10)


def test_a_rule_that_overflows_warns_behind_a_structural_zero_as_well():
    x = Tensor(np.array([-1.0, 4.0]), requires_grad=True)
    with np.errstate(all="raise"), pytest.raises(FloatingPointError, match="overflow"):
        needle.relu(Enormous()(x)).sum().backward()
    assert np.geterr()["over"] == "warn"


class SquareRoot(needle.TensorOp):
    saves = ("output",)
    elementwise = True

    def compute(self, a: Any) -> Any:
        return np.sqrt(a)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad / (2 * node)


@pytest.mark.parametrize("root", [SquareRoot(), needle.checkpoint(needle.sqrt)])
def test_nothing_warns_of_what_was_not_chosen(root):
    x = Tensor(np.array([0.0, 4.0]), requires_grad=True)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        needle.where(np.array([False, True]), root(x), 0.0).sum().backward()
    assert not warned
    assert_allclose(x.grad, [0, 0.25])


def test_a_failing_rule_behind_a_structural_zero_says_what_it_says_elsewhere():
    own = needle.custom_gradient(lambda x: (x * 1.0, lambda g: g @ np.zeros((7, 7))))
    x = Tensor(np.array([-1.0, 4.0]), requires_grad=True)
    with pytest.raises(ValueError, match="MatMul"):
        needle.relu(own(x)).sum().backward()
    assert np.geterr()["over"] == "warn"


class Thrice:
    """Mixed into an op, its rule replaces the op's."""

    def gradient(self, out_grad: Any, node: Any) -> Any:
        assert isinstance(out_grad, Tensor)
        y = needle.tanh(node.inputs[0])
        return out_grad * (1 - y * y) * 3


class TanhThrice(Thrice, ops.Tanh):
    saves = ("inputs", "output")


def test_a_rule_that_is_mixed_in_gets_tensors():
    x = Tensor(X, requires_grad=True)
    TanhThrice()(x).sum().backward()
    assert_allclose(x.grad, 3 * (1 - np.tanh(X) ** 2))

    def f(x: Any) -> Any:
        return (TanhThrice()(x) * x).sum()

    assert_allclose(needle.hvp(f, (X,), (T,)), needle.jvp(needle.grad(f), (X,), (T,))[1], rtol=1e-12)
