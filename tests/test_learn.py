"""The estimators: scikit-learn's own checks, its tools around them, and what they promise beyond."""

from __future__ import annotations

import io
import pickle
import warnings

import needle
import numpy as np
import pytest
from needle import nn
from numpy.testing import assert_allclose, assert_array_equal

sklearn = pytest.importorskip("sklearn")

from needle.learn import MLP, NetClassifier, NetRegressor  # noqa: E402
from sklearn import datasets  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score  # noqa: E402
from sklearn.neural_network import MLPClassifier  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.utils.estimator_checks import check_estimator  # noqa: E402

IRIS = datasets.load_iris(return_X_y=True)
QUICK = {"epochs": 5, "random_state": 0}


class Net(nn.Module):
    """A module of one's own, with dropout's way of drawing."""

    def __init__(self, outputs, hidden=8, noise=0.0):
        self.layers = nn.Sequential(nn.Linear(None, hidden), nn.Tanh(), nn.Linear(hidden, outputs))
        self.noise = noise

    def forward(self, x):
        if self.training and self.noise:
            x = x + np.random.normal(0, self.noise, x.shape).astype(x.dtype)
        return self.layers(x)


# --------------------------------------------------------------------------------------------- what scikit-learn asks


@pytest.mark.filterwarnings("default")  # the checks provoke some
@pytest.mark.parametrize("make", [NetClassifier, NetRegressor])
def test_all_checks_of_scikit_learn(make):
    results = check_estimator(make(), on_skip=None)  # raises for one that fails
    left_out = [result["check_name"] for result in results if result["status"] != "passed"]
    assert left_out in ([], ["check_array_api_input"])  # which is for SCIPY_ARRAY_API=1
    assert not any(result["expected_to_fail"] for result in results) and len(results) > 50


def test_a_search_over_the_module_and_the_dtype_in_processes():
    X, y = IRIS
    grid = {"module__hidden": [(4,), (16, 8)], "dtype": ["float32", "float64"], "optimizer__weight_decay": [0.0, 1e-3]}
    search = GridSearchCV(NetClassifier(lr=0.01, epochs=40, random_state=0), grid, cv=3, n_jobs=2)
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # joblib's
        search.fit(X, y)
    assert search.best_score_ > 0.93
    best = search.best_estimator_
    assert best.module_.layers[0].weight.dtype == search.best_params_["dtype"]
    assert len(best.module_.layers) == len(search.best_params_["module__hidden"]) + 1


def test_it_is_as_good_as_scikit_learns_own():
    X, y = datasets.load_digits(return_X_y=True)
    ours, theirs = (
        cross_val_score(make_pipeline(StandardScaler(), net), X, y, cv=3).mean()
        for net in (NetClassifier(random_state=0), MLPClassifier(random_state=0))
    )
    assert ours > theirs - 0.005


def test_a_regression_of_large_numbers():
    X, y = datasets.load_diabetes(return_X_y=True)
    scores = cross_val_score(make_pipeline(StandardScaler(), NetRegressor(random_state=0, epochs=50)), X, 1e6 * y, cv=3)
    assert scores.mean() > 0.4


# --------------------------------------------------------------------------------------------------------- parameters


def test_parameters_of_the_module_are_parameters():
    net = NetClassifier(module__hidden=(5,), lr=0.1, optimizer__weight_decay=0.5)
    assert net.get_params()["module__hidden"] == (5,) and net.get_params()["lr"] == 0.1
    assert "module__hidden=(5,)" in repr(net) and "optimizer__weight_decay=0.5" in repr(net)
    copied = clone(net).set_params(module__hidden=(6,), module__dropout=0.5, epochs=1)
    assert copied.get_params() == net.get_params() | {"module__hidden": (6,), "module__dropout": 0.5, "epochs": 1}
    assert net.get_params()["module__hidden"] == (5,)


