"""Every way in which a value may leave a differentiated function's record, in every transform: the result is the
derivative, or a clear error, and never a zero in silence."""

from __future__ import annotations

import array
import cmath
import copy
import fractions
import io
import math
import operator
import pickle
import re
import statistics
from collections.abc import Callable
from typing import Any

import needle
import needle.numpy as nnp
import numpy as np
import pytest
from needle import Tensor
from numpy.testing import assert_allclose

INTERNAL = re.compile("<locals>|Wrapped|_array|object has no|unsupported operand|were given|positional|keyword")


def right_or_refused(call: Callable[[], Any], expected: Any, rtol: float = 1e-10) -> None:
    """The number, or an error that was raised on purpose."""
    try:
        found = call()
    except (TypeError, ValueError, RuntimeError) as error:
        assert not isinstance(error, RecursionError)
        assert len(str(error)) >= 20
        assert not INTERNAL.search(str(error))
    else:
        assert_allclose(np.asarray(found), expected, rtol=rtol, atol=rtol)


# ---------------------------------------------------------------------------------------------------- the ways


def into_array(write: Callable[[Any, Any], object]) -> Callable[[Any], Any]:
    """A function that writes its squared argument into an array, whose elements it adds."""

    def f(c: Any) -> Any:
        held = np.ones(3)
        write(held, c * c)
        return held.sum()

    return f


def into_tensor(write: Callable[[Any, Any], object]) -> Callable[[Any], Any]:
    def f(c: Any) -> Any:
        held = nnp.ones(3)
        write(held, c * c)
        return held.sum()

    return f


def as_row(t: Any) -> Any:
    return t * np.ones(3)


def as_rows(t: Any) -> Any:
    return t * np.ones((3, 3))


def increase(a: Any, t: Any) -> None:
    a += t


WRITES: dict[str, Callable[[Any, Any], object]] = {
    "a[0]": lambda a, t: operator.setitem(a, 0, t),
    "a[:2]": lambda a, t: operator.setitem(a, slice(2), t),
    "a[:]": lambda a, t: operator.setitem(a, slice(None), as_row(t)),
    "a[mask]": lambda a, t: operator.setitem(a, a > 0, t),
    "a += t": increase,
    "a *= t": lambda a, t: operator.imul(a, as_row(t)),
    "flat": lambda a, t: operator.setitem(a.flat, 0, t),
    "fill": lambda a, t: a.fill(t),
    "a.put": lambda a, t: a.put([0], t),
    "copyto": np.copyto,
    "put": lambda a, t: np.put(a, [0], t),
    "place": lambda a, t: np.place(a, np.ones(3, bool), t),
    "putmask": lambda a, t: np.putmask(a, np.ones(3, bool), t),
    "put_along_axis": lambda a, t: np.put_along_axis(a, np.array([0]), t, 0),
    "fill_diagonal": lambda a, t: np.fill_diagonal(a[None] * 1.0, t),
    "out=": lambda a, t: np.multiply(t, np.ones(3), out=a),
    "out by position": lambda a, t: np.add(a, t, a),
    "out of clip": lambda a, t: np.clip(as_row(t), 0, 9, out=a),
    "out of sum": lambda a, t: np.sum(as_rows(t), axis=0, out=a),
    "out of mean": lambda a, t: np.mean(as_rows(t), axis=0, out=a),
    "out of max": lambda a, t: np.max(as_rows(t), axis=0, out=a),
    "out of reduce": lambda a, t: np.add.reduce(as_rows(t), axis=0, out=a),
    "out of cumsum": lambda a, t: np.cumsum(as_row(t), out=a),
    "out of dot": lambda a, t: np.dot(as_rows(t), np.ones(3), out=a),
    "out of matmul": lambda a, t: np.matmul(as_rows(t), np.ones(3), out=a),
    "out of einsum": lambda a, t: np.einsum("ij->i", as_rows(t), out=a),
    "out of take": lambda a, t: np.take(as_row(t), [0, 1, 2], out=a),
    "out of stack": lambda a, t: np.stack([t, t, t], out=a),
    "out of concatenate": lambda a, t: np.concatenate([as_row(t)], out=a),
    "out of a method": lambda a, t: as_rows(t).sum(axis=0, out=a) if isinstance(t, Tensor) else np.add(0, 3 * t, a),
    "at": lambda a, t: np.add.at(a, [0], t),
}


