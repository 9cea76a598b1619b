"""a[index] = v as a new value: what is before the place along an axis, what is put there, and what is after it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import ops
from ..errors import ExportError
from ..graph import Graph
from ..program import Value
from .indexing import one_an_axis
from .table import row

_LAST = np.iinfo(np.int64).max


@row(ops.SetItem)
def setitem(graph: Graph, value: Value) -> str:
    """For an index of numbers and slices without steps."""
    (a, v), op = value.inputs, value.op
    index = op.index if isinstance(op.index, tuple) else (op.index,)
    is_plain = all(part is Ellipsis or isinstance(part, (int, slice)) for part in index)
    if op.path or not is_plain or any(isinstance(part, slice) and part.step not in (None, 1) for part in index):
        raise ExportError(
            f"onnx.export: an assignment in layer {value.layer or 'none'} is not to slices or numbers of a tensor "
            "itself; choose elements with needle.where"
        )
    parts = one_an_axis(list(index), a.ndim)
    kept = [axis for axis, part in enumerate(parts) if isinstance(part, slice)]
    given = [*[1] * (len(kept) - v.ndim), *v.shape[max(0, v.ndim - len(kept)) :]]
    shape: list[Any] = [1] * a.ndim
    for axis, n in zip(kept, given, strict=True):
        shape[axis] = n
    put = graph.reshape(graph.cast(graph.name(v), v.dtype, value.dtype), v.shape, shape)
    return _with(graph, graph.name(a), put, list(enumerate(parts)))


def _with(graph: Graph, name: str, put: str, parts: list[tuple[int, Any]]) -> str:
    """A value in which the part that these slices and numbers take of it is replaced."""
    while parts and _is_all(parts[0][1]):
        parts = parts[1:]
    if not parts:
        return graph.op("Expand", put, graph.op("Shape", name))
    (axis, part), *rest = parts
    start, stop = (part.start or 0, part.stop) if isinstance(part, slice) else (part, part + 1 if part != -1 else None)

    def cut(first: Any, last: Any) -> str:
        return graph.op("Slice", name, *[graph.ints([n]) for n in (first, last, axis)])

    middle = _with(graph, cut(start, _LAST if stop is None else stop), put, rest)
    pieces = [*([] if start == 0 else [cut(0, start)]), middle, *([] if stop is None else [cut(stop, _LAST)])]
    return graph.op("Concat", *pieces, axis=axis) if len(pieces) > 1 else middle


def _is_all(part: Any) -> bool:
    return isinstance(part, slice) and part.start in (None, 0) and part.stop is None
