"""x[index] = v and x += v, differentiable, on views too.

An assignment makes a new *version* of a tensor, recorded as `SetItem(previous version, v)`. The user's object becomes a
name for the latest version (`Assigned` in autograd/versions.py). The memory is written in place if no one else can see
it. A loop of n assignments then costs n times the assigned elements, not n times the array. The adjoint of such a loop
is one buffer: each backward step reads the elements that were assigned, and clears them.

Views work as in NumPy: `y = x[1:]; y[0] = 1` changes x, and `x[1] = 1` changes y. The ops that make views note their
bases. A write goes to the base at the root, and the views are updated when they are next read.

A version that is overwritten whole is let go of. When a transform is done with its function, the tensors that this
assigned to hold plain values again: see `let_go`.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Sequence
from contextvars import ContextVar
from functools import lru_cache
from sys import getrefcount
from typing import Any

import numpy as np

from .. import watching
from ..autograd import (
    DETACHED,
    IDENTITY,
    RECORDED,
    ZERO,
    Assigned,
    GradientOf,
    Held,
    Masked,
    Op,
    Tensor,
    TensorOp,
    Wrapped,
    alias_of,
    as_value,
    compute_all_deferred,
    constant,
    enable_grad,
    explain,
    find_topo_sort,
    gradient_dtype,
    is_recorded,
    latest,
    names,
    no_grad,
    on_paths_to,
    original_of,
    recording_mode,
    released,
    set_value,
    settle_node,
    twin_of,
    unmasked,
)
from ..blocks import calls
from ..level import Level
from ..memory import handed_out, owner_of
from ..pool import ALONE, owns_memory
from ..views import views, views_lock
from .base import NUMBERS, OWN_ARRAY, is_operand, own_copy
from .dtypes import Imag, imag, real
from .indexing import Places, behind_batch, plain_index, repeats
from .selection import chosen

_new = object.__new__


class SetItem(TensorOp):
    """a with the elements at an index replaced by v. With a `path`, the index is into the view of a it leads to."""

    saves = ()
    __slots__ = ("_last", "axes", "index", "path")

    def __init__(self, index: Any, path: tuple[Op, ...] = (), axes: tuple[int, ...] = ()):
        self.index = index
        self.path = path
        self.axes = axes
        """The axes of a, from slowest to fastest in memory. The path gives a view only in this layout."""
        self._last: Any = None

    @property
    def _moves(self) -> tuple[Op, ...]:
        """The path without steps to real or imaginary parts: it leads to whole elements."""
        return tuple([op for op in self.path if not op.elementwise])

    @property
    def is_whole(self) -> bool:
        """Whether it replaces all elements, so that nothing depends on the old ones."""
        index = self.index if isinstance(self.index, tuple) else (self.index,)
        return not self.path and all(i is Ellipsis or (type(i) is slice and i == slice(None)) for i in index)

    def _part(self, array: Any) -> Any:
        return _along(self.path, array)

    def _copy(self, array: Any) -> Any:
        if not self.path:
            return array.copy(order="K")
        return array.transpose(self.axes).copy().transpose(np.argsort(self.axes))

    def compute(self, a: Any, v: Any) -> Any:
        out = self._copy(a)
        self._part(out)[self.index] = v
        return out

    def hint(self, a: Any, v: Any) -> str:
        place = self._part(a)
        if not place.flags.writeable:
            return "the elements of a broadcast tensor or a diagonal cannot be assigned to, as in NumPy; copy it first"
        try:
            shape = place[self.index].shape
        except IndexError as error:
            return f"cannot assign at {_shown(self.index)} of shape {place.shape}: {error}"
        return f"a value of shape {v.shape} does not broadcast to the place of shape {shape} that it is assigned to"

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a, v = node.inputs
        by_v = ZERO if _rounds(a, v) else self._adjoint_of_v(out_grad, a.shape, v.ndim)  # read before it is cleared
        return lambda: self._adjoint_of_a(out_grad), by_v

    def _adjoint_of_a(self, out_grad: Any) -> Any:
        """out_grad with structural zeros at the assigned elements."""
        if type(out_grad) in (Held, np.ndarray):  # one array for all assignments to a tensor, so that n are linear in n
            held = out_grad if type(out_grad) is Held else Held(self._copy(out_grad), SetItem)
            self._part(held.adjoint)[self.index] = 0
            return held
        if not self._replaces:
            return self._cleared(out_grad)
        mask = out_grad.mask if type(out_grad) is Masked else constant(np.ones(out_grad.shape, bool))
        return Masked(self._cleared(unmasked(out_grad)), self._cleared(mask))

    @property
    def _replaces(self) -> bool:
        """Whether the op replaces whole elements, so that the old ones have no effect; not only a real or imaginary
        part."""
        return len(self._moves) == len(self.path)

    def _cleared(self, a: Any) -> Any:
        """a with zeros at the assigned elements."""
        return SetItem(self.index, self.path, self.axes).on(a, np.zeros((), bool))

    def _adjoint_of_v(self, out_grad: Any, shape: tuple[int, ...], ndim: int) -> Any:
        part = released(out_grad)
        for op in self.path:
            part = -op.on(part) if isinstance(op, Imag) else op.on(part)  # the plain transpose of i is i, not -i
        part = part[self.index]
        if type(out_grad) is Held:
            part = part.copy()
        last = self.last(shape)
        part = part if last is None else chosen(part, last)
        missing = ndim - part.ndim  # NumPy drops leading axes of length 1 from an assigned value
        return part if missing <= 0 else part.reshape((*(1,) * missing, *part.shape))

    def last(self, shape: tuple[int, ...]) -> Any:
        """The mask of the assigned elements that stay where the index repeats; None if all stay.

        The last of several assignments to one element counts.
        """
        if not repeats(self.index):
            return None
        if self._last is None:
            place = _along(self._moves, self._copy(np.zeros(shape, np.intp)))
            order = np.arange(place[self.index].size).reshape(place[self.index].shape)
            place[self.index] = order
            self._last = place[self.index] == order
        return self._last

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        a, v = node.inputs
        s, t = tangents
        if t is None or _rounds(a, v):
            t = np.zeros((), bool)
        return self.on(np.zeros(a.shape, gradient_dtype(a.dtype)) if s is None else s, t)

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        (a, v), (m, n) = values, depths
        index = behind_batch(self.index)
        if self.path or index is None:
            return NotImplemented
        size = a.shape[0] if n is None else v.shape[0]
        if m is None:
            a = a.broadcast_to((size, *a.shape))
        if n is not None:
            place = np.empty(a.shape[1:], bool)[self.index]
            v = v.reshape((size, *(1,) * (place.ndim - n), *v.shape[1:]))
        return SetItem(index)(a, v)


_at = Places(SetItem)


def _along(path: tuple[Op, ...], array: Any) -> Any:
    """The view of the array that the ops of the path lead to."""
    for op in path:
        array = op.compute(array)
    return array


def _shown(index: Any) -> str:
    return ", ".join(map(repr, index)) if isinstance(index, tuple) else repr(index)


def _rounds(a: Any, v: Any) -> bool:
    """Whether the assignment makes integers of floats: it is then piecewise constant in v."""
    return a.dtype.kind not in "fc" and v.dtype.kind in "fc"


# -------------------------------------------------------------------------------------------------- views


class _Notes(dict[int, tuple[Any, ...]]):
    """Notes on live tensors, by id. An entry is dropped when its tensor is collected."""

    def __init__(self) -> None:
        self._drop = lambda reference: self.pop(reference.key, None)

    def note(self, thing: Any, *what: Any) -> None:
        self[id(thing)] = weakref.KeyedRef(thing, self._drop, id(thing)), *what


class _Views:
    """Which live tensors are views of which."""

    def __init__(self) -> None:
        self._bases = _Notes()  # (the base, the op that made the view)
        self._fresh = _Notes()  # (the views of this base that are up to date,)

    def _read(self) -> None:
        while views:
            view_ref, base_ref, op = views.popleft()
            view, base = view_ref(), base_ref()
            if view is None or base is None:
                continue
            if self._is_view(base, op):
                self._bases.note(view, base, op)
                self.add(view, base)
            else:  # a view of one version, which is a copy, but not of the tensor that has the versions
                self._bases.pop(id(view), None)

    def _is_view(self, base: Any, op: Any) -> bool:
        """Whether NumPy's result would share memory with the base. Replays the path, as versions may be copies."""
        path = [op]
        while link := self._link(base):
            base, op = link
            path.append(op)
        base = latest(base)
        array = whole = base.laid_out() if isinstance(base, Wrapped) else base._array
        for op in reversed(path):
            array = array if op is None else op.compute(array)
        return np.may_share_memory(array, whole)

    def add(self, view: Any, base: Any) -> None:
        """Note that the view is up to date, and must be told when its base changes."""
        key = id(base)
        with views_lock:
            if key not in self._fresh:
                self._fresh.note(base, [])
            self._fresh[key][1].append(weakref.ref(view))

    def base_of(self, view: Any) -> Any:
        """(the base, the op that made this view of it); None if this is no view."""
        with views_lock:  # another thread may be reading the queue of new views
            self._read()
            return self._link(view)

    def _link(self, view: Any) -> Any:
        if isinstance(view, Assigned):
            name: Any = view
            return None if name.op.base is None else (name.op.base, name.op.by)
        entry = self._bases.get(id(view))
        return entry and entry[1:]

    def forget_base(self, view: Any) -> None:
        """Drop the entry of a view that from now on refers to its base itself.

        The entry would keep the base and its graph alive. If the base was assigned a value computed from the view, that
        includes the view, which would never be freed.
        """
        self._bases.pop(id(view), None)

    def of(self, base: Any) -> list[Any]:
        """The views of this base that were up to date until now; their notes are removed."""
        with views_lock:
            self._read()
            entry = self._fresh.pop(id(base), None)
        return [view for ref in entry[1] if (view := ref()) is not None] if entry else []


