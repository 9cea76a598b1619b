"""Samples of the ops that layers are made of."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from needle import ops
from needle.ops.gelu import SLOPE_OF_GELU, SLOPE_OF_TANH_GELU
from needle.ops.normalization import Settings
from scipy import special

from .kit import INF, NAN, SHAPES, Sample, binary, numbers, sample, specials, unary


def widely(function: Any) -> Any:
    """A reference that computes in float64 at least, in the dtype that floats of its arguments have together."""

    def reference(*arrays: Any) -> Any:
        dtype = np.result_type(*[a.dtype if a.dtype.kind == "f" else np.float64 for a in arrays])
        found = function(*[a.astype(np.result_type(a, np.float64)) for a in arrays])
        return tuple([m.astype(dtype) for m in found]) if isinstance(found, tuple) else np.asarray(found).astype(dtype)

    return reference


# --------------------------------------------------------------------------------------------------------------- gelu


def np_gelu(a: Any) -> Any:
    return a * special.ndtr(a)


def np_tanh_gelu(a: Any) -> Any:
    return a * special.expit(np.sqrt(8 / np.pi) * (a + 0.044715 * a**3))


def np_slope(a: Any) -> Any:
    return special.ndtr(a) + a * np.exp(-a * a / 2) / np.sqrt(2 * np.pi)


def np_tanh_slope(a: Any) -> Any:
    share = special.expit(np.sqrt(8 / np.pi) * (a + 0.044715 * a**3))
    return share + a * share * (1 - share) * np.sqrt(8 / np.pi) * (1 + 3 * 0.044715 * a * a)


def gelu_at_the_ends(a: Any) -> Any:
    """GELU of numbers so large that it is 0 or the number itself, and of those near 0."""
    with np.errstate(invalid="ignore"):  # of -inf * 0
        return np.where(np.abs(a) < 1e-3, a / 2, np.where(a < -50, 0, np.where(a > 50, a, np_gelu(a))))


GELUS: dict[str, list[Sample]] = {
    "GELU": [
        *unary(ops.gelu, widely(np_gelu), "efl"),
        *unary(lambda a: ops.gelu(a, approximate=True), widely(np_tanh_gelu), "efl", name="tanh"),
        specials(ops.gelu, gelu_at_the_ends, [-INF, -1e300, -0.0, 1e-300, 1e300, INF, NAN]),
        specials(lambda a: ops.gelu(a, "tanh"), gelu_at_the_ends, [-INF, -60.0, -0.0, 1e-30, 60.0, INF, NAN]),
    ],
    "SlopeOfGELU": [
        *binary(SLOPE_OF_GELU, widely(lambda g, a: g * np_slope(a)), "ee ff fd df ef fl"),
        *binary(SLOPE_OF_TANH_GELU, widely(lambda g, a: g * np_tanh_slope(a)), "ee ff fd df"),
    ],
}

# ----------------------------------------------------------------------------------------------------- normalization


def np_normalize(settings: Settings, a: Any, weight: Any = 1.0, bias: Any = 0.0) -> Any:
    mean = a.mean(settings.axes, keepdims=True) if settings.centered else 0
    return (a - mean) / np.sqrt(((a - mean) ** 2).mean(settings.axes, keepdims=True) + settings.eps) * weight + bias


def np_along(settings: Settings, h: Any, a: Any) -> Any:
    """The Jacobian of the normalization at a, times h."""
    mean = partial(np.mean, axis=settings.axes, keepdims=True)
    less = (lambda v: v - mean(v)) if settings.centered else (lambda v: v)
    x = np_normalize(settings, a)
    return (less(h) - x * mean(h * x)) / np.sqrt(mean(less(a) ** 2) + settings.eps)


def np_adjoints(settings: Settings, g: Any, a: Any, weight: Any) -> Any:
    def fitted(v: Any) -> Any:
        shape = (1,) * (a.ndim - weight.ndim) + weight.shape
        return v.sum(tuple([i for i, n in enumerate(shape) if n != a.shape[i]]), keepdims=True).reshape(weight.shape)

    return np_along(settings, g * weight, a), fitted(g * np_normalize(settings, a)), fitted(g)


LAST, FIRST, SPATIAL, GROUPED = (
    Settings((1,), 1e-5),
    Settings((0,), 1e-3),
    Settings((0, 2), 1e-5),
    Settings((2, 3), 1e-5),
)
RMS = Settings((1,), 1e-5, centered=False)
CASES: list[tuple[Settings, tuple[int, ...], tuple[int, ...]]] = [
    (LAST, (2, 3), (3,)),
    (FIRST, (4, 3), (3,)),
    (SPATIAL, (2, 3, 4), (3, 1)),
    (GROUPED, (2, 2, 2, 3), (2, 2, 1)),
    (Settings((1,), 1e-5), (2, 4, 3), (3,)),
    (Settings((0, 2), 1e-5), (3, 2, 2, 2), (2, 1, 1)),
    (Settings((1, 2), 1e-5), (2, 3, 2), (3, 2)),
    (RMS, (2, 4), (4,)),
    (Settings((0,), 1e-5), (4,), (1,)),
    (Settings((1,), 1e-5), (0, 3), (3,)),
]
DTYPES = "e f ff fd df"


def of_a(op: Any, reference: Any, *, weighted: bool = True) -> list[Sample]:
    """The op of every case, alone and with weights, and in other dtypes."""
    table = []
    for settings, shape, beside in CASES:
        a, w, b = numbers(shape), numbers(beside, seed=1), numbers(beside, seed=2)
        for given in [(a,), (a, w), (a, w, b)] if weighted else [(a,)]:
            table.append(sample(op(settings), widely(partial(reference, settings)), *given, name=str(settings.axes)))
    for codes in DTYPES.split() if weighted else ():
        given = numbers((2, 3), codes[0]), numbers((3,), codes[-1], seed=1)
        table.append(sample(op(LAST), widely(partial(reference, LAST)), *given))
    return table


def with_moments(settings: Settings, a: Any, weight: Any = 1.0, bias: Any = 0.0) -> Any:
    return np_normalize(settings, a, weight, bias), a.mean(settings.axes), a.var(settings.axes)


NORMALIZATIONS: dict[str, list[Sample]] = {
    "Normalize": [
        *of_a(ops.Normalize, np_normalize),
        sample(ops.Normalize(LAST), np.zeros_like, np.full((2, 3), 1e5), name="constant", smooth=False),
        specials(ops.Normalize(LAST), lambda a: np.array([[NAN, NAN], [0.0, 0.0]]), [[1.0, NAN], [3.0, 3.0]]),
    ],
    "NormalizeWithMoments": [
        s for s in of_a(ops.NormalizeWithMoments, with_moments) if s.arrays[0].size and s.arrays[0].shape != (2, 4)
    ],
    "SlopeOfNormalize": [
        sample(ops.SlopeOfNormalize(s), widely(partial(np_along, s)), numbers(shape, seed=3), numbers(shape))
        for s, shape, _ in CASES
    ]
    + [
        sample(
            ops.SlopeOfNormalize(LAST), widely(partial(np_along, LAST)), numbers((2, 3), c[0]), numbers((2, 3), c[1])
        )
        for c in ["ee", "ff", "fd", "df"]
    ],
    "NormalizeAdjoints": [
        sample(
            ops.NormalizeAdjoints(s),
            widely(partial(np_adjoints, s)),
            numbers(shape, seed=3),
            numbers(shape),
            numbers(beside, seed=1),
        )
        for s, shape, beside in CASES
    ],
}

# --------------------------------------------------------------------------------------------------------- attention


def np_masked_softmax(a: Any, mask: Any = True, causal: bool = False) -> Any:
    seen = np.broadcast_to(mask, a.shape) & (np.tri(*a.shape[-2:], dtype=bool) if causal else True)
    shifted = np.where(seen, a, -INF)
    top = shifted.max(-1, keepdims=True, initial=-INF)
    e = np.where(seen, np.exp(shifted - np.where(np.isfinite(top), top, 0)), 0)
    total = e.sum(-1, keepdims=True)
    return e / np.where(total == 0, 1, total)


HIDING = np.array([[True, False, True], [False, False, False]])


def attending(causal: bool, *arrays: Any, **more: Any) -> Sample:
    def reference(a: Any, mask: Any = np.True_) -> Any:
        return np_masked_softmax(a.astype("d") if a.dtype.kind in "el" else a, mask, causal).astype(as_float(a))

    return sample(
        lambda a, mask=None: ops.MaskedSoftmax(causal)(a) if mask is None else ops.masked_softmax(a, mask, causal),
        reference,
        *arrays,
        name="causal" if causal else "",
        **more,
    )


def as_float(a: Any) -> Any:
    return a.dtype if a.dtype.kind == "f" else np.dtype(np.float64)


ATTENTION: dict[str, list[Sample]] = {
    "MaskedSoftmax": [
        *[attending(False, numbers(shape), numbers(shape[-1:], "?")) for shape in SHAPES if shape],
        *[attending(True, numbers(shape)) for shape in SHAPES if len(shape) > 1],
        *[attending(c, numbers((2, 3), code), HIDING) for c in [False, True] for code in "efgld"],
        attending(True, numbers((2, 1, 3, 3)), numbers((2, 1, 1, 3), "?")),
        attending(False, numbers((2, 3)) * 1e4, HIDING, smooth=False),
        attending(False, np.array([[NAN, -1e300, INF], [NAN, INF, INF]]), ~HIDING & (HIDING.sum() > 3), smooth=False),
    ],
}

# ---------------------------------------------------------------------------------------------------------- dropout


def mask_of(keep: float, code: str, rng: Any) -> Any:
    """A drawn mask of the shape of a boolean array, which counts for nothing else; and the same by NumPy."""

    def function(a: Any) -> Any:
        return ops.DropoutMask(a.shape, keep, np.dtype(code), rng())()

    def reference(a: Any) -> Any:
        drawn = rng()
        if not isinstance(drawn, np.random.Generator):
            kept = drawn.random_sample(a.size).reshape(a.shape) <= keep
        else:
            words = drawn.integers(0, 1 << 64, -(-a.size // 8), np.uint64)
            random, limit = words.view(np.uint8)[: a.size].reshape(a.shape), keep * 256
            kept = random < int(limit)
            ties = random == int(limit)
            kept[ties] = drawn.random(ties.sum()) < limit % 1
        return kept.astype(code) * np.dtype(code).type(1 / keep)

    return function, reference


def drawing(keep: float, code: str, rng: Any, shape: tuple[int, ...]) -> Sample:
    return sample(*mask_of(keep, code, rng), np.zeros(shape, bool), name=f"{keep} {code}")


SEEDED = [
    lambda: np.random.default_rng(3),
    lambda: np.random.RandomState(3),
    lambda: np.random.Generator(np.random.MT19937(3)),
]

DROPOUT: dict[str, list[Sample]] = {
    "DropoutMask": [
        *[drawing(keep, "d", rng, (40, 50)) for keep in [0.9, 0.5, 0.3] for rng in SEEDED],
        *[drawing(0.7, code, SEEDED[0], shape) for code, shape in [("f", (3, 5)), ("e", (7,)), ("f", (0, 3))]],
    ],
}

LAYERS: dict[str, list[Sample]] = {**GELUS, **NORMALIZATIONS, **ATTENTION, **DROPOUT}
