"""State by name: what a Module saves, and how it takes such a state back, all of it or nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import numpy as np

from ..autograd import Tensor, set_value
from .walk import Place, named, of_kind, walk

Rename = Mapping[str, str] | Callable[[str], str | None] | None
_SHOWN = 20
"""Lines of each kind that a report prints."""


@dataclass
class LoadReport:
    """What became of a state: names of the model, but for `unexpected`, which are names of the state. Print it."""

    title: str
    loaded: list[str] = field(default_factory=list)
    missing: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """What the state lacks, with the model's shapes."""
    unexpected: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """What the model does not know, with the state's shapes."""
    wrong_shape: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    """The model's shape and the state's."""
    refused: dict[str, str] = field(default_factory=dict)
    """What cannot be taken for another reason, and that."""
    hint: str = ""

    @property
    def complete(self) -> bool:
        """Whether the state was exactly that of the model."""
        return not (self.missing or self.unexpected or self.wrong_shape or self.refused)

    def __str__(self) -> str:
        rows = [("wrong shape", name, *shapes) for name, shapes in self.wrong_shape.items()]
        others = list(self.unexpected)
        lacking = list(self.missing)
        lines = [f"{self.title}: {len(self.loaded)} tensors fit, {self._count()} do not"]
        lines += _table(rows, lambda row: f"model {row[2]}, state {row[3]}" + _transposed(row[2], row[3]))
        lines += _table([("refused", *item) for item in self.refused.items()], lambda row: row[2])
        missing = [("missing", *item) for item in self.missing.items()]
        lines += _table(missing, lambda row: f"model {row[2]}{_nearest(row[1], others, 'the state has')}")
        unexpected = [("unexpected", *item) for item in self.unexpected.items()]
        lines += _table(unexpected, lambda row: f"state {row[2]}{_nearest(row[1], lacking, 'the model lacks')}")
        return "\n".join([*lines, self.hint] if self.hint else lines)

    def _count(self) -> int:
        return len(self.missing) + len(self.unexpected) + len(self.wrong_shape) + len(self.refused)


class LoadError(ValueError):
    """A state does not fit a model, and nothing was changed; `report` says what does not."""

    def __init__(self, report: LoadReport):
        super().__init__(f"{report}\nnothing was changed")
        self.report = report


def _table(rows: list[Any], text: Callable[[Any], str]) -> Iterator[str]:
    width = max([len(row[1]) for row in rows[:_SHOWN]], default=0)
    for row in rows[:_SHOWN]:
        yield f"  {row[0]:<11}  {row[1]:<{width}}  {text(row)}"
    if len(rows) > _SHOWN:
        yield f"  {rows[0][0]:<11}  and {len(rows) - _SHOWN} more"


def _transposed(of_model: tuple[int, ...], of_state: tuple[int, ...]) -> str:
    is_other_way = len(of_model) > 1 and sorted(of_model) == sorted(of_state)
    return "; is it of PyTorch? nn.load_torch(model, state) translates its layouts" if is_other_way else ""


def _nearest(name: str, names: list[str], what: str) -> str:
    near = closest(name, names)
    return f"; {what} {near!r}" if near else ""


def closest(name: str, names: list[str]) -> str:
    """The most similar of the names, "" if none is similar."""
    return next(iter(get_close_matches(name, names, 1, 0.7)), "")


# ------------------------------------------------------------------------------------------------------------- saving


def state_of(model: Any) -> dict[str, Any]:
    """Copies of the arrays of all parameters and persistent buffers, by name, those of several names under the
    first."""
    return {name: tensor.numpy() for name, tensor in named(_kept(of_kind(model, "parameter", "buffer"))).items()}


def aliases(model: Any) -> dict[str, str]:
    """The further names of tensors that have several, with the first: {"head.weight": "embed.weight"}."""
    first = {id(place.value): place.name for place in walk(model)}
    places = _kept(walk(model, again=True))
    return {place.name: first[id(place.value)] for place in places if first[id(place.value)] != place.name}


def _kept(places: list[Place]) -> list[Place]:
    """Those of tensors that are saved."""
    return [p for p in places if p.kind == "parameter" or (p.kind == "buffer" and p.value.persistent)]


# ------------------------------------------------------------------------------------------------------------ loading


def load_into(model: Any, state: Any, strict: bool, rename: Rename) -> LoadReport:
    """Give all tensors of a model their values; see `Module.load_state_dict`."""
    title = f"{type(model).__name__}.load_state_dict"
    return assign(model, renamed(title, state, rename), strict, title)


