"""All of a training run in one file: `needle.save` and `needle.load`.

The file is a safetensors file. Its tensors are the arrays, under names like `model.0.weight`; its metadata has the rest
as JSON (see structure.py), and the version of this layout.
"""

from __future__ import annotations

import copy
import json
import os
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..autograd import Tensor
from .safetensors import read_metadata, read_safetensors, write_safetensors
from .structure import Packer, Unpacker, has_state

VERSION = "1"


def save(path: str | os.PathLike[str], *, rng: Any = False, **objects: Any) -> None:
    """Save models, optimizers, loaders, arrays, numbers and random states in one file: the whole file, or none.

    >>> needle.save("run.safetensors", model=model, opt=opt, loader=loader, epoch=3, rng=True)  # doctest: +SKIP

    Objects with `state_dict` and `load_state_dict` are saved by their state, at any depth of lists, tuples and dicts.
    `rng=True` saves the global random states of NumPy and Python; a `np.random.Generator` is saved wherever it stands.
    Arrays that share all of their memory are saved once. Raises TypeError, which names it, for what cannot be saved.
    """
    _check_path("save", path)
    if rng is not False and rng is not None:
        objects["rng"] = GlobalRandom() if rng is True else rng
    if not objects:
        raise TypeError(
            "needle.save: nothing to save; write needle.save(path, model=model, opt=opt, epoch=3, rng=True)"
        )
    packer = Packer()
    try:
        structure = json.dumps({name: packer.pack(value, name) for name, value in objects.items()}, ensure_ascii=True)
    except TypeError as error:
        raise TypeError(f"needle.save: {error}") from error
    except RecursionError as error:
        raise ValueError("needle.save: lists and dicts are nested too deeply to be saved") from error
    write_safetensors(path, packer.arrays, {"format": "needle", "version": VERSION, "structure": structure})


def load(path: str | os.PathLike[str], *, rng: Any = False, **objects: Any) -> dict[str, Any]:
    """What `needle.save` saved, by name, with the objects that are given filled with their states.

    >>> epoch = needle.load("run.safetensors", model=model, opt=opt, rng=True)["epoch"]  # doctest: +SKIP

    Without an object, a state comes as the dict that `state_dict()` gave. Models, optimizers and whatever has
    `load_state_dict` can be filled, random generators, Tensors and arrays, and lists and dicts of these; `rng=True`
    sets the global random states. All or nothing: where one object cannot take its state, all are left as they were,
    and its error is raised. Raises ValueError, which says why, for a file that is damaged or none of needle.save.
    """
    _check_path("load", path)
    if rng is not False and rng is not None:
        objects["rng"] = GlobalRandom() if rng is True else rng
    saved = _read(path)
    missing = [name for name in objects if name not in saved]
    if missing:
        raise ValueError(f"{os.fspath(path)}: has no {', '.join(missing)}; it has {', '.join(saved)}")
    fill(saved, objects)
    return saved | {name: given for name, given in objects.items() if not isinstance(given, GlobalRandom)}


