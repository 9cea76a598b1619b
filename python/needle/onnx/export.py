"""export: a function or Module as an ONNX model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from os import PathLike, fspath
from typing import Any

import numpy as np

from .. import nested
from ..autograd import Tensor
from ..nn import Module
from .dims import Sampled, Sizes, samples
from .errors import ExportError
from .graph import Graph
from .library import onnx
from .program import Program
from .rows import ROWS
from .serialize import model_of, save
from .tracing import Trace
from .verify import verified

OPSETS = 13, 25
"""The opsets that can be exported to."""
Axes = int | Mapping[int, str]


def export(
    function: Callable[..., Any],
    *example_inputs: Any,
    path: str | PathLike[str] | None = None,
    opset: int = 17,
    verify: bool = True,
    names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    dynamic: Mapping[str, Axes] | None = None,
    external_data: bool | None = None,
) -> Any:
    """The ONNX model of a function or Module, in evaluation mode; written to a file if `path` is given.

    The function is run on inputs like the examples (Tensors or arrays, also in lists, tuples and dicts) at three sizes
    of the batch, and the operations that it applies become nodes. What differs between these runs is computed from the
    batch in the model, too, so the model works for any. The batch is the first axis of all inputs that have the length
    of the first one there. `dynamic` says it otherwise: {"x": 1} is axis 1 of the input x, {"x": {0: "batch", 1:
    "time"}} are two axes that change by themselves, and {} are none.

    `names` are those of the inputs, by default the names of the function's parameters. Parameters keep their names and
    dtypes. `opset` is from 13 to 25; what an older one lacks is composed. With `verify`, the model is run by ONNX
    Runtime, or by onnx.reference where that is not installed, at all three sizes, and compared. Weights of more than 2
    GB, which a file of ONNX cannot hold, go to a second one, `path` with ".data"; `external_data` decides it.

    Raises ExportError (a ValueError) for an operation that has no row, with its layer; for what depends on the data or
    on the batch in a way that a graph cannot express; and if the comparison fails.
    """
    _check(opset, path, external_data)
    leaves, rebuild = nested.flatten(example_inputs)
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, (Tensor, np.ndarray))]
    arrays = [leaves[i].numpy() if isinstance(leaves[i], Tensor) else leaves[i] for i in places]
    if not arrays:
        raise TypeError("onnx.export: needs example inputs, Tensors or arrays, after the function")

    def around(values: Any) -> Any:
        given = dict(zip(places, values, strict=True))
        return rebuild(iter([given.get(i, leaf) for i, leaf in enumerate(leaves)]))

    input_names = _input_names(function, example_inputs, len(arrays), names)
    axes = _dynamic_axes(arrays, input_names, dynamic)
    traces, sampled, inputs = _traces(function, around, arrays, axes)
    program = Program(traces, sampled, input_names)
    outputs = _output_names(output_names, len(program.outputs), input_names)
    model = model_of(_graph(program, opset), outputs)
    external = save(model, path, external_data)
    if verify:
        verified(model, path if external else None, inputs, [trace.expected for trace in traces])
    return model


def _check(opset: int, path: Any, external_data: bool | None) -> None:
    low, high = OPSETS[0], min(OPSETS[1], onnx.defs.onnx_opset_version())
    if not low <= opset <= high:
        raise ValueError(f"onnx.export: opset must be from {low} to {high}, got {opset}")
    if external_data and path is None:
        raise ValueError("onnx.export: external_data=True needs a path, beside which the weights are written")
    if path is not None:
        fspath(path)


def _input_names(function: Any, examples: tuple[Any, ...], count: int, names: Sequence[str] | None) -> list[str]:
    """A name for each input, those of the function's parameters if none are given."""
    if names is not None:
        found = list(names)
        if len(found) != count or len(set(found)) != count:
            raise ValueError(f"onnx.export: needs {count} different names for the inputs, got {found}")
        return found
    try:
        parameters = list(
            inspect.signature(function.forward if isinstance(function, Module) else function).parameters.values()
        )
    except (TypeError, ValueError):
        parameters = []
    found = []
    for i, example in enumerate(examples):
        parameter = parameters[min(i, len(parameters) - 1)] if parameters else None
        is_one = parameter is not None and i < len(parameters) and parameter.kind is not parameter.VAR_POSITIONAL
        name = parameter.name if parameter is not None and is_one else f"input_{i}"
        inner = [leaf for leaf in nested.flatten(example)[0] if isinstance(leaf, (Tensor, np.ndarray))]
        found += [name] if isinstance(example, (Tensor, np.ndarray)) else [f"{name}_{j}" for j in range(len(inner))]
    return found


