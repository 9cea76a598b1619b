"""numpy.linalg on arrays, `needle.numpy.linalg` on Tensors."""

import numpy as _numpy

from ...numpy import linalg as _needle
from ..doors import opened as _opened

__getattr__, __dir__ = _opened(globals(), _numpy.linalg, _needle)
