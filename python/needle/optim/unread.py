"""Says once when gradients are lost: `backward()` sets them, and a loop that means to add them up uses the last ones.

The engine does not look for that, so that plain training costs nothing. One parameter of each optimizer is watched from
here, by a weak reference to the array of its gradient, or to what stands in its place while it has none: that goes when
another gradient replaces it, unless somebody else has it.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable
from os import sep
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary, ref

from ..autograd import Gradient
from ..compile.replay import GONE

_PACKAGE = __file__.rsplit(sep, 2)[0] + sep


class _None:
    """Stands in `_grad`, and is read as None, until there is a gradient."""

    __slots__ = ("__weakref__",)


class _Watch:
    """Watches the gradient of one parameter, which its optimizers keep alive."""

    said = False

    def __init__(self, p: Any):
        self._p = ref(p)
        self._thing: Any = None
        self._unused: Any = None
        """The call of `backward()` that made the gradient, if nobody has used that."""

    def begin(self) -> None:
        """What is there now was used: from here on, look for a gradient that is lost."""
        p: Any = self._p()
        if type(p._grad) is Gradient:
            self._look_at(p._grad.array)
        elif p.op is None:
            p._grad = nothing = _None()
            self._look_at(nothing)

    def end(self) -> None:
        """Until the next step, anything may happen to the gradient."""
        self._thing = None

    def _look_at(self, thing: Any, unused: Any = None) -> None:
        me = ref(self)
        self._unused = unused
        self._thing = ref(thing, lambda _: _replaced(me()))

    def replaced(self) -> None:
        p, unused = self._p(), self._unused
        if p is None or self.said:
            return
        gradient = p._grad
        if type(gradient) is not Gradient:
            self.begin()
            return
        was_read = unused is None or id(p) in unused._views
        was_added = len(gradient.pasts) != 1 or gradient.incomplete
        if not (was_read or was_added):
            self.said = True
            _warn()
        elif gradient.pasts and gradient.pasts is not GONE:  # which replays leave, and they use them, too
            self._look_at(gradient.array, gradient.pasts[-1])


def _replaced(watch: _Watch | None) -> None:
    if watch is not None:
        watch.replaced()


_of: WeakKeyDictionary[Any, _Watch] = WeakKeyDictionary()
"""By optimizer. It is no attribute there, for a capture takes all that is one for state that a function may read."""
_watches: WeakValueDictionary[int, _Watch] = WeakValueDictionary()
"""By the id of the parameter."""


def watch(optimizer: Any, params: Iterable[Any]) -> None:
    """Watch one of an optimizer's parameters."""
    p = next((p for p in params if p.needs and p.op is None), None)
    if p is not None:
        _of[optimizer] = _watches.setdefault(id(p), _Watch(p))
        _of[optimizer].begin()


def begin(params: Iterable[Any]) -> None:
    """The gradients of these parameters were used, or forgotten."""
    for watch in _among(params):
        watch.begin()


def end(params: Iterable[Any]) -> None:
    """The gradients of these parameters may be replaced, until `begin`."""
    for watch in _among(params):
        watch.end()


def _among(params: Iterable[Any]) -> list[_Watch]:
    ids = set(map(id, params))
    return [watch for key, watch in list(_watches.items()) if key in ids and not watch.said]


def _warn() -> None:
    frame, depth = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, depth = frame.f_back, depth + 1
    warnings.warn(
        "a gradient was replaced by a second backward() before an optimizer's step() had used it: backward() sets "
        "gradients. To add them up, write loss.backward(accumulate=True), and opt.reset_grad() after the step; where "
        "the first ones are not wanted, call opt.reset_grad() before the second backward()",
        UserWarning,
        stacklevel=depth,
    )
