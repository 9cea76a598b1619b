"""Digits are kept: in sums of many float32 numbers, and far out, where the tails of functions nearly vanish.

    python tests/test_digits.py 3000

compares three derivatives of special functions at so many random points, near and far, with mpmath's."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import Any

import needle
import needle.numpy as nnp
import numpy as np
import pytest
from extended import FUNCTIONS, derivatives
from needle import ops
from needle.backend import sum_over
from needle.scipy import special
from numpy.testing import assert_allclose

ROWS = 200_000
EQUAL = np.full((ROWS, 3), 0.1, np.float32)
"""Added one by one, 0.3 % of their sum is lost: each addition rounds the same way."""
SUM = EQUAL.sum(0, dtype=float)
FIRST = np.zeros(ROWS, int)


def gradient(f: Callable[[Any], Any]) -> Any:
    """The gradient of the sum of f at three float32 ones."""
    return needle.grad(lambda x: f(x).sum())(np.ones(3, np.float32))


LONG_SUMS: dict[str, tuple[Callable[[], Any], Any]] = {
    "sum": (lambda: nnp.sum(EQUAL, axis=0), SUM),
    "sum of columns": (lambda: nnp.sum(EQUAL.T, axis=-1), SUM),
    "sum of a part": (lambda: nnp.sum(EQUAL[:, :2]), SUM[:2].sum()),
    "sum of repeated rows": (lambda: nnp.sum(np.broadcast_to(EQUAL[0], EQUAL.shape), axis=0), SUM),
    "sum over several axes": (lambda: nnp.sum(EQUAL.reshape(2, -1, 3, 10), axis=(0, 1, 3)), SUM[0] * np.ones(3)),
    "complex sum": (lambda: nnp.sum(EQUAL.astype(np.complex64), axis=0).real, SUM),
    "mean": (lambda: nnp.mean(EQUAL, axis=0), SUM / ROWS),
    "nanmean": (lambda: nnp.nanmean(EQUAL, axis=0), SUM / ROWS),
    "average": (lambda: nnp.average(EQUAL, axis=0, weights=EQUAL[:, 0]), SUM / ROWS),
    "var": (lambda: nnp.var(EQUAL + np.float32([1, -1]).repeat(ROWS // 2)[:, None], axis=0), np.ones(3)),
    "norm": (lambda: nnp.linalg.norm(EQUAL, axis=0), np.sqrt(SUM * SUM / ROWS)),
    "logsumexp": (lambda: ops.logsumexp(nnp.log(EQUAL), axes=0), np.log(SUM)),
    "einsum": (lambda: nnp.einsum("ij->j", EQUAL), SUM),
    "add.reduce": (lambda: nnp.add.reduce(EQUAL, axis=0), SUM),
    "gradient of a bias": (lambda: gradient(lambda b: (EQUAL + b) * EQUAL), SUM),
    "gradient of a row": (lambda: gradient(lambda b: (EQUAL + b.reshape(1, 3)) * EQUAL), SUM),
    "gradient of a scale": (lambda: gradient(lambda b: EQUAL * b), SUM),
    "gradient of broadcast_to": (lambda: gradient(lambda b: nnp.broadcast_to(b, EQUAL.shape) * EQUAL), SUM),
    "gradient of tile": (lambda: gradient(lambda b: nnp.tile(b, (ROWS, 1)) * EQUAL), SUM),
    "gradient of an element": (lambda: gradient(lambda b: b[FIRST] * EQUAL[:, 0]), SUM * [1, 0, 0]),
    "gradient of take": (lambda: gradient(lambda b: nnp.take(b, FIRST) * EQUAL[:, 0]), SUM * [1, 0, 0]),
    "gradient of a row of a large table": (
        lambda: needle.grad(lambda w: (w[FIRST] * EQUAL).sum())(np.ones((ROWS + 1, 3), np.float32))[0],
        SUM,
    ),
    "gradient of some rows of a large table": (
        lambda: needle.grad(lambda w: (w[-np.arange(ROWS) * (np.arange(ROWS) % 2)] * EQUAL).sum())(
            np.ones((ROWS + 1, 3), np.float32)
        )[0],
        SUM / 2,
    ),
    "gradient in the graph": (
        lambda: needle.grad(lambda a: gradient(lambda b: (EQUAL + b) * EQUAL * a).sum())(np.float32(1)),
        SUM.sum(),
    ),
    "tangent": (lambda: needle.jvp(lambda a: nnp.sum(EQUAL * a, axis=0), (np.float32(1),), (np.float32(1),))[1], SUM),
}


@pytest.mark.parametrize("name", LONG_SUMS)
def test_a_long_float32_sum_is_as_exact_as_a_sum_by_pairs(name):
    compute, expected = LONG_SUMS[name]
    got = np.asarray(compute())
    assert got.dtype == np.float32
    assert_allclose(got, expected, rtol=5e-6)


@pytest.mark.parametrize("name", ["sum", "bias", "within rows"])
def test_a_long_captured_sum_is_as_exact(name):
    f = {
        "sum": lambda b: nnp.sum(EQUAL + b, axis=0),
        "bias": needle.grad(lambda b: ((EQUAL + b) * EQUAL).sum()),
        "within rows": lambda b: nnp.sum(nnp.exp(EQUAL.reshape(4, -1, 3) * b), axis=1)[0] * np.float32(0.4),
    }[name]
    expected = {"within rows": 0.1 * np.full(3, ROWS)}.get(name, SUM)
    captured = needle.compile(f)
    for _ in range(3):
        assert_allclose(np.asarray(captured(np.zeros(3, np.float32))), expected, rtol=5e-6)


def test_a_long_float16_sum_is_rounded_once():
    halves = np.full((60_000, 2), 0.1, np.float16)
    got = nnp.sum(halves, axis=0)
    assert got.dtype == np.float16
    assert_allclose(got.numpy(), halves.sum(0, dtype=float), rtol=1e-3)


@pytest.mark.parametrize("seed", range(60))
def test_a_sum_of_any_layout(seed):
    """Any shape, strides and axes: the shape and dtype of NumPy's sum, and its exactness along one run."""
    rng = np.random.default_rng(seed)
    shape = rng.choice([1, 2, 3, 17, 130, 300, 1000], rng.integers(1, 4))
    a = (rng.random(shape) + 1).astype("fdFe"[rng.integers(4)]).transpose(rng.permutation(len(shape)))
    if rng.random() < 0.5:
        a = a[..., ::-2]
    if rng.random() < 0.3:
        a = np.broadcast_to(a[:1], a.shape)
    chosen = np.flatnonzero(rng.random(a.ndim) < 0.6)
    axes, keepdims = (None if rng.random() < 0.2 else tuple(chosen.tolist())), bool(rng.random() < 0.5)
    expected = a.sum(axes, dtype=np.result_type(a, np.longdouble), keepdims=keepdims)
    with np.errstate(over="ignore"):
        got = sum_over(a, axes, keepdims=keepdims)
        expected = expected.astype(a.dtype)
    assert (got.shape, got.dtype) == (expected.shape, a.dtype)
    assert_allclose(got, expected, rtol=10 * np.finfo(a.dtype).eps)


