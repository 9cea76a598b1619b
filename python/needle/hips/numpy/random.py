"""NumPy's random numbers, which are arrays."""

from ...numpy.random import __dir__ as __dir__
from ...numpy.random import __getattr__ as __getattr__
