"""The residual MLP of the deep-learning-systems course, trained on MNIST; functions with the course's signatures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import needle
import numpy as np
from needle import nn


def ResidualBlock(dim: int, hidden_dim: int, norm: Any = nn.BatchNorm1d, drop_prob: float = 0.1) -> nn.Module:
    """(n, dim) -> (n, dim): relu(x + f(x)), where f goes through a hidden layer."""
    inner = nn.Sequential(
        nn.Linear(dim, hidden_dim),
        norm(hidden_dim),
        nn.ReLU(),
        nn.Dropout(drop_prob),
        nn.Linear(hidden_dim, dim),
        norm(dim),
    )
    return nn.Sequential(nn.Residual(inner), nn.ReLU())


def MLPResNet(  # noqa: PLR0917  (the course's signature)
    dim: int,
    hidden_dim: int = 100,
    num_blocks: int = 3,
    num_classes: int = 10,
    norm: Any = nn.BatchNorm1d,
    drop_prob: float = 0.1,
) -> nn.Module:
    """(n, dim) -> logits (n, num_classes), through `num_blocks` residual blocks."""
    return nn.Sequential(  # in this order, which is that of the random draws
        nn.Linear(dim, hidden_dim),
        nn.ReLU(),
        *[ResidualBlock(hidden_dim, hidden_dim // 2, norm, drop_prob) for _ in range(num_blocks)],
        nn.Linear(hidden_dim, num_classes),
    )


def epoch(dataloader: Any, model: nn.Module, opt: Any = None) -> tuple[float, float]:
    """One pass over the data: training with an optimizer, evaluation without. The share of errors and the mean loss."""
    np.random.seed(4)  # the course's: its expected numbers depend on it
    model.train() if opt else model.eval()
    loss_of = nn.SoftmaxLoss()
    wrong, losses, n = 0, [], 0
    for X, y in dataloader:
        logits = model(X.reshape((X.shape[0], -1)))
        loss = loss_of(logits, y)
        if opt:
            opt.reset_grad()
            loss.backward()
            opt.step()
        wrong += int((logits.numpy().argmax(axis=1) != y.numpy()).sum())
        n += len(y)
        losses.append(loss.item())
    return wrong / n, float(np.mean(losses))


def train_mnist(  # noqa: PLR0917  (the course's signature)
    batch_size: int = 100,
    epochs: int = 10,
    optimizer: Any = needle.optim.Adam,
    lr: float = 0.001,
    weight_decay: float = 0.001,
    hidden_dim: int = 100,
    data_dir: str | Path = "data",
) -> tuple[float, float, float, float]:
    """Train on the four IDX files in `data_dir`: error and loss on the training set, then on the test set."""
    np.random.seed(4)
    folder = Path(data_dir)
    loaders = []
    for part, shuffle in (("train", True), ("t10k", False)):
        files = folder / f"{part}-images-idx3-ubyte.gz", folder / f"{part}-labels-idx1-ubyte.gz"
        loaders.append(needle.data.DataLoader(needle.data.MNISTDataset(*map(str, files)), batch_size, shuffle=shuffle))
    model = MLPResNet(28 * 28, hidden_dim)
    opt = optimizer(model.parameters(), lr=lr, weight_decay=weight_decay)
    found = (1.0, float("inf"))
    for _ in range(epochs):
        found = epoch(loaders[0], model, opt)
    return (*found, *epoch(loaders[1], model))


if __name__ == "__main__":
    print(train_mnist(data_dir="../data"))