def written(held: Any, value: Any) -> Any:
    held[0] = value
    return held


def with_attribute(held: Any, name: str, value: Any) -> Any:
    setattr(held, name, value)
    return held


def with_value(name: str, value: Any) -> Any:
    return with_attribute(Tensor(1.0, requires_grad=False), name, value)


def saved_and_loaded(value: Any) -> Any:
    file = io.BytesIO()
    np.save(file, value)
    file.seek(0)
    return np.load(file)


BINNED = np.array([0.2, 0.7, 1.1, 1.9, 2.3])
WAYS: dict[str, Callable[[Any], Any]] = {
    "math.sin": math.sin,
    "math.hypot": lambda c: math.hypot(c, 1.0),
    "math.fsum": lambda c: math.fsum([c, c * c]),
    "cmath.exp": lambda c: cmath.exp(c).real,
    "float": lambda c: float(c * c),
    "complex": lambda c: (complex(c) ** 2).real,
    "int": lambda c: c * int(c + 0.3),
    "round": lambda c: c * round(c + 0.3),
    "round to digits": lambda c: c * round(c + 0.3, 1),
    "math.floor": lambda c: c * math.floor(c + 0.3),
    "math.trunc": lambda c: c * math.trunc(c + 0.3),
    "divmod": lambda c: divmod(c, 0.7)[1],
    "fsum of a fraction": lambda c: float(fractions.Fraction(c * c)),
    "statistics": lambda c: statistics.fmean([c * c, 1.0]),
    "array.array": lambda c: array.array("d", [c * c])[0],
    "np.float64": lambda c: np.float64(c * c) * 1.0,
    "np.array": lambda c: np.array([c * c, c]).sum(),
    "np.asarray": lambda c: np.asarray(c * c) * 1.0,
    "np.fromiter": lambda c: np.fromiter((c * c for _ in range(2)), float).sum(),
    "np.full": lambda c: np.full(3, c * c).sum(),
    "np.full_like": lambda c: np.full_like(np.ones(3), c * c).sum(),
    "np.linspace": lambda c: np.linspace(0, c * c, 3).sum(),
    "np.insert": lambda c: np.insert(np.ones(3), 0, c * c).sum(),
    "np.interp": lambda c: np.interp(c, [0.0, 1.0, 3.0], [0.0, 1.0, 9.0]),
    "np.polyval": lambda c: np.polyval([1.0, 2.0, c], c),
    "np.polynomial": np.polynomial.Polynomial([1.0, 2.0, 3.0]),
    "np.vectorize": lambda c: np.sum(np.vectorize(lambda q: q * q)(as_row(c))),
    "np.apply_along_axis": lambda c: np.sum(np.apply_along_axis(lambda q: q * q, 0, as_row(c))),
    "np.r_": lambda c: np.r_[c * c, 1.0].sum(),
    "np.block": lambda c: np.block([as_row(c * c), c]).sum(),
    "np.nditer": lambda c: sum(float(q) ** 2 for q in np.nditer(as_row(c))),
    "np.from_dlpack": lambda c: np.from_dlpack(as_row(c * c)).sum(),
    "of a generator": lambda c: np.random.default_rng(0).uniform(0, c),
    "complex part": lambda c: written(np.zeros(2, complex).real, c * c).sum(),
    "masked array": lambda c: written(np.ma.zeros(3), c * c).sum(),
    "array of objects": lambda c: written(np.empty(1, object), c * c)[0],
    "nnp.array": lambda c: nnp.array([c * c, c]).sum(),
    "nnp.asarray": lambda c: nnp.asarray(c * c) * 1.0,
    "nnp.full": lambda c: nnp.full(3, c * c).sum(),
    "make_const": lambda c: Tensor.make_const(c * c) * 1.0,
    "copy": lambda c: copy.copy(c) ** 2,
    "copy of an inner value": lambda c: copy.copy(c * c) * 1.0,
    "copy of a list": lambda c: copy.copy([c * c])[0],
    "deepcopy": lambda c: copy.deepcopy(c) ** 2,
    "deepcopy of an inner value": lambda c: copy.deepcopy(c * c) * 1.0,
    "deepcopy of a dict": lambda c: copy.deepcopy({"a": c, "b": [c * c]})["b"][0] * 1.0,
    "deepcopy of a tuple": lambda c: copy.deepcopy((c * c, [c]))[0] * 1.0,
    "copy method": lambda c: np.copy(c * c) * 1.0,
    "Tensor": lambda c: Tensor(c * c, requires_grad=False) * 1.0,
    "Tensor of the argument": lambda c: Tensor(c, requires_grad=False) ** 2,
    "Tensor of a dtype": lambda c: Tensor(c * c, dtype=np.float64, requires_grad=False) * 1.0,
    "Tensor of a list": lambda c: Tensor([c * c, c], requires_grad=False).sum(),
    "Tensor of an element": lambda c: Tensor(as_row(c)[0], requires_grad=False) * c,
    "t.data": lambda c: with_value("data", c * c) * 1.0,
    "t.cached_data": lambda c: with_value("cached_data", c * c) * 1.0,
    "t.grad": lambda c: with_value("grad", c * c).grad * 1.0,
    "pickle": lambda c: pickle.loads(pickle.dumps(c * c)) * 1.0,
    "pickle of the argument": lambda c: pickle.loads(pickle.dumps({"a": [c]}))["a"][0] ** 2,
    "memoryview": lambda c: memoryview(as_row(c))[0] * 1.0,
    "bytes": lambda c: np.frombuffer(bytes(as_row(c)))[0] * 1.0,
    "percent": lambda c: float("%.15f" % (c * c)),
    "np.save": lambda c: saved_and_loaded(c * c) * 1.0,
    "requires_grad": lambda c: with_attribute(c, "requires_grad", False) ** 2 if isinstance(c, Tensor) else c**2,
    "np.histogram": lambda c: np.sum(np.histogram(c * BINNED, 3)[1]),
    "np.histogram by weights": lambda c: np.histogram(BINNED, 3, weights=c * BINNED)[0][1],
    "np.histogram density": lambda c: np.histogram(c * BINNED, 3, density=True)[0][1],
    "np.histogram of edges": lambda c: np.histogram(BINNED, c * BINNED, density=True)[0][0],
    "np.histogram of a range": lambda c: np.histogram(BINNED, 3, range=(0.0, c * c))[1][1],
    "np.histogram_bin_edges": lambda c: np.histogram_bin_edges(c * BINNED, "auto")[1],
    "np.histogram2d": lambda c: np.histogram2d(c * BINNED, BINNED, 2)[1][1],
    "np.histogram2d density": lambda c: np.histogram2d(c * BINNED, BINNED, 2, density=True)[0][0, 0],
    "np.histogramdd": lambda c: np.histogramdd(as_rows(c) + np.eye(3), (2, 3, 2))[1][1][2],
    **{f"array: {name}": into_array(write) for name, write in WRITES.items()},
    **{f"Tensor: {name}": into_tensor(write) for name, write in WRITES.items() if name != "flat"},
}

