"""Functions with rules of their own."""

from .boxes import Box as Box
from .boxes import notrace_primitive as notrace_primitive
from .boxes import register_notrace as register_notrace
from .core import def_linear as def_linear
from .core import defjvp as defjvp
from .core import defjvp_argnum as defjvp_argnum
from .core import defjvp_argnums as defjvp_argnums
from .core import defvjp as defvjp
from .core import defvjp_argnum as defvjp_argnum
from .core import defvjp_argnums as defvjp_argnums
from .core import primitive as primitive
from .spaces import VSpace as VSpace
from .spaces import vspace as vspace