class GlobalRandom:
    """The random states that are global in NumPy and in Python, as an object with a state."""

    def state_dict(self) -> dict[str, Any]:
        return {"numpy": np.random.get_state(legacy=False), "python": random.getstate()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        before = random.getstate()
        random.setstate(state["python"])
        try:
            np.random.set_state(state["numpy"])
        except BaseException:
            random.setstate(before)
            raise


def _check_path(what: str, path: Any) -> None:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(
            f"needle.{what}: the path comes first, got a {type(path).__name__}; write needle.{what}(path, model=model)"
        )


def _read(path: str | os.PathLike[str]) -> dict[str, Any]:
    metadata = read_metadata(path)
    where = os.fspath(path)
    if metadata.get("format") != "needle" or "version" not in metadata or "structure" not in metadata:
        raise ValueError(f"{where}: is no file of needle.save; needle.files.read_safetensors reads its arrays")
    if metadata["version"] != VERSION:
        raise ValueError(
            f"{where}: has version {metadata['version']} of the layout, and this Needle reads version {VERSION}; "
            "use the Needle that wrote it, or a newer one"
        )
    unpacker = Unpacker(read_safetensors(path))
    try:
        return {name: unpacker.unpack(packed) for name, packed in json.loads(metadata["structure"]).items()}
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{where}: is damaged: its structure cannot be read: {error!r}") from error


# ------------------------------------------------------------------------------------------------- filling objects

Filling = tuple[str, Callable[[], Any], Callable[[Any], Any], Any]
"""An object that is to be filled: its place, how to get its state, how to set it, and the new one."""


def _fillings(given: Any, saved: Any, where: str) -> Iterator[Filling]:
    if has_state(given):
        yield where, lambda: copy.deepcopy(given.state_dict()), given.load_state_dict, saved
    elif isinstance(given, (np.random.Generator, np.random.RandomState, random.Random)):
        if type(saved) is not type(given):
            raise _unfit(where, f"a {type(given).__name__}", saved)
        get, put = _random_access(given)
        yield where, get, put, _random_access(saved)[0]()
    elif isinstance(given, (Tensor, np.ndarray)):
        if not isinstance(saved, (Tensor, np.ndarray)) or (saved.shape, saved.dtype) != (given.shape, given.dtype):
            raise _unfit(where, f"{type(given).__name__} of shape {given.shape} and dtype {given.dtype}", saved)
        if isinstance(given, np.ndarray) and not given.flags.writeable:
            raise ValueError(f"needle.load: {where} is to be filled, but is read-only")
        numbers = saved.numpy() if isinstance(saved, Tensor) else saved
        yield where, (given.numpy if isinstance(given, Tensor) else given.copy), _put_into(given), numbers
    elif isinstance(given, dict):
        if not isinstance(saved, dict) or not given.keys() <= saved.keys():
            raise _unfit(where, f"a dict of {', '.join(map(str, given))}", saved)
        for key in given:
            yield from _fillings(given[key], saved[key], f"{where}.{key}")
    elif isinstance(given, (list, tuple)):
        if not isinstance(saved, (list, tuple)) or len(given) != len(saved):
            raise _unfit(where, f"{len(given)} objects", saved)
        for i, (member, state) in enumerate(zip(given, saved, strict=True)):
            yield from _fillings(member, state, f"{where}.{i}")
    else:
        raise TypeError(
            f"needle.load: {where}: a {type(given).__name__} cannot be filled; "
            f"leave it out, and take needle.load(path)[{where.split('.', 1)[0]!r}]"
        )


def _unfit(where: str, needed: str, saved: Any) -> ValueError:
    got = type(saved).__name__
    if isinstance(saved, dict):
        got = f"a dict of {', '.join(map(str, saved))}"
    elif isinstance(saved, (Tensor, np.ndarray)):
        got = f"{got} of shape {saved.shape} and dtype {saved.dtype}"
    elif isinstance(saved, (list, tuple)):
        got = f"{len(saved)} members"
    return ValueError(f"needle.load: {where}: {needed} is to be filled, and the file has {got}")


def _random_access(rng: Any) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    if isinstance(rng, np.random.Generator):
        bits = rng.bit_generator
        return lambda: bits.state, lambda state: setattr(bits, "state", state)
    if isinstance(rng, np.random.RandomState):
        return lambda: rng.get_state(legacy=False), rng.set_state
    return rng.getstate, rng.setstate


def _put_into(given: Any) -> Callable[[Any], None]:
    def put(numbers: Any) -> None:
        if isinstance(given, Tensor):
            given.data = numbers
        else:
            given[...] = numbers

    return put


def fill(saved: dict[str, Any], objects: dict[str, Any]) -> None:
    """Fill all objects with what was saved under their names, or none."""
    fillings = [filling for name, given in objects.items() for filling in _fillings(given, saved[name], name)]
    before: list[tuple[str, Callable[[Any], Any], Any]] = []
    for where, get, put, state in fillings:
        try:
            before.append((where, put, get()))
            put(state)
        except BaseException as error:
            changed = [name for name, put_back, old in reversed(before) if not _put_back(put_back, old)]
            left = f"{', '.join(changed)} could not be put back" if changed else "all objects are as they were"
            error.add_note(f"needle.load: {where} could not take its state; {left}")
            raise


def _put_back(put: Callable[[Any], Any], old: Any) -> bool:
    try:
        put(old)
    except Exception:
        return False
    return True
