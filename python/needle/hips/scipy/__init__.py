"""SciPy on arrays, `needle.scipy` on Tensors. SciPy is imported with the first of the modules that is asked for."""

from importlib import import_module as _import_module
from typing import Any as _Any

__all__ = ["integrate", "linalg", "signal", "special", "stats"]


def __getattr__(name: str) -> _Any:
    if name in __all__:
        return _import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
