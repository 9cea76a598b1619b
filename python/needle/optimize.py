"""SciPy's optimizers on nested parameters, with derivatives from Needle.

SciPy varies one vector of float64. `_Packing` converts between it and the user's structure; `_Objective` and
`_Residuals` are the user's functions as functions of the vector, with the derivatives that SciPy asks for; the two
public functions come last.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from math import prod
from typing import Any

import numpy as np

from . import watching
from .autograd import DETACHED, Tensor, TensorTuple, Wrapped, as_value, constant
from .backend import refuse_more_than_arrays
from .blocks import running
from .nested import children_of, flatten, is_leaf, map_leaves
from .ops.base import described
from .transforms import SecondOrder, hessian, jacobian, value_and_grad

_WITHOUT_GRADIENT = ("nelder-mead", "powell", "cobyla", "cobyqa")
_WITH_PRODUCTS = ("newton-cg", "trust-ncg", "trust-krylov", "trust-constr")
_WITH_HESSIAN = ("dogleg", "trust-exact")


def _scipy(name: str, module: str = "optimize") -> Any:
    try:
        return import_module(f"scipy.{module}")
    except ImportError as error:
        raise ImportError(f"{name}: needs SciPy, which cannot be imported here; pip install needle[scipy]") from error


def _array_of(name: str, what: str, value: Any) -> Any:
    """The array of a Tensor, an array or a number; TypeError if a derivative would be lost."""
    if isinstance(value, Wrapped) or (isinstance(value, Tensor) and value.needs > DETACHED and running.get()):
        raise TypeError(
            f"{name}: {what} depends on what a transform (grad, jvp, ...) around it differentiates by, and nothing is "
            "differentiated through SciPy's iterations; put needle.stop_gradient around that"
        )
    if isinstance(value, Tensor):
        if watching.active:
            watching.tell("read", value._array, name)
        return value._array
    refuse_more_than_arrays(f"{name}: {what}", value)
    try:
        array = np.array(value)
    except ValueError:  # a ragged list
        array = np.array(None)
    if array.dtype.kind not in "biufc":
        raise TypeError(f"{name}: {what} must be a number or an array of numbers, got {value!r}")
    return array


# ------------------------------------------------------------------------------------------ structures and the vector


def _aligned(name: str, what: str, given: Any, tree: Any, place: str = "") -> list[tuple[str, Any]]:
    """For each leaf of the tree, its place and what `given` holds there: a structure like the tree, in which a number
    or None stands for all below it."""
    if is_leaf(tree):
        return [(place, given)]
    keys, children, make = children_of(tree)
    if make is None:
        return []
    if given is None or (is_leaf(given) and not np.ndim(given)):
        members = dict.fromkeys(keys, given)
    else:
        given_keys, given_children, given_make = children_of(given)
        if given_make is None or set(given_keys) != set(keys):
            got = given_keys if given_make else type(given).__name__
            raise ValueError(f"{name}: {what}{place} must be like params{place}, with {keys}, or a number; got {got}")
        members = dict(zip(given_keys, given_children, strict=True))
    found = []
    for key, child in zip(keys, children, strict=True):
        inner = f"{place}.{key}" if dataclasses.is_dataclass(tree) else f"{place}[{key!r}]"
        found += _aligned(name, what, members[key], child, inner)
    return found


def _parts(array: Any) -> Any:
    """Complex numbers as pairs of real ones, along a new last axis."""
    return np.stack([array.real, array.imag], axis=-1) if array.dtype.kind == "c" else array


class _Packing:
    """Nested parameters as one vector of float64: leaf by leaf, a complex element as its real and imaginary part."""

    def __init__(self, name: str, params: Any):
        self.name, self.params = name, params
        self.leaves, self.rebuild = flatten(params)
        self.places = [place for place, _ in _aligned(name, "params", None, params)]
        for place, leaf in zip(self.places, self.leaves, strict=True):
            if isinstance(leaf, int) or (not isinstance(leaf, (float, complex)) and leaf.dtype.kind in "iu"):
                raise TypeError(
                    f"{name}: params{place} is an integer, which cannot vary continuously; make it a float (2.0, "
                    "a.astype(float)), or hand it to the function through args if it is fixed"
                )
        self.arrays = [_array_of(name, f"params{p}", a) for p, a in zip(self.places, self.leaves, strict=True)]
        varied = [_parts(a) for a in self.arrays if a.dtype.kind != "b"]
        self.shapes = [a.shape for a in varied]
        self.dtypes = [a.dtype for a in varied]
        self.start = self.vector(varied)
        if not self.start.size:
            raise ValueError(f"{name}: params hold no number to vary, got {described(params)}")
        self._last: tuple[Any, list[Tensor]] | None = None

    def array(self, value: Any) -> Any:
        return _array_of(self.name, "the function", value)

    def vector(self, arrays: Iterable[Any]) -> Any:
        """The real arrays, one after the other."""
        return np.concatenate([np.zeros(0), *[np.ravel(a) for a in arrays]], dtype=np.float64)

    def matrix(self, rows: Sequence[Sequence[Any]]) -> Any:
        """Blocks of derivatives, by output and then by leaf, as one matrix."""
        lines = [np.zeros((0, self.start.size))]
        for row in rows:
            blocks = []
            for block, shape in zip(row, self.shapes, strict=True):
                array = self.array(block)
                blocks.append(array.reshape((prod(array.shape[: array.ndim - len(shape)]), prod(shape))))
            lines.append(np.concatenate(blocks, axis=1))
        return np.concatenate(lines, dtype=np.float64)

    def packed(self, tensors: Sequence[Tensor]) -> Any:
        """The vector of real tensors."""
        return self.vector([self.array(t) for t in tensors])

    def split(self, vector: Any) -> list[Tensor]:
        """The vector as real tensors, in the dtypes of the leaves."""
        found, start = [], 0
        with np.errstate(over="ignore"):  # what is too large for a float32 leaf is infinite there
            for shape, dtype in zip(self.shapes, self.dtypes, strict=True):
                stop = start + prod(shape)
                found.append(constant(np.reshape(vector[start:stop], shape).astype(dtype)))
                start = stop
        return found

    def at(self, x: Any) -> list[Tensor]:
        """`split`, which remembers the last point, since many products with a Hessian ask for the same one."""
        last = self._last
        if last is None or not np.array_equal(last[0], x):
            last = self._last = np.array(x), self.split(x)
        return last[1]

    def join(self, tensors: Sequence[Tensor]) -> Any:
        """The user's structure around real tensors, in differentiable operations."""
        given = iter(tensors)

        def tensor(a: Any) -> Tensor:
            if a.dtype.kind == "b":
                return constant(a)
            part = next(given)
            return part[..., 0] + part[..., 1] * 1j if a.dtype.kind == "c" else part

        return self.rebuild(map(tensor, self.arrays))

    def structure(self, x: Any) -> Any:
        """The vector in the user's structure and types: Tensors, arrays, floats. Fixed members stay as they are."""
        given = iter(self.split(x))

        def as_given(leaf: Any, a: Any) -> Any:
            return leaf if a.dtype.kind == "b" else _like(leaf, _whole(next(given)._array, a))

        return self.rebuild(map(as_given, self.leaves, self.arrays))

    def gradient_structure(self, g: Any) -> Any:
        """The vector of derivatives by the parts as `grad` returns them: df/da - i df/db for a leaf a + ib."""
        given = iter(self.split(g))

        def as_given(leaf: Any, a: Any) -> Any:
            array = np.zeros(a.shape) if a.dtype.kind == "b" else _whole(next(given)._array, a).conj()
            return _like(leaf, array, gradient=True)

        return self.rebuild(map(as_given, self.leaves, self.arrays))


