"""NumPy on arrays, `needle.numpy` on Tensors."""

import numpy as _numpy

from ... import numpy as _needle
from ..doors import opened as _opened
from . import fft as fft
from . import linalg as linalg
from . import numpy_boxes as numpy_boxes
from . import numpy_vjps as numpy_vjps
from . import random as random
from .own import INTEGERS as _INTEGERS
from .own import make_diagonal as make_diagonal
from .own import where as where

__getattr__, __dir__ = _opened(globals(), _numpy, _needle)
__all__ = [*_numpy.__all__, "make_diagonal"]  # noqa: PLE0604
globals().update(_INTEGERS)
