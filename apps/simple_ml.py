"""Training as the deep-learning-systems course writes it: its functions, with the course's signatures."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import needle
import numpy as np
from needle import Tensor, nn
from needle.data.datasets.idx import read_images_and_labels

Array = np.ndarray[Any, Any]


def parse_mnist(image_filename: str | Path, label_filename: str | Path) -> tuple[Array, Array]:
    """Images as float32 (n, height * width) in 0..1, where 255 becomes 1, and labels as uint8 (n,).

    The IDX files may be gzipped or plain. Raises ValueError for files that are damaged or do not belong together.
    """
    images, y = read_images_and_labels(image_filename, label_filename)
    return images.reshape(len(images), images.shape[1] * images.shape[2]).astype(np.float32) / np.float32(255), y


def check_labels(y: Any, classes: int, n: int) -> Array:
    """y as an integer array. Raises ValueError unless it holds n labels in 0..classes-1."""
    y = np.asarray(y)
    if y.dtype.kind not in "iu" or y.ndim != 1:
        raise ValueError(
            f"labels: expected integers of shape ({n},), got {y.dtype} of shape {y.shape}; "
            "one_hot rows become labels by argmax(axis=1)"
        )
    if len(y) != n:
        raise ValueError(f"labels: expected {n:,}, one for each row, got {len(y):,}; give rows and labels of one set")
    if n and not 0 <= y.min() <= y.max() < classes:
        at = int(np.flatnonzero((y < 0) | (y >= classes))[0])
        raise ValueError(
            f"labels: expected 0..{classes - 1} for {classes} classes, got {y[at]} at index {at}; "
            "correct the label, or make the last layer as wide as there are classes"
        )
    return y


def check_data(X: Any) -> Array:
    """X as an array. Raises ValueError unless it is a matrix of finite real numbers."""
    X = np.asarray(X)
    if X.ndim != 2 or X.dtype.kind not in "biuf":
        raise ValueError(
            f"data: expected a matrix of real numbers, one example a row, got {X.dtype} of shape {X.shape}; "
            "X.reshape(len(X), -1) flattens images"
        )
    if X.dtype.kind == "f" and not np.isfinite(X).all():
        row, column = np.argwhere(~np.isfinite(X))[0]
        raise ValueError(
            f"data: expected finite numbers, got {X[row, column]} in row {row}, column {column}; "
            "correct such examples or leave them out before training"
        )
    return X


def check_net(X: Any, W1: Any, W2: Any) -> None:
    """Raises ValueError unless relu(X @ W1) @ W2 fits together."""
    if W1.ndim != 2 or W2.ndim != 2 or X.shape[-1] != W1.shape[0] or W1.shape[1] != W2.shape[0]:
        raise ValueError(
            f"net: relu(X @ W1) @ W2 needs shapes (n, inputs), (inputs, hidden), (hidden, classes), got X {X.shape}, "
            f"W1 {W1.shape}, W2 {W2.shape}; make W1 with {X.shape[-1]} rows, and W2 with as many rows as W1 has columns"
        )


def one_hot(y: Any, classes: int, dtype: Any = np.float32) -> Array:
    """(n, classes), 1 at each row's label and 0 elsewhere."""
    rows = np.zeros((len(y), classes), dtype)
    rows[np.arange(len(y)), y] = 1
    return rows


def softmax_loss(Z: Tensor, y_one_hot: Tensor) -> Tensor:
    """The mean over the batch of the softmax loss (cross-entropy) of logits Z (n, classes), as a 0-d Tensor."""
    return needle.softmax_loss(Z, y_one_hot)


def nn_epoch(  # noqa: PLR0917  (the course's signature)
    X: Array, y: Array, W1: Tensor, W2: Tensor, lr: float = 0.1, batch: int = 100
) -> tuple[Tensor, Tensor]:
    """One epoch of SGD on logits = relu(X @ W1) @ W2, batch by batch in the order given, a short last one included.

    X (n, inputs) and y (n,) are arrays, W1 (inputs, hidden) and W2 (hidden, classes) Tensors, which are left as they
    are. Returns the updated W1 and W2. Raises ValueError for NaN in X, bad labels, and shapes that do not fit.
    """
    X = check_data(X)
    check_net(X, W1, W2)
    y = check_labels(y, W2.shape[1], len(X))
    if batch < 1:
        raise ValueError(f"batch: expected 1 or more examples, got {batch}")
    for i in range(0, len(X), batch):
        W1, W2 = Tensor(W1, requires_grad=True), Tensor(W2, requires_grad=True)
        inputs = Tensor(X[i : i + batch], requires_grad=False)  # constants: no adjoint is computed for them
        targets = Tensor(one_hot(y[i : i + batch], W2.shape[1], W2.dtype), requires_grad=False)
        softmax_loss(needle.relu(inputs @ W1) @ W2, targets).backward()
        with needle.no_grad():
            W1, W2 = W1 - lr * gradient(W1), W2 - lr * gradient(W2)
    return Tensor(W1, requires_grad=True), Tensor(W2, requires_grad=True)


def gradient(parameter: Tensor) -> Tensor:
    """The gradient that `backward()` left; for a type checker, which cannot know that it is there."""
    return cast(Tensor, parameter.grad)