VIEWS = _Views()


class Versions(Op):
    """The `op` of a tensor that was assigned to; the tensor's `saved` holds its latest version."""

    __slots__ = ("base", "by", "hidden", "original")
    original: Any
    """The tensor as it was before the first assignment."""
    hidden: bool
    """Whether only the name refers to the latest version, which may then be overwritten."""

    def __init__(self, original: Any, base: Any, by: Any):
        self.original = original
        self.base = base
        self.by = by
        self.hidden = False

    def refreshed(self, name: Any) -> Any:
        """The latest version of a view whose base has changed since the view was last read."""
        base = latest(self.base)
        with enable_grad():  # a later reader may record, even if this one does not
            value = base.detach() if self.by is None else Op.__call__(self.by, base)  # not noted as a view: a copy
        if type(value) is Tensor and self.by is not None:
            value._array = own_copy(value._array)  # else the next assignment could not write in place
        name.saved, name.needs = value, value.needs
        self.hidden = False
        VIEWS.add(name, self.base)
        return value


_classes: dict[type[Any], type[Any]] = {}


def _original(a: Any) -> Any:
    """A new object for what the tensor is before its first assignment."""
    if isinstance(a, Wrapped):
        return a.twin()
    original = twin_of(a, a._array)
    original._grad = a._grad
    return original