# ------------------------------------------------------------------------------------------------------------- tails


def decimal_tails(x: float) -> dict[str, list[Decimal]]:
    """The value and the first two derivatives at x, of sigmoid, softplus, log(sigmoid) and tanh, in 400 digits."""
    with localcontext() as context:
        context.prec, context.Emin, context.Emax = 400, -(10**6), 10**6
        a = Decimal(x)
        above, below = 1 / (1 + (-a).exp()), 1 / (1 + a.exp())
        up, down = 1 / (1 + (-2 * a).exp()), 1 / (1 + (2 * a).exp())
        slope, square = above * below, 4 * up * down
        return {
            "sigmoid": [above, slope, slope * (below - above)],
            "softplus": [-below.ln(), above, slope],
            "log_sigmoid": [above.ln(), below, -slope],
            "tanh": [up - down, square, 2 * square * (down - up)],
        }


TAILS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "sigmoid": ("sigmoid", ops.sigmoid),
    "expit": ("sigmoid", special.expit),
    "softplus": ("softplus", special.softplus),
    "log_expit": ("log_sigmoid", special.log_expit),
    "logaddexp with 0": ("softplus", lambda x: nnp.logaddexp(x, 0)),
    "logaddexp of 0 and": ("softplus", lambda x: nnp.logaddexp(0, x)),
    "logaddexp2": ("softplus", lambda x: nnp.logaddexp2(x / math.log(2), 0) * math.log(2)),
    "minus logaddexp": ("log_sigmoid", lambda x: -nnp.logaddexp(-x, 0)),
    "tanh": ("tanh", nnp.tanh),
}
AT = [-400.0, -40.0, -17.0, -1.0, -1e-3, 0.0, 0.3, 5.0, 40.0, 88.0, 400.0]


@pytest.mark.parametrize("dtype", ["d", "f"])
@pytest.mark.parametrize("name", TAILS)
def test_tails_keep_their_digits(name, dtype):
    """f, f' and f'', in reverse and in forward mode, relative to their own size however small it is."""
    of, f = TAILS[name]
    first = needle.elementwise_grad(f)
    x = np.array(AT, dtype)
    forward = lambda g: lambda a: needle.jvp(g, (a,), (np.ones_like(x),))[1]  # noqa: E731
    orders = [[f(x)], [first(x), forward(f)(x)]]
    orders += [[needle.elementwise_grad(first)(x), forward(first)(x), forward(forward(f))(x)]]
    exact = [decimal_tails(float(a))[of] for a in x]
    eps, tiny = (
        np.finfo(dtype).eps * (100 if name == "logaddexp2" else 1),
        np.finfo(dtype).tiny,
    )  # x / log(2) is rounded
    for order, values in enumerate(orders):
        expected = np.array([float(values[order]) for values in exact])
        for value in values:
            assert value.dtype == dtype
            assert_allclose(np.asarray(value), expected, rtol=8 * eps, atol=8 * tiny)


def decimal_softmax(logits: Any) -> tuple[list[Decimal], list[list[Decimal]]]:
    """The softmax p and its Jacobian p_i (d_ij - p_j), in 400 digits."""
    with localcontext() as context:
        context.prec, context.Emin, context.Emax = 400, -(10**6), 10**6
        powers = [(Decimal(float(a)) - Decimal(float(max(logits)))).exp() for a in logits]
        p = [power / sum(powers) for power in powers]
        return p, [[a * ((i == j) - b) for j, b in enumerate(p)] for i, a in enumerate(p)]


def slopes_of_softmax(kind: str, logits: Any) -> tuple[list[Decimal], list[list[Decimal]]]:
    """The gradient and the Hessian of what SHARP does with the first of these logits."""
    p, rows = decimal_softmax(logits)
    with localcontext() as context:
        context.prec = 400
        minus = [[-a for a in row] for row in rows]
        if kind == "softmax":
            first = p[0]
            of_rows = [
                [rows[0][k] * ((j == 0) - p[j]) - first * rows[j][k] for k in range(len(p))] for j in range(len(p))
            ]
            return rows[0], of_rows
        if kind == "logsumexp":
            return p, rows
        gradient = [(j == 0) - a for j, a in enumerate(p)]
        return (gradient, minus) if kind == "logsoftmax" else ([-a for a in gradient], rows)


SHARP: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "softmax": ("softmax", lambda x: ops.softmax(x)[0]),
    "scipy softmax": ("softmax", lambda x: special.softmax(x)[0]),
    "logsoftmax": ("logsoftmax", lambda x: ops.logsoftmax(x)[0]),
    "log_softmax": ("logsoftmax", lambda x: special.log_softmax(x)[0]),
    "logsumexp": ("logsumexp", ops.logsumexp),
    "scipy logsumexp": ("logsumexp", special.logsumexp),
    "weighted logsumexp": ("logsumexp", lambda x: special.logsumexp(x, b=np.ones(x.shape, x.dtype))),
    "loss by labels": ("loss", lambda x: ops.softmax_loss(x.reshape((1, -1)), np.array([0]))),
    "loss by targets": ("loss", lambda x: ops.softmax_loss(x.reshape((1, -1)), np.eye(1, x.size, dtype=x.dtype))),
}


@pytest.mark.parametrize("dtype", ["d", "f"])
@pytest.mark.parametrize("name", SHARP)
def test_the_softmax_family_keeps_its_digits(name, dtype):
    """Gradients and Hessians in both modes, where one logit is far above the others: what is left to 1 counts."""
    kind, f = SHARP[name]
    eps, tiny = np.finfo(dtype).eps, np.finfo(dtype).tiny
    for gap in [0.0, 3.0, 9.0, 17.0, 36.0, 40.0, 80.0, 400.0, -40.0, -400.0]:
        for base in [0.0, -30.0, 25.0, 1024.0]:
            x = np.array([base + gap, base, base + 0.5, base - 3], dtype)
            first, second = [np.array(a, float) for a in slopes_of_softmax(kind, x)]
            rtol = (100 + 8 * abs(base)) * eps  # log(p) has an error of the logits' size
            grad = needle.grad(f)
            for got in grad(x), needle.jacobian(f, mode="forward")(x), needle.compile(grad)(x):
                assert_allclose(got, first, rtol=rtol, atol=8 * tiny)
            for got in needle.hessian(f)(x), needle.jacobian(grad, mode="reverse")(x):
                assert_allclose(got, second, rtol=rtol, atol=8 * tiny)


# ------------------------------------------------------------------------------------------------ special functions