def loss_err(h: Tensor, y: Array) -> tuple[Any, Any]:
    """The mean softmax loss of logits h (n, classes) against labels y (n,), and the share of them that is wrong."""
    if h.ndim != 2 or h.size == 0:
        raise ValueError(f"logits: expected shape (n, classes) with one row or more, got {h.shape}")
    y = check_labels(y, h.shape[1], h.shape[0])
    logits = h.numpy()
    with needle.no_grad():
        loss = softmax_loss(h, Tensor(one_hot(y, h.shape[1], logits.dtype), requires_grad=False))
    return loss.numpy()[()], np.mean(logits.argmax(axis=1) != y)


# ------------------------------------------------------------------------------------- images and text, with modules


def epoch_general_cifar10(
    dataloader: Any, model: nn.Module, loss_fn: Any = None, opt: Any = None
) -> tuple[float, float]:
    """One pass over batches (images, labels): training with an optimizer, evaluation without.

    Returns the share of images that were classified rightly, and the mean loss of an image.
    """
    np.random.seed(4)  # the course's: its expected numbers depend on it
    loss_fn = nn.SoftmaxLoss() if loss_fn is None else loss_fn
    model.train() if opt else model.eval()
    counts = np.zeros(3)
    for images, labels in dataloader:
        logits = model(images)
        loss = loss_fn(logits, labels)
        if opt:
            opt.reset_grad()
            loss.backward()
            opt.step()
        counts += _counts(logits, labels, loss)
    return _means(counts)


def train_cifar10(  # noqa: PLR0917  (the course's signature)
    model: nn.Module,
    dataloader: Any,
    n_epochs: int = 1,
    optimizer: Any = needle.optim.Adam,
    lr: float = 0.001,
    weight_decay: float = 0.001,
    loss_fn: Any = nn.SoftmaxLoss,
) -> tuple[float, float]:
    """Train on batches (images, labels): accuracy and mean loss in the last epoch."""
    np.random.seed(4)
    opt = optimizer(model.parameters(), lr=lr, weight_decay=weight_decay)
    found = (0.0, float("inf"))
    for _ in range(n_epochs):
        found = epoch_general_cifar10(dataloader, model, loss_fn(), opt)
    return found


def evaluate_cifar10(model: nn.Module, dataloader: Any, loss_fn: Any = nn.SoftmaxLoss) -> tuple[float, float]:
    """Accuracy and mean loss on batches (images, labels)."""
    return epoch_general_cifar10(dataloader, model, loss_fn())


def epoch_general_ptb(  # noqa: PLR0917  (the course's signature)
    data: Any,
    model: nn.Module,
    seq_len: int = 40,
    loss_fn: Any = None,
    opt: Any = None,
    clip: float | None = None,
    device: Any = None,
    dtype: Any = "float32",
) -> tuple[float, float]:
    """One pass over text (tokens, batch) as `needle.data.batchify` lays it out: training with an optimizer, evaluation
    without.

    The state goes on from one window of `seq_len` tokens to the next; gradients do not. Returns the share of tokens
    that were foretold, and the mean loss of a token.
    """
    np.random.seed(4)
    loss_fn = nn.SoftmaxLoss() if loss_fn is None else loss_fn
    model.train() if opt else model.eval()
    counts, state = np.zeros(3), None
    for start in range(0, len(data) - 1, seq_len):
        tokens, following = needle.data.get_batch(data, start, seq_len, device=device, dtype=dtype)
        logits, state = model(tokens, state)
        state = _detached(state)
        loss = loss_fn(logits, following)
        if opt:
            opt.reset_grad()
            loss.backward()
            if clip is not None:
                opt.clip_grad_norm(clip)
            opt.step()
        counts += _counts(logits, following, loss)
    return _means(counts)


def train_ptb(  # noqa: PLR0917  (the course's signature)
    model: nn.Module,
    data: Any,
    seq_len: int = 40,
    n_epochs: int = 1,
    optimizer: Any = needle.optim.SGD,
    lr: float = 4.0,
    weight_decay: float = 0.0,
    loss_fn: Any = nn.SoftmaxLoss,
    clip: float | None = None,
    device: Any = None,
    dtype: Any = "float32",
) -> tuple[float, float]:
    """Train a language model on text (tokens, batch): accuracy and mean loss in the last epoch."""
    np.random.seed(4)
    opt = optimizer(model.parameters(), lr=lr, weight_decay=weight_decay)
    found = (0.0, float("inf"))
    for _ in range(n_epochs):
        found = epoch_general_ptb(data, model, seq_len, loss_fn(), opt, clip, device, dtype)
    return found


def evaluate_ptb(  # noqa: PLR0917  (the course's signature)
    model: nn.Module,
    data: Any,
    seq_len: int = 40,
    loss_fn: Any = nn.SoftmaxLoss,
    device: Any = None,
    dtype: Any = "float32",
) -> tuple[float, float]:
    """Accuracy and mean loss of a language model on text (tokens, batch)."""
    return epoch_general_ptb(data, model, seq_len, loss_fn(), device=device, dtype=dtype)


def _counts(logits: Tensor, labels: Tensor, loss: Tensor) -> Array:
    """Of a batch: how many labels were foretold, the sum of their losses, and how many there are."""
    hits = (logits.numpy().argmax(axis=1) == labels.numpy()).sum()
    return np.array([hits, loss.item() * len(labels), len(labels)], np.float64)


def _means(counts: Array) -> tuple[float, float]:
    """Accuracy and mean loss, from the sum of `_counts`."""
    right, total, n = counts.tolist()
    return right / n, total / n


def _detached(state: Any) -> Any:
    """A recurrent state without its history."""
    return tuple(map(_detached, state)) if isinstance(state, tuple) else None if state is None else state.detach()