def _output_names(names: Sequence[str] | None, count: int, taken: Sequence[str]) -> list[str]:
    if names is None:
        names = ["output"] if count == 1 else [f"output_{i}" for i in range(count)]
    found = list(names)
    if len(found) != count or len({*found, *taken}) != count + len(taken):
        raise ValueError(
            f"onnx.export: needs {count} names for the outputs, different from each other and from the inputs' "
            f"{list(taken)}, got {found}"
        )
    return found


def _dynamic_axes(
    arrays: Sequence[Any], names: Sequence[str], dynamic: Mapping[str, Axes] | None
) -> list[dict[int, str]]:
    """The symbols of each input's axes."""
    if dynamic is None:
        first = arrays[0].shape[:1]
        return [{0: "batch"} if a.ndim and a.shape[:1] == first else {} for a in arrays]
    if unknown := [name for name in dynamic if name not in names]:
        raise ValueError(f"onnx.export: dynamic names {unknown[0]!r}, but the inputs are {', '.join(names)}")
    found: list[dict[int, str]] = []
    for name, array in zip(names, arrays, strict=True):
        axes = dynamic.get(name, {})
        given = {axes: "batch"} if isinstance(axes, int) else dict(axes)
        for axis in given:
            if not -array.ndim <= axis < array.ndim:
                raise ValueError(f"onnx.export: dynamic has axis {axis} of {name}, whose shape is {array.shape}")
        found.append({axis % array.ndim: symbol for axis, symbol in given.items()})
    return found


def _traces(
    function: Callable[..., Any], around: Callable[[Any], Any], arrays: Sequence[Any], axes: Sequence[dict[int, str]]
) -> tuple[list[Trace], Sampled, list[list[Any]]]:
    """The function traced at several sizes, these, and the inputs."""
    example: Sizes = {}
    for array, symbols in zip(arrays, axes, strict=True):
        for axis, symbol in symbols.items():
            n = array.shape[axis]
            if example.setdefault(symbol, n) != n or not n:
                raise ValueError(
                    f"onnx.export: the axes named {symbol!r} must have one length, at least 1, got {example[symbol]} "
                    f"and {n}"
                )
    first: Exception | None = None
    for sampled in samples(example):
        inputs = [[_resized(a, s, sizes) for a, s in zip(arrays, axes, strict=True)] for sizes in sampled.every]
        try:
            traces = [Trace(function, around, given) for given in inputs]
        except Exception as error:
            if not example:
                raise
            first = first or error
            continue
        for trace in traces:
            if trace.why:
                raise ExportError(
                    f"onnx.export: {trace.why}; the exported graph would be right for this input only. Choose with "
                    "needle.where, and index with Tensors"
                )
        return traces, sampled, inputs
    assert first is not None
    raise ExportError(
        f"onnx.export: the function fails with other sizes of {', '.join(example)} than those of the examples: "
        f"{first}. Name the axes that may change, as in dynamic={{'x': {{0: 'batch', 1: 'time'}}}}, {{}} for none"
    ) from first


def _resized(array: Any, symbols: dict[int, str], sizes: Sizes) -> Any:
    """The example with other lengths: its elements again, or fewer of them."""
    for axis, symbol in symbols.items():
        array = array.take(np.arange(sizes[symbol]) % array.shape[axis], axis)
    return np.array(array)


def _graph(program: Program, opset: int) -> Graph:
    graph = Graph(program, opset)
    for value in program.values:
        row = ROWS.get(type(value.op))
        if row is None:
            raise ExportError(
                f"onnx.export: the operation {value.place()} ({type(value.op).__name__}) has no row; "
                "needle/onnx/README.md says how to write one"
            )
        graph.add(value, row)
    return graph