def special_derivatives(name: str, arguments: tuple[Any, ...], output: int | None, x: float) -> list[float]:
    """The first three derivatives by the argument that is None."""
    of = getattr(special, name, None) or getattr(nnp, name)

    def f(x: Any) -> Any:
        out = of(*[x if a is None else a for a in arguments])
        return out if output is None else out[output]

    found: list[float] = []
    with np.errstate(all="ignore"):
        for _ in range(3):
            f = needle.grad(f)
            found.append(float(f(x)))
    return found


# What mpmath has for tests/extended.py's functions, to 17 digits.
SPECIAL_DERIVATIVES: list[tuple[str, tuple[Any, ...], int | None, float, tuple[float, ...]]] = [
    ("erfcx", (None,), None, 0.0, (-1.1283791670955126, 2.0, -4.51351666838205)),
    ("erfcx", (None,), None, 1e-12, (-1.1283791670935126, 1.9999999999954865, -4.51351666837005)),
    ("erfcx", (None,), None, -1e-08, (-1.1283791870955129, 2.000000045135167, -4.513516788382052)),
    ("erfcx", (None,), None, 0.001, (-1.1263814218553503, 1.995492477318592, -4.501534702466764)),
    ("erfcx", (None,), None, 0.9, (-0.3066221947139019, 0.36114335216121063, -0.5764307449654285)),
    ("dawsn", (None,), None, 0.0, (1.0, 0.0, -4.0)),
    ("dawsn", (None,), None, 1e-12, (1.0, -4e-12, -4.0)),
    ("dawsn", (None,), None, -1e-08, (0.9999999999999998, 3.9999999999999994e-08, -3.9999999999999982)),
    ("dawsn", (None,), None, 0.001, (0.9999980000013333, -0.003999994666669867, -3.999984000016)),
    ("dawsn", (None,), None, 1e-05, (0.9999999998, -3.999999999466667e-05, -3.9999999984)),
    ("dawsn", (None,), None, 0.9, (0.02669622629266236, -1.1295018447793896, 1.926318415432252)),
    ("log_ndtr", (None,), None, 0.0, (0.7978845608028654, -0.6366197723675814, 0.21801361414499015)),
    ("log_ndtr", (None,), None, 1e-12, (0.7978845608022287, -0.6366197723673633, 0.21801361414510492)),
    ("log_ndtr", (None,), None, -1e-08, (0.7978845671690631, -0.6366197745477175, 0.21801361299728333)),
    ("log_ndtr", (None,), None, 0.001, (0.7972480500564331, -0.6364017013688413, 0.2181283825827461)),
    ("log_ndtr", (None,), None, 1e-05, (0.7978781946160424, -0.6366175922257014, 0.2180147618515888)),
    ("log_ndtr", (None,), None, 0.9, (0.32610889376111957, -0.39984501497510877, 0.29453765073534033)),
    ("exprel", (None,), None, 0.0, (0.5, 0.3333333333333333, 0.25)),
    ("exprel", (None,), None, 1e-12, (0.5000000000003333, 0.33333333333358334, 0.2500000000002)),
    ("exprel", (None,), None, -1e-08, (0.49999999666666667, 0.33333333083333333, 0.249999998)),
    ("exprel", (None,), None, 0.001, (0.5003334583666736, 0.33358343336111707, 0.25020008335714805)),
    ("exprel", (None,), None, 1e-05, (0.5000033333458334, 0.3333358333433334, 0.25000200000833334)),
    ("exprel", (None,), None, 0.9, (0.930913196153463, 0.6641963542778041, 0.5189044981372639)),
    ("spence", (None,), None, 1e-12, (-27.63102111595618, 999999999973.369, -9.99999999999e23)),
    ("spence", (None,), None, 0.001, (-6.914669948931068, 994.0794094605294, -999010.852033112)),
    ("spence", (None,), None, 0.9, (-1.053605156578263, 0.5750595453284809, -0.8444881057760592)),
    ("ellipk", (None,), None, 0.0, (0.39269908169872414, 0.44178646691106466, 0.9203884727313847)),
    ("ellipk", (None,), None, 1e-12, (0.39269908169916595, 0.4417864669119851, 0.9203884727342034)),
    ("ellipk", (None,), None, -1e-08, (0.3926990772808595, 0.4417864577071801, 0.9203884445444883)),
    ("ellipk", (None,), None, 0.001, (0.3931413288301293, 0.4427082666336615, 0.9232128798826105)),
    ("ellipk", (None,), None, 1e-05, (0.39270349960941314, 0.4417956709367284, 0.9204166601991564)),
    ("ellipk", (None,), None, 0.9, (4.7053640076069785, 48.98682482691808, 988.5109860020517)),
    ("ellipe", (None,), None, 0.0, (-0.39269908169872414, -0.14726215563702155, -0.18407769454627695)),
    ("ellipe", (None,), None, 1e-12, (-0.3926990816988714, -0.14726215563720563, -0.1840776945466796)),
    ("ellipe", (None,), None, -1e-08, (-0.3926990802261026, -0.14726215379624463, -0.18407769051957745)),
    ("ellipe", (None,), None, 0.001, (-0.392846435960373, -0.1474464348781662, -0.1844809995814258)),
    ("ellipe", (None,), None, 1e-05, (-0.3927005543294845, -0.14726399643410074, -0.18408172130926653)),
    ("ellipe", (None,), None, 0.9, (-0.8185096559133889, -2.159363528718661, -23.615963467090054)),
    ("ellipkm1", (None,), None, 1e-12, (-499999999996.5746, 4.9999999999987503e23, -9.99999999999875e35)),
    ("ellipkm1", (None,), None, 0.001, (-499.16399313007753, 499875.82410806295, -999875139.0432796)),
    ("ellipkm1", (None,), None, 0.9, (-0.4420023502753652, 0.5500939662195851, -1.2706104685359525)),
    ("ber", (None,), None, 0.0, (0.0, 0.0, 0.0)),
    ("ber", (None,), None, 1e-12, (-6.25e-38, -1.875e-25, -3.7499999999999997e-13)),
    ("ber", (None,), None, 0.001, (-6.249999999999995e-11, -1.8749999999999963e-07, -0.00037499999999999773)),
    ("ber", (None,), None, 0.9, (-0.045536552505861215, -0.1516731940385135, -0.33615472325549856)),
    ("bei", (None,), None, 0.0, (0.0, 0.5, 0.0)),
    ("bei", (None,), None, 1e-12, (5e-13, 0.5, -5.208333333333333e-38)),
    ("bei", (None,), None, 0.001, (0.0004999999999999974, 0.49999999999998695, -5.208333333333329e-11)),
    ("bei", (None,), None, 1e-05, (5e-06, 0.5, -5.2083333333333344e-17)),
    ("bei", (None,), None, 0.9, (0.44846252835278366, 0.4914596584898344, -0.037945397305944296)),
    ("it2i0k0", (None,), 0, 0.0, (0.0, 0.25, 0.0)),
    ("it2i0k0", (None,), 0, 1e-12, (2.5e-13, 0.25, 9.375e-14)),
    ("it2i0k0", (None,), 0, -1e-08, (-2.5e-09, 0.25, -9.375000000000001e-10)),
    ("it2i0k0", (None,), 0, 0.001, (0.00025000001562500043, 0.25000004687500216, 9.375000868055584e-05)),
    ("it2i0k0", (None,), 0, 1e-05, (2.500000000015625e-06, 0.2500000000046875, 9.375000000086806e-07)),
    ("it2i0k0", (None,), 0, 0.9, (0.23665018414298258, 0.2894180711310908, 0.09087367031961507)),
    ("it2j0y0", (None,), 0, 0.0, (0.0, 0.25, 0.0)),
    ("it2j0y0", (None,), 0, 1e-12, (2.5e-13, 0.25, -9.374999999999999e-14)),
    ("it2j0y0", (None,), 0, -1e-08, (-2.5e-09, 0.25, 9.375e-10)),
    ("it2j0y0", (None,), 0, 0.001, (0.00024999998437500045, 0.24999995312500217, -9.374999131944473e-05)),
    ("it2j0y0", (None,), 0, 1e-05, (2.4999999999843754e-06, 0.2499999999953125, -9.374999999913195e-07)),
    ("it2j0y0", (None,), 0, 0.9, (0.21386244653050582, 0.21343011060922207, -0.07821274921619151)),
    ("i0e", (None,), None, 1e-12, (-0.9999999999985, 1.4999999999975, -2.499999999995625)),
    ("i0e", (None,), None, 0.001, (-0.9985012492711614, 1.4975021861881013, -2.495628935094867)),
    ("i0e", (None,), None, 0.9, (-0.29104643522384954, 0.35751894725119265, -0.5393696598699815)),
    ("k1e", (None,), None, 1e-12, (-1e24, 2e36, -6e48)),
    ("k1e", (None,), None, 0.001, (-1000002.7685405117, 2000000494.297058, -6000000499010.724)),
    ("k1e", (None,), None, 0.9, (-1.3929842935413976, 2.8957887974091867, -9.42406543522505)),
    ("pseudo_huber", (0.3, None), None, 0.0, (0.0, 1.0, 0.0)),
    ("pseudo_huber", (0.3, None), None, 1e-12, (1e-12, 1.0, -3.3333333333333335e-11)),
    ("pseudo_huber", (0.3, None), None, -1e-08, (-9.999999999999995e-09, 0.9999999999999983, 3.3333333333333245e-07)),
    ("pseudo_huber", (0.3, None), None, 0.001, (0.0009999944444907404, 0.9999833335648118, -0.03333240742541123)),
    ("pseudo_huber", (0.3, None), None, 1e-05, (9.999999994444446e-06, 0.9999999983333333, -0.0003333333324074075)),
    ("pseudo_huber", (0.3, None), None, 0.9, (0.2846049894151541, 0.03162277660168379, -0.09486832980505136)),
    (
        "pseudo_huber",
        (0.3, None),
        None,
        0.30000000299999996,
        (0.2121320354166244, 0.353553385289973, -1.767766926449865),
    ),
    ("arctanh", (None,), None, 0.0, (1.0, 0.0, 2.0)),
    ("arctanh", (None,), None, 1e-12, (1.0, 2e-12, 2.0)),
    ("arctanh", (None,), None, -1e-08, (1.0, -2.0000000000000004e-08, 2.0000000000000013)),
    ("arctanh", (None,), None, 0.001, (1.000001000001, 0.002000004000006, 2.00001200003)),
    ("arctanh", (None,), None, 0.9, (5.263157894736843, 49.86149584487537, 1000.1457938475003)),
    ("arcsin", (None,), None, 0.0, (1.0, 0.0, 1.0)),
    ("arcsin", (None,), None, 1e-12, (1.0, 1e-12, 1.0)),
    ("arcsin", (None,), None, -1e-08, (1.0, -1.0000000000000002e-08, 1.0000000000000004)),
    ("arcsin", (None,), None, 0.001, (1.000000500000375, 0.0010000015000018751, 1.000004500009375)),
    ("arcsin", (None,), None, 1e-05, (1.00000000005, 1.0000000001500001e-05, 1.00000000045)),
    ("arcsin", (None,), None, 0.9, (2.294157338705618, 10.867061078079246, 166.5011697343136)),
    ("hypot", (None, 0.001), None, 0.0, (0.0, 1000.0, 0.0)),
    ("hypot", (None, 0.001), None, 1e-12, (9.999999999999999e-10, 1000.0, -0.0029999999999999996)),
    ("hypot", (None, 0.001), None, -1e-08, (-9.9999999995e-06, 999.99999985, 29.999999992499998)),
    ("hypot", (None, 0.001), None, 0.001, (0.7071067811865476, 353.5533905932738, -530330.0858899106)),
    ("hypot", (None, 0.001), None, 1e-05, (0.009999500037496875, 999.8500187478127, -29992.501312303153)),
    ("hypot", (None, 0.001), None, 0.9, (0.9999993827166209, 1.371739572223602e-06, -4.572459595733493e-06)),
    ("hypot", (None, 0.001), None, 0.00100000001, (0.7071067847220814, 353.55338528997294, -530330.0779349594)),
    ("eval_legendre", (6, None), None, 0.0, (0.0, 13.125, 0.0)),
    ("eval_legendre", (6, None), None, 1e-12, (1.3125e-11, 13.125, -4.725e-10)),
    ("eval_legendre", (6, None), None, -1e-08, (-1.3124999999999993e-07, 13.124999999999977, 4.724999999999998e-06)),
    ("eval_legendre", (6, None), None, 0.001, (0.013124921250086624, 13.124763750433125, -0.4724982675)),
    ("eval_legendre", (6, None), None, 0.9, (5.554946250000002, 105.93581250000003, 837.7425000000001)),
    ("struve", (-1, None), None, 0.0, (0.0, -0.4244131815783876, 0.0)),
    ("struve", (-1, None), None, 1e-12, (-4.2441318157838755e-13, -0.4244131815783876, 3.3953054526271006e-13)),
    ("struve", (-1, None), None, -1e-08, (4.2441318157838755e-09, -0.42441318157838753, -3.3953054526271005e-09)),
    ("struve", (-1, None), None, 0.001, (-0.0004244131249899658, -0.4244130118131271, 0.0003395304967583486)),
    ("struve", (-1, None), None, 1e-05, (-4.2441318157272875e-06, -0.42441318156141106, 3.3953054525785966e-06)),
    ("struve", (-1, None), None, 0.9, (-0.3421266689113908, -0.29467078673741587, 0.2714686704335052)),
    ("struve", (0, None), None, 0.0, (0.6366197723675814, 0.0, -0.4244131815783876)),
    ("struve", (0, None), None, 1e-12, (0.6366197723675814, -4.2441318157838755e-13, -0.4244131815783876)),
    ("struve", (0, None), None, -1e-08, (0.6366197723675813, 4.2441318157838755e-09, -0.42441318157838753)),
    ("struve", (0, None), None, 0.001, (0.6366195601610047, -0.0004244131249899658, -0.4244130118131271)),
    ("struve", (0, None), None, 1e-05, (0.6366197723463607, -4.2441318157272875e-06, -0.42441318156141106)),
    ("struve", (0, None), None, 0.9, (0.47380227942117237, -0.3421266689113908, -0.29467078673741587)),
    ("struve", (1, None), None, 0.0, (0.0, 0.4244131815783876, 0.0)),
    ("struve", (1, None), None, 1e-12, (4.2441318157838755e-13, 0.4244131815783876, -3.3953054526271006e-13)),
    ("struve", (1, None), None, -1e-08, (-4.2441318157838755e-09, 0.42441318157838753, 3.3953054526271005e-09)),
    ("struve", (1, None), None, 0.001, (0.0004244131249899658, 0.4244130118131271, -0.0003395304967583486)),
    ("struve", (1, None), None, 1e-05, (4.2441318157272875e-06, 0.42441318156141106, -3.3953054525785966e-06)),
    ("struve", (1, None), None, 0.9, (0.3421266689113908, 0.29467078673741587, -0.2714686704335052)),
    ("struve", (2, None), None, 0.0, (0.0, 0.0, 0.25464790894703254)),
    ("struve", (2, None), None, 1e-12, (1.2732395447351625e-25, 2.546479089470325e-13, 0.25464790894703254)),
    ("struve", (2, None), None, -1e-08, (1.2732395447351627e-17, -2.546479089470325e-09, 0.25464790894703254)),
    ("struve", (2, None), None, 0.001, (1.2732394436844085e-07, 0.0002546478685267314, 0.25464778768613294)),
    ("struve", (2, None), None, 1e-05, (1.2732395447250578e-11, 2.546479089429905e-06, 0.25464790893490646)),
    ("struve", (2, None), None, 0.9, (0.09666729673553437, 0.20081067195561955, 0.1624603978488641)),
    ("modstruve", (-1, None), None, 0.0, (0.0, 0.4244131815783876, 0.0)),
    ("modstruve", (-1, None), None, 1e-12, (4.2441318157838755e-13, 0.4244131815783876, 3.3953054526271006e-13)),
    ("modstruve", (-1, None), None, -1e-08, (-4.2441318157838755e-09, 0.4244131815783876, -3.3953054526271005e-09)),
    ("modstruve", (-1, None), None, 0.001, (0.0004244132381668142, 0.4244133513436723, 0.0003395305937670758)),
    ("modstruve", (-1, None), None, 1e-05, (4.244131815840465e-06, 0.42441318159536406, 3.395305452675605e-06)),
    ("modstruve", (-1, None), None, 0.9, (0.42468169426638636, 0.5700724546741367, 0.342232671618257)),
    ("modstruve", (0, None), None, 0.0, (0.6366197723675814, 0.0, 0.4244131815783876)),
    ("modstruve", (0, None), None, 1e-12, (0.6366197723675814, 4.2441318157838755e-13, 0.4244131815783876)),
    ("modstruve", (0, None), None, -1e-08, (0.6366197723675814, -4.2441318157838755e-09, 0.4244131815783876)),
    ("modstruve", (0, None), None, 0.001, (0.6366199845741862, 0.0004244132381668142, 0.4244133513436723)),
    ("modstruve", (0, None), None, 1e-05, (0.636619772388802, 4.244131815840465e-06, 0.42441318159536406)),
    ("modstruve", (0, None), None, 0.9, (0.8180066218195469, 0.42468169426638636, 0.5700724546741367)),
    ("modstruve", (1, None), None, 0.0, (0.0, 0.4244131815783876, 0.0)),
    ("modstruve", (1, None), None, 1e-12, (4.2441318157838755e-13, 0.4244131815783876, 3.3953054526271006e-13)),
    ("modstruve", (1, None), None, -1e-08, (-4.2441318157838755e-09, 0.4244131815783876, -3.3953054526271005e-09)),
    ("modstruve", (1, None), None, 0.001, (0.0004244132381668142, 0.4244133513436723, 0.0003395305937670758)),
    ("modstruve", (1, None), None, 1e-05, (4.244131815840465e-06, 0.42441318159536406, 3.395305452675605e-06)),
    ("modstruve", (1, None), None, 0.9, (0.42468169426638636, 0.5700724546741367, 0.342232671618257)),
    ("modstruve", (2, None), None, 0.0, (0.0, 0.0, 0.25464790894703254)),
    ("modstruve", (2, None), None, 1e-12, (1.2732395447351625e-25, 2.546479089470325e-13, 0.25464790894703254)),
    ("modstruve", (2, None), None, -1e-08, (1.2732395447351628e-17, -2.5464790894703256e-09, 0.25464790894703254)),
    ("modstruve", (2, None), None, 0.001, (1.2732396457859234e-07, 0.00025464794936733745, 0.254648030207951)),
    ("modstruve", (2, None), None, 1e-05, (1.273239544745268e-11, 2.546479089510746e-06, 0.2546479089591586)),
    ("modstruve", (2, None), None, 0.9, (0.10993169673953278, 0.2597836489701276, 0.3592155576210947)),
    ("struve", (-1.3, None), None, 1e-12, (-361403874831206.5, 4.698250372805685e26, -1.0805975857453076e39)),
    ("struve", (-1.3, None), None, 0.001, (-721.0989371071632, 937421.8078950922, -2156074925.3947253)),
    ("struve", (-1.3, None), None, 0.9, (-0.44613780919969453, 0.004116297099930672, 0.0016496056920374171)),
    ("struve", (0.5, None), None, 1e-12, (5.98413420602149e-07, 299206.7103010745, -1.4960335515053725e17)),
    ("struve", (0.5, None), None, 0.001, (0.01892349023558313, 9.461737758655815, -4730.887277165744)),
    ("struve", (0.5, None), None, 0.9, (0.4820110160803414, 0.08545671200957732, -0.5186389995565869)),
    ("struve", (0.5, None), None, 0.500000005, (0.4028405046959112, 0.3226981573559387, -0.7149466188173912)),
    ("struve", (2.5, None), None, 1e-12, (5.817908255854226e-32, 1.4544770639635567e-19, 2.181715595945335e-07)),
    ("struve", (2.5, None), None, 0.001, (1.8397840101776473e-09, 4.5994597845200185e-06, 0.006899188592621608)),
    ("struve", (2.5, None), None, 0.9, (0.04238744365846483, 0.11270246200124315, 0.16313390870387567)),
    ("struve", (2.5, None), None, 2.500000025, (0.37619732675147005, 0.2437605269605865, -0.053683232225107694)),
    ("ellipkinc", (0.001, None), None, 0.0, (1.666666333333365e-10, 1.4999992857144526e-16, 2.678569345238891e-22)),
    ("ellipkinc", (0.001, None), None, 1e-12, (1.666666333333365e-10, 1.4999992857144526e-16, 2.678569345238891e-22)),
    ("ellipkinc", (0.001, None), None, -1e-08, (1.6666663333333501e-10, 1.4999992857144258e-16, 2.678569345238818e-22)),
    ("ellipkinc", (0.001, None), None, 0.001, (1.6666663348333644e-10, 1.499999288393022e-16, 2.67856935253055e-22)),
    ("ellipkinc", (0.001, None), None, 0.9, (1.6666676833338072e-10, 1.5000016964298164e-16, 2.678575907742605e-22)),
    (
        "ellipkinc",
        (0.001, None),
        None,
        0.00100000001,
        (1.6666663348333644e-10, 1.499999288393022e-16, 2.67856935253055e-22),
    ),
    ("ellipeinc", (0.001, None), None, 0.0, (-1.666666333333365e-10, -4.999997619048175e-17, -5.357138690477782e-23)),
    ("ellipeinc", (0.001, None), None, 1e-12, (-1.666666333333365e-10, -4.999997619048175e-17, -5.357138690477782e-23)),
    (
        "ellipeinc",
        (0.001, None),
        None,
        -1e-08,
        (-1.6666663333333602e-10, -4.999997619048122e-17, -5.357138690477679e-23),
    ),
    ("ellipeinc", (0.001, None), None, 0.001, (-1.666666333833365e-10, -4.999997624405314e-17, -5.357138700894437e-23)),
    ("ellipeinc", (0.001, None), None, 0.9, (-1.666666783333368e-10, -5.0000024404772154e-17, -5.357148065479636e-23)),
    (
        "ellipeinc",
        (0.001, None),
        None,
        0.00100000001,
        (-1.666666333833365e-10, -4.999997624405314e-17, -5.357138700894438e-23),
    ),
    ("ellipkinc", (0.3, None), None, 0.0, (0.00441969082562058, 0.00034920231578773804, 5.46175786157313e-05)),
    ("ellipkinc", (0.3, None), None, 1e-12, (0.004419690825620929, 0.0003492023157877926, 5.461757861574431e-05)),
    ("ellipkinc", (0.3, None), None, -1e-08, (0.004419690822128557, 0.00034920231524156225, 5.461757848564182e-05)),
    ("ellipkinc", (0.3, None), None, 0.001, (0.004420040055247325, 0.0003492569398715261, 5.463058965857717e-05)),
    ("ellipkinc", (0.3, None), None, 0.9, (0.004757797168905704, 0.0004041867452926919, 6.82545223796911e-05)),
    (
        "ellipkinc",
        (0.3, None),
        None,
        0.30000000299999996,
        (0.0045269693017048005, 0.000366192432371295, 5.8716699872650046e-05),
    ),
    ("ellipeinc", (0.3, None), None, 0.0, (-0.00441969082562058, -0.00011640077192924601, -1.092351572314626e-05)),
    ("ellipeinc", (0.3, None), None, 1e-12, (-0.004419690825620696, -0.00011640077192925694, -1.0923515723148118e-05)),
    ("ellipeinc", (0.3, None), None, -1e-08, (-0.004419690824456572, -0.00011640077182001085, -1.0923515704562049e-05)),
    ("ellipeinc", (0.3, None), None, 0.001, (-0.004419807231854577, -0.00011641169637425732, -1.0925374377056275e-05)),
    ("ellipeinc", (0.3, None), None, 0.9, (-0.004529114877661944, -0.00012704571735764445, -1.280532956653251e-05)),
    (
        "ellipeinc",
        (0.3, None),
        None,
        0.30000000299999996,
        (-0.004455111138928288, -0.00011976360342988502, -1.1502703354372912e-05),
    ),
    ("ellipkinc", (1.2, None), None, 0.0, (0.2155671024311061, 0.18750304562706915, 0.310986401677993)),
    ("ellipkinc", (1.2, None), None, 1e-12, (0.21556710243129362, 0.18750304562738015, 0.3109864016787638)),
    ("ellipkinc", (1.2, None), None, -1e-08, (0.21556710055607567, 0.18750304251720518, 0.3109863939702015)),
    ("ellipkinc", (1.2, None), None, 0.001, (0.21575476109850372, 0.18781441784438435, 0.31175845945218933)),
    ("ellipkinc", (1.2, None), None, 0.9, (0.8877684205802943, 3.0322729985785952, 21.118462166837254)),
    ("ellipeinc", (1.2, None), None, 0.0, (-0.2155671024311061, -0.06250101520902306, -0.0621972803355986)),
    ("ellipeinc", (1.2, None), None, 1e-12, (-0.2155671024311686, -0.06250101520908526, -0.06219728033570871)),
    ("ellipeinc", (1.2, None), None, -1e-08, (-0.21556710180609598, -0.06250101458705025, -0.06219727923448553)),
    ("ellipeinc", (1.2, None), None, 0.001, (-0.21562963456331902, -0.0625632675923437, -0.06230753367663481)),
    ("ellipeinc", (1.2, None), None, 0.9, (-0.33214470789888695, -0.3086798403785596, -1.1701297096905092)),
    ("ellipkinc", (2.0, None), None, 0.0, (0.594600311913491, 0.7275885517754721, 1.596649506117848)),
    ("ellipkinc", (2.0, None), None, 1e-12, (0.5946003119142186, 0.7275885517770687, 1.5966495061229133)),
    ("ellipkinc", (2.0, None), None, -1e-08, (0.5946003046376056, 0.7275885358089772, 1.5966494554659003)),
    ("ellipkinc", (2.0, None), None, 0.001, (0.5953286996350962, 0.7291877373895885, 1.6017252371836888)),
    ("ellipkinc", (2.0, None), None, 1e-05, (0.5946075878788422, 0.7276045185237965, 1.596700159118533)),
    ("ellipkinc", (2.0, None), None, 0.9, (8.739169312421213, 96.11274293449165, 1966.5184293950465)),
    ("ellipeinc", (2.0, None), None, 0.0, (-0.594600311913491, -0.24252951725849067, -0.31932990122356963)),
    ("ellipeinc", (2.0, None), None, 1e-12, (-0.5946003119137335, -0.24252951725881003, -0.3193299012242932)),
    ("ellipeinc", (2.0, None), None, -1e-08, (-0.5946003094881959, -0.24252951406519171, -0.31932989398757705)),
    ("ellipeinc", (2.0, None), None, 0.001, (-0.5948430012163974, -0.24284920934931956, -0.3200546708149179)),
    ("ellipeinc", (2.0, None), None, 1e-05, (-0.5946027372246302, -0.24253271059368328, -0.31933713733313274)),
    ("ellipeinc", (2.0, None), None, 0.9, (-1.3558472686835035, -4.101845579854283, -46.55955899718266)),
    ("ellipkinc", (-4.0, None), None, 0.0, (-0.8763302191720773, -0.9327475947737784, -1.8925129630270396)),
    ("ellipkinc", (-4.0, None), None, 1e-12, (-0.87633021917301, -0.9327475947756709, -1.8925129630327593)),
    ("ellipkinc", (-4.0, None), None, -1e-08, (-0.8763302098446014, -0.9327475758486491, -1.8925129058312582)),
    ("ellipkinc", (-4.0, None), None, 0.001, (-0.8772639139775552, -0.9346429713652684, -1.8982440641166534)),
    ("ellipkinc", (-4.0, None), None, 1e-05, (-0.8763395467426516, -0.9327665201893914, -1.8925701599599476)),
    ("ellipkinc", (-4.0, None), None, 0.9, (-9.58622640282223, -98.15430267671503, -1977.3968867484082)),
    ("ellipkinc", (-4.0, None), None, -4.00000004, (-0.14812940612144576, -0.03411444186270469, -0.014308816804834156)),
    ("ellipeinc", (-4.0, None), None, 0.0, (0.8763302191720773, 0.31091586492459283, 0.3785025926054079)),
    ("ellipeinc", (-4.0, None), None, 1e-12, (0.8763302191723882, 0.3109158649249713, 0.378502592606225)),
    ("ellipeinc", (-4.0, None), None, -1e-08, (0.8763302160629186, 0.31091586113956693, 0.37850258443458196)),
    ("ellipeinc", (-4.0, None), None, 0.001, (0.8766413244245852, 0.3112947764849975, 0.3793209551380161)),
    ("ellipeinc", (-4.0, None), None, 0.9, (1.7492201851994797, 4.35389234312375, 47.273680915190994)),
    ("ellipeinc", (-4.0, None), None, -4.00000004, (0.4661913467329898, 0.03975774217886558, 0.010644847977788028)),
    ("elliprc", (None, 0.001), None, 1e-12, (-499975164.52929825, 2.4999999950003726e20, -3.7499999975e32)),
    ("elliprc", (None, 0.001), None, 0.001, (-5270.462766947298, 4743416.490252568, -8470386589.73673)),
    ("elliprc", (None, 0.001), None, 0.00100000001, (-5270.462719513134, 4743416.405548705, -8470386359.153989)),
    ("elliprf", (None, 0.001, 0.001), None, 1e-12, (-499975164.52929825, 2.4999999950003726e20, -3.7499999975e32)),
    ("elliprf", (None, 0.001, 0.001), None, 0.001, (-5270.462766947298, 4743416.490252568, -8470386589.73673)),
    ("elliprf", (None, 0.001, 0.001), None, 0.00100000001, (-5270.462719513134, 4743416.405548705, -8470386359.153989)),
    ("elliprg", (None, 0.001, 1.0), None, 1e-12, (1.210267329125077, -7905318.35220096, 3.9528470672974996e18)),
    ("elliprg", (None, 0.001, 1.0), None, 0.001, (0.9126064176963389, -93.20547791456396, 78047.80910505107)),
    ("elliprg", (None, 0.001, 1.0), None, 0.00100000001, (0.9126064167642841, -93.20547713408587, 78047.80773854569)),
    (
        "elliprd",
        (0.001, 1.0, None),
        None,
        1e-12,
        (-4.7434164855047094e19, 7.1151247330047735e31, -1.7787811834886016e44),
    ),
    ("elliprd", (0.001, 1.0, None), None, 0.001, (-1124442.2612640848, 1874531943.8995993, -4921055301223.03)),
    ("elliprd", (0.001, 1.0, None), None, 0.00100000001, (-1124442.2425187659, 1874531894.6890473, -4921055124057.672)),
    ("beta", (None, 0.001), None, 1e-12, (-1e24, 2e36, -6e48)),
    ("beta", (None, 0.001), None, 0.001, (-1000001.6401331358, 2000000002.3949335, -6000000000006.462)),
    ("beta", (None, 0.001), None, 0.9, (-1.9212818191331427, 3.2011928961413085, -9.738325467190274)),
    ("beta", (None, 0.001), None, 0.00100000001, (-1000001.6201331362, 1999999942.394935, -5999999760006.469)),
    ("agm", (None, 0.001), None, 1e-12, (3213362.118671914, -2.922685860086458e18, 5.594136715413605e30)),
    ("agm", (None, 0.001), None, 0.001, (0.5, -125.0, 187500.0)),
    ("agm", (None, 0.001), None, 1e-05, (4.37459895689375, -291642.7258762967, 51006966024.97846)),
    ("agm", (None, 0.001), None, 0.00100000001, (0.49999999875, -124.99999812500003, 187499.9950781251)),
    ("elliprc", (None, 0.7), None, 1e-12, (-714284.3732443914, 3.571428571418368e17, -5.357142857137756e29)),
    ("elliprc", (None, 0.7), None, 0.001, (-21.308434820539695, 11264.27968267545, -16924721.783154126)),
    ("elliprc", (None, 0.7), None, 0.9, (-0.2262347047913363, 0.2327428506718837, -0.4692565746266486)),
    ("elliprc", (None, 0.7), None, 0.7000000069999999, (-0.2845782377565087, 0.36588630244623255, -0.9333834158665265)),
    ("elliprf", (None, 0.7, 0.7), None, 1e-12, (-714284.3732443914, 3.571428571418368e17, -5.357142857137756e29)),
    ("elliprf", (None, 0.7, 0.7), None, 0.001, (-21.308434820539695, 11264.27968267545, -16924721.783154126)),
    ("elliprf", (None, 0.7, 0.7), None, 0.9, (-0.2262347047913363, 0.2327428506718837, -0.4692565746266486)),
    (
        "elliprf",
        (None, 0.7, 0.7),
        None,
        0.7000000069999999,
        (-0.2845782377565087, 0.36588630244623255, -0.9333834158665265),
    ),
    ("elliprg", (None, 0.7, 1.0), None, 1e-12, (0.4284717644311674, -298806.37803340814, 1.4940357616607354e17)),
    ("elliprg", (None, 0.7, 1.0), None, 0.001, (0.41031898376222276, -8.718445183767084, 4703.816986471325)),
    ("elliprg", (None, 0.7, 1.0), None, 1e-05, (0.42659025221694047, -93.72138260245312, 4724328.786257131)),
    ("elliprg", (None, 0.7, 1.0), None, 0.9, (0.17791395461635756, -0.060217725703531594, 0.07233578774810187)),
    (
        "elliprg",
        (None, 0.7, 1.0),
        None,
        0.7000000069999999,
        (0.1916542450580075, -0.07867952203854016, 0.11768006145947457),
    ),
    ("elliprd", (0.7, 1.0, None), None, 1e-12, (-1.7928429139972365e18, 2.689264371000209e30, -6.723160927502699e42)),
    ("elliprd", (0.7, 1.0, None), None, 0.001, (-56567.70936316436, 84973469.57025498, -212501919437.61905)),
    ("elliprd", (0.7, 1.0, None), None, 0.9, (-1.2303604200647065, 2.4531906635383818, -7.443975141143156)),
    (
        "elliprd",
        (0.7, 1.0, None),
        None,
        0.7000000069999999,
        (-1.9246092527775687, 4.8562319434808625, -18.7568673393307),
    ),
    ("beta", (None, 0.7), None, 1e-12, (-1e24, 2e36, -6e48)),
    ("beta", (None, 0.7), None, 0.001, (-1000000.387289707, 2000000000.6659048, -6000000000001.881)),
    ("beta", (None, 0.7), None, 1e-05, (-10000000000.387949, 2000000000000000.2, -5.999999999999999e20)),
    ("beta", (None, 0.7), None, 0.9, (-1.367669974922859, 2.856858332939865, -9.305888988947851)),
    ("beta", (None, 0.7), None, 0.7000000069999999, (-2.200299387850821, 5.9841283678839545, -25.234677001189382)),
    ("agm", (None, 0.7), None, 1e-12, (1338585550.6892476, -1.2451762251619364e21, 2.406720574684962e33)),
    ("agm", (None, 0.7), None, 0.001, (17.452631230451587, -13055.290753153853, 23374775.291274197)),
    ("agm", (None, 0.7), None, 0.9, (0.47042298599058, -0.1232104473683116, 0.19899592145640027)),
    ("agm", (None, 0.7), None, 0.7000000069999999, (0.49999999875, -0.1785714258928572, 0.38265305117984727)),
    ("elliprc", (None, 3.0), None, 1e-12, (-166666.51551683075, 8.333333333327778e16, -1.2499999999997222e29)),
    ("elliprc", (None, 3.0), None, 0.001, (-5.122752417540562, 2633.547856550396, -3951969.7752551003)),
    ("elliprc", (None, 3.0), None, 1e-05, (-52.55382833244667, 2635213.890605785, -395283829122.2356)),
    ("elliprc", (None, 3.0), None, 0.9, (-0.08812607837570491, 0.0764830330900335, -0.14133249001395035)),
    ("elliprc", (None, 3.0), None, 3.00000003, (-0.03207501466630408, 0.009622504314663329, -0.005727681086040365)),
    ("elliprf", (None, 3.0, 3.0), None, 1e-12, (-166666.51551683075, 8.333333333327778e16, -1.2499999999997222e29)),
    ("elliprf", (None, 3.0, 3.0), None, 0.001, (-5.122752417540562, 2633.547856550396, -3951969.7752551003)),
    ("elliprf", (None, 3.0, 3.0), None, 0.9, (-0.08812607837570491, 0.0764830330900335, -0.14133249001395035)),
    (
        "elliprf",
        (None, 3.0, 3.0),
        None,
        3.00000003,
        (-0.03207501466630408, 0.009622504314663329, -0.005727681086040365),
    ),
    ("elliprg", (None, 3.0, 1.0), None, 1e-12, (0.2928547323618309, -144337.2942430235, 7.216878364851077e16)),
    ("elliprg", (None, 3.0, 1.0), None, 0.001, (0.28399148739967356, -4.303004339412399, 2276.550170920495)),
    ("elliprg", (None, 3.0, 1.0), None, 1e-05, (0.29194487256495283, -45.37170402269605, 2282116.946916342)),
    ("elliprg", (None, 3.0, 1.0), None, 0.9, (0.14898751066194793, -0.041738126861996704, 0.04558751243524948)),
    (
        "elliprg",
        (None, 3.0, 1.0),
        None,
        3.00000003,
        (0.10471942833004928, -0.011615106990264341, 0.0044172146544461475),
    ),
    ("elliprd", (3.0, 1.0, None), None, 1e-12, (-8.66025403783284e17, 1.2990381056760805e30, -3.247595264190779e42)),
    ("elliprd", (3.0, 1.0, None), None, 0.001, (-27351.83476235262, 41060984.85483561, -102670620669.13187)),
    ("elliprd", (3.0, 1.0, None), None, 0.9, (-0.7022943021138361, 1.3429840067351073, -3.9737166974355116)),
    ("elliprd", (3.0, 1.0, None), None, 3.00000003, (-0.08185614206355407, 0.05054459259639788, -0.04701446336613804)),
    ("beta", (None, 3.0), None, 1e-12, (-1e24, 2e36, -6e48)),
    ("beta", (None, 3.0), None, 0.001, (-999998.2537441953, 1999999996.2616012, -5999999999988.422)),
    ("beta", (None, 3.0), None, 1e-05, (-9999999998.250036, 1999999999999995.8, -5.999999999999999e20)),
    ("beta", (None, 3.0), None, 0.9, (-0.7994573449452276, 2.2423130171804573, -8.308976081820676)),
    ("beta", (None, 3.0), None, 3.00000003, (-0.02611111028388891, 0.027574072970101886, -0.03679907228696117)),
    ("agm", (None, 3.0), None, 1e-12, (5195754688.246233, -4.850704405972612e21, 9.390730734800853e33)),
    ("agm", (None, 3.0), None, 0.001, (53.41503751572581, -42041.30616680493, 76341533.62355599)),
    ("agm", (None, 3.0), None, 0.9, (0.7165866743932148, -0.28499522410672395, 0.5283205023329095)),
    ("agm", (None, 3.0), None, 3.00000003, (0.49999999875, -0.04166666604166668, 0.020833332786458346)),
]


