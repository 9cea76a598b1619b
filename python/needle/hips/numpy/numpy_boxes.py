"""The class of the arrays that somebody differentiates by, for `isinstance`."""

from ..boxes import Box as ArrayBox

__all__ = ["ArrayBox"]
