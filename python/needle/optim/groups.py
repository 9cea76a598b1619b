"""Groups of parameters: who is in them under which name, and their options, of which the rate is a value of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any

import numpy as np

from ..autograd import Tensor, Value, constant, latest

Rate = float | Callable[[Any], Any]
"""A number, or a function of the number of steps taken before."""


class Group(MutableMapping[str, Any]):
    """Parameters that share options: a dict of "params", "names", "lr" and the options of the optimizer.

    `group["lr"]` is the rate of the next step. Setting it to a number keeps that rate, setting it to a schedule follows
    the schedule from there on; a compiled step sees a new number without being captured again.
    """

    def __init__(self, named: Mapping[str, Any], options: Mapping[str, Any], taken: Any):
        self.named = dict(named)
        """The parameters, by name."""
        self.taken = taken
        """The number of steps taken, in a 0-d Tensor: replays of a captured step count it up."""
        self.schedule: Callable[[Any], Any] | None = None
        self._rate = constant(np.zeros(()))
        self.options: dict[str, Any] = {}
        self.update(options)

    def rate(self, taken: Any) -> Any:
        """The rate after so many steps: a number, or a Tensor if it depends on one."""
        if self.schedule is None:
            return self._rate if isinstance(taken, Value) else self._rate._array[()]
        if isinstance(taken, Value) or hasattr(self.schedule, "plot"):
            return self.schedule(taken)
        return self.schedule(int(taken))  # as people expect who index or compare by it

    def __getitem__(self, key: str) -> Any:
        if key == "lr":
            return float(self.rate(self.taken.item()))
        if key in ("params", "names"):
            return list(self.named.values() if key == "params" else self.named)
        return self.options[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if key in ("params", "names"):
            raise KeyError(f"{key!r} of a group cannot be set; opt.add_param_group({{'params': ...}}) adds parameters")
        if key != "lr":
            self.options[key] = _plain(value)
        elif callable(value) and not isinstance(value, Value):
            self.schedule = value
        else:
            rate = latest(value).numpy() if isinstance(value, Value) else np.array(value, np.float64)
            if rate.ndim or not rate >= 0:
                raise ValueError(f"lr must be a number >= 0, or a function of the step, got {value!r}")
            self.schedule = None
            self._rate.data = rate.astype(np.float64)

    def __delitem__(self, key: str) -> None:
        del self.options[key]

    def __iter__(self) -> Iterator[str]:
        return iter(("params", "names", "lr", *self.options))

    def __len__(self) -> int:
        return 3 + len(self.options)

    def __repr__(self) -> str:
        shown = {"lr": self.schedule or self["lr"], **self.options}
        count = f"{len(self.named)} parameter{'s' * (len(self.named) != 1)}"
        return f"Group({count}, {', '.join([f'{key}={value!r}' for key, value in shown.items()])})"


def _plain(option: Any) -> Any:
    """An option as a Python number, which takes the dtype of what it meets, or a tuple of them."""
    if isinstance(option, (list, tuple)):
        return tuple(map(_plain, option))
    return option.item() if isinstance(option, (np.generic, np.ndarray)) else option


def groups_of(params: Any, what: str) -> list[tuple[list[tuple[str, Any]], dict[str, Any]]]:
    """The groups that an optimizer was given: (name, tensor) pairs and options of each.

    `params` is a Module, its `named_parameters()`, a dict of Tensors, a list of Tensors, or a list of dicts with any of
    these as "params". Tensors without a name are called by their number.
    """
    members = params
    if not (hasattr(params, "named_parameters") or isinstance(params, (Mapping, Value))):
        members = list(params) if isinstance(params, Iterable) else params
    if not (isinstance(members, list) and any(isinstance(a, Mapping) for a in members)):
        return [(_pairs(members, what, 0), {})]
    found, start = [], 0
    for group in members:
        if not isinstance(group, Mapping) or "params" not in group:
            raise TypeError(f"{what}: groups are dicts with 'params' and options such as 'lr', got {group!r:.60}")
        pairs = _pairs(group["params"], what, start)
        start += len(pairs)
        found.append((pairs, {key: value for key, value in group.items() if key not in ("params", "names")}))
    names = [name for pairs, _ in found for name, _ in pairs]
    if len(set(names)) < len(names):  # two modules, say, that both have a weight
        found = [([(f"{i}.{name}", p) for name, p in pairs], options) for i, (pairs, options) in enumerate(found)]
    return found


def _pairs(params: Any, what: str, start: int) -> list[tuple[str, Any]]:
    """Names and tensors, checked."""
    if isinstance(params, Value):
        raise TypeError(f"{what}: needs a Module or a list of Tensors, got one Tensor; write [t]")
    if hasattr(params, "named_parameters"):
        params = params.named_parameters()
    elif isinstance(params, Mapping):
        params = params.items()
    elif not isinstance(params, Iterable):
        raise TypeError(f"{what}: needs a Module or a list of Tensors, got {params!r:.60}")
    pairs = []
    for i, member in enumerate(params, start):
        pair = member if isinstance(member, tuple) and len(member) == 2 else (str(i), member)
        name, p = pair
        if not (isinstance(name, str) and isinstance(p, Tensor)):
            raise TypeError(f"{what}: parameter {name!r} must be a Tensor, got {type(p).__name__}")
        if p.dtype.kind not in "fc":
            raise TypeError(f"{what}: parameter {name!r} must be floating, got {p.dtype}; write t.astype('float32')")
        if not p.is_leaf():
            raise ValueError(
                f"{what}: parameter {name!r} is the output of {p.op!r}, and steps on it would not reach what it was "
                "computed from; pass the leaves, or t.detach()"
            )
        pairs.append(pair)
    return pairs


def first_names(pairs: Iterable[tuple[str, Any]]) -> tuple[dict[str, Any], dict[str, str]]:
    """Each tensor once, by its first name; and the first names of those that have several, by the others."""
    named: dict[str, Any] = {}
    first: dict[int, str] = {}
    aliases = {}
    for name, p in pairs:
        if first.setdefault(id(p), name) != name:
            aliases[name] = first[id(p)]
        elif named.setdefault(name, p) is not p:
            raise ValueError(f"two parameters are called {name!r}")
    return named, aliases