FIRST: dict[str, Callable[[Any], Any]] = {
    "grad": lambda f: needle.grad(f)(2.0),
    "grad by an array": lambda f: needle.grad(lambda x: f(x[0]))(np.array([2.0]))[0],
    "grad by a Tensor": lambda f: needle.grad(f)(Tensor(2.0)).item(),
    "value_and_grad": lambda f: needle.value_and_grad(f)(2.0)[1],
    "elementwise_grad": lambda f: needle.elementwise_grad(f)(2.0),
    "vjp": lambda f: needle.vjp(f, 2.0)[1](1.0)[0],
    "jvp": lambda f: needle.jvp(f, (2.0,), (1.0,))[1],
    "jvp of a Tensor": lambda f: needle.jvp(f, (Tensor(2.0),), (1.0,))[1].item(),
    "jvp of a constant": lambda f: needle.jvp(f, (Tensor(2.0, requires_grad=False),), (1.0,))[1].item(),
    "many jvps": lambda f: needle.jvp(f, (2.0,), (np.ones(2),), many=True)[1][1],
    "deriv": lambda f: needle.deriv(f)(2.0),
    "linearize": lambda f: needle.linearize(f, 2.0)[1](1.0),
    "jacobian": lambda f: needle.jacobian(f)(2.0),
    "jacobian forward": lambda f: needle.jacobian(lambda c: f(c) * np.ones(2), mode="forward")(2.0)[1],
    "jacobian reverse": lambda f: needle.jacobian(lambda c: f(c) * np.ones(2), mode="reverse")(2.0)[1],
}
SECOND: dict[str, Callable[[Any], Any]] = {
    "hessian": lambda f: needle.hessian(f)(2.0),
    "hvp": lambda f: needle.hvp(f, (2.0,), (1.0,)),
    "make_hvp": lambda f: needle.make_hvp(f)(2.0)[0](1.0),
    "grad of grad": lambda f: needle.grad(needle.grad(f))(2.0),
    "grad of jvp": lambda f: needle.grad(lambda c: needle.jvp(f, (c,), (1.0,))[1])(2.0),
    "jvp of grad": lambda f: needle.jvp(needle.grad(f), (2.0,), (1.0,))[1],
    "jvp of jvp": lambda f: needle.jvp(lambda c: needle.jvp(f, (c,), (1.0,))[1], (2.0,), (1.0,))[1],
    "jacobian of jacobian": lambda f: needle.jacobian(needle.jacobian(f, mode="forward"), mode="forward")(2.0),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_derivative_or_an_error_in_every_transform(way):
    """Against central differences of the function, and of its square."""
    f, h = WAYS[way], 1e-3

    def value(x: float) -> float:
        return float(f(float(x)))

    def squared(c: Any) -> Any:
        return f(c) ** 2

    slope = (8 * (value(2 + h) - value(2 - h)) - (value(2 + 2 * h) - value(2 - 2 * h))) / (12 * h)
    for transform in FIRST.values():
        right_or_refused(lambda t=transform: t(f), slope, rtol=1e-6)
    second = (value(2 + h) ** 2 - 2 * value(2) ** 2 + value(2 - h) ** 2) / h**2
    for transform in SECOND.values():
        right_or_refused(lambda t=transform: t(squared), second, rtol=1e-3)


def test_a_constant_leaves_the_record_in_every_mode():
    """What depends on no argument, or is computed under no_grad, may become a number: nothing is lost."""
    weight = Tensor([3.0])

    def f(x: Any) -> Any:
        with needle.no_grad():
            scale = float(x[0] * 2) + np.asarray(x)[0]
        return (x * scale * math.exp(Tensor(0.5, requires_grad=False)) * weight.numpy()).sum()

    x = np.array([1.0, 2.0])
    expected = np.full(2, 9 * math.exp(0.5))
    assert_allclose(needle.grad(f)(x), expected)
    assert_allclose(needle.jvp(f, (x,), (np.ones(2),))[1], expected.sum())
    assert_allclose(needle.jacobian(f, mode="forward")(x), expected)


KEEPS: dict[str, Callable[[Any], Any]] = {
    "Tensor": lambda t: Tensor(t).numpy(),
    "Tensor of a dtype": lambda t: Tensor(t, dtype=np.float64, requires_grad=False).numpy(),
    "t.data": lambda t: with_value("data", t).numpy(),
    "t.grad": lambda t: with_value("grad", t).grad.numpy(),
    "pickle": lambda t: pickle.loads(pickle.dumps(t)).numpy(),
    "pickle of a list": lambda t: pickle.loads(pickle.dumps([t]))[0].numpy(),
}


@pytest.mark.parametrize("way", KEEPS)
def test_a_value_is_kept_where_nothing_is_lost(way):
    """Outside of transforms, under no_grad, of a detached value, and of what no transform differentiates."""
    keep, weight = KEEPS[way], Tensor(3.0)
    assert keep(weight) == 3
    assert keep(weight * weight) == 9
    seen = []

    def f(c: Any) -> Any:
        seen.append(keep(weight * 2.0))
        seen.append(keep((c * 3).detach()))
        with needle.no_grad():
            seen.append(keep(c * 3))
            seen.append(keep(weight * c))
        return c * c

    def squared(c: Any) -> Any:
        return f(c) ** 2

    for name in FIRST.keys() - {"many jvps", "jacobian forward"}:  # a value there stands for many
        assert_allclose(FIRST[name](f), np.full(np.shape(FIRST[name](f)), 4.0))
    assert_allclose(needle.grad(needle.grad(squared))(2.0), 48.0)
    assert_allclose(needle.hvp(squared, (2.0,), (1.0,)), 48.0)
    assert set(map(float, seen)) == {6.0}


READS: dict[str, Callable[[Any], Any]] = {
    "item": lambda t: t.item(),
    "numpy": lambda t: t.numpy(),
    "tolist": lambda t: t.tolist(),
    "tobytes": lambda t: np.frombuffer(t.tobytes())[0],
    "format": lambda t: float(f"{t:.3f}"),
    "str": lambda t: float(str(t)),
    "data": lambda t: t.data.item(),
    "detach": lambda t: t.detach().item(),
}


@pytest.mark.parametrize("way", READS)
def test_a_value_that_is_asked_for_by_name_is_a_constant_in_every_mode(way):
    """These say that only the value is meant, and errors advise them."""

    def f(c: Any) -> Any:
        return c * READS[way](c * 3)

    for name in FIRST.keys() - {"jacobian", "jacobian forward", "jacobian reverse", "many jvps"}:
        assert_allclose(FIRST[name](f), 6.0, err_msg=name)
    assert_allclose(needle.grad(needle.grad(lambda c: f(c) ** 2))(2.0), 72.0)
    assert_allclose(needle.hvp(lambda c: f(c) ** 2, (2.0,), (1.0,)), 72.0)


def test_an_integer_argument_is_no_index_in_any_mode():
    """The number of steps cannot be differentiated by; that of an argument that is not chosen can be used."""
    for transform in (needle.grad, needle.deriv, needle.hessian, lambda f: needle.grad(needle.grad(f))):
        with pytest.raises(TypeError, match="an index"):
            transform(lambda n: sum(n * 1.0 for _ in range(n)))(3)
    assert needle.jvp(lambda x: sum(x for _ in range(Tensor(3, requires_grad=False))), (2.0,), (1.0,)) == (6.0, 3.0)


BY_X: dict[str, Callable[[Any, Any], Any]] = {
    "grad": lambda f, x: needle.grad(f)(x),
    "vjp": lambda f, x: needle.vjp(f, x)[1](1.0)[0],
    "jvp": lambda f, x: needle.jvp(f, (x,), (np.ones(2),))[1],
    "jvp's value": lambda f, x: needle.jvp(f, (x,), (np.ones(2),))[0],
    "linearize": lambda f, x: needle.linearize(f, x)[1](np.ones(2)),
    "jacobian reverse": lambda f, x: needle.jacobian(f, mode="reverse")(x),
    "jacobian forward": lambda f, x: needle.jacobian(f, mode="forward")(x),
    "hvp": lambda f, x: needle.hvp(f, (x,), (np.ones(2),)),
    "hessian": lambda f, x: needle.hessian(f)(x),
}


@pytest.mark.parametrize("transform", BY_X)
def test_what_a_function_closes_over_keeps_its_gradient(transform):
    """A penalty on a derivative by the data is differentiated by the weight, in every mode."""
    x = Tensor([1.0, 2.0], requires_grad=False)

    def penalty(weight: Any) -> Any:
        return (BY_X[transform](lambda x: (weight * x**3).sum(), x) ** 2).sum()

    weight = Tensor([0.5, 0.7])
    penalty(weight).backward()
    steps = [(penalty(weight.numpy() + d).item() - penalty(weight.numpy() - d).item()) / 2e-3 for d in np.eye(2) * 1e-3]
    assert_allclose(weight.grad.numpy(), steps, rtol=1e-6)
    with needle.no_grad():
        assert not BY_X[transform](lambda x: (weight * x**3).sum(), x).requires_grad
