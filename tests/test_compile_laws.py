"""What is captured on some data is right for other data: no rule bakes into it what it saw. Tried on every sample."""

from __future__ import annotations

import warnings
from typing import Any

import needle
import numpy as np
import pytest
from needle import Tensor
from needle.autograd import is_finite
from needle.backend import as_array
from needle.watching import Watcher
from numpy.testing import assert_allclose
from samples import SAMPLES, Sample
from samples.scipy import SCIPY
from samples.special import SPECIAL
from test_laws import is_recorded, members, precision, some, tensors_of, weighted_sum, weights_like

INF, NAN = np.inf, np.nan


class Tape(Watcher):
    """The operations that are applied, in their order, to do them again; an array is known by its place."""

    captures = True

    def __init__(self) -> None:
        self.steps: list[tuple[Any, list[int], int]] = []
        self.arrays: list[Any] = []
        self.looks: list[str] = []
        self.to_check: list[int] = []
        self.is_right = True
        """Whether the last replay had what it is right for, by its own account."""
        self._places: dict[int, int] = {}

    def place(self, array: Any) -> int:
        if id(array) not in self._places:
            self._places[id(array)] = len(self.arrays)
            self.arrays.append(array)
        return self._places[id(array)]

    def computed(self, op: Any, inputs: tuple[Any, ...], output: Any, seconds: float) -> None:
        places = [self.place(a._array) for a in inputs]
        if id(output._array) not in self._places:
            self.steps.append((op, places, self.place(output._array)))

    def copied(self, array: Any, copy: Any) -> None:
        self._places[id(copy)] = self.place(array)
        self.arrays.append(copy)  # which keeps its id its own

    def read(self, array: Any, what: str) -> None:
        self.looks.append(what)

    def left_in(self, adjoints: Any) -> None:
        self.to_check += [self.place(g._array) for g in adjoints]

    def replay(self, inputs: list[Any], outputs: list[Any], given: list[Any]) -> list[Any]:
        """What the outputs are for other inputs."""
        values = list(self.arrays)
        for array, other in zip(inputs, given, strict=True):
            values[self.place(array)] = other.copy()
        with np.errstate(all="ignore"):
            for op, places, place in self.steps:
                values[place] = as_array(op.compute(*[values[i] for i in places]))
        self.is_right = all(is_finite(values[place]) for place in self.to_check)
        places = [None if array is None else self._places.get(id(array)) for array in outputs]
        return [array if i is None else values[i] for array, i in zip(outputs, places, strict=True)]


def gradients(function: Any, tensors: list[Tensor], weights: Any) -> list[Any]:
    outputs = members(function(*tensors))
    weighted_sum(outputs, weights).backward()
    return [*outputs, *[t.grad for t in tensors]]


def second(function: Any, tensors: list[Tensor], weights: Any) -> list[Any]:
    """The gradients of a sum of squares of gradients."""
    total = weighted_sum(members(function(*tensors)), weights)
    total.backward()
    found = [t.grad for t in tensors if t.grad is not None]
    squares = [(g * g.conj()).real if g.dtype.kind == "c" else g * g for g in found]
    _ = [part.sum().backward(accumulate=i > 0) for i, part in enumerate(squares) if part.requires_grad]
    return [total, *[t.grad for t in tensors]]


def pushed(function: Any, tensors: list[Tensor], weights: Any) -> list[Any]:
    moving = [i for i, t in enumerate(tensors) if t.dtype.kind != "b"]

    def of_moving(*some: Any) -> Any:
        every: list[Any] = list(tensors)
        for i, a in zip(moving, some, strict=True):
            every[i] = a
        return tuple(members(function(*every)))

    tangents = [
        Tensor(w, requires_grad=False) for w in weights_like(tuple([np.ones_like(tensors[i]._array) for i in moving]))
    ]
    values, changes = needle.jvp(of_moving, tuple(tensors[i] for i in moving), tuple(tangents))
    return [*values, *changes]