def test_a_clone_of_a_fitted_net_is_not_fitted():
    net = NetClassifier(Net, module__hidden=3, **QUICK).fit(*IRIS)
    copied = clone(net)
    assert not hasattr(copied, "module_") and copied.module is Net
    with pytest.raises(NotFittedError):
        copied.predict(IRIS[0])


@pytest.mark.parametrize(
    ("parameters", "error", "why"),
    [
        ({"hidden": (3,)}, TypeError, "there is no parameter 'hidden'; those of the module are given as module__name"),
        ({"module__hiden": (3,)}, TypeError, "hiden"),
        ({"optimizer__momentun": 0.9}, TypeError, "momentun"),
        ({"epochs": 0}, ValueError, "epochs must be a whole number, 1 or more, got 0"),
        ({"batch_size": 2.5}, ValueError, "batch_size must be a whole number"),
        ({"patience": -1}, ValueError, "patience must be"),
        ({"dtype": "int32"}, ValueError, "dtype must be a floating one"),
        ({"validation_fraction": 1.0}, ValueError, "validation_fraction must lie between 0 and 1"),
        ({"early_stopping": True, "validation_fraction": 1e-3}, ValueError, "holds out 0.001 of n_samples=150"),
        ({"module": Net(3), "module__hidden": 3}, ValueError, "module is an instance; write module=Net"),
        ({"module": lambda: 3}, TypeError, "module must make an nn.Module, got int"),
        ({"module": Net(4)}, ValueError, r"the module must give 3 outputs a row, got shape \(1, 4\) for 1 row"),
        ({"lr": 1e300, "optimizer": needle.optim.SGD}, ValueError, "the loss became (nan|inf) in epoch .: scale X"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
def test_wrong_parameters(parameters, error, why):
    with pytest.raises(error, match=why):
        NetClassifier(**QUICK | parameters).fit(*IRIS)


# ------------------------------------------------------------------------------------------------------------ modules


def test_a_class_gets_what_it_asks_for():
    asked = {}

    def make(inputs, outputs, rng, width):
        asked.update(inputs=inputs, outputs=outputs, width=width)
        return MLP(inputs, outputs, (width,), rng=rng)

    NetClassifier(make, module__width=7, **QUICK).fit(*IRIS)
    assert asked == {"inputs": 4, "outputs": 3, "width": 7}


def test_in_features_may_be_left_to_the_data():
    X, y = IRIS
    net = NetClassifier(Net, module__hidden=5, **QUICK).fit(X, y)
    assert net.module_.layers[0].weight.shape == (4, 5)
    net.fit(X[:, :2], y)
    assert net.module_.layers[0].weight.shape == (2, 5)


def test_an_instance_is_copied_with_its_weights():
    module = nn.Sequential(nn.Linear(4, 3))
    before = module[0].weight.numpy()
    net = NetClassifier(module, epochs=1, random_state=0, lr=1e-9).fit(*IRIS)
    assert_allclose(net.module_[0].weight.numpy(), before, atol=1e-6)
    assert_array_equal(module[0].weight.numpy(), before)
    assert net.module_ is not module


def test_images_are_taken_as_they_are():
    X, y = datasets.load_digits(return_X_y=True)
    images = (X / 16).reshape(-1, 1, 8, 8)
    shapes = []

    def make(inputs, outputs):
        shapes.append(inputs)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, outputs))

    net = NetClassifier(make, lr=0.02, epochs=20, random_state=0).fit(images[:1000], y[:1000])
    assert shapes == [(1, 8, 8)] and net.score(images[1000:], y[1000:]) > 0.85


def test_a_loss_of_ones_own():
    X, y = datasets.load_diabetes(return_X_y=True)
    seen = []

    def absolute(prediction, target):
        seen.append(target.shape)
        return abs(prediction - needle.Tensor(target, requires_grad=False)).mean()

    NetRegressor(loss=absolute, epochs=1, batch_size=1000).fit(X, y)
    assert seen == [(442, 1)]


def test_batches_are_of_equal_sizes():
    """No last batch of one row, which BatchNorm could not normalize."""
    sizes = []

    class Watching(Net):
        def forward(self, x):
            if self.training:
                sizes.append(len(x))
            return super().forward(x)

    NetClassifier(Watching, batch_size=50, epochs=1).fit(IRIS[0][:101], IRIS[1][:101])
    assert sorted(sizes) == [33, 34, 34]


# --------------------------------------------------------------------------------------------------- labels and targets


def test_labels_of_any_kind():
    X, y = IRIS
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    net = NetClassifier(lr=0.01, epochs=60, random_state=0).fit(X, names)
    assert set(net.predict(X)) == set(names) and net.score(X, names) > 0.95
    probabilities = net.predict_proba(X)
    assert probabilities.shape == (150, 3)
    assert_allclose(probabilities.sum(1), 1, rtol=1e-14)
    assert_allclose(np.log(probabilities), net.predict_log_proba(X), rtol=1e-12, atol=1e-15)
    assert_array_equal(net.classes_[probabilities.argmax(1)], net.predict(X))
    two = NetClassifier(lr=0.01, epochs=60, random_state=0).fit(X[:100], y[:100] == 1)
    assert two.predict_proba(X).shape == (150, 2) and two.predict(X).dtype == bool


def test_extreme_logits_have_finite_probabilities():
    net = NetClassifier(**QUICK).fit(*IRIS)
    probabilities = net.predict_proba(1e6 * IRIS[0])
    assert np.isfinite(probabilities).all() and np.isfinite(net.predict_log_proba(1e6 * IRIS[0])).all()


def test_several_targets():
    X, y = datasets.load_linnerud(return_X_y=True)
    net = NetRegressor(random_state=0, epochs=300, lr=0.01, patience=None).fit(StandardScaler().fit_transform(X), y)
    predicted = net.predict(StandardScaler().fit_transform(X))
    assert predicted.shape == y.shape and predicted.dtype == np.float64
    assert net.score(StandardScaler().fit_transform(X), y) > 0.5


def test_a_constant_target_is_predicted():
    X = IRIS[0]
    net = NetRegressor(random_state=0, lr=0.01).fit(X, np.full(150, 7.0))
    assert_allclose(net.predict(X), 7.0, atol=0.2)


# ------------------------------------------------------------------------------------------------------- random state


@pytest.mark.parametrize("given", [{}, {"early_stopping": True}, {"dtype": "float32"}])
def test_a_seed_fixes_everything_and_touches_nothing(given):
    def fitted(seed):
        return NetClassifier(Net, module__noise=0.5, epochs=4, batch_size=40, random_state=seed, **given).fit(*IRIS)

    np.random.seed(3)
    before = np.random.get_state()[1].tolist()
    one, again, other = fitted(0), fitted(0), fitted(1)
    assert np.random.get_state()[1].tolist() == before
    assert_array_equal(one.predict_proba(IRIS[0]), again.predict_proba(IRIS[0]))
    assert one.loss_curve_ == again.loss_curve_ != other.loss_curve_


def test_without_a_seed_the_global_state_is_the_seed():
    def fitted():
        return NetClassifier(Net, epochs=2).fit(*IRIS).loss_curve_

    np.random.seed(1)
    one, other = fitted(), fitted()
    np.random.seed(1)
    assert fitted() == one != other


# ----------------------------------------------------------------------------------------------------------- training


def test_early_stopping_keeps_the_best():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((100, 20)), rng.integers(0, 2, 100)  # nothing to be learned
    net = NetClassifier(lr=0.05, early_stopping=True, patience=3, validation_fraction=0.3, random_state=0).fit(X, y)
    best = int(np.argmin(net.validation_curve_))
    assert net.n_iter_ == len(net.validation_curve_) == best + 4 < 100
    longer = NetClassifier(lr=0.05, early_stopping=True, patience=9, validation_fraction=0.3, random_state=0).fit(X, y)
    assert longer.n_iter_ > net.n_iter_ and np.argmin(longer.validation_curve_) == best
    assert_array_equal(net.predict_proba(X), longer.predict_proba(X))  # both are the network of the best epoch


def test_training_stops_when_the_loss_does():
    X, y = IRIS
    net = NetClassifier(lr=0.05, patience=3, tol=0.01, random_state=0).fit(X, y)
    assert net.n_iter_ == len(net.loss_curve_) < 100
    assert NetClassifier(epochs=30, patience=None, tol=10.0).fit(X, y).n_iter_ == 30


def test_verbose_says_how_it_goes(capsys):
    NetClassifier(epochs=2, early_stopping=True, verbose=True, random_state=0).fit(*IRIS)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("epoch 1  loss ") and "validation" in second


def test_partial_fit_is_an_epoch():
    X, y = IRIS
    whole = NetClassifier(epochs=3, patience=None, random_state=0).fit(X, y)
    parts = NetClassifier(random_state=0, lr=0.01)
    with pytest.raises(ValueError, match="classes are needed in the first call"):
        parts.partial_fit(X, y)
    for _ in range(60):
        parts.partial_fit(X[:80], y[:80], classes=[0, 1, 2]).partial_fit(X[80:], y[80:])
    assert parts.n_iter_ == 120 and parts.score(X, y) > 0.9 and whole.n_iter_ == 3
    with pytest.raises(ValueError, match="y has 5, which is none of the classes"):
        parts.partial_fit(X, np.full(150, 5))
    with pytest.raises(ValueError, match=r"classes were .* now"):
        parts.partial_fit(X, y, classes=[0, 1])
    with pytest.raises(ValueError, match="features"):
        parts.partial_fit(X[:, :2], y)


def test_partial_fit_after_fit_goes_on():
    X, y = datasets.load_diabetes(return_X_y=True)
    net = NetRegressor(epochs=5, random_state=0, patience=None).fit(X, y)
    scale = net.y_scale_.copy()
    net.partial_fit(X, y)
    assert net.n_iter_ == 6 and net.loss_curve_[5] < net.loss_curve_[0]
    net.partial_fit(X[:10], 5 * y[:10])
    assert_array_equal(net.y_scale_, scale)


@pytest.mark.parametrize("make", [NetClassifier, NetRegressor])
def test_a_pickled_net_predicts_and_learns_on(make):
    X, y = IRIS
    net = make(Net, **QUICK).fit(X, y)
    again = pickle.load(io.BytesIO(pickle.dumps(net)))
    assert_array_equal(net.predict(X), again.predict(X))
    for one in (net, again):
        one.partial_fit(X, y)
    assert_array_equal(net.module_.layers[0].weight.numpy(), again.module_.layers[0].weight.numpy())


@pytest.mark.parametrize(("given", "of_x", "computes"), [
    (None, "f4", "f4"), (None, "f8", "f8"), (None, "i8", "f8"), ("float32", "f8", "f4"), (np.float64, "f4", "f8"),
])  # fmt: skip
def test_dtypes(given, of_x, computes):
    X = IRIS[0].astype(of_x)
    net = NetRegressor(dtype=given, **QUICK).fit(X, IRIS[1].astype(float))
    assert {p.dtype for p in net.module_.parameters()} == {np.dtype(computes)}
    assert net.predict(X).dtype == ("f4" if of_x == "f4" else "f8")


def test_predictions_of_many_rows_are_made_in_parts(monkeypatch):
    X, y = IRIS
    net = NetClassifier(**QUICK).fit(X, y)
    wanted = net.predict_proba(X)
    monkeypatch.setattr("needle.learn._AT_ONCE", 7)
    assert_allclose(net.predict_proba(X), wanted, rtol=1e-12)