@pytest.mark.parametrize(("name", "arguments", "output", "x", "expected"), SPECIAL_DERIVATIVES)
def test_derivatives_of_special_functions_keep_their_digits(name, arguments, output, x, expected):
    assert_allclose(special_derivatives(name, arguments, output, x), expected, rtol=1e-10, atol=1e-280)


def wrong_at(seed: int) -> list[str]:
    """What differs from mpmath at a random point: near 0, near a singular point or an argument, or anywhere."""
    rng = np.random.default_rng(seed)
    f = FUNCTIONS[rng.integers(len(FUNCTIONS))]
    centers = [0.0, *f.singular, *[a for a in f.arguments if isinstance(a, float)]]
    x = float(rng.choice(centers) + 10 ** rng.uniform(-14, 1) * rng.choice([-1, 1]))
    if rng.random() < 0.3 or not f.low < x < f.high or x in f.singular:
        x = float(rng.uniform(f.low, f.high))
    exact, wrong = list(map(float, derivatives(f, x))), []
    for order, got in enumerate(special_derivatives(f.name, f.arguments, f.output, x)):
        size, steeper = abs(exact[order]), abs(exact[order + 1]) if order < 3 else 0.0
        if not abs(got - exact[order]) <= 1e-9 * size + 1e-14 * abs(x) * steeper + 1e-250:
            wrong.append(f"{f.name}{f.arguments} at {x!r}, order {order + 1}: {got!r}, not {exact[order]!r}")
    return wrong


@pytest.mark.parametrize("seed", range(40))
def test_derivatives_at_a_random_point(seed):
    assert wrong_at(seed) == []


if __name__ == "__main__":
    found = [what for seed in range(int(sys.argv[1])) for what in wrong_at(seed)]
    print(*found, f"{len(found)} wrong", sep="\n")
