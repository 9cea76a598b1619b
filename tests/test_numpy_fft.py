"""numpy.fft by its names."""

from __future__ import annotations

import needle
import needle.numpy as nnp
import numpy as np
import pytest
from calls import Call, laws
from needle import Tensor
from numpy.testing import assert_allclose
from samples.kit import numbers

V, W, M, T = numbers((5,)), numbers((4,)), numbers((3, 4)), numbers((2, 3, 4))
C, D = numbers((5,), "D"), numbers((3, 4), "D")
NORMS = [None, "backward", "ortho", "forward"]
OF_COMPLEX, OF_REAL = ["fft", "ifft", "irfft", "hfft"], ["rfft", "ihfft"]

ALONG_ONE = [
    *[Call(f"fft.{name}", a) for name in OF_COMPLEX + OF_REAL for a in [V, W, M, V.astype("f"), numbers((4,), "l")]],
    *[Call(f"fft.{name}", a) for name in OF_COMPLEX for a in [C, D, D.astype("F")]],
    *[Call(f"fft.{name}", V, n) for name in OF_COMPLEX + OF_REAL for n in [1, 2, 3, 6, 8, 9]],
    *[Call(f"fft.{name}", C, n=n, norm="ortho") for name in OF_COMPLEX for n in [1, 2, 7]],
    *[Call(f"fft.{name}", T, axis=axis) for name in OF_COMPLEX + OF_REAL for axis in [0, 1, -2]],
    *[Call(f"fft.{name}", M, 5, 0, norm) for name in OF_COMPLEX + OF_REAL for norm in NORMS],
    *[Call(f"fft.{name}", numbers((0, 3))) for name in OF_COMPLEX + OF_REAL],
]
SEVERAL = ["fftn", "ifftn", "rfftn", "irfftn", "fft2", "ifft2", "rfft2", "irfft2"]
ALONG_SEVERAL = [
    *[Call(f"fft.{name}", a) for name in SEVERAL for a in [M, T]],
    *[Call(f"fft.{name}", T, (3, 5), (0, 2)) for name in SEVERAL],
    *[Call(f"fft.{name}", T, s=(-1, 2), axes=(1, -3), norm="ortho") for name in SEVERAL],
    *[Call(f"fft.{name}", T, axes=(2, 0), norm="forward") for name in SEVERAL],
    *[Call(f"fft.{name}", D) for name in SEVERAL if "r" not in name or "ir" in name],
    Call("fft.fftn", T, (4, 2), (0, 0)),
    Call("fft.fftn", T, axes=()),
    Call("fft.irfftn", M, axes=(1,)),
]
FREQUENCIES = [
    *[Call(f"fft.{name}", n, *d) for name in ["fftfreq", "rfftfreq"] for n in [1, 2, 5, 8] for d in [(), (0.1,)]],
    *[Call(f"fft.{name}", a) for name in ["fftshift", "ifftshift"] for a in [V, W, M, T, D, numbers((0, 3))]],
    *[Call(f"fft.{name}", T, axes) for name in ["fftshift", "ifftshift"] for axes in [0, -1, (0, 1), [2]]],
]

test_value, test_gradient, test_second_order = laws(ALONG_ONE + ALONG_SEVERAL + FREQUENCIES)


def test_frequencies_are_differentiable_by_the_spacing():
    assert_allclose(needle.grad(lambda d: nnp.fft.rfftfreq(4, d).sum())(0.5), -(0.25 + 0.5) / 0.25)
    assert nnp.fft.fftfreq(4, dtype=np.float32).dtype == np.float32


@pytest.mark.parametrize("name", OF_COMPLEX + OF_REAL + SEVERAL)
def test_out(name):
    expected = getattr(np.fft, name)(M)
    out = nnp.zeros_like(expected)
    assert getattr(nnp.fft, name)(Tensor(M), out=out) is out
    assert_allclose(out.numpy(), expected)


def test_a_convolution_by_transforms():
    a, b = numbers((6,)), numbers((3,), seed=1)

    def convolved(a):
        n = 8
        return nnp.fft.irfft(nnp.fft.rfft(a, n) * nnp.fft.rfft(b, n), n)

    assert_allclose(convolved(Tensor(a)).numpy(), np.convolve(a, b), atol=1e-14)
    rows = needle.jacobian(convolved)(a)
    assert_allclose(rows, np.stack([np.convolve(e, b) for e in np.eye(6)], 1), atol=1e-14)


@pytest.mark.parametrize("name", ["fft", "ifft", "rfft"])
def test_jacobians_are_batched(name):
    f = lambda a: (getattr(nnp.fft, name)(a, 4, 0) * D[:, :1].T[0, 0]).real  # noqa: E731
    rows = needle.jacobian(f)(M)
    columns = [needle.jvp(f, (M,), (e.reshape(M.shape),))[1] for e in np.eye(M.size)]
    assert_allclose(rows.reshape(-1, M.size), np.stack([c.ravel() for c in columns], 1), atol=1e-13)


MISTAKES = [
    (ValueError, lambda: nnp.fft.fft(1.0), "fft: needs at least one axis"),
    (ValueError, lambda: nnp.fft.fft(V, 0), "fft: the number of points must be 1 or more, got 0"),
    (ValueError, lambda: nnp.fft.irfft(numbers((1,))), "irfft: the number of points must be 1 or more, got 0"),
    (ValueError, lambda: nnp.fft.rfft(numbers((0,))), "rfft: the number of points"),
    (ValueError, lambda: nnp.fft.ifft(V, norm="up"), "ifft: norm must be 'backward', 'ortho' or 'forward', got 'up'"),
    (ValueError, lambda: nnp.fft.hfft(V, norm="up"), "hfft: norm must be"),
    (ValueError, lambda: nnp.fft.fft(V, axis=1), "fft.*: axis 1 does not exist"),
    (TypeError, lambda: nnp.fft.rfft(C), "RealFFT: needs real numbers; fft takes complex ones"),
    (ValueError, lambda: nnp.fft.fftn(T, (2, 2), (0,)), "fftn: s and axes must have equal lengths"),
    (ValueError, lambda: nnp.fft.rfftn(T, axes=()), "rfftn: needs at least one axis"),
    (ValueError, lambda: nnp.fft.fftfreq(2.5), "fftfreq: the number of points must be an integer"),
]


@pytest.mark.parametrize(("error", "call", "message"), MISTAKES, ids=[message[:40] for *_, message in MISTAKES])
def test_what_is_wrong(error, call, message):
    with pytest.raises(error, match=message):
        call()
