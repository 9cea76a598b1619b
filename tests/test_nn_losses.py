"""Losses against formulas written out here, their refusals, and PyTorch where it is installed."""

import itertools
import re

import needle
import numpy as np
import pytest
from needle import Tensor, nn
from needle.testing import check_grads
from numpy.testing import assert_allclose

F = nn.functional
rng = np.random.default_rng(0)
X, Y = rng.standard_normal((5, 6)) * 2, rng.standard_normal((5, 6))
T, S = rng.random((5, 6)), np.sign(Y)
LABELS = np.array([1, 5, 0, 2, 1])
WEIGHT = rng.random(6) + 0.1
SOFT = T / T.sum(1, keepdims=True)


def log_softmax(x):
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def expit(x):
    return 1 / (1 + np.exp(-x))


def length(a):
    return np.sqrt((a * a).sum(-1))


def huber(d, delta):
    return np.where(abs(d) < delta, d * d / 2, delta * (abs(d) - delta / 2))


ELEMENTWISE = {
    "mse": (nn.MSELoss, (X, Y), (X - Y) ** 2),
    "l1": (nn.L1Loss, (X, Y), abs(X - Y)),
    "huber": (nn.HuberLoss, (X, Y), huber(X - Y, 1.0)),
    "huber of 0.3": (lambda reduction: nn.HuberLoss(reduction, 0.3), (X, Y), huber(X - Y, 0.3)),
    "smooth l1": (lambda reduction: nn.SmoothL1Loss(reduction, 0.3), (X, Y), huber(X - Y, 0.3) / 0.3),
    "smooth l1 of 0": (lambda reduction: nn.SmoothL1Loss(reduction, 0.0), (X, Y), abs(X - Y)),
    "bce": (
        lambda reduction: nn.BCELoss(reduction=reduction),
        (T, SOFT),
        -(SOFT * np.log(T) + (1 - SOFT) * np.log(1 - T)),
    ),
    "bce with logits": (
        lambda reduction: nn.BCEWithLogitsLoss(reduction=reduction),
        (X, T),
        -(T * np.log(expit(X)) + (1 - T) * np.log(1 - expit(X))),
    ),
    "bce with logits and weights": (
        lambda reduction: nn.BCEWithLogitsLoss(WEIGHT, reduction, WEIGHT + 1),
        (X, T),
        -WEIGHT * ((WEIGHT + 1) * T * np.log(expit(X)) + (1 - T) * np.log(1 - expit(X))),
    ),
    "kl": (nn.KLDivLoss, (log_softmax(X), SOFT), SOFT * (np.log(SOFT) - log_softmax(X))),
    "kl of logarithms": (
        lambda reduction: nn.KLDivLoss(reduction, log_target=True),
        (log_softmax(X), np.log(SOFT)),
        SOFT * (np.log(SOFT) - log_softmax(X)),
    ),
    "hinge": (lambda reduction: nn.HingeLoss(0.7, reduction), (X, S), np.maximum(0, 0.7 - S * X)),
    "cosine": (
        lambda reduction: nn.CosineEmbeddingLoss(0.1, reduction),
        (X, Y, np.array([1.0, -1, 1, -1, 1])),
        np.where(
            [True, False, True, False, True],
            1 - (X * Y).sum(1) / length(X) / length(Y),
            np.maximum(0, (X * Y).sum(1) / length(X) / length(Y) - 0.1),
        ),
    ),
    "triplet": (
        lambda reduction: nn.TripletMarginLoss(reduction=reduction),
        (X, Y, T),
        np.maximum(0, length(X - Y + 1e-6) - length(X - T + 1e-6) + 1),
    ),
    "triplet with swap and p=3": (
        lambda reduction: nn.TripletMarginLoss(2.0, 3.0, swap=True, reduction=reduction),
        (X, Y, T),
        np.maximum(
            0,
            (abs(X - Y + 1e-6) ** 3).sum(1) ** (1 / 3)
            - np.minimum((abs(X - T + 1e-6) ** 3).sum(1), (abs(Y - T + 1e-6) ** 3).sum(1)) ** (1 / 3)
            + 2,
        ),
    ),
}


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_values_and_derivatives(name, reduction):
    make, given, each = ELEMENTWISE[name]
    expected = each if reduction == "none" else getattr(each, reduction)()
    loss = make(reduction=reduction)
    assert_allclose(loss(*given).numpy(), expected, rtol=1e-10)
    check_grads(lambda x: loss(x, *given[1:]), given[0])
    narrow = loss(given[0].astype("float32"), *given[1:])
    assert narrow.dtype == np.float32  # a target of float64 does not widen it
    assert_allclose(narrow.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_the_divergence_is_the_mean_over_rows_unless_told_otherwise():
    each = SOFT * (np.log(SOFT) - log_softmax(X))
    assert_allclose(nn.KLDivLoss()(log_softmax(X), SOFT).item(), each.sum() / 5)
    zero = np.eye(3)[0]
    assert_allclose(F.kl_div(np.log([0.5, 0.25, 0.25]), zero, "sum").item(), np.log(2))


@pytest.mark.parametrize("name", ["MSELoss", "L1Loss", "HuberLoss", "SmoothL1Loss", "BCEWithLogitsLoss", "HingeLoss"])
def test_shapes_that_merely_broadcast_are_refused_with_the_fix(name):
    says = f"{name}: prediction and target must have the same shape, got (5, 1) and (5,), "
    fix = "which would be spread to (5, 5); write target.reshape((5, 1)) or prediction.reshape((5,))"
    with pytest.raises(ValueError, match=re.escape(says + fix)):
        getattr(nn, name)()(X[:, :1], T[:, 0])
    with pytest.raises(ValueError, match=re.escape("got (5, 6) and (4,)") + "$"):
        getattr(nn, name)()(X, Y[0, :4])


@pytest.mark.parametrize(
    "make",
    [
        nn.MSELoss,
        nn.KLDivLoss,
        nn.CrossEntropyLoss,
        nn.NLLLoss,
        nn.HuberLoss,
        lambda reduction: F.mse_loss(X, Y, reduction),
        lambda reduction: F.cross_entropy(X, LABELS, reduction=reduction),
    ],
)
def test_another_reduction_is_refused(make):
    with pytest.raises(ValueError, match="reduction must be one of 'mean', 'sum', 'none', got 'average'"):
        make(reduction="average")


@pytest.mark.parametrize("make", [lambda: F.huber_loss(X, Y, 0.0), lambda: F.smooth_l1_loss(X, Y, -1.0)])
def test_other_options_out_of_range_are_refused(make):
    with pytest.raises(ValueError, match="must"):
        make()


def test_far_logits_do_not_overflow():
    x = Tensor([[1e4, -1e4]])
    loss = F.binary_cross_entropy_with_logits(x, np.array([[1.0, 0.0]]))
    assert loss.item() == 0
    loss = F.binary_cross_entropy_with_logits(x, np.array([[0.0, 1.0]]), reduction="sum")
    assert loss.item() == 2e4
    loss.backward()
    assert_allclose(x.grad.numpy(), [[1.0, -1.0]])
    p = Tensor([0.0, 1.0])
    loss = F.binary_cross_entropy(p, np.array([1.0, 1.0]), reduction="none")
    assert_allclose(loss.numpy(), [100, 0])
    loss.backward()
    assert np.isfinite(p.grad.numpy()).all()


def test_vectors_of_length_zero_have_a_derivative():
    x = Tensor(np.zeros((1, 3)))
    F.cosine_similarity(x, np.ones((1, 3))).backward()
    assert np.isfinite(x.grad.numpy()).all()


# --------------------------------------------------------------------------------------------------- cross-entropy


def by_hand(x, target, *options):
    """The definition, row by row."""
    classes, (weight, ignore, smoothing, reduction) = x.shape[1], options
    weight = np.ones(classes) if weight is None else weight
    rows, shares = [], []
    for logp, label in zip(log_softmax(x), target, strict=True):
        if np.ndim(label) == 0 and label == ignore:
            rows.append(0.0)
            shares.append(0.0)
            continue
        probabilities = np.eye(classes)[label] if np.ndim(label) == 0 else label
        mixed = (1 - smoothing) * probabilities + smoothing / classes
        rows.append(-(weight * mixed * logp).sum())
        shares.append(weight[label] if np.ndim(label) == 0 else 1.0)
    return {"none": np.array(rows), "sum": np.sum(rows), "mean": np.sum(rows) / max(np.sum(shares), 1e-300)}[reduction]


OPTIONS = list(itertools.product((None, "weight"), (None, 1, -100), (0.0, 0.1, 1.0), ("mean", "sum", "none")))


def given(weight, ignore):
    labels = LABELS.copy()
    if ignore == -100:
        labels[2] = -100
    return labels, WEIGHT if weight else None


@pytest.mark.parametrize(("weight", "ignore", "smoothing", "reduction"), OPTIONS)
def test_all_options_of_cross_entropy_together(weight, ignore, smoothing, reduction):
    labels, weight = given(weight, ignore)
    loss = nn.CrossEntropyLoss(weight, ignore, smoothing, reduction)
    expected = by_hand(X, labels, weight, ignore, smoothing, reduction)
    assert_allclose(loss(X, labels).numpy(), expected, rtol=1e-10)
    check_grads(lambda x: loss(x, labels), X)
    if ignore is None:
        soft = by_hand(X, SOFT, weight, None, smoothing, reduction)
        assert_allclose(loss(X, SOFT).numpy(), soft, rtol=1e-10)
        check_grads(loss, X, SOFT)
    assert loss(X.astype("float32"), labels).dtype == np.float32


@pytest.mark.parametrize("axis", [0, 1, 2, -2])
@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_the_class_axis(axis, weight):
    x, labels = rng.standard_normal((2, 3, 6)), rng.integers(0, 6, (2, 3))
    expected = F.cross_entropy(x.reshape((6, 6)), labels.ravel(), weight).item()
    moved = np.moveaxis(x, -1, axis)
    assert_allclose(F.cross_entropy(moved, labels, weight, axis=axis).item(), expected)
    soft = np.moveaxis(np.eye(6)[labels], -1, axis)
    if weight is None:
        assert_allclose(F.cross_entropy(moved, soft, axis=axis).item(), expected)
    assert F.cross_entropy(moved, labels, reduction="none", axis=axis).shape == (2, 3)
    logp = np.moveaxis(log_softmax(x), -1, axis)
    assert_allclose(F.nll_loss(logp, labels, weight, axis=axis).item(), expected)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "float32", "float64"])
