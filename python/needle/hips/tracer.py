"""What a program may ask of a value that a transform follows, under HIPS autograd's names."""

from .boxes import Box as Box
from .boxes import getval as getval
from .boxes import isbox as isbox
from .boxes import notrace_primitive as notrace_primitive
from .boxes import register_notrace as register_notrace
from .core import primitive as primitive
from .util import subval as subval
from .util import subvals as subvals
