"""numpy.linalg on arrays, `needle.numpy.linalg` on Tensors.

`eigh` and `eigvalsh` differ: as in HIPS autograd, their gradient is by the one triangle that they read, and 0 in the
other. So it is what differences say; `needle.numpy.linalg` takes both triangles to change together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as _numpy

from ...numpy import linalg as _needle
from ...numpy.common import tensor as _tensor
from ...ops.matrices import from_triangle as _from_triangle
from ..doors import door as _door
from ..doors import opened as _opened

__getattr__, __dir__ = _opened(globals(), _numpy.linalg, _needle)


def _by_triangle(function: Callable[..., Any]) -> Callable[..., Any]:
    def by_triangle(a: Any, UPLO: str = "L") -> Any:
        return function(_from_triangle(_tensor(a), UPLO.upper() == "L"), UPLO)

    by_triangle.__doc__ = function.__doc__
    return by_triangle


eigh = _door(_numpy.linalg.eigh, _by_triangle(_needle.eigh), __name__)
eigvalsh = _door(_numpy.linalg.eigvalsh, _by_triangle(_needle.eigvalsh), __name__)