def _whole(parts: Any, like: Any) -> Any:
    return parts.view(like.dtype).reshape(like.shape)


def _like(leaf: Any, array: Any, gradient: bool = False) -> Any:
    """An array in the type of the leaf: a Tensor, an array or a Python number."""
    if isinstance(leaf, Tensor):
        return Tensor(array, requires_grad=leaf.requires_grad and not gradient)
    if isinstance(leaf, np.ndarray):
        return np.asarray(array)
    return array[()] if isinstance(leaf, np.generic) else array.item()


# --------------------------------------------------------------------------------------- the functions of the vector


class _Function:
    """The user's function as one of the tensors into which the vector is split."""

    def __init__(self, what: str, f: Any, packing: _Packing, args: Any, has_aux: bool = False):
        self.packing, self.f, self.has_aux = packing, f, has_aux
        self.name, self.what = packing.name, what
        self.args = args if isinstance(args, tuple) else (args,)
        if not callable(f):
            raise TypeError(f"{self.name}: {what} must be a function of the parameters, got {type(f).__name__}")

    def run(self, tensors: Sequence[Tensor]) -> tuple[Any, Any]:
        """The output and the auxiliary one."""
        out = self.f(self.packing.join(tensors), *self.args)
        if not self.has_aux:
            return out, None
        if not isinstance(out, tuple) or len(out) != 2:
            raise TypeError(f"{self.name}: with has_aux, {self.what} must return a pair, got {type(out).__name__}")
        return out

    def aux(self, x: Any) -> Any:
        """The auxiliary output at a point."""
        aux = self.run(self.packing.split(x))[1]
        return map_leaves(lambda y: constant(self.packing.array(y)) if isinstance(y, Tensor) else y, aux)