def _make_name(a: Any, link: tuple[Any, Any] | None, original: Any) -> None:
    """Turn a tensor into a name for its versions, of which it has none yet."""
    if not isinstance(a, Wrapped):
        del a._array
        names.add(a)
    cls = type(a)
    if cls not in _classes:
        _classes[cls] = type("Tensor", (Assigned, cls), {"__slots__": (), "__hash__": object.__hash__})
    base, by = link or (None, None)
    if by is not None and getattr(original.op, "_base", None) is not None:
        original.op = by  # without `_base`: the name keeps the base alive
    a.op, a.inputs, a.saved, a._grad = Versions(original, base, by), (), None, None
    a.__class__ = _classes[cls]
    VIEWS.forget_base(a)


def _changed(base: Any) -> None:
    """Mark all views of this base, and their views, as out of date."""
    for view in VIEWS.of(base):
        if not isinstance(view, Assigned):
            _make_name(view, VIEWS.base_of(view), _original(view))
        view.saved = None
        _changed(view)


# -------------------------------------------------------------------------------------------------- assigning


def setitem(a: Any, index: Any, value: Any) -> None:
    """a[index] = value, as in NumPy.

    The value is broadcast, and converted to a's dtype. Of repeated indices, the last one counts. Views of the same
    memory change as well; earlier results keep the old elements.
    """
    index = tuple(map(plain_index, index)) if isinstance(index, tuple) else plain_index(index)
    value = as_value(value) if type(value) not in NUMBERS else constant(np.asarray(value))
    if value.ndim > 1 and value.shape[0] == 1:  # NumPy drops leading axes of length 1 from an assigned value
        lead = next((i for i, n in enumerate(value.shape) if n != 1), value.ndim - 1)
        value = value.reshape(value.shape[lead:])
    compute_all_deferred()
    root, recorded = a, True
    path: list[Op] = []
    while link := VIEWS.base_of(root):
        root, by = link
        if by is None:
            recorded = False  # a write through t.data changes the value, and records nothing
        else:
            path.append(by)
    if path:
        op = SetItem(index, tuple(reversed(path)), _memory_order(latest(root)))
    else:
        op = _at[index] if type(index) is int else SetItem(index)
    if recorded:
        _assign(root, op, value)
    else:
        with no_grad():
            _assign(root, op, value)


