"""Which operation made the first NaN or infinity, out of what, and on which line of the user's program."""

from __future__ import annotations

import linecache
import weakref
from typing import Any

import numpy as np

from ..autograd import Elements, Held, Member, Tensor, Wrapped, WrappedTuple
from ..watching import Watcher
from .names import names_in, user_frame, written

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


class AnomalyError(ArithmeticError):
    """An operation made a NaN or an infinity out of numbers that had none."""


class detect_anomaly(Watcher):
    """`with needle.detect_anomaly():` raises AnomalyError at the first op, forward or backward, that makes a NaN or an
    infinity of operands without one: it names the op, the operands there, and the line of the program.

    `inf=False` lets infinities pass, `forward=False` looks at derivatives only: for programs in which a NaN of the
    forward evaluation is sorted out later, by `where`. NumPy's warnings are not given within.

    >>> import needle as ndl
    >>> x = ndl.Tensor([4.0, 0.0])
    >>> with ndl.detect_anomaly():
    ...     y = (ndl.sqrt(x) ** 2).sum()
    ...     y.backward()  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    needle.seeing.anomaly.AnomalyError: the gradient of sqrt(x) made a NaN at [1]...
    """

    def __init__(self, *, inf: bool = True, forward: bool = True):
        self._inf, self._forward = inf, forward
        self._given: list[Any] = []  # the adjoints or tangents of the rules that are being applied, within each other
        self._lines: dict[int, tuple[Any, str]] = {}  # id of a live output -> weak reference to it, and its line
        self._quiet = np.errstate(all="ignore")

    def __enter__(self) -> detect_anomaly:
        super().__enter__()
        if self.generator is None:  # else it would be quiet outside, too
            self._quiet.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self.generator is None:
            self._quiet.__exit__(*error)
        super().__exit__(*error)
        self._given.clear()

    def computed(self, op: Any, inputs: tuple[Any, ...], output: Any, seconds: float) -> None:
        line, key = _line(), id(output)
        self._lines[key] = weakref.ref(output, lambda _: self._lines.pop(key, None)), line
        # What a rule gives is looked at as a whole: it may mask a NaN that it made on its way.
        if self._forward and not self._given:
            self._look("{} made", op, inputs, [output], line=line)

    def rule_begins(self, op: Any, node: Any, given: Any) -> None:
        self._given.append(given)

    def rule_ends(self, op: Any, node: Any, adjoints: Any, seconds: float) -> None:
        given = self._given.pop()
        if not self._given:
            _, line = self._lines.get(id(node), (None, ""))
            what = "the gradient of {} made"
            self._look(what, op, node.inputs, adjoints or (), line=line, out_grad=given, output=node)

    def pushed(self, op: Any, node: Any, tangent: Any, seconds: float) -> None:
        given = self._given.pop()
        if not self._given:
            tangents = {f"{letter}_dot": t for letter, t in zip(_LETTERS, given, strict=False)}
            what = "the forward derivative of {} made"
            self._look(what, op, node.inputs, (tangent,), line=_line(), **tangents, output=node)

    def _look(self, what: str, op: Any, inputs: Any, results: Any, *, line: str, **more: Any) -> None:
        """Raise if a result has a NaN (or an infinity) and no operand has; `more` are operands besides the inputs."""
        for array in [array for result in results for array in _arrays(result)]:
            bad = self._bad(array)
            if not bad.any():
                continue
            isnan = bool(np.isnan(array).any())
            given = [
                x
                for name, a in [*more.items(), *zip(_LETTERS, inputs, strict=False)]
                if name != "output"
                for x in _arrays(a)
            ]
            if any((np.isnan(a) if isnan else self._bad(a)).any() for a in given):
                continue
            index = tuple(int(i) for i in np.argwhere(np.isnan(array) if isnan else bad)[0])
            count = f", the first of {bad.sum()} of {array.size} elements" if bad.sum() > 1 else ""
            where = f" at [{', '.join(map(str, index))}]{count}" if index else ""
            known = names_in(user_frame())
            names = [known.get(a, letter) for a, letter in zip(inputs, _LETTERS, strict=False)]
            operands = [(name, _arrays(a)[:1]) for name, a in [*zip(names, inputs, strict=False), *more.items()]]
            says = [f"{name}{_at(a, index, array.shape)}" for name, arrays in operands for a in arrays]
            raise AnomalyError(
                f"{what.format(written(op, names))} {'a NaN' if isnan else 'an infinity'}{where}\n"
                f"  from {', '.join(says)}{line and chr(10)}{line}"
            )

    def _bad(self, array: Any) -> Any:
        return ~np.isfinite(array) if self._inf else np.isnan(array)


def _arrays(value: Any) -> list[Any]:
    """The arrays of a tensor or an adjoint, also those inside of transforms, as far as they could have a NaN."""
    found, stack = [], [value]
    while stack:
        value = stack.pop()
        if isinstance(value, (Elements, Held, Member)):
            value = value.adjoint
        if isinstance(value, Wrapped):
            stack += [getattr(value, "tangent", None), value.value]
        elif isinstance(value, (tuple, WrappedTuple)):
            stack += list(value)
        else:
            found.append(value._array if isinstance(value, Tensor) else value)
    return [array for array in found if isinstance(array, np.ndarray) and array.dtype.kind in "fc"]


def _at(array: Any, index: tuple[int, ...], shape: tuple[int, ...]) -> str:
    """An operand's value where the result is bad, if it has an element there; else its shape and extent."""
    if array.ndim == 0:
        return f" = {array.item():.6g}"
    behind = shape[len(shape) - array.ndim :]
    if array.ndim <= len(shape) and all(n in (1, m) for n, m in zip(array.shape, behind, strict=True)):
        own = tuple(i if n > 1 else 0 for i, n in zip(index[len(shape) - array.ndim :], array.shape, strict=True))
        return f"[{', '.join(map(str, own))}] = {array[own]:.6g}"
    ends = f", {array.min():.4g} to {array.max():.4g}" if array.size and array.dtype.kind == "f" else ""
    return f" of shape {array.shape}{ends}"


def _line() -> str:
    """The line of the program that is being run, outside of Needle."""
    frame = user_frame()
    if frame is None:
        return ""
    code = linecache.getline(frame.f_code.co_filename, frame.f_lineno, frame.f_globals).strip()
    place = f'File "{frame.f_code.co_filename}", line {frame.f_lineno}, in {frame.f_code.co_name}'
    return f"  {place}" + (f"\n    {code}" if code else "")
