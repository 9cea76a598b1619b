"""Programs that know nothing of Needle (docs/numpy_programs): NumPy's values and the numeric derivatives."""

from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import needle
import needle.numpy
import numpy as np
import pytest
from calls import Call, as_tensors, check_gradient, check_second_order, check_value, outputs, weighted
from numpy.testing import assert_allclose

PROGRAMS = Path(__file__).parent.parent / "docs" / "numpy_programs"
LINE = "import numpy as np\n"

rng = np.random.default_rng(0)
x = np.linspace(0, 3, 7) + rng.uniform(0, 0.2, 7)
y = np.sin(x) + 0.1 * rng.normal(size=7)
clouds = np.concatenate([rng.normal(size=(4, 2)), rng.normal(size=(5, 2)) + 3])
seen = np.cumsum(rng.normal(size=5))
bump = np.exp(-((np.arange(5)[:, None] - 2.2) ** 2) - (np.arange(4) - 1.7) ** 2)


@cache
def program(name: str, module: Any) -> Any:
    """A program as it stands, or with its one line `import needle.numpy as np`."""
    source = (PROGRAMS / f"{name}.py").read_text()
    assert source.count(LINE) == 1
    namespace: dict[str, Any] = {}
    exec(source.replace(LINE, f"import {module.__name__} as np\n"), namespace)
    return SimpleNamespace(**namespace)


def call(name: str, *args: Any) -> Call:
    """A call of a program's function; what it is differentiated by are the arrays among the arguments."""
    file, function = name.split(".")
    return Call(lambda module, *args: getattr(program(file, module), function)(*args), *args)


UNCHANGED = {
    "advection.advect": (bump, rng.uniform(0.1, 0.9, (2, 5, 4)) + np.array([0, 1])[:, None, None], 3),
    "gaussian_process.log_marginal_likelihood": (x, y, [np.array(1.1), np.array(0.8), np.array(0.3)]),
    "gaussian_process.predict": (x, y, x[:3] + 0.1, np.array([1.1, 0.8, 0.3])),
    "gaussian_mixture.fit": (clouds, clouds[[0, -1]], 3),
    "waves.drum": (bump, np.array(0.7), 4),
    "waves.smoke": (bump, np.array([0.3, -0.4]), np.array(0.1), 4),
    "kmeans.kmeans": (clouds, clouds[[0, -1]]),
    "principal_components.by_svd": (clouds @ rng.normal(size=(2, 3)) + rng.normal(size=(9, 3)), 2),
    "principal_components.by_eigh": (clouds @ rng.normal(size=(2, 3)) + rng.normal(size=(9, 3)), 2),
}
"""Programs that run on Tensors as they stand, and arguments for them."""
WITH_THE_LINE = {
    "runge_kutta.lotka_volterra": (
        np.array([1.1, 0.4, 0.1, 0.4]),
        np.array([4.0, 2.0]),
        [0.0, 0.5, 1.0],
        1e-5,
    ),
    "kalman_filter.kalman_filter": (seen, np.array(0.5), np.array(0.3), np.array(0.7)),
    "cubic_spline.spline": (x, y, rng.uniform(x[0], x[-1], 4)),
}
"""Those that assign to an array which they allocated: it cannot carry a gradient, and NumPy refuses."""
EVERY = {name: call(name, *args) for name, args in (UNCHANGED | WITH_THE_LINE).items()}


@pytest.mark.parametrize("name", EVERY)
def test_value(name: str) -> None:
    check_value(EVERY[name])


@pytest.mark.parametrize("name", EVERY)
def test_gradient(name: str) -> None:
    check_gradient(EVERY[name])


@pytest.mark.parametrize("name", EVERY)
def test_second_order(name: str) -> None:
    check_second_order(EVERY[name])


@pytest.mark.parametrize("name", UNCHANGED)
def test_numpy_itself_runs_it_on_tensors(name: str) -> None:
    call = EVERY[name]

    def derivatives(module: Any) -> Any:
        total = lambda *arrays: weighted(outputs(call.on(module, arrays)))  # noqa: E731
        value, gradients = needle.value_and_grad(total, call.places)(*call.arrays)
        return [value, *gradients]

    for got, expected in zip(derivatives(np), derivatives(needle.numpy), strict=True):
        assert_allclose(got, expected, rtol=1e-12)


@pytest.mark.parametrize("name", WITH_THE_LINE)
def test_an_array_takes_no_gradient_in_silence(name: str) -> None:
    call = EVERY[name]
    with pytest.raises((TypeError, ValueError)):
        call.on(np, as_tensors(call.arrays))
