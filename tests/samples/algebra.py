"""Samples of linear algebra, sums of products, and Fourier transforms."""

from __future__ import annotations

from typing import Any

import numpy as np
from needle.ops import determinants, equal_values, factorizations, fft, norms, spectra, systems
from needle.ops.einsum import einsum

from .kit import REDUCED, Sample, numbers, reduction, sample, specials


def regular(shape: tuple[int, ...], code: str = "d", seed: int = 0) -> np.ndarray:
    """Matrices that are far from singular, with eigenvalues that are far apart."""
    a = numbers(shape, code, seed=seed)
    k = min(shape[-2:])
    a[..., range(k), range(k)] += np.arange(3, 3 * k + 3, 3)
    return a


def mirrored(a: Any) -> Any:
    return (a + a.conj().swapaxes(-1, -2)) / 2


def hermitian(shape: tuple[int, ...], code: str = "d", seed: int = 0) -> np.ndarray:
    """Positive definite ones, with eigenvalues that are far apart."""
    return mirrored(regular(shape, code, seed)).astype(code)


SQUARE = [(0, 0), (1, 1), (2, 2), (3, 3), (0, 2, 2), (2, 0, 0), (2, 1, 3, 3)]
OBLONG = [(3, 3), (4, 2), (2, 4), (2, 3, 2), (1, 3), (3, 1)]
EMPTY = [(0, 3), (3, 0), (0, 0), (0, 2, 3)]


def square(function: Any, reference: Any, make: Any = regular, codes: str = "fDF", **more: Any) -> list[Sample]:
    arrays = [make(shape) for shape in SQUARE] + [make((3, 3), code) for code in codes]
    return [sample(function, reference, a, **more) for a in arrays]


def oblong(function: Any, reference: Any, codes: str = "fDF", shapes: Any = OBLONG, **more: Any) -> list[Sample]:
    arrays = [regular(shape) for shape in shapes] + [regular((4, 2), code) for code in codes]
    return [sample(function, reference, a, **more) for a in arrays]


# In double precision, these two differ by rounding from what the operations compute.


def cofactors(a: Any) -> Any:
    """The determinants of what is left without one row and one column, with their signs."""
    wide = a.astype(np.result_type(a, np.float64))
    out = np.zeros_like(wide)
    for i in range(a.shape[-2]):
        for j in range(a.shape[-1]):
            out[..., i, j] = (-1) ** (i + j) * np.linalg.det(np.delete(np.delete(wide, i, -2), j, -1))
    return out.astype(a.dtype)


def cofactors_along(a: Any, b: Any) -> Any:
    """The derivative by differences of a function that is at most a cubic, for which these are exact."""
    wide = np.result_type(a, b, np.float64)
    a, b, dtype = a.astype(wide), b.astype(wide), np.result_type(a, b)
    by = [(k, (cofactors(a + k * b) - cofactors(a - k * b)) / (2 * k)) for k in (0.5, 1.0)]
    return ((4 * by[0][1] - by[1][1]) / 3).astype(dtype)


SINGULAR = [
    np.array([[1.0, 2.0], [2.0, 4.0]]),
    np.zeros((2, 2)),
    np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [1.0, 0.0, 1.0]]),
    np.ones((3, 3)),
    np.zeros((3, 3)),
    np.stack([np.eye(3), np.diag([1.0, 2.0, 0.0])]),
    np.array([[1.0, 1j], [1j, -1.0]]),
]

DETERMINANTS: dict[str, list[Sample]] = {
    "Det": square(determinants.det, np.linalg.det, codes="fDFl")
    + [sample(determinants.det, np.linalg.det, a, name=f"singular {i}") for i, a in enumerate(SINGULAR)],
    "Cofactors": [
        *square(determinants.COFACTORS, determinants.COFACTORS.compute, codes="D"),
        *[sample(determinants.COFACTORS, cofactors, regular((3, 3), code), name="minors") for code in "fF"],
        *[
            sample(determinants.COFACTORS, cofactors, a.astype("F"), name=f"singular {i}", smooth=False)
            for i, a in enumerate(SINGULAR)
        ],
    ],
    "CofactorsAlong": [
        sample(determinants.COFACTORS_ALONG, determinants.COFACTORS_ALONG.compute, regular(a, c), numbers(b, c, seed=1))
        for a, b, c in [
            ((0, 0), (0, 0), "d"),
            ((1, 1), (1, 1), "d"),
            ((3, 3), (3, 3), "d"),
            ((2, 2, 2), (2, 2), "d"),
            ((2, 2), (0, 2, 2), "d"),
            ((3, 3), (3, 3), "D"),
        ]
    ]
    + [
        sample(
            determinants.COFACTORS_ALONG, cofactors_along, regular(shape, c), numbers(shape, c, seed=1), name="minors"
        )
        for shape in [(2, 2), (3, 3), (4, 4)]
        for c in "fF"
    ],
    "SlogDet": square(determinants.slogdet, lambda a: tuple(np.linalg.slogdet(a)), codes="fDFl"),
}

