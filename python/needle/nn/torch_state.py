"""States in PyTorch's names and layouts: read with `load_torch`, written with `torch_state_dict`. No torch is needed.

Each layer class says near itself what PyTorch calls its tensors, in `torch_names` and `torch_extra`; README.md has an
example.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import numpy as np

from .loading import LoadReport, Rename, assign, names_of, renamed
from .walk import walk


class TorchName(NamedTuple):
    """What PyTorch calls a layer's tensor, and how its layout becomes ours and ours its.

    Where several tensors are parts of one in PyTorch, `load` takes the part out, and saved parts are joined along the
    first axis, in the order of definition.
    """

    name: str
    load: Callable[[Any], Any] = np.asarray
    save: Callable[[Any], Any] = np.asarray


def transposed(name: str) -> TorchName:
    """A matrix that PyTorch has output first."""
    return TorchName(name, np.transpose, np.transpose)


def row(name: str) -> TorchName:
    """A vector in PyTorch that is a row here, of shape (1, n)."""
    return TorchName(name, lambda a: a.reshape((1, -1)), np.ravel)


def load_torch(
    model: Any, state: Mapping[str, Any], rename: Rename = None, *, strict: bool = True, input_first: Sequence[str] = ()
) -> LoadReport:
    """Set all parameters and persistent buffers of a model from a PyTorch state: as `model.load_state_dict`, but the
    state has PyTorch's names and layouts. Its values are tensors of PyTorch, or arrays.

    `rename` changes names of the state first. `input_first` are patterns of this model's names, like "*.c_attn.weight",
    of weights that are laid out (in, out) in the state already, as those of Hugging Face's Conv1D.
    """
    title = f"load_torch({type(model).__name__})"
    given = renamed(title, state, rename)
    table, extra = _translations(model)
    values: dict[str, Any] = {}
    taken: set[str] = set()
    called: dict[str, str] = {}
    for name in [name for names in names_of(model).values() for name in names]:
        entry = table.get(name, TorchName(name))
        called[name] = entry.name
        if entry.name in given:
            as_is = any(fnmatchcase(name, pattern) for pattern in input_first)
            array = given[entry.name]
            values[name] = array if as_is else entry.load(array)
            taken.add(entry.name)
    values.update({name: array for name, array in given.items() if name not in taken and name not in extra})
    return assign(model, values, strict, title, called)


def torch_state_dict(model: Any) -> dict[str, Any]:
    """The state in PyTorch's names and layouts, as arrays: `torch_model.load_state_dict({name: torch.from_numpy(a) for
    name, a in nn.torch_state_dict(model).items()})`. Tied tensors come under all of their names, as PyTorch wants it.
    """
    table, extra = _translations(model)
    state = model.state_dict()
    parts: dict[str, list[Any]] = {}
    for first, names in names_of(model).items():
        for name in names:
            entry = table.get(name, TorchName(name))
            parts.setdefault(entry.name, []).append(np.ascontiguousarray(entry.save(state[first])))
    found = {name: arrays[0] if len(arrays) == 1 else np.concatenate(arrays) for name, arrays in parts.items()}
    return {**found, **{name: np.array(value) for name, value in extra.items()}}


def _translations(model: Any) -> tuple[dict[str, TorchName], dict[str, Any]]:
    """What PyTorch calls the tensors, by our full names; and tensors that only PyTorch has, by its full names. What a
    module says of tensors deeper within goes before what is said there."""
    table: dict[str, TorchName] = {}
    extra: dict[str, Any] = {}
    for place in walk(model, again=True):
        if place.kind == "module":
            prefix = f"{place.name}." if place.name else ""
            for local, entry in place.value.torch_names().items():
                table.setdefault(prefix + local, entry._replace(name=prefix + entry.name))
            extra.update({prefix + name: value for name, value in place.value.torch_extra().items()})
    return table, extra