def replace(a: Any, array: Any) -> None:
    """a[...] = array, without recording it. The array is nobody else's, so that a takes it over where it can."""
    if VIEWS.base_of(a) is None and not isinstance(a, Assigned) and id(owner_of(a._array)) not in handed_out:
        set_value(a, array)
        _changed(a)
    else:
        with no_grad():
            setitem(a, ..., constant(array))


def set_real(a: Any, value: Any) -> None:
    """a.real = value."""
    setitem(real(a), ..., value)


def set_imag(a: Any, value: Any) -> None:
    """a.imag = value, for complex numbers. Raises TypeError for real ones."""
    if a.dtype.kind != "c":
        raise TypeError(
            f"imag: a Tensor of dtype {a.dtype} has no imaginary part to assign to; write a.astype(complex)"
        )
    setitem(imag(a), ..., value)


def _memory_order(a: Any) -> tuple[int, ...]:
    return _by_strides((a.laid_out() if isinstance(a, Wrapped) else a._array).strides)


@lru_cache(256)
def _by_strides(strides: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(range(len(strides)), key=lambda axis: -abs(strides[axis])))


def _assign(root: Any, op: SetItem, value: Any) -> None:
    before = latest(root)
    if isinstance(before, Wrapped) or isinstance(value, Wrapped) or is_recorded(before, value):
        retains = before.op is not None and before._grad is not None
        after = _next_version(root, before, op, value)
        root.saved, root.needs = after, after.needs
        root.op.hidden = True
        noted = assigned.get()
        for names in (*calls.values(),) if noted is None else (noted,):  # a thread may have been started by any of them
            names[id(root)] = weakref.ref(root)
        if retains:
            after.retain_grad()
    else:
        _write(before, op, value)
    gradient = _gradient_op(root)
    if gradient is not None:
        gradient.became(latest(root)._array)
    _changed(root)


assigned: ContextVar[dict[int, Any] | None] = ContextVar("assigned", default=None)
"""Weak references to the tensors that were assigned to since the innermost transform called its function, by id."""