NEARLY_SINGULAR = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])

SYSTEMS: dict[str, list[Sample]] = {
    "Inv": square(systems.inv, np.linalg.inv, codes="fDFl"),
    "Solve": [
        sample(systems.solve, np.linalg.solve, regular(a), numbers(b, seed=1))
        for a, b in [
            ((3, 3), (3, 2)),
            ((2, 2), (3, 2, 1)),
            ((2, 1, 2, 2), (3, 2, 2)),
            ((0, 0), (0, 2)),
            ((2, 2), (2, 0)),
            ((0, 2, 2), (2, 1)),
            ((1, 1), (1, 1)),
        ]
    ]
    + [
        sample(systems.solve, np.linalg.solve, regular((3, 3), c), numbers((3, 2), d, seed=1))
        for c, d in ["ff", "DD", "dD", "Dd", "fd", "ll"]
    ],
    "Pinv": oblong(systems.pinv, np.linalg.pinv, shapes=OBLONG + EMPTY, codes="fDFl")
    + [
        sample(
            lambda a: systems.pinv(a, hermitian=True),
            lambda a: np.linalg.pinv(a, hermitian=True),
            hermitian((3, 3), code),
            name="hermitian",
            exact=lambda a: np.linalg.pinv(mirrored(a)),
        )
        for code in "dD"
    ]
    + [specials(systems.pinv, np.linalg.pinv, NEARLY_SINGULAR[:, :2] * [1, 0], name="rank 1")],
}


def lower_and_upper(code: str) -> list[Sample]:
    a = hermitian((3, 3), code)
    return [
        sample(
            lambda a, u=upper: factorizations.cholesky(a, u),
            lambda a, u=upper: np.linalg.cholesky(a, upper=u),
            a,
            name=f"upper={upper}",
            exact=lambda a, u=upper: np.linalg.cholesky(mirrored(a), upper=u),
        )
        for upper in [False, True]
    ]


def np_qr(mode: str) -> Any:
    return lambda a: tuple(np.linalg.qr(a, mode))


FACTORIZATIONS: dict[str, list[Sample]] = {
    "Cholesky": square(
        factorizations.cholesky,
        np.linalg.cholesky,
        hermitian,
        "fF",
        exact=lambda a: np.linalg.cholesky(mirrored(a)),
    )
    + lower_and_upper("d")
    + lower_and_upper("D"),
    "QR": oblong(factorizations.qr, np_qr("reduced"), shapes=OBLONG + EMPTY, codes="fDFl")
    + [
        sample(
            lambda a: factorizations.qr(a, "complete"),
            np_qr("complete"),
            regular(shape),
            name="complete",
            smooth=shape[0] <= shape[1],  # else columns may turn
        )
        for shape in [(3, 3), (2, 4), (4, 2)]
    ],
}


def mirror_eigh(a: Any) -> Any:
    return tuple(np.linalg.eigh(mirrored(a)))


def np_svd(full_matrices: bool) -> Any:
    return lambda a: tuple(np.linalg.svd(a, full_matrices))


def real_diagonal(a: Any) -> Any:
    return np.diagonal(a, axis1=-2, axis2=-1).real


def np_along_spectrum(a: Any, e: Any) -> Any:
    v = np.linalg.eigh(a)[1]
    return real_diagonal(v.conj().mT @ mirrored(e) @ v)


def np_along_singular_values(a: Any, e: Any) -> Any:
    u, _, vh = np.linalg.svd(a, full_matrices=False)
    return real_diagonal(u.conj().mT @ e @ vh.conj().mT)


def np_from_spectrum(a: Any, y: Any) -> Any:
    v = np.linalg.eigh(a)[1]
    return ((v * y[..., None, :]) @ v.conj().mT).conj()


def np_from_singular_values(a: Any, y: Any) -> Any:
    u, _, vh = np.linalg.svd(a, full_matrices=False)
    return ((u * y[..., None, :]) @ vh).conj()