def arrays_of(values: list[Any]) -> list[Any]:
    return [None if v is None else v._array for v in values]


def other_data(op: str, sample: Sample) -> list[list[Any]]:
    """Data for the same shapes and dtypes: the sample's in the opposite order, which keeps symmetric matrices so, and
    with zeros, infinities and NaN in some places (not for LAPACK and SciPy, which may search for ever then)."""
    opposite = [a.reshape(-1)[::-1].reshape(a.shape) for a in sample.arrays]
    found = [opposite]
    if op in FINITE or not all(a.dtype.kind == "f" and a.size for a in sample.arrays):
        return found
    for value in (0, NAN, INF):
        changed = [a.copy() for a in opposite]
        for i, a in enumerate(changed):
            a.reshape(-1)[i % a.size :: 3] = value
        found.append(changed)
    return found


def check(op: str, sample: Sample, way: Any) -> list[str]:
    """Capture it on the sample's data, and replay it on other data; what the capture saw somebody look at."""
    with np.errstate(all="ignore"):
        outputs = [y._array for y in members(sample.function(*tensors_of(sample)))]
    weights = weights_like(tuple(outputs))
    try:
        with np.errstate(all="ignore"):
            way(sample.function, tensors_of(sample), weights)
    except (ValueError, np.linalg.LinAlgError):
        return []  # there is nothing to capture
    tensors, tape = tensors_of(sample), Tape()
    inputs = [t._array for t in tensors]
    for array in inputs:
        tape.place(array)
    with np.errstate(all="ignore"):
        with tape:
            captured = arrays_of(way(sample.function, tensors, weights))
        if tape.looks:
            return tape.looks
        for data in other_data(op, sample):
            try:
                expected = arrays_of(way(sample.function, [Tensor(a) for a in data], weights))
            except (ValueError, np.linalg.LinAlgError):
                continue  # these data are refused
            found = tape.replay(inputs, captured, data)
            if not tape.is_right:  # it would be computed as it stands; that must be for a reason
                assert not all(map(is_finite, [*data, *expected]))
                continue
            for got, array in zip(found, expected, strict=True):
                if array is None or got is None:
                    assert got is array
                    continue
                assert (got.shape, got.dtype) == (array.shape, array.dtype)
                rtol, atol = precision(*sample.arrays, array)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    scale = np.abs(array[np.isfinite(array)]).max(initial=1)
                assert_allclose(got, array, rtol=rtol, atol=atol * float(scale))
    return []


FINITE = {
    *("Det", "Cofactors", "CofactorsAlong", "SlogDet", "Inv", "Solve", "Pinv", "Cholesky", "QR", "Eigh", "EigvalsH"),
    *(
        "Eig",
        "SVD",
        "SingularValues",
        "FromSpectrum",
        "FromSingularValues",
        "AlongSpectrum",
        "AlongSingularValues",
        "Corner",
        "Once",
        "Roots",
        *SCIPY,
        *SPECIAL,
    ),
}
TABLES = {**SAMPLES, **SCIPY, **SPECIAL}
LOOKING = {"DiscreteTuple"}
"""What cannot be right for all data, because the shape of the result depends on them, and what says so."""


@pytest.mark.filterwarnings("ignore:a derivative of a spectrum is NaN")  # of eigenvectors at equal eigenvalues
@pytest.mark.parametrize("way", [gradients, pushed, second])
@pytest.mark.parametrize("op", TABLES)
def test_captured_on_some_data_is_right_for_others(op, way):
    failures, looks = [], []
    for sample in some([s for s in TABLES[op] if is_recorded(s)], 40 if way is gradients else 8):
        try:
            looks += check(op, sample, way)
        except Exception as failure:
            failure.add_note(f"in the sample {op}: {sample.name}")
            failures.append(failure)
    if failures:
        raise ExceptionGroup(f"{len(failures)} of {len(TABLES[op])} samples", failures)
    assert not looks or op in LOOKING, set(looks)


# ------------------------------------------------------------------------------------------------- several operations