def let_go(noted: dict[int, Any], level: int, variables: Sequence[Any]) -> None:
    """Leave nothing of a transform, which is done with its function, in the tensors that this assigned to.

    The values lose what the transform wrapped around them, at this level. What the graph recorded from the transform's
    `variables` alone (level 0) becomes a constant: nobody differentiates by them any more.
    """
    names = [name for reference in noted.values() if (name := reference()) is not None]
    now = {name: _unwrapped(latest(name), level) for name in names}
    if not level:
        mine = set(map(original_of, variables))
        order = find_topo_sort([a for a in now.values() if not isinstance(a, Wrapped)], differentiable=True, stop=mine)
        others = {a for a in order if a.op is None and a.needs >= RECORDED and a not in mine}
        kept = on_paths_to(others, order)
        now = {
            name: a if isinstance(a, Wrapped) or a in kept or a.needs <= DETACHED else _as_constant(a)
            for name, a in now.items()
        }
    for name, value in now.items():
        if value is not name.saved:
            name.saved, name.needs = value, value.needs
            _read_anew(name)
    outer = assigned.get()
    if outer is not None:
        outer.update(noted)


def leave(level: Level, but: Sequence[Any] = ()) -> None:
    """A transform is over: what it wrapped and the program has kept, in a list or an attribute, becomes a name for the
    plain value, but for what the transform itself goes on with."""
    kept = set(map(id, but))
    for wrapped in level.left():
        if id(wrapped) not in kept and not isinstance(wrapped, Assigned):
            value = latest(wrapped.value)
            if not isinstance(value, Wrapped) and value.op is None:  # maybe a Tensor that the program has, too
                array = own_copy(value._array)
                value = alias_of(value, array) if value.needs > DETACHED else constant(array)
            for slot in type(wrapped).__slots__:  # the tangent, or the place on a tape
                setattr(wrapped, slot, None)
            is_view = getattr(value.op, "_base", None) is not None  # else no other object is needed
            _make_name(wrapped, VIEWS.base_of(wrapped), _original(value) if is_view else value)
            del wrapped.level  # it is of no running transform
            wrapped.saved = wrapped.value = value
            wrapped.needs = value.needs


def _read_anew(base: Any) -> None:
    """Have the views that are names read what this base holds now. Others may be results of the function."""
    for view in VIEWS.of(base):
        if isinstance(view, Assigned):
            name: Any = view
            name.saved, name.needs = None, base.needs
        else:
            VIEWS.add(view, base)
        _read_anew(view)


def _unwrapped(value: Any, level: int) -> Any:
    while level and isinstance(value, Wrapped) and value.level >= level:
        value = value.value
    return value


def _as_constant(value: Any) -> Any:
    watching.tell("seen", value)
    return constant(value._array)  # not `detach`, which would note whose view it is, and so keep the graph


def _gradient_op(root: Any) -> Any:
    """The op that made the tensor, if it is the gradient of another one; else None."""
    value = original_of(root)
    while value.op is IDENTITY:
        value = value.inputs[0]
    return value.op if type(value.op) is GradientOf else None


def _write(before: Any, op: SetItem, value: Any) -> None:
    """Change the value without recording the assignment."""
    array = before._array
    # An array that was handed out must show the change; records hold copies of it.
    shared = array.flags.writeable and id(owner_of(array)) in handed_out
    if watching.captures():
        watching.tell("elements_change", before)
        if not shared:
            before.data = op(before, value)  # as an op, so that the capture contains it
            return
        watching.tell("read", array, "an assignment to elements of an array that was handed out")
    in_place = shared or (not _is_read(before) and getrefcount(array) <= ALONE and _is_ours(array))
    out = array if in_place else array.copy(order="K")
    _put(op, out, value._array, array)
    if not in_place:
        before.data = constant(out)


def _is_read(value: Any) -> bool:
    """Whether the gradient rule of the op that made it reads its array."""
    return value.op is not None and "output" in value.op.saves


def _is_ours(array: Any) -> bool:
    return owns_memory(array) and array.flags.writeable and id(array) not in handed_out


