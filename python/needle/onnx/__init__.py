"""Models for other runtimes: `needle.onnx.export(model, x, path="model.onnx")`. Needs the package onnx.

What a function computes is noted while it runs, and each operation is one row of a table: README.md says how rows are
written. docs/onnx.md shows how to use it.
"""

from .errors import ExportError as ExportError
from .export import export as export
