"""What all optimizers share: groups and names, the step, clipping, and the state that is saved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from .. import watching
from ..autograd import CONSTANT, Gradient, constant, no_grad, set_value
from ..blocks import running
from ..nn.loading import LoadReport
from . import unread
from .gradients import norm_of_all, scale, tensor_of
from .groups import Group, Rate, first_names, groups_of
from .in_place import Change, Passes, computes_in, passes_of, state_shape
from .operations import as_computed, as_stored, assign, cast
from .saved import Checked, collected

MISSED = "missed"
"""The state that counts the steps that a parameter was left out of, because it had no gradient."""


class Rule:
    """What an optimizer does to one parameter, written once: on arrays in a pass in place, and on Tensors where a step
    is captured. `o` are the options of the group."""

    counts = False
    """Whether a parameter's own number of steps matters: then those it missed are counted."""
    elementwise = True
    """Whether an element depends only on those in its place, so that blocks of arrays may be passed to `update`."""

    @staticmethod
    def slots(o: Mapping[str, Any]) -> dict[str, float]:
        """The names of the arrays that are kept for a parameter, each with what it is filled with at first."""
        return {}

    @staticmethod
    def numbers(o: Mapping[str, Any], lr: Any, t: Any) -> tuple[Any, ...]:
        """The numbers that a parameter's step t (1, 2, ...) needs, from the rate."""
        return (lr,)

    @staticmethod
    def update(*values: Any, **_: Any) -> tuple[Any, ...]:
        """update(o, p, g, *state, *numbers): the new p and the new state, from the gradient g, in NumPy's notation."""
        raise NotImplementedError


