"""What NumPy's functions on Tensors share: arguments, axes, `out=`, `dtype=`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import Tensor, Value, as_value, is_recorded
from ..ops.dtypes import astype
from ..ops.indexing import AddAt


def tensor(a: Any, dtype: Any = None) -> Tensor:
    """The argument as a Tensor: itself if it is one, else a constant; a list that holds Tensors is stacked."""
    if not isinstance(a, Value):
        a = stacked(a) if isinstance(a, (list, tuple)) and holds_tensor(a) else as_value(a)
    return a if dtype is None or a.dtype == dtype else astype(a, dtype)


def tensors(*many: Any) -> tuple[Tensor, ...]:
    """Several arguments as Tensors; Python numbers among them take NumPy's weak promotion beside the others."""
    values = [a if isinstance(a, (bool, int, float, complex)) and type(a).__module__ == "builtins" else tensor(a) for a in many]
    dtypes = [a.dtype for a in values if isinstance(a, Value)]
    if not dtypes:
        return tuple([tensor(a) for a in values])
    return tuple([a if isinstance(a, Value) else as_value(np.asarray(a, np.result_type(*dtypes, a))) for a in values])


def holds_tensor(a: Any) -> bool:
    """Whether a Tensor is among the items of nested lists and tuples."""
    return isinstance(a, Value) or (isinstance(a, (list, tuple)) and any(map(holds_tensor, a)))


def stacked(items: Any) -> Tensor:
    """Nested lists of Tensors, arrays and numbers as one Tensor."""
    members = tensors(*[stacked(a) if isinstance(a, (list, tuple)) and holds_tensor(a) else a for a in items])
    shapes = {a.shape for a in members}
    if len(shapes) > 1:
        raise ValueError(f"array: the items of a list must have one shape, got {sorted(shapes)}; broadcast_to them first")
    dtype = np.result_type(*[a.dtype for a in members])
    shape = (len(members), *members[0].shape)
    return AddAt(shape, dtype, list(range(len(members))))(*members)


def into(out: Any, result: Tensor) -> Tensor:
    """The result, or `out` after it was assigned to it: a Tensor, or an array if no gradient would be lost."""
    if out is None:
        return result
    if isinstance(out, tuple):
        (out,) = out
    if isinstance(out, Tensor):
        out[...] = result
        return out
    if is_recorded(result):
        raise TypeError(
            "out=: the result needs a gradient, which an array cannot carry; leave out= away, or give a Tensor "
            "(needle.numpy.empty_like makes one)"
        )
    np.copyto(out, result.numpy(), casting="same_kind")
    return out
