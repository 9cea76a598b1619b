"""Libraries that were written for other arrays take Tensors and let gradients through: scikit-learn, xarray, einops."""

from collections.abc import Iterator
from typing import Any

import einops
import einops.array_api
import needle
import needle.einops
import needle.numpy
import numpy as np
import pytest
import sklearn
import xarray as xr
from calls import Call, check_gradient, check_second_order, outputs
from needle import Tensor
from numpy.testing import assert_allclose
from sklearn import metrics
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.metrics import pairwise
from sklearn.mixture import GaussianMixture
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    KernelCenterer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    PolynomialFeatures,
    StandardScaler,
)

rng = np.random.default_rng(0)
X = rng.normal(size=(4, 2))
LABELS = [0, 1, 0, 1]
TARGETS = X @ [1.0, -2.0] + 0.1 * rng.normal(size=4)


@pytest.fixture(autouse=True, scope="module")
def dispatch() -> Iterator[None]:
    """scikit-learn asks arrays for their namespace only where it is told to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCIPY_ARRAY_API", "1")
        with sklearn.config_context(array_api_dispatch=True), np.errstate(invalid="ignore"):
            yield  # (it divides 0 by 0, and silences that for NumPy alone)


def like(x: Any, values: Any) -> Any:
    """Values in an array of the same kind as x, which is what scikit-learn expects of labels."""
    return x.__array_namespace__().asarray(values)


SKLEARN = {
    "StandardScaler": lambda x: StandardScaler().fit_transform(x),
    "MinMaxScaler": lambda x: MinMaxScaler().fit_transform(x),
    "MaxAbsScaler": lambda x: MaxAbsScaler().fit_transform(x),
    "Normalizer": lambda x: Normalizer().fit_transform(x),
    "PolynomialFeatures": lambda x: PolynomialFeatures().fit_transform(x),
    "KernelCenterer": lambda x: KernelCenterer().fit_transform(x @ x.T),
    "PCA": lambda x: PCA(1, svd_solver="full").fit(x).explained_variance_ratio_,
    "PCA, whitening": lambda x: PCA(1, svd_solver="covariance_eigh", whiten=True).fit_transform(x),
    "PCA, densities": lambda x: PCA(1, svd_solver="full").fit(x).score_samples(x),
    "a pipeline": lambda x: make_pipeline(StandardScaler(), PCA(1, svd_solver="full")).fit_transform(x),
    "Ridge": lambda x: Ridge(solver="svd").fit(x, like(x, TARGETS)).predict(x),
    "RidgeClassifier": lambda x: RidgeClassifier(solver="svd").fit(x, like(x, LABELS)).decision_function(x),
    "LinearDiscriminantAnalysis": lambda x: LinearDiscriminantAnalysis().fit(x, like(x, LABELS)).predict_proba(x),
    "GaussianNB": lambda x: GaussianNB().fit(x, like(x, LABELS)).predict_proba(x),
    "GaussianMixture": lambda x: (
        GaussianMixture(2, init_params="random", random_state=0, max_iter=9, tol=0.3).fit(x).means_
    ),
    "rbf_kernel": pairwise.rbf_kernel,
    "polynomial_kernel": pairwise.polynomial_kernel,
    "sigmoid_kernel": pairwise.sigmoid_kernel,
    "cosine_similarity": pairwise.cosine_similarity,
    "chi2_kernel": lambda x: pairwise.chi2_kernel(x**2),
    "euclidean_distances": lambda x: pairwise.euclidean_distances(x[:2], x[2:]),
    "mean_squared_error": lambda x: metrics.mean_squared_error(like(x, X**2), x, multioutput="raw_values"),
    "r2_score": lambda x: metrics.r2_score(like(x, X**2), x, multioutput="raw_values"),
}


def field(x: Any) -> Any:
    return xr.DataArray(x, dims=("day", "place"), coords={"day": np.arange(4.0), "place": [10, 20]})


XARRAY = {
    "arithmetic": lambda x: np.exp(field(x)) * field(x)[0] - 2 * field(x).T,
    "operands of both kinds": lambda x: np.multiply(x, field(X)) + field(X) / (x**2 + 1),
    "selection": lambda x: field(x).sel(place=20).isel(day=[0, 0, 3]),
    "interpolated slices": lambda x: field(x).sel(day=slice(1, 3)).diff("day"),
    "mean": lambda x: field(x).mean("day") ** 2 + field(x).std("day"),
    "weighted": lambda x: field(x).weighted(xr.DataArray([1.0, 3.0], dims="place")).mean("place"),
    "where": lambda x: field(x).where(field(x) > 0).fillna(0.5),
    "groupby": lambda x: (field(x) ** 2).groupby(field(X)["day"] > 1).mean(),
    "rolling": lambda x: (field(x).rolling(day=2).mean() ** 2)[1:],
    "coarsen": lambda x: field(x).coarsen(day=2).max(),
    "concat": lambda x: xr.concat([field(x), field(x).roll(day=1)], "source"),
    "dot": lambda x: field(x).dot(field(x), dim="day"),
    "differentiate": lambda x: field(x).differentiate("day") + field(x).integrate("day"),
    "quantile": lambda x: field(x).quantile(0.4, "day"),
    "apply_ufunc": lambda x: xr.apply_ufunc(needle.numpy.tanh if isinstance(x, Tensor) else np.tanh, field(x)),
    "Dataset": lambda x: xr.Dataset({"a": field(x), "b": field(x).mean("day")}).map(np.sin)["b"],
    "assignment": lambda x: assigned(field(x)),
}


def assigned(a: Any) -> Any:
    a = a.copy()
    a[{"day": 0}] = a[1] ** 2
    a.loc[{"place": 20}] *= a.sel(place=10)
    return a


EINOPS = {
    "rearrange": lambda x: einops.rearrange(x, "(a b) c -> b (c a)", a=2),
    "rearrange a list": lambda x: einops.rearrange([x, x * x], "n a b -> a (n b)"),
    "reduce": lambda x: einops.reduce(x, "(a b) c -> a c", "max", a=2) + einops.reduce(x, "a c -> c", "mean"),
    "repeat": lambda x: einops.repeat(x, "a b -> (a 2) b n", n=3),
    "einsum": lambda x: einops.einsum(x, x, "a b, c b -> a c"),
    "pack": lambda x: einops.pack([x, x[:, 0]], "a *")[0],
    "unpack": lambda x: tuple(einops.unpack(x, [[1], [3]], "* b")),
    "array_api": lambda x: einops.array_api.reduce(x, "(a b) c -> a c", "prod", a=2),
}


def data_of(y: Any) -> Any:
    return y.data if isinstance(y, xr.DataArray) else y


CALLS = {
    f"{library}: {name}": Call(lambda _, x, program=program: data_of(program(x)), X)
    for library, programs in {"sklearn": SKLEARN, "xarray": XARRAY, "einops": EINOPS}.items()
    for name, program in programs.items()
}


@pytest.mark.parametrize("name", CALLS)
def test_value(name: str) -> None:
    call = CALLS[name]
    expected = call.on(np, [X.copy()])
    for given in (Tensor(X), Tensor(X, requires_grad=False)):
        for y, e in zip(outputs(call.on(needle.numpy, [given])), outputs(expected), strict=True):
            assert isinstance(y, Tensor)
            assert (y.shape, y.dtype, y.requires_grad) == (e.shape, e.dtype, given.requires_grad)
            assert_allclose(y.numpy(), e, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", CALLS)
def test_gradient(name: str) -> None:
    check_gradient(CALLS[name])


@pytest.mark.parametrize("name", CALLS)
def test_second_order(name: str) -> None:
    check_second_order(CALLS[name])