class _Objective(_Function):
    """A function that returns one real number."""

    around: tuple[Any, SecondOrder] | None = None  # at the last point that a product with the Hessian was asked for

    def number(self, tensors: Sequence[Tensor]) -> Tensor:
        out, _ = self.run(tensors)
        if not is_leaf(out):
            raise TypeError(f"{self.name}: {self.what} must return one real number, got {type(out).__name__}")
        y: Tensor = as_value(out)
        if y.size != 1 or y.dtype.kind in "bc":
            raise TypeError(
                f"{self.name}: {self.what} must return one real number, got shape {y.shape} and dtype {y.dtype}; "
                "return a sum, a real part or abs()"
            )
        return y

    def value(self, x: Any) -> float:
        return float(self.packing.array(self.number(self.packing.at(x))).item())

    def __call__(self, x: Any) -> tuple[float, Any]:
        """The value and the gradient, from one run."""
        value, gradient = value_and_grad(self.number)(self.packing.at(x))
        return float(self.packing.array(value).item()), self.packing.packed(gradient)

    def product(self, x: Any, v: Any) -> Any:
        """The Hessian times a vector; the function runs once for all products at one point."""
        point = self.packing.at(x)
        if self.around is None or self.around[0] is not point:
            self.around = point, SecondOrder(self.number, (point,))
        return self.packing.packed(self.around[1](self.packing.split(np.ravel(v))))

    def hessian(self, x: Any) -> Any:
        matrix = self.packing.matrix(hessian(self.number)(self.packing.at(x)))
        return (matrix + matrix.T) / 2


