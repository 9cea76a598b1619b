"""scipy.special on arrays, `needle.scipy.special` on Tensors.

What is not there is a `primitive`, for which a program may have a rule (`defvjp`).
"""

import scipy.special as _scipy

from ...scipy import special as _needle
from ..core import primitive as _primitive
from ..doors import opened as _opened

__getattr__, __dir__ = _opened(globals(), _scipy, _needle, _primitive)
