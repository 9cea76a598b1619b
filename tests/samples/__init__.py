"""One table of samples an op: what the laws in test_laws.py are tried on. One family of ops is one file."""

from .algebra import ALGEBRA
from .arranging import ARRANGING
from .convolutions import CONVOLUTIONS
from .core import CORE
from .elementwise import ELEMENTWISE
from .kit import NAN, Sample
from .layers import LAYERS
from .statistics import STATISTICS

SAMPLES: dict[str, list[Sample]] = {
    **ALGEBRA,
    **ARRANGING,
    **CONVOLUTIONS,
    **CORE,
    **ELEMENTWISE,
    **LAYERS,
    **STATISTICS,
}

__all__ = ["NAN", "SAMPLES", "Sample"]
