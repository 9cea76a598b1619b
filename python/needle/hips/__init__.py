"""HIPS autograd's modules by their names: a program runs after a search for `autograd` and a replacement by
`needle.hips` in its imports. What this was measured on, and what is not here: docs/derivatives.md.

Nothing here is imported before a program asks for it, but the transforms and the rules.
"""

from typing import Any as _Any

from .core import defjvp as defjvp
from .core import defvjp as defvjp
from .core import primitive as primitive
from .differential_operators import checkpoint as checkpoint
from .differential_operators import deriv as deriv
from .differential_operators import elementwise_grad as elementwise_grad
from .differential_operators import grad as grad
from .differential_operators import grad_and_aux as grad_and_aux
from .differential_operators import grad_named as grad_named
from .differential_operators import hessian as hessian
from .differential_operators import hessian_tensor_product as hessian_tensor_product
from .differential_operators import hessian_vector_product as hessian_vector_product
from .differential_operators import holomorphic_grad as holomorphic_grad
from .differential_operators import jacobian as jacobian
from .differential_operators import make_ggnvp as make_ggnvp
from .differential_operators import make_hvp as make_hvp
from .differential_operators import make_jvp as make_jvp
from .differential_operators import make_vjp as make_vjp
from .differential_operators import multigrad_dict as multigrad_dict
from .differential_operators import tensor_jacobian_product as tensor_jacobian_product
from .differential_operators import value_and_grad as value_and_grad
from .differential_operators import vector_jacobian_product as vector_jacobian_product

_MODULES = {"builtins", "extend", "misc", "numpy", "scipy", "test_util", "tracer", "util", "wrap_util"}
_BUILTINS = {"dict", "isinstance", "list", "tuple", "type"}


def __getattr__(name: str) -> _Any:
    from importlib import import_module  # noqa: PLC0415 - a name here would be one of HIPS autograd's

    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name in _BUILTINS:
        return getattr(import_module(".builtins", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
