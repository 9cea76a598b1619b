"""The table of rows, which the other files of this folder fill."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..graph import Row

ROWS: dict[type[Any], Row] = {}
"""Op class -> its row."""
FUNCTIONS: dict[Any, Row] = {}
"""Rows of ops that hold a function, such as Discrete: function -> row."""


def row(*classes: type[Any]) -> Callable[[Row], Row]:
    """`@row(ops.Exp)`: the function below is the row of this op."""

    def enter(function: Row) -> Row:
        for cls in classes:
            ROWS[cls] = function
        return function

    return enter


def function_row(*functions: Any) -> Callable[[Row], Row]:
    """`@function_row(np.isnan)`: the function below is the row of an op that holds this function."""

    def enter(function: Row) -> Row:
        for given in functions:
            FUNCTIONS[given] = function
        return function

    return enter