def test_labels_of_any_integer_dtype_and_whole_floats(dtype):
    expected = by_hand(X, LABELS, None, None, 0.0, "mean")
    assert_allclose(nn.CrossEntropyLoss()(X, LABELS.astype(dtype)).item(), expected)
    assert_allclose(nn.SoftmaxLoss()(Tensor(X), Tensor(LABELS.astype(dtype), requires_grad=False)).item(), expected)
    weighted = by_hand(X, LABELS, WEIGHT, None, 0.1, "mean")
    assert_allclose(nn.CrossEntropyLoss(WEIGHT, None, 0.1)(X, LABELS.astype(dtype)).item(), weighted)


@pytest.mark.parametrize("options", [{}, {"weight": WEIGHT}, {"label_smoothing": 0.1}, {"ignore_index": 3}])
@pytest.mark.parametrize("function", ["cross_entropy", "nll_loss"])
def test_labels_out_of_range_are_named_with_their_position(options, function):
    if function == "nll_loss" and "label_smoothing" in options:
        return
    labels = np.array([[1, 2], [6, 1]])
    says = "label 6 at position (1, 0) is none of the 6 classes, 0 to 5"
    with pytest.raises(ValueError, match=re.escape(says)):
        getattr(F, function)(X[:4].reshape((2, 2, 6)), labels, **options)


