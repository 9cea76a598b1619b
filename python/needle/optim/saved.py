"""An optimizer's state by the names of its parameters: what is saved, and how it is taken back, all or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..nn.loading import LoadError, LoadReport, array_in

OTHERS = ("step", "groups", "schedules")
"""The entries of a state that are no arrays."""


def collected(step: int, groups: list[Any], state: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Copies of all arrays, by "slot/name"; the number of steps; the options and names of the groups; and the states of
    the schedules that have one."""
    found = {f"{slot}/{name}": tensor.numpy() for name, arrays in state.items() for slot, tensor in arrays.items()}
    options = [
        {"params": group["names"], "lr": None if group.schedule else group["lr"], **group.options} for group in groups
    ]
    schedules = [state_of(group.schedule) for group in groups]
    return {**found, "step": step, "groups": options, "schedules": schedules}


def state_of(schedule: Any) -> Any:
    return schedule.state_dict() if hasattr(schedule, "state_dict") else None


class Checked:
    """A state that was found to fit: the arrays for each parameter, and the groups' options.

    `shapes` says for each parameter which arrays it may have, and their shapes; `aliases` are other names. LoadError
    with a report of all that does not fit.
    """

    def __init__(
        self,
        what: str,
        state: Any,
        groups: list[Any],
        shapes: Mapping[str, Mapping[str, tuple[int, ...]]],
        aliases: Mapping[str, str],
    ):
        title = f"{what}.load_state_dict"
        if not isinstance(state, Mapping) or not {"step", "groups"} <= {*state}:
            raise TypeError(f"{title}: needs what {what}.state_dict() returned, with 'step' and 'groups'")
        report = LoadReport(title)
        self.step = int(state["step"])
        self.groups: list[Mapping[str, Any]] = list(state["groups"])
        self.schedules = list(state.get("schedules") or [None] * len(self.groups))
        self.arrays: dict[str, dict[str, Any]] = {name: {} for name in shapes}
        saved = {aliases.get(name, name) for group in self.groups for name in group["params"]}
        for key, value in state.items():
            if key in OTHERS:
                continue
            slot, _, name = key.partition("/")
            name = aliases.get(name, name)
            array = array_in(title, key, value)
            shape = shapes.get(name, {}).get(slot)
            if shape is None:
                report.unexpected[key] = array.shape
            elif array.shape != shape:
                report.wrong_shape[key] = shape, array.shape
            elif not np.can_cast(array.dtype, np.float64, "same_kind"):
                report.refused[key] = f"needs real numbers, got {array.dtype}"
            else:
                report.loaded.append(key)
                self.arrays[name][slot] = array
        self._look_at_names(report, saved, shapes)
        if len(self.groups) != len(groups):
            report.refused["groups"] = f"the state has {len(self.groups)}, the optimizer {len(groups)}"
        for i, (mine, theirs) in enumerate(zip(groups, self.groups, strict=False)):
            for option in [key for key in theirs if key not in mine]:
                report.refused[f"groups[{i}]"] = f"there is no option {option!r} here"
        if not report.complete:
            raise LoadError(report)
        self.report = report

    def _look_at_names(self, report: LoadReport, saved: set[str], shapes: Mapping[str, Mapping[str, Any]]) -> None:
        """Note parameters that one side does not know, and those with a part of their arrays."""
        for name in sorted(saved.difference(shapes)):
            report.unexpected.setdefault(name, ())
        for name, slots in shapes.items():
            found = self.arrays[name].keys() | {key.partition("/")[0] for key in report.wrong_shape if _ends(key, name)}
            lacking = [slot for slot in slots if slot not in found and slot != "missed"]
            if name not in saved:
                report.missing[name] = ()
            elif found - {"missed"} and lacking:
                report.missing.update({f"{slot}/{name}": slots[slot] for slot in lacking})


def _ends(key: str, name: str) -> bool:
    return key.partition("/")[2] == name
