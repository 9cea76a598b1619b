"""The model as ONNX's protocol buffers, with only what the outputs need; and on disk."""

from __future__ import annotations

from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np

from .dims import Dim
from .errors import ExportError
from .graph import Graph
from .library import helper, numpy_helper, onnx

LIMIT = 2**31 - 2**20
"""Bytes of weights beyond which a model does not fit into one file, whose limit is 2 GB."""


def model_of(graph: Graph, output_names: list[str]) -> Any:
    """The ModelProto."""
    program = graph.program
    outputs = [graph.name(value) for value in program.outputs]
    nodes = _needed(graph, outputs)
    renamed, node_names = _names(graph, nodes, outputs, output_names)
    protos = [
        helper.make_node(
            node.kind,
            [renamed.get(name, name) for name in node.inputs],
            [renamed.get(name, name) for name in node.outputs],
            name=node_name,
            **{key: value for key, value in node.attributes.items() if not key.startswith("needle_")},
        )
        for node, node_name in zip(nodes, node_names, strict=True)
    ]
    for name, wanted in zip(outputs, output_names, strict=True):
        if renamed.get(name, name) != wanted:  # an input, a parameter, or an output that is there twice
            protos.append(helper.make_node("Identity", [renamed.get(name, name)], [wanted], name=f"{wanted}/Identity"))
    used = {name for node in nodes for name in node.inputs} | set(outputs)
    initialisers = [
        numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), renamed[name])
        for name, array in graph.initialisers.items()
        if name in used
    ]
    made = helper.make_graph(
        protos,
        "needle",
        [_info(value, value.name) for value in program.inputs],
        [_info(value, name) for value, name in zip(program.outputs, output_names, strict=True)],
        initialisers,
    )
    opsets = [helper.make_opsetid("", graph.opset)]
    return helper.make_model(
        made, opset_imports=opsets, producer_name="needle", ir_version=helper.find_min_ir_version_for(opsets)
    )


def _needed(graph: Graph, outputs: list[str]) -> list[Any]:
    """The nodes that the outputs are computed from."""
    wanted, found = set(outputs), []
    for node in reversed(graph.nodes):
        if wanted.intersection(node.outputs):
            wanted.update(node.inputs)
            found.append(node)
    return found[::-1]


def _clean(layer: str) -> str:
    """The path of a layer as a prefix of names, without its class."""
    name = layer.partition(" ")[0] if " " in layer else ""
    return f"{name}/" if name else ""


def _names(
    graph: Graph, nodes: list[Any], outputs: list[str], output_names: list[str]
) -> tuple[dict[str, str], list[str]]:
    """What names inside become, and the names of nodes: parameters keep theirs, the rest are layer/Kind_n."""
    taken = {value.name for value in graph.program.inputs} | set(output_names)
    counts: dict[str, int] = {}

    def unique(stem: str) -> str:
        name = stem
        while name in taken:
            counts[stem] = counts.get(stem, 0) + 1
            name = f"{stem}_{counts[stem]}"
        taken.add(name)
        return name

    used = {name for node in nodes for name in node.inputs} | set(outputs)
    found = {name: unique(wanted) for name, wanted in graph.wanted.items() if name in used}
    of_outputs = dict(zip(reversed(outputs), reversed(output_names), strict=True))  # the first name of one twice there
    node_names = []
    for node in nodes:
        node_names.append(unique(f"{_clean(node.layer)}{node.kind}"))
        for i, name in enumerate(node.outputs):
            found[name] = of_outputs.get(name) or (node_names[-1] if i == 0 else unique(f"{node_names[-1]}.{i}"))
    return found, node_names


def _info(value: Any, name: str) -> Any:
    dims = [str(n) if isinstance(n, Dim) else n for n in value.shape]
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(value.dtype)), dims)


def save(model: Any, path: str | PathLike[str] | None, external_data: bool | None) -> bool:
    """Check the model and write it; returns whether its weights went to a second file."""
    size = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    external = size > LIMIT if external_data is None else external_data
    if not external:
        onnx.checker.check_model(model, full_check=True)
    if path is None:
        if external:
            raise ExportError(f"onnx.export: {size:,} bytes of weights need a path: a model holds up to 2 GB by itself")
        return False
    file = fspath(path)
    if external:
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        location = Path(file).name + ".data"
        onnx.save_model(
            copy, file, save_as_external_data=True, all_tensors_to_one_file=True, location=location, size_threshold=1024
        )
        onnx.checker.check_model(file, full_check=True)
    else:
        onnx.save_model(model, file)
    return external