SPECTRA: dict[str, list[Sample]] = {
    "Eigh": square(spectra.eigh, lambda a: tuple(np.linalg.eigh(a)), hermitian, "f", exact=mirror_eigh)
    + [
        sample(
            lambda a, u=u: spectra.eigh(a, u),
            lambda a, u=u: tuple(np.linalg.eigh(a, u)),
            hermitian((3, 3), code),
            name=u,
            smooth=False,  # the phases are LAPACK's
        )
        for u, code in ["LD", "UD", "UF", "Ul"]
    ]
    + [specials(spectra.eigh, lambda a: tuple(np.linalg.eigh(a)), np.eye(3), name="equal")],
    "EigvalsH": square(
        spectra.eigvalsh,
        np.linalg.eigvalsh,
        hermitian,
        "fDFl",
        exact=lambda a: np.linalg.eigvalsh(mirrored(a)),
    )
    + [specials(spectra.eigvalsh, np.linalg.eigvalsh, np.eye(3), name="equal")],
    "FromSpectrum": [
        sample(
            lambda a, y, u=u: spectra.FromSpectrum(u)(a, y, np.ones(y.shape)),
            np_from_spectrum,
            hermitian(shape, code),
            numbers(shape[:-1]),
            name=u,
            exact=lambda a, y: np_from_spectrum(mirrored(a), y),
        )
        for shape, code, u in [((3, 3), "D", "L"), ((3, 3), "d", "L"), ((2, 3, 3), "d", "U"), ((0, 0), "d", "L")]
    ],
    "FromSingularValues": [
        sample(
            lambda a, y: spectra.FROM_SINGULAR_VALUES(a, y, np.zeros(y.shape)),
            np_from_singular_values,
            numbers(shape, code),
            numbers((*shape[:-2], min(shape[-2:]))),
        )
        for shape, code in [((3, 3), "d"), ((3, 2), "D"), ((2, 2, 3), "d"), ((3, 3), "D"), ((0, 2), "d")]
    ],
    "AlongSpectrum": [
        sample(
            lambda a, e, paired=paired: spectra.AlongSpectrum("L", paired)(a, e, numbers(e.shape, seed=2)),
            np_along_spectrum,
            hermitian(shape, code),
            numbers(shape, code),
            name=str(paired),
            exact=lambda a, e: np_along_spectrum(mirrored(a), e),
        )
        for shape, code, paired in [((3, 3), "d", True), ((2, 3, 3), "D", False)]
    ],
    "AlongSingularValues": [
        sample(
            lambda a, e, paired=paired: spectra.AlongSingularValues(paired)(a, e, numbers(e.shape, seed=2)),
            np_along_singular_values,
            numbers(shape, code),
            numbers(shape, code, seed=1),
            name=str(paired),
        )
        for shape, code, paired in [((3, 3), "d", True), ((2, 3, 2), "D", False), ((2, 3), "D", True)]
    ],
    "Corner": [
        sample(equal_values.Corner(which), lambda x, w: x, numbers(shape[:-1]), numbers(shape))
        for shape, which in [((3,), "first"), ((2, 3), "last"), ((3,), "both"), ((0, 2), "both")]
    ],
    "Once": [
        sample(
            equal_values.Once(equal_values.groups_of_near),
            lambda w: np.ones(w.shape[:-1], w.dtype),
            numbers(shape, code),
        )
        for shape, code in [((3,), "d"), ((2, 3), "d"), ((2, 0), "d"), ((3,), "f")]
    ],
    "Eig": square(spectra.eig, lambda a: tuple(np.linalg.eig(a)), codes="fDFl")
    + [
        sample(spectra.eig, lambda a: tuple(np.linalg.eig(a)), np.array(a), name="complex pairs")
        for a in [[[1.0, -2.0], [0.5, 1.5]], [[1.0, 2.0, 0.3], [-2.0, 0.5, 1.0], [0.1, 0.4, 3.0]]]
    ],
    "SVD": [
        *oblong(lambda a: spectra.svd(a, full_matrices=False), np_svd(False), codes="f", shapes=OBLONG[:4] + EMPTY),
        *oblong(lambda a: spectra.svd(a, False), np_svd(False), codes="DF", shapes=[], smooth=False),
        *oblong(spectra.svd, np_svd(True), codes="dD", shapes=EMPTY + OBLONG[2:], smooth=False),
        specials(spectra.svd, np_svd(True), NEARLY_SINGULAR[:3], name="rank 2"),
        specials(spectra.svd, np_svd(True), np.zeros((2, 3)), name="zeros"),
    ],
    "SingularValues": [
        *oblong(spectra.svdvals, lambda a: np.linalg.svd(a, compute_uv=False), "fDFl", OBLONG + EMPTY),
        specials(spectra.svdvals, lambda a: np.linalg.svd(a, compute_uv=False), np.zeros((2, 3)), name="zeros"),
    ],
}


def np_norm(a: Any, axes: Any, keepdims: bool = False) -> Any:
    wide = a.astype({"e": np.float32}.get(a.dtype.char, a.dtype))
    squares = (wide.conj() * wide).real.astype(np.result_type(wide.real, np.float16) if a.dtype.kind in "fc" else "d")
    total = np.sqrt(np.sum(squares, axes, keepdims=keepdims))
    return total.astype(np.float16) if a.dtype == np.float16 else total


