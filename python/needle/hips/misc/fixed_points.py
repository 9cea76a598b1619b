"""Fixed points, differentiated by the implicit function theorem."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core import defvjp, primitive
from ..differential_operators import make_vjp
from ..spaces import vspace


@primitive
def fixed_point(f: Any, a: Any, x0: Any, distance: Callable[[Any, Any], Any], tol: float) -> Any:
    """The x with f(a)(x) = x, by iteration from x0 until distance(x, the one before) is at most tol.

    Differentiable by a: the iteration is not recorded.
    """
    step = f(a)
    x, before = step(x0), x0
    while distance(x, before) > tol:
        x, before = step(x), x
    return x


def _by_a(ans: Any, f: Any, a: Any, x0: Any, distance: Any, tol: float) -> Callable[[Any], Any]:
    """With F(a, x) = f(a)(x), the adjoint u of x solves u = g + u dF/dx, and that of a is u dF/da."""

    def adjoint_step(given: Any) -> Callable[[Any], Any]:
        a, x, g = given
        pullback, _ = make_vjp(f(a))(x)
        return lambda u: vspace(g).add(g, pullback(u))

    def pull(g: Any) -> Any:
        u = fixed_point(adjoint_step, (a, ans, g), vspace(g).zeros(), distance, tol)
        return make_vjp(lambda a: f(a)(ans))(a)[0](u)

    return pull


defvjp(fixed_point, None, _by_a, None, None, None)
