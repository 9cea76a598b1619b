"""scipy.linalg on arrays, `needle.scipy.linalg` on Tensors.

What is not there is a `primitive`, for which a program may have a rule (`defvjp`).
"""

import scipy.linalg as _scipy

from ...scipy import linalg as _needle
from ..core import primitive as _primitive
from ..doors import opened as _opened

__getattr__, __dir__ = _opened(globals(), _scipy, _needle, _primitive)
