"""Captured execution: a function's graph, planned once and replayed; see README.md here."""

from .capture import Compiled as Compiled
from .capture import CompileWarning as CompileWarning
from .capture import compile as compile
