"""numpy.fft on arrays, `needle.numpy.fft` on Tensors."""

import numpy as _numpy

from ...numpy import fft as _needle
from ..doors import opened as _opened

__getattr__, __dir__ = _opened(globals(), _numpy.fft, _needle)