def _put(op: SetItem, out: Any, v: Any, a: Any) -> None:
    """Write v into out, which holds the elements of a. Errors name the op and its inputs."""
    try:
        op._part(out)[op.index] = v
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        explain(error, op, (a, v))


def _next_version(root: Any, before: Any, op: SetItem, value: Any) -> Any:
    """The version after this assignment, with the assignment recorded."""
    if isinstance(before, Wrapped) or isinstance(value, Wrapped):
        if isinstance(root, Assigned):
            return op(_overwritten(root, before, op), value)
        original = _original(before)
        after = op(original, value)
        _make_name(root, None, original)
        return after
    if watching.active and watching.here():
        after = op(before, value)  # before `root` becomes a name: watchers know the tensor by this object
        if not isinstance(root, Assigned):
            _make_name(root, None, _original(root))
            settle_node(after)
        return after
    array = before._array
    hidden = not isinstance(root, Assigned) or root.op.hidden
    in_place = hidden and not _is_read(before) and getrefcount(array) <= ALONE and _is_ours(array)
    out = array if in_place else array.copy(order="K")
    _put(op, out, value._array, array)
    if not isinstance(root, Assigned):
        before = _original(root)
        _make_name(root, None, before)
    if in_place:
        before._array = _stand_in(array)
    after = _new(Tensor)
    after._array = out
    after._grad = after.saved = None
    after.op, after.inputs, after.needs = op, (_overwritten(root, before, op), value), RECORDED
    return after


def _overwritten(root: Any, before: Any, op: SetItem) -> Any:
    """What the assignment replaces elements of: if all, the original, so that nothing keeps the versions in between."""
    original = original_of(root)
    return original if op.is_whole and not isinstance(original, Wrapped) else before


def _stand_in(array: Any) -> Any:
    """A placeholder of this shape and dtype, for a version whose memory the next one has taken over.

    No one should read it. It is NaN for floats, so that a mistaken read shows.
    """
    filler = np.array(np.nan if array.dtype.kind in "fc" else 0, array.dtype)
    return np.ndarray(array.shape, array.dtype, filler, 0, (0,) * array.ndim)


# -------------------------------------------------------------------------------------------------- x += v


def _count_of(names: list[Any]) -> int:
    """The reference count that an __iadd__ method sees for an object with a single name."""

    class Probe:
        def __iadd__(self, _: Any) -> Any:
            names.append(getrefcount(self))
            return self

    probe = Probe()
    probe += 1
    return names[0]


_SINGLE = _count_of([]) if sys.version_info < (3, 14) else 0  # from 3.14 on, a parameter may be a borrowed reference


def in_place(function: Any, name: str) -> Any:
    """The method behind an operator like +=.

    += makes a new tensor in three cases. 0-d tensors are immutable, like NumPy's numbers. So are leaves that need a
    gradient, while ops are recorded. And if nothing else refers to the tensor, no one can see the difference.
    Raises ValueError if the result does not fit the tensor's shape and dtype.
    """

    def method(self: Any, other: Any) -> Any:
        before = latest(self)
        is_leaf = type(before) in OWN_ARRAY and before.op is None and before.needs >= RECORDED
        if not is_operand(other) or before.ndim == 0 or (is_leaf and self is before and recording_mode() is not False):
            return NotImplemented
        result = function(before, other)
        if result is NotImplemented:
            return NotImplemented
        if result.shape != before.shape or not np.can_cast(result.dtype, before.dtype, "same_kind"):
            raise ValueError(
                f"{name}=: the result of shape {result.shape} and dtype {result.dtype} does not go into this tensor of "
                f"shape {before.shape} and dtype {before.dtype}; write x = x {name} y for a new one"
            )
        if type(self) is Tensor and result.needs >= self.needs and getrefcount(self) <= _SINGLE + 1:  # and `before`
            array = self._array
            if getrefcount(array) <= ALONE and _is_ours(array):
                return result if result.dtype == before.dtype else result.astype(before.dtype)
        setitem(self, Ellipsis, result)
        return self

    return method