class _Residuals(_Function):
    """A function that returns numbers and arrays in any structure, as one vector; a complex number counts as two."""

    mode: str | None = None  # of the Jacobian: the cheaper one, once the length of the vector is known

    def outputs(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        out, _ = self.run(tensors)
        found = []
        for y in flatten(tuple(out) if isinstance(out, TensorTuple) else out)[0]:
            y = as_value(y)
            if y.dtype.kind == "b":
                raise TypeError(f"{self.name}: {self.what} returned booleans, which have no derivative; return numbers")
            found += [y.real, (y * -1j).real] if y.dtype.kind == "c" else [y]
        if not found:
            raise TypeError(f"{self.name}: {self.what} must return numbers or arrays, got {type(out).__name__}")
        return found

    def __call__(self, x: Any) -> Any:
        vector = self.packing.packed(self.outputs(self.packing.at(x)))
        self.mode = "forward" if vector.size > self.packing.start.size else "reverse"
        return vector

    def jacobian(self, x: Any) -> Any:
        return self.packing.matrix(jacobian(self.outputs, mode=self.mode)(self.packing.at(x)))

    def hessian(self, x: Any, weights: Any) -> Any:
        """The Hessian of the weighted sum of the vector, as a linear operator."""
        weights = np.array(weights)  # a copy: SciPy writes into its own later

        def total(tensors: Sequence[Tensor]) -> Any:
            outputs = self.outputs(tensors)
            pieces = np.split(weights, np.cumsum([y.size for y in outputs])[:-1])
            return sum((y * piece.reshape(y.shape)).sum() for y, piece in zip(outputs, pieces, strict=True))

        around = SecondOrder(total, (self.packing.split(x),))

        def product(v: Any) -> Any:
            return self.packing.packed(around(self.packing.split(np.ravel(v))))

        size = self.packing.start.size
        return _scipy(self.name, "sparse.linalg").LinearOperator((size, size), matvec=product, dtype=np.float64)


# ------------------------------------------------------------------------------------------- what else SciPy is given


def _spread(packing: _Packing, what: str, given: Any, default: float) -> Any:
    """A structure of numbers, like params, as one vector: each is broadcast to its leaf; None is the default."""
    found = []
    for (place, value), a in zip(_aligned(packing.name, what, given, packing.params), packing.arrays, strict=True):
        if a.dtype.kind == "b":
            continue
        array = np.array(default) if value is None else _array_of(packing.name, what + place, value)
        if array.dtype.kind not in ("fiuc" if a.dtype.kind == "c" else "fiu"):
            raise TypeError(f"{packing.name}: {what}{place} must be real for a real leaf, got dtype {array.dtype}")
        try:
            array = np.broadcast_to(array, a.shape)
        except ValueError:
            raise ValueError(
                f"{packing.name}: {what}{place} has shape {array.shape}, which does not broadcast to that of "
                f"params{place}, {a.shape}"
            ) from None
        for_both_parts = a.dtype.kind == "c" and array.dtype.kind != "c"
        found.append(np.stack([array, array], axis=-1) if for_both_parts else _parts(array))
    return packing.vector(found)


_OR_PAIRS = "; or for a vector, as in SciPy, one such pair a parameter"


def _are_pairs(packing: _Packing, bounds: Any) -> bool:
    """Whether these are the bounds that `scipy.optimize.minimize` takes for this vector: one pair a parameter."""
    if packing.name != "minimize" or any(a.dtype.kind not in "f" for a in packing.arrays):
        return False
    is_flat = isinstance(packing.params, (list, tuple)) and all(a.ndim == 0 for a in packing.arrays)
    is_vector = is_leaf(packing.params) and packing.arrays[0].ndim < 2
    if not (is_flat or is_vector) or not isinstance(bounds, (tuple, list, np.ndarray)):
        return False
    return len(bounds) == packing.start.size and all(map(_is_pair, bounds))


def _is_pair(given: Any) -> bool:
    """Whether it is two of numbers and None."""
    is_row = isinstance(given, (tuple, list)) or getattr(given, "ndim", 0) == 1
    return is_row and len(given) == 2 and all(b is None or np.ndim(b) == 0 for b in given)


def _bounds(optimize: Any, packing: _Packing, bounds: Any) -> Any:
    """(low, high), or SciPy's pairs of them, as SciPy's Bounds of the vector."""
    if bounds is None or isinstance(bounds, optimize.Bounds):
        return bounds
    bounds = list(bounds) if isinstance(bounds, Iterator) else bounds  # zip(lows, highs)
    if _are_pairs(packing, bounds):
        numbers = [[np.nan if b is None else packing.array(b).item() for b in pair] for pair in bounds]
        low, high = np.array(numbers, np.float64).T
        low = np.where([pair[0] is None for pair in bounds], -np.inf, low)
        high = np.where([pair[1] is None for pair in bounds], np.inf, high)
    elif not isinstance(bounds, (tuple, list)) or len(bounds) != 2:
        raise TypeError(
            f"{packing.name}: bounds must be a pair (low, high), each None, a number or a structure like params"
            f"{_OR_PAIRS if packing.name == 'minimize' else ''}, got {bounds!r}"
        )
    else:
        low = _spread(packing, "bounds[0]", bounds[0], -np.inf)
        high = _spread(packing, "bounds[1]", bounds[1], np.inf)
    if not (low <= high).all():
        raise ValueError(f"{packing.name}: bounds must be numbers with low <= high, got {bounds!r}")
    return optimize.Bounds(low, high)


def _constraints(optimize: Any, packing: _Packing, constraints: Any, method: str) -> list[Any]:
    """Constraints on the structure as SciPy's on the vector, with the derivatives that the method uses."""
    if not isinstance(constraints, (list, tuple)):
        constraints = () if constraints is None else (constraints,)
    found = []
    for given in constraints:
        if isinstance(given, optimize.LinearConstraint):
            found.append(given)
            continue
        if not isinstance(given, (dict, optimize.NonlinearConstraint)):
            raise TypeError(
                f"{packing.name}: a constraint is a dict with type and fun, a NonlinearConstraint or a "
                f"LinearConstraint, got {type(given).__name__}"
            )
        entries = given if isinstance(given, dict) else vars(given)
        if callable(entries.get("jac")):
            raise ValueError(f"{packing.name}: leave jac out of the constraint: Needle computes it")
        function = _Residuals("the constraint's fun", entries.get("fun"), packing, entries.get("args", ()))
        if not isinstance(given, dict):
            low, high, keep = given.lb, given.ub, given.keep_feasible
        elif given.get("type") in ("eq", "ineq"):
            low, high, keep = 0.0, 0.0 if given["type"] == "eq" else np.inf, False
        else:
            raise ValueError(f'{packing.name}: a constraint\'s type is "eq" or "ineq", got {given.get("type")!r}')
        derivatives: dict[str, Any] = {} if method in _WITHOUT_GRADIENT else {"jac": function.jacobian}
        if method == "trust-constr":
            derivatives["hess"] = function.hessian
        found.append(optimize.NonlinearConstraint(function, low, high, keep_feasible=keep, **derivatives))
    return found


def _restored(packing: _Packing, result: Any, function: _Function | None = None) -> Any:
    """SciPy's result with the parameters and their gradient in the user's structure, and the auxiliary output."""
    restored = type(result)(result)
    restored["flat_x"] = np.array(result["x"])
    restored["x"] = packing.structure(result["x"])
    for name in ("jac", "grad"):
        vector = result.get(name)
        if isinstance(vector, np.ndarray) and vector.shape == packing.start.shape:
            restored[name] = packing.gradient_structure(vector)
    if function is not None and function.has_aux:
        restored["aux"] = function.aux(result["x"])
    return restored


def _callback(optimize: Any, packing: _Packing, callback: Any, value: Callable[[Any], float]) -> Any:
    """The user's callback, wrapped in the signature for which SciPy passes a result."""
    if callback is None:
        return None
    takes_result = set(inspect.signature(callback).parameters) == {"intermediate_result"}

    def called(intermediate_result: Any) -> Any:
        if not takes_result:
            return callback(packing.structure(getattr(intermediate_result, "x", intermediate_result)))
        if not isinstance(intermediate_result, optimize.OptimizeResult):  # some methods pass only the vector
            x = intermediate_result
            intermediate_result = optimize.OptimizeResult(x=x, fun=value(x))
        return callback(intermediate_result=_restored(packing, intermediate_result))

    return called


# ----------------------------------------------------------------------------------------------- the public functions


def minimize(
    f: Callable[..., Any],
    params: Any,
    args: Any = (),
    method: Any = None,
    *,
    bounds: Any = None,
    constraints: Any = (),
    tol: float | None = None,
    callback: Callable[..., Any] | None = None,
    options: dict[str, Any] | None = None,
    has_aux: bool = False,
) -> Any:
    """The params, near the given ones, that make f(params, *args) smallest, by `scipy.optimize.minimize`.

    `params` are nested dicts, lists, tuples, named tuples and dataclasses of real or complex floats, arrays and
    Tensors; booleans, strings and None in them are fixed. f receives the same structure, of Tensors, and returns one
    real number (with `has_aux`, a pair of it and anything). Every method that takes a gradient gets it together with
    the value, from one run; Newton-CG, trust-ncg, trust-krylov and trust-constr get products with the Hessian, dogleg
    and trust-exact the Hessian.

    `bounds` are SciPy's for a vector (an array, a flat list of numbers): one pair (low, high) a parameter, of numbers
    and None. For every structure they can also be one pair (low, high), each None, a number, or a structure like params
    with numbers and arrays that broadcast to the leaves; a number or None in it stands for all below it. On a complex
    leaf, a real bound holds for both parts, and a complex one has a part for each. `constraints` are dicts with "type"
    ("eq", "ineq") and "fun", or SciPy's NonlinearConstraint: their functions receive the structure, too, and Needle
    computes their derivatives. SciPy's Bounds and LinearConstraint are about the vector: leaf by leaf, a complex
    element as its two parts.
    `callback(params)` or `callback(intermediate_result=...)` is called after each iteration; StopIteration ends the
    iterations as in SciPy (TNC lets it through).

    Returns SciPy's result, with `x` and the gradient (`jac`, for trust-constr `grad`) in the structure and the dtypes
    of the leaves, `flat_x` the vector, and, with `has_aux`, `aux` as of x. Nothing can be differentiated through it.
    Raises TypeError for integers, ValueError for structures that do not match, ImportError without SciPy.

    >>> found = minimize(lambda p: (p["a"] - 3) ** 2 + (p["a"] * p["b"] - 6) ** 2, {"a": 1.0, "b": 1.0})
    >>> {name: round(value, 4) for name, value in found.x.items()}
    {'a': 3.0, 'b': 2.0}
    """
    optimize = _scipy("minimize")
    if not (method is None or isinstance(method, str) or callable(method)):
        raise TypeError(f"minimize: method must be a name or a function, got {type(method).__name__}")
    packing = _Packing("minimize", params)
    objective = _Objective("f", f, packing, args, has_aux)
    name = method.lower() if isinstance(method, str) else ""
    given: dict[str, Any] = {} if name in _WITHOUT_GRADIENT else {"jac": True}
    if name in _WITH_PRODUCTS or callable(method):
        given["hessp"] = objective.product
    elif name in _WITH_HESSIAN:
        given["hess"] = objective.hessian
    result = optimize.minimize(
        objective if "jac" in given else objective.value,
        packing.start,
        method=method,
        bounds=_bounds(optimize, packing, bounds),
        constraints=_constraints(optimize, packing, constraints, name),
        tol=tol,
        callback=_callback(optimize, packing, callback, objective.value),
        options=options,
        **given,
    )
    return _restored(packing, result, objective)


def least_squares(
    residuals: Callable[..., Any],
    params: Any,
    args: Any = (),
    *,
    bounds: Any = None,
    method: str = "trf",
    loss: Any = "linear",
    x_scale: Any = None,
    callback: Callable[..., Any] | None = None,
    has_aux: bool = False,
    **options: Any,
) -> Any:
    """The params, near the given ones, that make the sum of loss(residual**2) smallest, by
    `scipy.optimize.least_squares`.

    `residuals(params, *args)` returns numbers and arrays in any structure (with `has_aux`, a pair of them and
    anything): one vector, in which complex ones count as real and imaginary part. Its Jacobian is computed in forward
    or reverse mode, whichever is cheaper. `params` and `callback` are those of `minimize`, and so are
    `bounds`, but always one pair (low, high), as in SciPy; `x_scale` is None,
    "jac", or numbers as in `bounds`. `method`, `loss` and the options (ftol, xtol, gtol, f_scale, tr_solver,
    tr_options, max_nfev, verbose) are SciPy's.

    Returns SciPy's result, whose `x` and `grad` are in the structure; `jac` is the matrix, with a row for each residual
    and a column for each element of `flat_x`. Raises as `minimize` does.

    >>> t = np.array([0.0, 1.0, 2.0])
    >>> found = least_squares(lambda p: p["scale"] * p["base"] ** t - [3, 6, 12], {"scale": 1.0, "base": 1.0})
    >>> {name: round(value, 4) for name, value in found.x.items()}
    {'scale': 3.0, 'base': 2.0}
    """
    optimize = _scipy("least_squares")
    packing = _Packing("least_squares", params)
    function = _Residuals("residuals", residuals, packing, args, has_aux)
    given: dict[str, Any] = {}
    if bounds is not None:
        given["bounds"] = _bounds(optimize, packing, bounds)
    if x_scale is not None:
        given["x_scale"] = x_scale if isinstance(x_scale, str) else _spread(packing, "x_scale", x_scale, 1.0)
    if callback is not None:
        given["callback"] = _callback(optimize, packing, callback, lambda x: 0.5 * float(np.sum(function(x) ** 2)))
    result = optimize.least_squares(
        function, packing.start, function.jacobian, method=method, loss=loss, **given, **options
    )
    return _restored(packing, result, function)
