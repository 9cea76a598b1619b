"""scipy.integrate on arrays, `needle.scipy.integrate` on Tensors."""

import scipy.integrate as _scipy

from ...scipy import integrate as _needle
from ..doors import door as _door

odeint = _door(_scipy.odeint, _needle.odeint, __name__)