def programs() -> dict[str, tuple[Any, tuple[Any, ...]]]:
    """Functions of Tensors in which the adjoint comes to an op in another state than alone, and data for them."""
    rng = np.random.default_rng(0)
    x, w, v = rng.normal(size=(5, 4)), rng.normal(size=(4, 3)), rng.normal(size=(3, 2))
    np_ = needle.numpy
    return {
        "relu(x @ w) @ v": (lambda x, w, v: np_.tanh(needle.relu(x @ w) @ v), (x, w, v)),
        "relu(log(|x|) @ w)": (lambda x, w: needle.relu(np_.log(np_.abs(x)) @ w), (x, w)),
        "relu(relu(1 / x) @ w)": (lambda x, w: needle.relu(needle.relu(1 / x) @ w), (x, w)),
        "relu of a vector @ a matrix": (lambda x, w: needle.relu(x[0] @ w), (x, w)),
        "relu of batches": (lambda x, w: needle.relu(x.reshape((5, 2, 2)) @ w[:2]), (x, w)),
        "relu(einsum)": (lambda x, w: needle.relu(np_.einsum("ij,jk->ik", 1 / x, w)), (x, w)),
        "relu(convolve)": (lambda x, w: needle.relu(np_.convolve(1 / x[0], w[0])), (x, w)),
        "relu of a product with itself": (lambda w: needle.relu(w[:3] @ w[:3]), (w,)),
        "where over a sum": (lambda x: np_.where(x > 0, np_.sum(1 / x, 1, keepdims=True), x), (x,)),
        "maximum(cumsum)": (lambda x: np_.maximum(np_.cumsum(1 / x, 1), x), (x,)),
        "prod": (lambda x: np_.prod(x, 1) * np_.cumprod(x, 1)[:, 0], (x,)),
        "x * sqrt(|x|)": (lambda x: x * np_.sqrt(np_.abs(x)), (x,)),
        "x += and x[i] =": (_assigns, (x,)),
        "a constant is assigned to": (_fills, (x,)),
        "a copy": (lambda x: needle.Tensor(x.detach()) * x + np_.copy(x), (x,)),
        "another dtype": (lambda x: needle.Tensor(x.detach(), dtype=np.float32) * x, (x,)),
        "checkpoint": (needle.checkpoint(lambda x: np_.tanh(x) * x), (x,)),
        "custom_gradient": (_custom, (x,)),
        "inner grad": (lambda x: x * needle.grad(lambda y: (np_.tanh(y) * y).sum())(x), (x,)),
        "inner jvp": (lambda x: needle.jvp(lambda y: y * np_.sqrt(np_.abs(y)), (x,), (x * x,))[1], (x,)),
        "inner hvp": (lambda x: needle.hvp(lambda y: (y * y * np_.prod(y, 1, keepdims=True)).sum(), (x,), (x,)), (x,)),
        "jacobian": (needle.jacobian(lambda y: needle.relu(y @ y.T)), (x[:2],)),
        "norm and softmax": (lambda x: needle.softmax(x / np_.linalg.norm(x, axis=1, keepdims=True)), (x,)),
        "complex": (lambda x: np_.abs(np_.exp(1j * x) * x), (x,)),
    }


def _assigns(x: Any) -> Any:
    y = x * 1.0
    y[1:3] = x[:2] * y[2:4]
    y += x
    return y * y


def _fills(x: Any) -> Any:
    y = needle.numpy.zeros(x.shape)
    with needle.no_grad():
        y[1:3] = x[:2]
        y[0] = x[4] * y[1]
    return y * x


@needle.custom_gradient
def _custom(x: Any) -> Any:
    slope = needle.exp(x)
    return slope * 1.0, lambda out_grad: out_grad * slope


@pytest.mark.parametrize("way", [gradients, pushed, second])
@pytest.mark.parametrize("name", programs())
def test_captured_program_is_right_for_other_data(name, way):
    function, arrays = programs()[name]
    assert check("", Sample(name, function, tuple(arrays), None), way) == []
