"""One table of samples an op: what the laws in test_laws.py are tried on. One family of ops is one file."""

from .core import CORE
from .kit import NAN, Sample

SAMPLES: dict[str, list[Sample]] = {**CORE}

__all__ = ["NAN", "SAMPLES", "Sample"]