def names_of(model: Any) -> dict[str, list[str]]:
    """All names of each tensor that is saved, by the first."""
    names = {name: [name] for name in named(_kept(of_kind(model, "parameter", "buffer")))}
    for other, first in aliases(model).items():
        names[first].append(other)
    return names


def assign(model: Any, given: dict[str, Any], strict: bool, title: str, called: dict[str, str] | None = None) -> Any:
    """Give all tensors of a model their values, of arrays by name, or none of them. `called`: the names that the hint
    about prefixes goes by, where they are others."""
    tensors = named(_kept(of_kind(model, "parameter", "buffer")))
    names, called = names_of(model), called or {}
    report, values = LoadReport(title), []
    for first, tensor in tensors.items():
        found = {other: given.pop(other) for other in names[first] if other in given}
        if not found:
            report.missing[first] = tensor.shape
            continue
        array = next(iter(found.values()))
        if array.shape != tensor.shape:
            report.wrong_shape[first] = tensor.shape, array.shape
        elif why := _refusal(array, tensor, found):
            report.refused[first] = why
        else:
            report.loaded.append(first)
            values.append((tensor, array.astype(tensor.dtype, order="C")))
    report.unexpected = {other: array.shape for other, array in given.items()}
    lacking = [called.get(name, name) for first in report.missing for name in names[first]]
    report.hint = _proposal(list(report.unexpected), lacking)
    if not report.complete and (strict or not report.loaded):
        raise LoadError(report)
    for tensor, array in values:
        set_value(tensor, array)
    return report


def _refusal(array: Any, tensor: Any, found: dict[str, Any]) -> str:
    """Why a tensor cannot have this value, of all that there are under its names; "" if it can."""
    if not np.can_cast(array.dtype, tensor.dtype, "same_kind"):
        return f"model {tensor.dtype}, state {array.dtype}, which it cannot hold"
    for name, other in found.items():
        if not np.array_equal(array, other, equal_nan=array.dtype.kind in "fc"):
            return f"is one tensor in the model under {' and '.join(found)}, but {name} has other values in the state"
    return ""


def renamed(title: str, state: Any, rename: Rename) -> dict[str, Any]:
    """The state's arrays by their new names."""
    if not isinstance(state, Mapping):
        raise TypeError(f"{title}: needs a dict of arrays by name, got {type(state).__name__}")
    found: dict[str, Any] = {}
    olds: dict[str, str] = {}
    for old, value in state.items():
        new = _new_name(old, rename)
        if new is None:
            continue
        if new in found:
            raise ValueError(f"{title}: rename makes {new!r} of both {olds[new]!r} and {old!r}")
        found[new], olds[new] = array_in(title, old, value), old
    return found


def _new_name(name: str, rename: Rename) -> str | None:
    if rename is None:
        return name
    if not isinstance(rename, Mapping):
        return rename(name)
    if name in rename:
        return rename[name]
    prefixes = [old for old in rename if (not old or old[-1] == ".") and name.startswith(old)]
    return (
        rename[longest] + name[len(longest) :]
        if (longest := max(prefixes, key=len, default=None)) is not None
        else name
    )


def array_in(title: str, name: str, value: Any) -> Any:
    """An entry of a state as an array: of a Tensor, an array, a number, or a tensor of another library."""
    if isinstance(value, Tensor):
        return value.numpy()
    for step in ("detach", "cpu"):
        value = getattr(value, step)() if hasattr(value, step) else value
    try:
        array = np.asarray(value)
    except TypeError:  # PyTorch's bfloat16, which NumPy lacks
        array = np.asarray(value.float())
    if array.dtype.kind not in "biufc":
        raise TypeError(f"{title}: {name!r} is no array of numbers, but of class {type(value).__name__}")
    return array


def _proposal(unexpected: list[str], missing: list[str]) -> str:
    """The prefix to strip or to add, if one brings more names together than any other; "" if none does."""
    lacking = set(missing)
    found: Counter[str] = Counter()
    for name in unexpected:
        for i, letter in enumerate(name):
            if letter == "." and name[i + 1 :] in lacking:
                found[f"{{{name[: i + 1]!r}: ''}}"] += 1
    known = set(unexpected)
    for name in lacking:
        for i, letter in enumerate(name):
            if letter == "." and name[i + 1 :] in known:
                found[f"{{'': {name[: i + 1]!r}}}"] += 1
    (best, count), *others = found.most_common(2) or [("", 0)]
    if not count or (others and others[0][1] == count):
        return ""
    return f"rename={best} brings {count} of these names together"
