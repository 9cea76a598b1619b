"""Networks as scikit-learn's estimators, for its pipelines, searches and cross-validation.

>>> from sklearn.datasets import load_iris
>>> from needle.learn import NetClassifier
>>> X, y = load_iris(return_X_y=True)
>>> net = NetClassifier(module__hidden=(20,), lr=0.01, epochs=50, random_state=0).fit(X, y)
>>> net.score(X, y) > 0.95
True

Needs scikit-learn, which is imported with this file.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np

from . import init, nn, optim
from .autograd import Tensor, no_grad

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data
except ImportError as error:
    raise ImportError(f"needle.learn needs scikit-learn, 1.6 or newer: pip install scikit-learn ({error})") from error

Array = np.ndarray[Any, Any]
_PREFIXES = ("module__", "optimizer__")
_AT_ONCE = 4096
"""Rows that a prediction computes with: they bound its memory."""


class MLP(nn.Module):
    """Layers of a matrix each, with relu and dropout between them: what an estimator is made of without a module.

    Weights start as Glorot's uniform ones, biases at 0.
    """

    def __init__(
        self, inputs: int, outputs: int, hidden: int | Sequence[int] = (100,), dropout: float = 0.0, rng: Any = None
    ):
        sizes = (inputs, *([hidden] if isinstance(hidden, (int, np.integer)) else hidden), outputs)
        self.layers = [nn.Linear(n, m, rng=rng) for n, m in pairwise(sizes)]
        for layer in self.layers:
            init.xavier_uniform_(layer.weight, rng=rng)
            init.zeros_(layer.bias)
        self.dropout = nn.Dropout(dropout) if dropout else None

    def forward(self, x: Any) -> Any:
        for layer in self.layers[:-1]:
            x = nn.functional.relu(layer(x))
            if self.dropout is not None:
                x = self.dropout(x)
        return self.layers[-1](x)


class _Net(BaseEstimator):  # type: ignore[misc]
    """What both estimators share: the module, the loop that trains it, and scikit-learn's parameters."""

    def __init__(
        self,
        module: Any = None,
        *,
        lr: Any = 0.002,
        dtype: Any = None,
        epochs: int = 100,
        batch_size: int | None = None,
        optimizer: Any = None,
        loss: Callable[[Any, Any], Any] | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int | None = 10,
        tol: float = 1e-3,
        random_state: Any = None,
        verbose: bool = False,
        **module__and_optimizer__: Any,
    ):
        self.module = module
        self.lr = lr
        self.dtype = dtype
        self.epochs = epochs
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.loss = loss
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.tol = tol
        self.random_state = random_state
        self.verbose = verbose
        for name, value in module__and_optimizer__.items():
            if not name.startswith(_PREFIXES):
                raise TypeError(
                    f"{type(self).__name__}: there is no parameter {name!r}; those of the module are given as "
                    "module__name, and those of the optimizer as optimizer__name"
                )
            setattr(self, name, value)

    # Parameters of the module and of the optimizer -----------------------------------------------------------

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """All parameters, those of the module and the optimizer under their prefixes."""
        return super().get_params(deep) | {name: v for name, v in vars(self).items() if name.startswith(_PREFIXES)}

    def set_params(self, **parameters: Any) -> Any:
        """Set parameters, those of the module and the optimizer by their prefixes. Returns the estimator."""
        own = {name: value for name, value in parameters.items() if not name.startswith(_PREFIXES)}
        super().set_params(**own)
        for name, value in parameters.items():
            if name not in own:
                setattr(self, name, value)
        return self

    def _options(self, prefix: str) -> dict[str, Any]:
        return {name.removeprefix(prefix): value for name, value in vars(self).items() if name.startswith(prefix)}

    # Training ------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any) -> Any:
        """Train a new network on X (n, features) and y. Returns the estimator."""
        self._check_options()
        X, y = self._checked(X, y, reset=True)
        self._begin(X, y)
        targets = self._targets(y)
        order = self._rng.permutation(len(X))
        held_out = order[: round(len(X) * self.validation_fraction)] if self.early_stopping else order[:0]
        if self.early_stopping and not 0 < len(held_out) < len(X):
            raise ValueError(
                f"{type(self).__name__}: early_stopping holds out {self.validation_fraction:g} of n_samples={len(X)}, "
                f"which are {len(held_out)}: some are needed to validate and some to train"
            )
        rows = np.sort(order[len(held_out) :])
        with _seeded(self._rng):
            self._train(X[rows], targets[rows], (X[held_out], targets[held_out]) if self.early_stopping else None)
        return self

    def _partial_fit(self, X: Any, y: Any, **given: Any) -> Any:
        self._check_options()
        is_first = not hasattr(self, "module_")
        X, y = self._checked(X, y, reset=is_first)
        if is_first:
            self._begin(X, y, **given)
        targets = self._targets(y)
        with _seeded(self._rng):
            self.loss_curve_.append(self._epoch(X, targets))
        self.n_iter_ += 1
        return self

    def _check_options(self) -> None:
        what = type(self).__name__
        for name in ("epochs", "batch_size", "patience"):
            value = getattr(self, name)
            is_count = isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value >= 1
            if not is_count and (value is not None or name == "epochs"):
                raise ValueError(f"{what}: {name} must be a whole number, 1 or more, got {value!r}")
        if not 0 < self.validation_fraction < 1:
            raise ValueError(f"{what}: validation_fraction must lie between 0 and 1, got {self.validation_fraction!r}")
        if self.dtype is not None and np.dtype(self.dtype).kind != "f":
            raise ValueError(f"{what}: dtype must be a floating one, or None for that of X, got {self.dtype!r}")

    def _begin(self, X: Array, y: Array, **given: Any) -> None:
        """Make a new network and its optimizer."""
        self._rng = check_random_state(self.random_state)
        self._dtype = np.dtype(X.dtype if self.dtype is None else self.dtype)
        outputs = self._outputs_for(y, **given)
        with _seeded(self._rng):
            self.module_ = self._made(X, outputs)
            self.module_.to(self._dtype)
            shape = self._forward(X[:1]).shape
        if shape != (1, outputs):
            raise ValueError(
                f"{type(self).__name__}: the module must give {outputs} outputs a row, got shape {shape} for 1 row; "
                "take them from the argument `outputs` of the module's class"
            )
        make = optim.Adam if self.optimizer is None else self.optimizer
        self.optimizer_ = make(self.module_, lr=self.lr, **self._options("optimizer__"))
        self.n_iter_ = 0
        self.loss_curve_: list[float] = []

    def _made(self, X: Array, outputs: int) -> Any:
        options = self._options("module__")
        if isinstance(self.module, nn.Module):
            if options:
                raise ValueError(
                    f"{type(self).__name__}: module__{next(iter(options))} is for a module's class, and module is an "
                    f"instance; write module={type(self.module).__name__}"
                )
            module = copy.deepcopy(self.module)
        else:
            make = MLP if self.module is None else self.module
            ours = {"inputs": X.shape[1] if X.ndim == 2 else X.shape[1:], "outputs": outputs, "rng": self._rng}
            known = inspect.signature(make).parameters
            module = make(**{name: value for name, value in ours.items() if name in known} | options)
            if not isinstance(module, nn.Module):
                raise TypeError(f"{type(self).__name__}: module must make an nn.Module, got {type(module).__name__}")
        module.materialize(Tensor(X[:1], requires_grad=False))
        return module

    def _train(self, X: Array, targets: Array, held_out: tuple[Array, Array] | None) -> None:
        """All epochs, or until the loss, of what is held out if anything is, has not become smaller for a while."""
        best, best_epoch, best_state = np.inf, 0, None
        self.validation_curve_: list[float] = []
        for epoch in range(1, self.epochs + 1):
            loss = self._epoch(X, targets)
            self.loss_curve_.append(loss)
            self.n_iter_ = epoch
            if held_out is not None:
                loss = self._loss_on(*held_out)
                self.validation_curve_.append(loss)
            if self.verbose:
                of_held_out = "" if held_out is None else f"  validation {loss:.6g}"
                print(f"epoch {epoch}  loss {self.loss_curve_[-1]:.6g}{of_held_out}", flush=True)
            if loss < best - self.tol:
                best, best_epoch = loss, epoch
                best_state = None if held_out is None else self.module_.state_dict()
            elif self.patience is not None and epoch - best_epoch >= self.patience:
                break
        if best_state is not None:
            self.module_.load_state_dict(best_state)

    def _epoch(self, X: Array, targets: Array) -> float:
        """One pass over all rows in a new order; the mean loss."""
        loss_of = self._loss if self.loss is None else self.loss
        X, total = X.astype(self._dtype, copy=False), 0.0
        self.module_.train()
        # Of equal sizes, so that the last batch is never one row, which BatchNorm could do nothing with.
        size = min(max(len(X) // 4, 32), 200) if self.batch_size is None else self.batch_size
        for rows in np.array_split(self._rng.permutation(len(X)), -(-len(X) // size)):
            loss = loss_of(self.module_(Tensor.make_const(X[rows])), targets[rows])
            self.optimizer_.reset_grad()
            loss.backward()
            self.optimizer_.step()
            total += loss.item() * len(rows)
        self.module_.eval()
        if not np.isfinite(total):
            raise ValueError(
                f"{type(self).__name__}: the loss became {total / len(X)} in epoch {self.n_iter_ + 1}: scale X, with "
                "StandardScaler say, or lower lr"
            )
        return total / len(X)

    def _loss_on(self, X: Array, targets: Array) -> float:
        loss_of = self._loss if self.loss is None else self.loss
        with no_grad():
            return float(loss_of(Tensor(self._forward(X), dtype=self._dtype, requires_grad=False), targets).item())

    # Prediction ----------------------------------------------------------------------------------------------

    def _forward(self, X: Array) -> Array:
        """The module's outputs for all rows."""
        with nn.evaluating(self.module_), no_grad():
            parts = [
                self.module_(Tensor(X[i : i + _AT_ONCE], dtype=self._dtype, requires_grad=False)).numpy()
                for i in range(0, len(X), _AT_ONCE)
            ]
        return np.concatenate(parts)

    def _predicted(self, X: Any) -> tuple[Array, Any]:
        """The module's outputs for X, and X's dtype."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], allow_nd=True, reset=False)
        return self._forward(X), X.dtype

    def _checked(self, X: Any, y: Any, reset: bool) -> tuple[Array, Array]:
        raise NotImplementedError

    def _outputs_for(self, y: Array) -> int:
        raise NotImplementedError

    def _targets(self, y: Array) -> Array:
        raise NotImplementedError

    def _loss(self, prediction: Any, targets: Array) -> Any:
        raise NotImplementedError


_PARAMETERS = """
    module: a class, or a function, that makes the network: it is called with `inputs` (the number of features),
        `outputs` and `rng` as far as it has such parameters, and with `module__name=` as `name`. Or an nn.Module, which
        is copied. None: `MLP`, with module__hidden=(100,) and module__dropout=0.
    lr, optimizer: the optimizer's class (None: Adam), its rate or schedule, and `optimizer__name=` for its options.
    dtype: what the network computes in; None: float32 for X in float32, else float64. float32 is faster.
    epochs, batch_size: at most so many passes over the data, in batches of so many rows. None: a quarter of the data,
        but 32 to 200.
    loss: a function of (outputs, targets) to a Tensor.
    early_stopping, validation_fraction: hold out a part of the data, and keep the network that was best on it.
    patience, tol: stop when the loss (of what is held out) has not become smaller by tol for so many epochs.
        patience=None: never.
    random_state: a seed for the first values, the batches, and what the network draws, like dropout.
"""


class NetClassifier(ClassifierMixin, _Net):  # type: ignore[misc]
    __doc__ = f"""A network as a scikit-learn classifier, for labels of any kind, trained with the cross-entropy.
{_PARAMETERS}
    After `fit`: classes_, module_, optimizer_, n_iter_, loss_curve_ and validation_curve_.
    """

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> Any:
        """One more pass over X and y; `classes` are all that there will be, and needed the first time."""
        if not hasattr(self, "module_") and classes is None:
            raise ValueError("NetClassifier.partial_fit: classes are needed in the first call")
        if classes is not None and hasattr(self, "classes_") and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(
                f"NetClassifier.partial_fit: classes were {self.classes_}, and are {np.unique(classes)} now"
            )
        return self._partial_fit(X, y, classes=classes)

    def predict_proba(self, X: Any) -> Array:
        """The probability of each class (n, classes), in the order of `classes_`, in float64."""
        return np.exp(self.predict_log_proba(X))

    def predict_log_proba(self, X: Any) -> Array:
        """The logarithms of the probabilities."""
        logits = self._predicted(X)[0].astype(np.float64)
        logits -= logits.max(1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(1, keepdims=True))

    def predict(self, X: Any) -> Array:
        """The most probable class of each row."""
        logits, _ = self._predicted(X)
        return self.classes_[logits.argmax(1)]

    def _checked(self, X: Any, y: Any, reset: bool) -> tuple[Array, Array]:
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32], allow_nd=True, reset=reset)
        check_classification_targets(y)
        return X, column_or_1d(y, warn=True)

    def _outputs_for(self, y: Array, classes: Any = None) -> int:
        self.classes_ = np.unique(y if classes is None else classes)
        if len(self.classes_) < 2:
            raise ValueError(f"NetClassifier: y needs two classes or more, got 1 class: {self.classes_[0]!r}")
        return len(self.classes_)

    def _targets(self, y: Array) -> Array:
        places = np.searchsorted(self.classes_, y).clip(max=len(self.classes_) - 1)
        unknown = self.classes_[places] != y
        if unknown.any():
            raise ValueError(f"NetClassifier: y has {y[unknown][0]}, which is none of the classes {self.classes_}")
        return places

    def _loss(self, prediction: Any, targets: Array) -> Any:
        return nn.functional.cross_entropy(prediction, targets)


class NetRegressor(RegressorMixin, _Net):  # type: ignore[misc]
    __doc__ = f"""A network as a scikit-learn regressor, for one target or several, trained with the squared error.

    The targets are brought to mean 0 and deviation 1 for it, and the predictions brought back.
{_PARAMETERS}
    After `fit`: module_, optimizer_, n_iter_, loss_curve_ and validation_curve_, y_mean_ and y_scale_.
    """

    def partial_fit(self, X: Any, y: Any) -> Any:
        """One more pass over X and y. The targets are scaled by the mean and deviation of the first call."""
        return self._partial_fit(X, y)

    def predict(self, X: Any) -> Array:
        """The predictions, of y's shape."""
        outputs, dtype = self._predicted(X)
        predicted = (outputs * self.y_scale_ + self.y_mean_).astype(dtype)
        return predicted[:, 0] if self._is_single else predicted

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _checked(self, X: Any, y: Any, reset: bool) -> tuple[Array, Array]:
        options = {"dtype": [np.float64, np.float32], "allow_nd": True, "reset": reset}
        return validate_data(self, X, y, multi_output=True, y_numeric=True, **options)

    def _outputs_for(self, y: Array) -> int:
        self._is_single = y.ndim == 1
        wide = y.astype(np.float64).reshape(len(y), -1)
        deviation = wide.std(0)
        self.y_mean_, self.y_scale_ = wide.mean(0), np.where(deviation > 0, deviation, 1.0)
        return wide.shape[1]

    def _targets(self, y: Array) -> Array:
        if (y.ndim == 1) != self._is_single or y.size != len(y) * len(self.y_mean_):
            raise ValueError(f"NetRegressor: y had {len(self.y_mean_)} targets at first, got shape {y.shape}")
        return ((y.reshape(len(y), -1) - self.y_mean_) / self.y_scale_).astype(self._dtype)

    def _loss(self, prediction: Any, targets: Array) -> Any:
        return nn.functional.mse_loss(prediction, Tensor(targets, requires_grad=False))


@contextmanager
def _seeded(rng: Any) -> Iterator[None]:
    """Let what draws from NumPy's global state depend on `rng` alone, and that state be as it was afterwards."""
    seed = rng.randint(2**31)
    before = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before)