@pytest.mark.parametrize(
    ("label", "says"),
    [(-1, "label -1 at"), (-100, "give ignore_index=-100 to leave such rows out"), (1.5, "label 1.5 at position (0,)")],
)
def test_other_labels_that_are_none(label, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        nn.CrossEntropyLoss()(X, np.full(5, label))


def test_shapes_that_do_not_fit_say_what_to_write():
    x = np.zeros((2, 10, 4))
    for target, says in [
        (np.zeros((2, 4), int), "got shape (2, 4); with the classes along axis 1, give axis=1"),
        (np.zeros((2, 10, 1), int), "got shape (2, 10, 1); write target.reshape((2, 10))"),
        (np.zeros(3, int), "probabilities of shape (2, 10, 4), got shape (3,)"),
    ]:
        with pytest.raises(ValueError, match=re.escape(says)):
            nn.CrossEntropyLoss()(x, target)
    with pytest.raises(ValueError, match="the logits need a class axis -1"):
        nn.CrossEntropyLoss()(np.zeros(()), 0)
    with pytest.raises(ValueError, match=re.escape("weight must have one number a class, shape (6,), got (3,)")):
        F.cross_entropy(X, LABELS, WEIGHT[:3])
    with pytest.raises(ValueError, match="ignore_index is a label, but the targets are probabilities"):
        F.cross_entropy(X, SOFT, ignore_index=0)
    with pytest.raises(ValueError, match="label_smoothing must lie in"):
        nn.CrossEntropyLoss(label_smoothing=1.5)
    with pytest.raises(ValueError, match=re.escape("needs labels of shape (5,), got shape (5, 6)")):
        F.nll_loss(X, SOFT)


@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_if_all_rows_are_ignored_the_loss_and_its_gradient_are_zero(weight, smoothing):
    x = Tensor(X)
    loss = F.cross_entropy(x, np.full(5, -100), weight, -100, smoothing)
    assert loss.item() == 0
    loss.backward()
    assert not x.grad.numpy().any()


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}, {"weight": WEIGHT}, {"ignore_index": 0}])
def test_no_rows_cost_nothing(options):
    assert F.cross_entropy(X[:0], LABELS[:0], **options).item() == 0
    assert F.cross_entropy(X[:0], LABELS[:0], **options, reduction="none").shape == (0,)