NORMS: dict[str, list[Sample]] = {
    "Norm": [
        *reduction(norms.norm, np_norm, [case for case in REDUCED if case[1] != ()], "efglDF"),
        sample(lambda a: norms.norm(a, 0), lambda a: np_norm(a, 0), np.zeros((0, 2)), name="nothing", smooth=False),
        specials(lambda a: norms.norm(a, 1), lambda a: np_norm(a, 1), [[0.0, 0.0], [3.0, 4.0]], name="zeros"),
        specials(lambda a: norms.norm(a, 1), lambda a: np_norm(a, 1), [[0j, 0.0], [3.0, 4j]], name="zeros"),
    ],
}


def summed(subscripts: str, *shapes: tuple[int, ...], codes: str = "d", **more: Any) -> Sample:
    arrays = [numbers(shape, codes[i % len(codes)], seed=i) for i, shape in enumerate(shapes)]
    return sample(
        lambda *a: einsum(subscripts, *a, **more),
        lambda *a: np.einsum(subscripts, *a, **more),
        *arrays,
        name=subscripts,
    )


EINSUMS = [
    ("->", ()),
    ("i", (3,)),
    ("ij->ji", (2, 3)),
    ("ij->", (2, 3)),
    ("ij->j", (2, 3)),
    ("ij->i", (0, 3)),
    ("...ij->...ji", (2, 1, 3)),
    ("ij,jk", (2, 3), (3, 2)),
    ("ij,jk->ki", (2, 3), (3, 2)),
    ("ij,ij->", (2, 3), (2, 3)),
    ("i,j->ij", (2,), (3,)),
    ("bij,bjk->bik", (2, 2, 3), (2, 3, 1)),
    ("...i,...i", (2, 1, 3), (4, 3)),
    ("i...,i->...", (3, 2), (3,)),
    ("i,i", (3,), (1,)),
    ("i,i", (1,), (3,)),
    ("ij,ij->ij", (1, 3), (2, 1)),
    ("ij,k->k", (2, 3), (2,)),
    ("ij,j->i", (2, 0), (0,)),
    ("ij,j->i", (0, 3), (3,)),
    ("ij,jk,kl->il", (2, 3), (3, 2), (2, 4)),
    ("i,i,i->", (3,), (3,), (3,)),
    (",i,->i", (), (3,), ()),
]

PRODUCTS: dict[str, list[Sample]] = {
    "Einsum": [
        *[summed(*case) for case in EINSUMS],
        *[summed("ij,jk->ik", (2, 3), (3, 2), codes=codes) for codes in ["e", "f", "D", "F", "dD", "fd", "l", "fl"]],
        summed("ij,jk,kl", (2, 3), (3, 2), (2, 4), optimize="optimal"),
        summed("ij,jk->ik", (17, 16), (16, 17)),
        sample(
            lambda a, b: einsum(a, [0, ...], b, [..., 0], [...]),
            lambda a, b: np.einsum(a, [0, ...], b, [..., 0], [...]),
            numbers((3, 2)),
            numbers((2, 3), seed=1),
            name="lists",
        ),
    ],
}

TRANSFORMED = [
    ((4,), 4, -1),
    ((5,), 5, 0),
    ((1,), 1, 0),
    ((2,), 2, 0),
    ((2, 5), 3, 1),
    ((2, 5), 8, -1),
    ((3, 2), 4, 0),
    ((3, 2, 1), 2, -3),
    ((0, 3), 4, 1),
    ((3, 0), 3, 0),
]


def transformed(function: Any, reference: Any, codes: str) -> list[Sample]:
    cases = [(*case, "d" if "d" in codes else "D", "backward") for case in TRANSFORMED]
    cases += [((2, 5), n, 1, codes[0], norm) for n in [4, 7] for norm in ["ortho", "forward"]]
    cases += [((2, 5), n, 1, code, "backward") for code in codes for n in [4, 7]]
    return [
        sample(
            lambda a, m=more: function(a, *m),
            lambda a, m=more: reference(a, *m),
            numbers(shape, code),
            name=f"{more}",
        )
        for shape, n, axis, code, norm in cases
        for more in [(n, axis, norm)]
    ]


FOURIER: dict[str, list[Sample]] = {
    "FFT": transformed(fft.fft, np.fft.fft, "DFfdl"),
    "InverseFFT": transformed(fft.ifft, np.fft.ifft, "DFd"),
    "RealFFT": transformed(fft.rfft, np.fft.rfft, "dfle"),
    "InverseRealFFT": transformed(fft.irfft, np.fft.irfft, "DFdf"),
}

ALGEBRA: dict[str, list[Sample]] = {
    **DETERMINANTS,
    **SYSTEMS,
    **FACTORIZATIONS,
    **SPECTRA,
    **NORMS,
    **PRODUCTS,
    **FOURIER,
}
