"""scipy.special on arrays, `needle.scipy.special` on Tensors."""

import scipy.special as _scipy

from ...scipy import special as _needle
from ..doors import opened as _opened

__getattr__, __dir__ = _opened(globals(), _scipy, _needle)
