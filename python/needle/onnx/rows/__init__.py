"""The rows: for each op of Needle, the ONNX nodes that compute it. ../README.md says how to write one."""

from . import (
    assignment,
    discrete,
    elementwise,
    indexing,
    normalization,
    products,
    recurrent,
    reductions,
    shapes,
    windows,
)
from .table import FUNCTIONS, ROWS

__all__ = [
    "FUNCTIONS",
    "ROWS",
    "assignment",
    "discrete",
    "elementwise",
    "indexing",
    "normalization",
    "products",
    "recurrent",
    "reductions",
    "shapes",
    "windows",
]
