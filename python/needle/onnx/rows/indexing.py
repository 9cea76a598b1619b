"""a[index]: slices, numbers, new axes, and arrays of integers, which may be computed."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import ops
from ...ops.indexing import HERE
from ..dims import Counted, Length, Repeated, broadcast
from ..graph import Graph, Parts
from ..program import Value
from .table import row

_FIRST, _LAST = np.iinfo(np.int64).min, np.iinfo(np.int64).max
_ARRAYS = (np.ndarray, Repeated, Counted)


@row(ops.GetItem)
def getitem(graph: Graph, value: Value) -> str:
    index, whole = value.op.index, graph.names(value.inputs[0])
    found = whole.part(index) if isinstance(whole, Parts) else None
    return _taken(graph, value, list(index) if isinstance(index, tuple) else [index]) if found is None else found


@row(ops.GatherAt)
def gather_at(graph: Graph, value: Value) -> str:
    arrays = iter(value.inputs[1:])
    return _taken(graph, value, [next(arrays) if part is HERE else part for part in value.op.index])


def _taken(graph: Graph, value: Value, parts: list[Any]) -> str:
    a = value.inputs[0]
    whole = _only_part(value, parts)
    if whole is not None:
        return graph.name(a) if whole == slice(None) else graph.flip(graph.name(a), 0)
    parts = one_an_axis(parts, a.ndim)
    shape, name = list(a.shape), graph.name(a)
    new = [axis for axis, part in enumerate(parts) if part is None]
    for axis in new:
        shape.insert(axis, 1)
        parts[axis] = slice(None)
    name = _sliced(graph, graph.unsqueeze(name, *new), parts, shape)
    places = [axis for axis, part in enumerate(parts) if not isinstance(part, slice)]
    if not places:
        return name
    arrays = [part for part in parts if isinstance(part, (*_ARRAYS, Value))]
    if not arrays or (len(arrays) == 1 and len(places) == 1):
        for axis in reversed(places):
            name = graph.op("Gather", name, _numbers(graph, parts[axis]), axis=axis)
        return name
    return _at_points(graph, name, parts, places)


def _only_part(value: Value, parts: list[Any]) -> Any:
    """The slice along the first axis that is all of the index, if it takes everything, in order or reversed."""
    if len(parts) == 1 and isinstance(parts[0], slice) and parts[0].start is parts[0].stop is None:
        (part,) = parts
        if part.step in (None, 1, -1):
            return slice(None) if part.step != -1 else part
    return None


def one_an_axis(parts: list[Any], ndim: int) -> list[Any]:
    """The parts of an index, one for each axis (None: a new one), without an ellipsis or boolean masks."""
    found: list[Any] = []
    for part in parts:
        if isinstance(part, np.ndarray) and part.dtype == np.bool:
            found += part.nonzero()
        else:
            found.append(part)
    used = sum(part is not None and part is not Ellipsis for part in found)
    rest = [slice(None)] * (ndim - used)
    dots = next((i for i, part in enumerate(found) if part is Ellipsis), len(found))
    return found[:dots] + rest + found[dots + 1 :]


def _sliced(graph: Graph, name: str, parts: list[Any], shape: list[Any]) -> str:
    """The slices among the parts, as one node."""
    found = []
    for axis, (part, n) in enumerate(zip(parts, shape, strict=True)):
        if not isinstance(part, slice):
            continue
        step = 1 if part.step is None else part.step
        first, last = (0, _LAST) if step > 0 else (_LAST, _FIRST)
        start, stop = first if part.start is None else part.start, last if part.stop is None else part.stop
        if step != 1 or start != 0 or stop not in (n, _LAST):
            found.append((start, stop, axis, step))
    if not found:
        return name
    starts, stops, axes, steps = zip(*found, strict=True)
    return graph.op("Slice", name, *[graph.ints(numbers) for numbers in (starts, stops, axes, steps)])


def _numbers(graph: Graph, part: Any) -> str:
    """A part of an index as integers."""
    if isinstance(part, Value):
        return graph.cast(graph.name(part), part.dtype, np.int64)
    if isinstance(part, np.ndarray):
        return graph.constant(part.astype(np.int64), "index")
    if isinstance(part, Counted):
        return graph.array(Counted(part.start, part.step, part.shape, np.dtype(np.int64)))
    if isinstance(part, Repeated):
        return graph.cast(graph.array(part), part.array.dtype, np.int64)
    return graph.scalar(part, np.dtype(np.int64))


def _ndim(part: Any) -> int:
    return len(part.shape) if isinstance(part, (*_ARRAYS, Value)) else 0


def _shape(part: Any) -> tuple[Length, ...]:
    return tuple(part.shape) if isinstance(part, (*_ARRAYS, Value)) else ()


def _at_points(graph: Graph, name: str, parts: list[Any], places: list[int]) -> str:
    """Several arrays, which broadcast: GatherND at the points that they are the coordinates of. Its axes come where the
    arrays stand, or first if these are apart, as in NumPy."""
    rest = [axis for axis in range(len(parts)) if axis not in places]
    name = graph.transpose(name, [*places, *rest])
    shape = broadcast([_shape(parts[axis]) for axis in places])
    points = []
    for axis in places:
        point = _numbers(graph, parts[axis])
        point = point if _shape(parts[axis]) == shape else graph.op("Expand", point, graph.ints(shape))
        points.append(graph.unsqueeze(point, len(shape)))
    found = graph.op("GatherND", name, graph.op("Concat", *points, axis=len(shape)))
    if places != list(range(places[0], places[0] + len(places))):
        return found
    ndim, before = len(shape), places[0]
    order = [*range(ndim, ndim + before), *range(ndim), *range(ndim + before, ndim + len(rest))]
    return graph.transpose(found, order)
