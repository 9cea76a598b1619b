"""Running a model, and comparing it with what Needle computed."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from os import PathLike, fspath
from typing import Any

import numpy as np

from .errors import ExportError

TOLERANCES = {2: 1e-2, 4: 1e-4, 8: 1e-6}
"""By the bytes of a float: the largest difference, as a part of the largest output. onnx.reference has erf in float32
only, also for float64."""


def verified(
    model: Any, path: str | PathLike[str] | None, inputs: Sequence[Sequence[Any]], expected: Sequence[Sequence[Any]]
) -> None:
    """Run the model, or the file at the path, on these inputs, and compare its outputs. ExportError if they differ."""
    names = [value.name for value in model.graph.input]
    run, by = runner(model, path)
    for given, wanted in zip(inputs, expected, strict=True):
        found = run(dict(zip(names, given, strict=True)))
        for value, y, t in zip(model.graph.output, found, wanted, strict=True):
            shapes = [a.shape for a in given]
            if y.shape != t.shape or y.dtype != t.dtype:
                raise ExportError(
                    f"onnx.export: {by} gives {value.name} the shape {y.shape} and dtype {y.dtype} for inputs of "
                    f"shapes {shapes}, where Needle gives {t.shape} and {t.dtype}"
                )
            off = difference(y, t)
            limit = TOLERANCES[t.dtype.itemsize] if t.dtype.kind == "f" else 0.0
            if off > limit:
                raise ExportError(
                    f"onnx.export: {by} gives other numbers than Needle for {value.name}: they differ by {off:.2g} of "
                    f"the largest, for inputs of shapes {shapes}; the limit is {limit:.0e}. Compare outputs of layers "
                    "inside to find where it begins, or pass verify=False"
                )


def difference(y: Any, t: Any) -> float:
    """The largest difference, as a part of the largest number that is wanted (or of 1)."""
    if not t.size:
        return 0.0
    if t.dtype.kind != "f":
        return float((y != t).any())
    is_finite = np.isfinite(t)
    if not np.array_equal(y[~is_finite], t[~is_finite], equal_nan=True):
        return np.inf
    y, t = y[is_finite].astype(np.float64), t[is_finite].astype(np.float64)
    return float(np.abs(y - t).max(initial=0) / max(1.0, np.abs(t).max(initial=0)))


def runner(model: Any, path: str | PathLike[str] | None = None) -> tuple[Any, str]:
    """A function from {name: array} to the outputs, and what runs it: ONNX Runtime if it is installed and has all that
    the model needs, else onnx.reference."""
    if find_spec("onnxruntime") is not None:
        runtime = import_module("onnxruntime")
        options = runtime.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = 3, 1
        given = model.SerializeToString() if path is None else fspath(path)
        missing = import_module("onnxruntime.capi.onnxruntime_pybind11_state").NotImplemented
        try:
            session = runtime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
            return (lambda inputs: session.run(None, inputs)), "ONNX Runtime"
        except missing:
            pass  # for some dtypes, mostly float64 and float16, it lacks operators
    if any(
        node.op_type in ("RNN", "GRU", "LSTM") and len(node.input) > 4 and node.input[4] for node in model.graph.node
    ):
        raise ExportError(
            "onnx.export: onnx.reference does not know the lengths of sequences; install onnxruntime to verify this "
            "model, or pass verify=False"
        )
    try:
        reference = import_module("onnx.reference").ReferenceEvaluator(model if path is None else fspath(path))
    except (RuntimeError, NotImplementedError) as error:
        raise ExportError(
            f"onnx.export: onnx.reference cannot run this model: {error}; install onnxruntime to verify it, or pass "
            "verify=False"
        ) from error
    return (lambda inputs: reference.run(None, inputs)), "onnx.reference"
