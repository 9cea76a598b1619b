"""Whole training steps under needle.compile: captured once, and equal to the eager loop to the last bit."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import models
import needle as ndl
import needle.numpy as nnp
import numpy as np
import pytest
from needle import nn, ops, optim
from needle.optim import schedules as s
from needle.threads import get_num_threads, set_num_threads

CLASSES = 5


class Task:
    """A model, how its loss comes of a batch, and four batches."""

    def __init__(self, model: nn.Module, x: Any, y: Any, loss_of: Any, outputs: Callable[..., Any]):
        self.model, self.x, self.y, self.loss_of, self.outputs = model, x, y, loss_of, outputs

    def loss(self, x: Any, y: Any) -> Any:
        return self.loss_of(self.outputs(self.model, x), y)

    def batch(self, i: int) -> tuple[Any, Any]:
        i %= len(self.x)
        return ndl.Tensor(self.x[i], requires_grad=False), ndl.Tensor(self.y[i], requires_grad=False)


def task(
    model: nn.Module, shape: tuple[int, ...], rows: int, *, loss_of: Any = None, scale: float = 1.0, ids: int = 0
) -> Task:
    """Numbers of a shape, or ids, and labels for so many rows; one-hot targets of them if the loss is of soft ones."""
    rng = np.random.default_rng(1)
    dtype = model.parameters()[0].dtype
    x = [rng.integers(0, ids, shape) if ids else (scale * rng.standard_normal(shape)).astype(dtype) for _ in range(4)]
    y: list[Any] = [rng.integers(0, CLASSES, rows) for _ in range(4)]
    if loss_of in SOFT:
        y = [np.eye(CLASSES, dtype=dtype)[labels] for labels in y]

    def outputs(model: Any, x: Any) -> Any:
        y = model(x)
        return y[0] if isinstance(y, tuple) else y

    return Task(model, x, y, loss_of or nn.SoftmaxLoss(), outputs)


def mlp(rows: int = 32, width: int = 24, dtype: str = "float32", rng: Any = None, **given: Any) -> Task:
    layers = [
        nn.Linear(20, width, dtype=dtype),
        nn.LayerNorm(width, dtype=dtype),
        nn.ReLU(),
        nn.Dropout(0.2, rng=rng),
        nn.Linear(width, width, dtype=dtype),
        nn.GELU(),
        nn.Linear(width, CLASSES, dtype=dtype),
    ]
    return task(nn.Sequential(*layers), (rows, 20), rows, **given)


def cnn(rows: int = 4, side: int = 6, channels: int = 4, rng: Any = None) -> Task:
    layers = [
        nn.Conv2d(3, channels, 3, padding=1),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(channels, 2 * channels, 3, padding=1),
        nn.BatchNorm2d(2 * channels),
        nn.Tanh(),
        nn.Dropout(0.1, rng=rng),
        nn.Flatten(),
        nn.Linear(2 * channels * (side // 2) ** 2, CLASSES),
    ]
    return task(nn.Sequential(*layers), (rows, 3, side, side), rows)


def language(kind: str, length: int = 6, batch: int = 4, width: int = 16) -> Task:
    model = models.LanguageModel(width, CLASSES, width, 2, kind)
    return task(model, (length, batch), length * batch, ids=CLASSES)


def cross_entropy(**given: Any) -> Any:
    return nn.CrossEntropyLoss(**given)


def of_log_softmax(logits: Any, y: Any) -> Any:
    return nn.NLLLoss()(ndl.logsoftmax(logits), y)


def of_softmax(logits: Any, y: Any) -> Any:
    """A loss in which the softmax and the loss share their logits."""
    p = ndl.softmax(logits)
    return ndl.softmax_loss(logits, y) + 0.1 * (p * p).sum(-1).mean()


def mean_square(logits: Any, y: Any) -> Any:
    return ((logits - y) ** 2).mean()


def by_rows(logits: Any, y: Any) -> Any:
    """Sums and moments along rows and columns, composed."""
    d = nnp.tanh(logits) - y
    spread = nnp.sqrt((d * d).sum(-1, keepdims=True) + 1.0)
    return (d / spread).std(-1).mean() + (d.sum(0) ** 2).mean() + nnp.logaddexp(d, y).mean()


SOFT = [mean_square, by_rows, ndl.softmax_loss]

TASKS: dict[str, Callable[[], Task]] = {
    "mlp": mlp,
    "mlp, own generator": lambda: mlp(rng=np.random.default_rng(3)),
    "mlp, float64": lambda: mlp(dtype="float64"),
    "cnn": cnn,
    "rnn": lambda: language("rnn"),
    "lstm": lambda: language("lstm"),
    "transformer": lambda: language("transformer"),
}
LARGE: dict[str, Callable[[], Task]] = {
    "mlp": lambda: mlp(5000, 128),
    "mlp, float64": lambda: mlp(3001, 96, "float64"),
    "confident": lambda: mlp(9001, 16, scale=30.0),
    "soft targets": lambda: mlp(9001, 16, loss_of=ndl.softmax_loss),
    "smooth": lambda: mlp(9001, 16, loss_of=cross_entropy(label_smoothing=0.1, weight=np.arange(1.0, 6.0))),
    "log softmax": lambda: mlp(9001, 16, loss_of=of_log_softmax),
    "softmax": lambda: mlp(9001, 16, loss_of=of_softmax),
    "square": lambda: mlp(9001, 16, loss_of=mean_square),
    "by rows": lambda: mlp(70_001, 8, loss_of=by_rows),
    "cnn": lambda: cnn(33, 20, 16),
    "resnet": lambda: task(models.ResNet9(classes=CLASSES), (16, 3, 32, 32), 16),
    "lstm": lambda: language("lstm", 40, 64, 64),
    "transformer": lambda: language("transformer", 40, 64, 64),
}
"""So large that captured operations run block by block, in numbers that blocks do not divide."""

OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda m: optim.SGD(m, s.one_cycle(0.1, 30), momentum=0.9, dampening=0, nesterov=True, weight_decay=1e-3),
    "adam": lambda m: optim.Adam(m, s.cosine(0.02, 30, warmup=5), amsgrad=True),
    "adamw": lambda m: optim.AdamW(optim.split_decay(m, 0.1), s.cosine(0.02, 30, warmup=5)),
    "rmsprop": lambda m: optim.RMSprop(m, 0.01, momentum=0.5, centered=True),
    "adagrad": lambda m: optim.Adagrad(m, 0.05),
    "lion": lambda m: optim.Lion(m, 1e-3, weight_decay=0.1),
    "muon": lambda m: optim.Muon(m, s.linear(0.02, 0.0, 30)),
}


class Training:
    def __init__(self, make: Callable[[], Task], opt: str, compiled: bool):
        np.random.seed(0)
        self.task = make()
        self.model = self.task.model
        self.opt = OPTIMIZERS[opt](self.model)
        self.ema = optim.EMA(self.model, 0.9)
        self.step: Any = ndl.compile(self._step) if compiled else self._step

    def _step(self, x: Any, y: Any) -> Any:
        loss = self.task.loss(x, y)
        self.opt.reset_grad()
        loss.backward()
        self.opt.clip_grad_norm(1.0)
        self.opt.step()
        self.ema.update()
        return loss

    def run(self, steps: int) -> dict[str, Any]:
        """All that is trained, counted and averaged after so many steps; the gradients; and the losses."""
        np.random.seed(7)
        with warnings.catch_warnings():
            warnings.simplefilter("error", ndl.CompileWarning)
            losses = [self.step(*self.task.batch(i)).item() for i in range(steps)]
        states = {"model": self.model.state_dict(), "opt": self.opt.state_dict(), "ema": self.ema.state_dict()}
        found = {f"{k}/{name}": a for k, state in states.items() for name, a in state.items() if hasattr(a, "shape")}
        grads = {f"grad/{name}": p.grad.numpy() for name, p in self.model.named_parameters()}
        return found | grads | {"losses": np.array(losses), "random": np.random.get_state()[1]}

    @property
    def captures(self) -> int:
        return sum(len(found) for found in self.step._captured.values())


def assert_equal(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, array in found.items():
        assert array.dtype == expected[name].dtype
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


def assert_same_bits(make: Callable[[], Task], opt: str, steps: int) -> None:
    captured = Training(make, opt, True)
    found = captured.run(steps)
    assert captured.captures == 1
    assert len(set(found["losses"])) == steps
    assert_equal(found, Training(make, opt, False).run(steps))


@pytest.mark.parametrize("opt", OPTIMIZERS)
@pytest.mark.parametrize("name", TASKS)
def test_captured_training_is_eager_training_to_the_last_bit(name, opt):
    assert_same_bits(TASKS[name], opt, 30)


@pytest.mark.parametrize("name", LARGE)
def test_so_it_is_where_arrays_are_computed_block_by_block(name):
    assert_same_bits(LARGE[name], "adamw", 5)


def test_a_thousand_steps_are_captured_once_and_end_with_the_same_bits():
    """Convolutions, batch normalization, dropout; AdamW, a cosine schedule, clipping, averages."""
    assert_same_bits(lambda: cnn(rows=3, side=4), "adamw", 1000)


def test_the_number_of_threads_changes_nothing():
    before = get_num_threads()
    found = []
    try:
        for number in (1, 2, 3):
            set_num_threads(number)
            found.append(Training(LARGE["mlp"], "adamw", True).run(3))
    finally:
        set_num_threads(before)
    for other in found[1:]:
        assert_equal(other, found[0])


def test_a_module_that_is_compiled_with_its_loss_outside():
    """The forward pass is captured, and replays its own backward pass."""

    def run(compiled: bool) -> Any:
        np.random.seed(0)
        job = cnn(8, 12, 8)
        opt = optim.AdamW(job.model, 0.01)
        loss_of = ndl.compile(job.loss) if compiled else job.loss
        for i in range(20):
            loss = loss_of(*job.batch(i))
            opt.reset_grad()
            loss.backward()
            opt.step()
        return job.model.state_dict()

    assert_equal(run(True), run(False))


def test_arrays_in_another_order_of_axes():
    """An image whose channels lie last in memory: what comes of it lies so, too, in a replay as eagerly."""

    def step(x: Any, w: Any) -> Any:
        y = nnp.tanh(x * w) - (-x) * 2.0
        return (y * y).mean((0, 2, 3)), y.sum(1), ndl.softmax(y, 1), y.std(-1)

    rng = np.random.default_rng(0)
    x = rng.standard_normal((8, 32, 32, 16)).astype(np.float32).transpose(0, 3, 1, 2)
    w = rng.standard_normal((16, 1, 1)).astype(np.float32)
    captured = ndl.compile(step)
    for _ in range(3):
        given = [ndl.Tensor.make_const(a) for a in (x, w)]
        for a, b in zip(captured(*given), step(*given), strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_gradients_of_functions_that_look_at_their_data():
    """Where a probability is near 1, the rule of the softmax takes another way, in a replay as eagerly."""
    w = np.arange(20.0, dtype=np.float32).reshape(4, 5)
    for f in (ndl.softmax, lambda x: ops.masked_softmax(x, causal=True)):
        slope = ndl.grad(lambda x, f=f: (f(x) * w).sum())
        captured = ndl.compile(slope)
        for scale in (1, 30, 1, 5):
            x = ndl.Tensor(scale * np.sin(np.arange(20, dtype=np.float32)).reshape(4, 5))
            np.testing.assert_array_equal(captured(x).numpy(), slope(x).numpy())


def test_captures_are_counted_as_the_library_keeps_them():
    training = Training(mlp, "sgd", True)
    training.run(2)
    assert training.captures == 1
    training.step(*(a[:7] for a in training.task.batch(0)))
    assert training.captures == 2