class Optimizer(Rule):
    """Base class. `params` is a Module, its `named_parameters()`, a dict or list of Tensors, or a list of dicts
    ("params" and options that differ from the others').

    A subclass defines `slots`, `numbers` and `update` (see `Rule`), and passes its options to `__init__`. Parameters
    without a gradient are left out of a step. One that has several names is stepped once, under the first. TypeError or
    ValueError for what cannot be stepped: integers, results of operations, a tensor in two groups.
    """

    def __init__(self, params: Any, lr: Rate, **options: Any):
        self._taken = constant(np.zeros(()))
        self._defaults = {"lr": lr, **options}
        self._groups: list[Group] = []
        self._aliases: dict[str, str] = {}
        self._state: dict[str, dict[str, Any]] = {}
        for pairs, own in groups_of(params, type(self).__name__):
            self._add(pairs, own)
        if not any(group.named for group in self._groups):
            raise ValueError(f"{type(self).__name__}: got no parameters")
        unread.watch(self, self.params)

    def _add(self, pairs: Any, own: Mapping[str, Any]) -> None:
        what = type(self).__name__
        options = self.options_of(own)
        self.check(options)
        named, aliases = first_names(pairs)
        known = {id(p): name for group in self._groups for name, p in group.named.items()}
        for name, p in named.items():
            if id(p) in known:
                raise ValueError(f"{what}: parameter {name!r} is in another group, too, as {known[id(p)]!r}")
            if name in known.values():
                raise ValueError(f"{what}: two parameters are called {name!r}")
        self._aliases.update(aliases)
        group = Group(named, options, self._taken)
        self._groups.append(group)
        for name, p in named.items():
            self._state[name] = {} if p.needs == CONSTANT else self._fresh(group, p)

    def options_of(self, own: Mapping[str, Any]) -> dict[str, Any]:
        """All options of a group that gives these of its own."""
        return merged(type(self).__name__, self._defaults, own)

    def check(self, options: Mapping[str, Any]) -> None:
        """Raise a ValueError for options out of range."""

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """One more group: {"params": ..., options}."""
        if not isinstance(group, Mapping) or "params" not in group:
            raise TypeError(f"{type(self).__name__}: a group is a dict with 'params', got {group!r:.60}")
        ((pairs, own),) = groups_of([group], type(self).__name__)
        if pairs and all(name == str(i) for i, (name, _) in enumerate(pairs)):
            pairs = [(str(i), p) for i, (_, p) in enumerate(pairs, len(self.params))]
        self._add(pairs, own)

    # What it holds -------------------------------------------------------------------------------------------

    @property
    def params(self) -> list[Any]:
        """All parameters, each once."""
        return [p for group in self._groups for p in group.named.values()]

    @property
    def param_groups(self) -> list[Group]:
        """The groups: `opt.param_groups[0]["lr"] = 0.1` sets the rate of one."""
        return self._groups

    @property
    def steps(self) -> int:
        """The number of steps taken."""
        return int(self._taken.item())

    @property
    def lr(self) -> float:
        """The rate of the next step (of the first group, if there are several). Set it to a number or a schedule."""
        return float(self._groups[0]["lr"])

    @lr.setter
    def lr(self, rate: Rate) -> None:
        now = [group.schedule or group["lr"] for group in self._groups]
        if any(other != now[0] for other in now):
            raise ValueError(
                f"{type(self).__name__}.lr: the groups have different rates, {', '.join(map(repr, now))}; set "
                "opt.param_groups[i]['lr']"
            )
        for group in self._groups:
            group["lr"] = rate

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self._groups))})"

    # The step ------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Change the parameters by their gradients, which stay as they are.

        In place: nothing is recorded, and nothing of a parameter's size is allocated unless somebody still holds its
        old value, such as a loss that is alive. In a function under `needle.compile`: by operations, which it replays.
        """
        if watching.captures() or running.get():
            self._step_by_operations()
            return
        taken = np.float64(self._taken.item())
        passes = passes_of(self)
        passes.begin()
        for i, group in enumerate(self._groups):
            self._add_changes(passes, i, group, taken)
        passes.run()
        self._taken.data = np.array(taken + 1)
        unread.begin(self.params)

    def rule_of(self, group: Group) -> type[Rule]:
        """The rule for the parameters of a group."""
        return type(self)

    def _fresh(self, group: Group, p: Any) -> dict[str, Any]:
        """A parameter's state before its first step."""
        slots, dtype = self.rule_of(group).slots(group.options), computes_in(p.dtype)
        return {slot: constant(_filled(state_shape(p), value, dtype)) for slot, value in slots.items()}

    def _taking_part(self, group: Group) -> Iterator[tuple[Any, list[Any], Any]]:
        """The parameters of a group that have a gradient, each with its state, and the number of steps it missed, if it
        missed any."""
        rule = self.rule_of(group)
        slots = rule.slots(group.options)
        for name, p in group.named.items():
            state = self._state[name]
            if not has_gradient(p):
                if rule.counts and state:
                    missed = state.setdefault(MISSED, constant(np.zeros(())))
                    missed.data = missed + 1.0
                continue
            if any(slot not in state for slot in slots):
                if rule.counts and not state:  # it was frozen so far
                    state[MISSED] = self._taken + 0.0
                state.update({**self._fresh(group, p), **state})
            yield p, [state[slot] for slot in slots], state.get(MISSED) if rule.counts else None

    def _add_changes(self, passes: Passes, i: int, group: Group, taken: Any) -> None:
        """Have a pass make this step of a group."""
        rule, o, lr = self.rule_of(group), group.options, group.rate(taken)
        changes: dict[float, list[Change]] = {}
        for p, state, missed in self._taking_part(group):
            gradient = p._grad.array if p.op is None else p.grad._array
            changes.setdefault(0.0 if missed is None else missed.item(), []).append(Change(p, gradient, state))
        for j, (skipped, members) in enumerate(changes.items()):
            numbers = rule.numbers(o, lr, taken + 1 - skipped)
            update, key = partial(rule.update, o), (rule, *o.values())
            if rule.elementwise:
                programs = partial(passes.program, key, update, len(members[0].state), len(numbers))
                passes.add((i, j), programs, members, numbers)
            else:
                for change in members:
                    passes.whole(update, change, numbers)

    def _step_by_operations(self) -> None:
        unread.end(self.params)
        with no_grad():
            t = self._taken + 1.0
            for group in self._groups:
                rule, o, lr = self.rule_of(group), group.options, group.rate(self._taken)
                of_all = rule.numbers(o, lr, t)
                for p, state, missed in self._taking_part(group):
                    dtype = computes_in(p.dtype)
                    numbers = of_all if missed is None else rule.numbers(o, lr, t - missed)
                    arrays = [as_computed(p.detach()), as_computed(p.grad.detach()), *[cast(s, dtype) for s in state]]
                    value, *values = rule.update(o, *arrays, *[cast(number, dtype) for number in numbers])
                    p.data = as_stored(value, p.dtype)
                    for s, new in zip(state, values, strict=True):
                        assign(s, new)
            self._taken.data = t

    # Gradients -----------------------------------------------------------------------------------------------

    def reset_grad(self) -> None:
        """Forget the gradients."""
        for p in self.params:
            p.grad = None
        if not watching.captures():
            unread.begin(self.params)

    zero_grad = reset_grad

    def clip_grad_norm(self, max_norm: float = 0.25) -> Any:
        """Scale the gradients down, all by one factor, so that their norm over all parameters is at most `max_norm`;
        returns the norm before, a 0-d float64 Tensor.

        Call it between `backward()` and `step()`. FloatingPointError names the parameter whose gradient has NaN or inf.
        """
        if not max_norm > 0:
            raise ValueError(f"clip_grad_norm: max_norm must be > 0, got {max_norm!r}")
        named = [pair for group in self._groups for pair in group.named.items() if has_gradient(pair[1])]
        if not named:
            return constant(np.zeros(()))
        unread.end(self.params)
        with no_grad():
            norm = norm_of_all(tuple([name for name, _ in named]), [tensor_of(p) for _, p in named])
            factor = np.minimum(max_norm / (norm + 1e-6), 1.0)
            if watching.captures() or factor.item() < 1:
                for _, p in named:
                    scale(p, factor)
        return norm

    def scale_grad(self, c: Any) -> None:
        """Multiply all gradients by a number: by 1/n, say, after n samples whose losses were summed up."""
        unread.end(self.params)
        with no_grad():
            for p in self.params:
                if has_gradient(p):
                    scale(p, c)

    # Saving and loading --------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Copies of the arrays by slot and name ("exp_avg/blocks.0.weight"), the number of steps, the groups' options
        and names, and the states of schedules that have one."""
        return collected(self.steps, self._groups, self._state)

    def load_state_dict(self, state: Mapping[str, Any]) -> LoadReport:
        """Go on from a state. Arrays find their parameters by name, whatever the order.

        Nothing changes unless all fits: else a LoadError reports everything that does not. The rate and the options of
        the state hold from now on, but a schedule given to this optimizer stays.
        """
        shapes: dict[str, dict[str, tuple[int, ...]]] = {}
        for group in self._groups:
            rule = self.rule_of(group)
            for name, p in group.named.items():
                shapes[name] = dict.fromkeys(rule.slots(group.options), state_shape(p))
                if rule.counts:
                    shapes[name][MISSED] = ()
        found = Checked(type(self).__name__, state, self._groups, shapes, self._aliases)
        for group, saved, of_schedule in zip(self._groups, found.groups, found.schedules, strict=True):
            keys = [key for key in saved if key in group.options or (key == "lr" and saved[key] is not None)]
            group.update({key: saved[key] for key in keys if key != "lr" or group.schedule is None})
            schedule: Any = group.schedule
            if of_schedule is not None and hasattr(schedule, "load_state_dict"):
                schedule.load_state_dict(of_schedule)
            for name, p in group.named.items():
                self._load(name, self._fresh(group, p) if found.arrays[name] or self._state[name] else {}, found)
        self._taken.data = np.array(float(found.step))
        return found.report

    def _load(self, name: str, fresh: dict[str, Any], found: Checked) -> None:
        """Set a parameter's state, in the tensors that are there: a captured step goes on with them."""
        state = self._state[name]
        for slot, array in found.arrays[name].items():
            tensor = state.setdefault(slot, fresh[slot] if slot in fresh else constant(np.zeros(())))
            set_value(tensor, np.array(array, tensor.dtype))
        for slot, tensor in state.items():
            if slot not in found.arrays[name]:
                set_value(tensor, fresh[slot]._array if slot in fresh else np.zeros(()))


def merged(what: str, defaults: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a group; TypeError for one that there is not."""
    for key in own:
        if key not in defaults:
            raise TypeError(f"{what}: there is no option {key!r}, only {', '.join(defaults)}")
    return {**defaults, **own}


def has_gradient(p: Any) -> bool:
    if p.op is not None or watching.active:
        return p.grad is not None
    return type(p._grad) is Gradient


def _filled(shape: tuple[int, ...], value: float, dtype: Any) -> Any:
    return np.full(shape, value, dtype) if value else np.zeros(shape, dtype)
