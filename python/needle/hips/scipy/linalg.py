"""scipy.linalg on arrays, `needle.scipy.linalg` on Tensors."""

import scipy.linalg as _scipy

from ...scipy import linalg as _needle
from ..doors import opened as _opened

__getattr__, __dir__ = _opened(globals(), _scipy, _needle)