def test_ignored_rows_change_nothing_else_even_if_they_are_infinite():
    x = X.copy()
    x[1] = np.inf
    t = Tensor(x)
    labels = np.array([1, -1, 0, 2, 1])
    loss = F.cross_entropy(t, labels, WEIGHT, -1, 0.1)
    kept = [0, 2, 3, 4]
    assert_allclose(loss.item(), F.cross_entropy(X[kept], labels[kept], WEIGHT, None, 0.1).item())
    loss.backward()
    assert np.isfinite(t.grad.numpy()[kept]).all()


def test_a_target_of_zero_at_an_impossible_class_costs_nothing():
    x = np.array([[0.0, 0.0, -np.inf]])
    assert_allclose(F.cross_entropy(x, np.array([[0.5, 0.5, 0.0]])).item(), np.log(2))
    assert_allclose(F.cross_entropy(x, np.array([0]), np.ones(3)).item(), np.log(2))


def test_one_row_without_a_batch():
    assert_allclose(F.cross_entropy(X[0], np.array(1)).item(), -log_softmax(X[0])[1])
    assert_allclose(F.cross_entropy(X[0], 1, WEIGHT).item(), -log_softmax(X[0])[1])


def test_higher_derivatives_and_forward_mode():
    loss = nn.CrossEntropyLoss(WEIGHT, 1, 0.1)
    check_grads(lambda x: loss(x, LABELS), X, order=2)
    v = rng.standard_normal(X.shape)
    _, slope = needle.jvp(lambda x: loss(x, LABELS), (X,), (v,))
    assert_allclose(slope, (needle.grad(lambda x: loss(x, LABELS))(X) * v).sum())


def test_weights_belong_to_the_state():
    loss = nn.CrossEntropyLoss(WEIGHT)
    assert list(loss.state_dict()) == ["weight"]
    assert loss.parameters() == []


def test_a_captured_loss_is_right_for_other_labels_and_refuses_those_out_of_range():
    loss = nn.CrossEntropyLoss(WEIGHT, 3, 0.1)
    compiled = needle.compile(loss)
    for seed in range(4):
        labels = np.random.default_rng(seed).integers(0, 6, 5)
        assert_allclose(compiled(X + seed, labels), loss(X + seed, labels).item())
    with pytest.raises(ValueError, match=re.escape("label 9 at position (0,)")):
        compiled(X, np.array([9, 0, 0, 0, 0]))
    assert compiled.explain().count("operations were recorded") == 1


# -------------------------------------------------------------------------------------------------------- PyTorch


@pytest.mark.parametrize(("weight", "ignore", "smoothing", "reduction"), OPTIONS)
def test_cross_entropy_as_pytorch(weight, ignore, smoothing, reduction):
    torch = pytest.importorskip("torch")
    labels, weight = given(weight, ignore)
    a, b = Tensor(X), torch.tensor(X, requires_grad=True)
    y = F.cross_entropy(a, labels, weight, ignore, smoothing, reduction)
    z = torch.nn.functional.cross_entropy(
        b,
        torch.tensor(labels),
        None if weight is None else torch.tensor(weight),
        ignore_index=-100 if ignore is None else ignore,
        label_smoothing=smoothing,
        reduction=reduction,
    )
    assert_allclose(y.numpy(), z.detach().numpy(), rtol=1e-10, atol=1e-12)
    y.sum().backward()
    z.sum().backward()
    assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-10, atol=1e-12)
