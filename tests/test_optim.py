"""The rules of needle.optim: against plain NumPy and PyTorch, for every size, dtype and memory order; bad input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import needle as ndl
import numpy as np
import pytest
from needle import optim
from needle.optim.passes import BLOCK, Job, Program, run

STEPS = 20
SHAPES = [(3, 4), (5,), (1,), (), (0, 3), (130, 70), (2, 3, 4)]
"""Small ones, which go through a pass together, one that goes alone, a number, and nothing."""


# ------------------------------------------------------------------------------------------ references in plain NumPy


def sgd(lr: float, momentum: float = 0.0, decay: float = 0.0, dampening: float | None = None, nesterov: bool = False):
    def step(p: Any, g: Any, s: dict[str, Any], t: int) -> Any:
        g = g + decay * p
        if not momentum:
            return p - lr * g
        s["u"] = momentum * s.get("u", 0) + (1 - (momentum if dampening is None else dampening)) * g
        return p - lr * (g + momentum * s["u"] if nesterov else s["u"])

    return step


def adam(lr: float, b1=0.9, b2=0.999, eps=1e-8, decay: float = 0.0, *, decoupled: bool = False, amsgrad=False):
    def step(p: Any, g: Any, s: dict[str, Any], t: int) -> Any:
        g, p = (g, p * (1 - lr * decay)) if decoupled else (g + decay * p, p)
        s["m"] = b1 * s.get("m", 0) + (1 - b1) * g
        s["v"] = b2 * s.get("v", 0) + (1 - b2) * g**2
        s["max"] = np.maximum(s.get("max", 0), s["v"])
        v = (s["max"] if amsgrad else s["v"]) / (1 - b2**t)
        return p - lr * s["m"] / (1 - b1**t) / (np.sqrt(v) + eps)

    return step


def rmsprop(lr: float, alpha=0.99, eps=1e-8, *, decay=0.0, momentum=0.0, centered=False):
    def step(p: Any, g: Any, s: dict[str, Any], t: int) -> Any:
        g = g + decay * p
        s["v"] = alpha * s.get("v", 0) + (1 - alpha) * g**2
        s["a"] = alpha * s.get("a", 0) + (1 - alpha) * g
        s["u"] = momentum * s.get("u", 0) + g / (np.sqrt(s["v"] - centered * s["a"] ** 2) + eps)
        return p - lr * s["u"]

    return step


def adagrad(lr: float, lr_decay=0.0, decay=0.0, start=0.0, eps=1e-10):
    def step(p: Any, g: Any, s: dict[str, Any], t: int) -> Any:
        g = g + decay * p
        s["s"] = s.get("s", start) + g**2
        return p - lr / (1 + (t - 1) * lr_decay) * g / (np.sqrt(s["s"]) + eps)

    return step


def lion(lr: float, b1=0.9, b2=0.99, decay=0.0):
    def step(p: Any, g: Any, s: dict[str, Any], t: int) -> Any:
        m = s.get("m", np.zeros_like(g))
        s["m"] = b2 * m + (1 - b2) * g
        return p * (1 - lr * decay) - lr * np.sign(b1 * m + (1 - b1) * g)

    return step


Make = Callable[[Any], Any]
CASES: dict[str, tuple[Make, Any]] = {
    "sgd": (lambda ps: optim.SGD(ps, 0.1), sgd(0.1)),
    "sgd-decay": (lambda ps: optim.SGD(ps, 0.1, weight_decay=0.3), sgd(0.1, decay=0.3)),
    "sgd-momentum": (lambda ps: optim.SGD(ps, 0.1, 0.9, 0.1), sgd(0.1, 0.9, 0.1)),
    "sgd-torch": (lambda ps: optim.SGD(ps, 0.1, 0.9, dampening=0), sgd(0.1, 0.9, dampening=0)),
    "sgd-dampening": (lambda ps: optim.SGD(ps, 0.1, 0.9, dampening=0.5), sgd(0.1, 0.9, dampening=0.5)),
    "sgd-nesterov": (
        lambda ps: optim.SGD(ps, 0.1, 0.9, 0.1, dampening=0, nesterov=True),
        sgd(0.1, 0.9, 0.1, dampening=0, nesterov=True),
    ),
    "adam": (lambda ps: optim.Adam(ps, 0.01), adam(0.01)),
    "adam-course": (lambda ps: optim.Adam(ps, 0.01, 0.8, 0.9, 1e-3, 0.1), adam(0.01, 0.8, 0.9, 1e-3, 0.1)),
    "adam-betas": (lambda ps: optim.Adam(ps, 0.01, betas=(0.5, 0.7)), adam(0.01, 0.5, 0.7)),
    "amsgrad": (lambda ps: optim.Adam(ps, 0.01, betas=(0.9, 0.5), amsgrad=True), adam(0.01, b2=0.5, amsgrad=True)),
    "adamw": (lambda ps: optim.AdamW(ps, 0.01, weight_decay=0.5), adam(0.01, decay=0.5, decoupled=True)),
    "adamw-amsgrad": (
        lambda ps: optim.AdamW(ps, 0.01, beta2=0.5, amsgrad=True),
        adam(0.01, b2=0.5, decay=0.01, decoupled=True, amsgrad=True),
    ),
    "rmsprop": (lambda ps: optim.RMSprop(ps, 0.01, weight_decay=0.1), rmsprop(0.01, decay=0.1)),
    "rmsprop-all": (
        lambda ps: optim.RMSprop(ps, 0.01, 0.9, 1e-2, momentum=0.7, centered=True),
        rmsprop(0.01, 0.9, 1e-2, momentum=0.7, centered=True),
    ),
    "adagrad": (lambda ps: optim.Adagrad(ps, 0.1), adagrad(0.1)),
    "adagrad-all": (lambda ps: optim.Adagrad(ps, 0.1, 0.2, 0.1, 0.5), adagrad(0.1, 0.2, 0.1, 0.5)),
    "lion": (lambda ps: optim.Lion(ps, 0.01, weight_decay=0.3), lion(0.01, decay=0.3)),
}
"""An optimizer of these parameters, and the step that it must make, by name."""


def data(shape: tuple[int, ...], seed: int, dtype: str = "float64") -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def stepped(make: Make, starts: list[Any], gradients: Callable[[int], list[Any]], steps: int = STEPS) -> list[Any]:
    """The values after so many steps with these gradients, which must not change."""
    params = [ndl.Tensor(a) for a in starts]
    opt = make(params)
    for t in range(1, steps + 1):
        for p, g in zip(params, given := gradients(t), strict=True):
            p.grad = ndl.Tensor(g)
        opt.step()
        for p, g in zip(params, given, strict=True):
            assert np.array_equal(p.grad.numpy(), g)
    assert opt.steps == steps
    return [p.numpy() for p in params]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_twenty_steps_are_those_of_plain_numpy(name, dtype):
    make, reference = CASES[name]
    starts = [data(shape, i, dtype) for i, shape in enumerate(SHAPES)]
    wanted, states = [a.astype(np.float64) for a in starts], [dict[str, Any]() for _ in starts]

    def gradients(t: int) -> list[Any]:
        return [data(shape, 100 * t + i, dtype) for i, shape in enumerate(SHAPES)]

    for t in range(1, STEPS + 1):
        given = zip(wanted, gradients(t), states, strict=True)
        wanted = [reference(p, g.astype(np.float64), s, t) for p, g, s in given]
    tolerance = 1e-12 if dtype == "float64" else 2e-5
    for found, value in zip(stepped(make, starts, gradients), wanted, strict=True):
        assert found.dtype == dtype
        np.testing.assert_allclose(found, value, rtol=tolerance, atol=tolerance)


TORCH: dict[str, Callable[[Any, Any], Any]] = {
    "sgd": lambda o, ps: o.SGD(ps, 0.1),
    "sgd-decay": lambda o, ps: o.SGD(ps, 0.1, weight_decay=0.3),
    "sgd-momentum": lambda o, ps: o.SGD(ps, 0.1 * (1 - 0.9), 0.9, weight_decay=0.1),
    "sgd-torch": lambda o, ps: o.SGD(ps, 0.1, 0.9),
    "sgd-nesterov": lambda o, ps: o.SGD(ps, 0.1, 0.9, weight_decay=0.1, nesterov=True),
    "adam": lambda o, ps: o.Adam(ps, 0.01),
    "adam-course": lambda o, ps: o.Adam(ps, 0.01, (0.8, 0.9), 1e-3, 0.1),
    "amsgrad": lambda o, ps: o.Adam(ps, 0.01, (0.9, 0.5), amsgrad=True),
    "adamw": lambda o, ps: o.AdamW(ps, 0.01, weight_decay=0.5),
    "rmsprop": lambda o, ps: o.RMSprop(ps, 0.01, weight_decay=0.1),
    "rmsprop-all": lambda o, ps: o.RMSprop(ps, 0.01, 0.9, 1e-2, momentum=0.7, centered=True),
    "adagrad": lambda o, ps: o.Adagrad(ps, 0.1),
    "adagrad-all": lambda o, ps: o.Adagrad(ps, 0.1, 0.2, 0.1, 0.5),
}


@pytest.mark.parametrize("name", TORCH)
@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_twenty_steps_are_those_of_pytorch(name, dtype):
    torch: Any = pytest.importorskip("torch")
    if dtype == "complex64" and name == "rmsprop-all":
        pytest.skip("PyTorch's own is not element-wise in real and imaginary parts there")
    shapes = [(130, 70), (5,)]

    def gradients(t: int) -> list[Any]:
        return [data(shape, 100 * t + i, dtype) + _imaginary(shape, t, dtype) for i, shape in enumerate(shapes)]

    starts = gradients(0)
    leaves = [torch.tensor(a, requires_grad=True) for a in starts]
    peer = TORCH[name](torch.optim, leaves)
    for t in range(1, STEPS + 1):
        for p, g in zip(leaves, gradients(t), strict=True):
            p.grad = torch.tensor(g)
        peer.step()
    for found, p in zip(stepped(CASES[name][0], starts, gradients), leaves, strict=True):
        np.testing.assert_allclose(found, p.detach().numpy(), rtol=1e-5, atol=1e-5)


def _imaginary(shape: tuple[int, ...], seed: int, dtype: str) -> Any:
    return (1j * data(shape, 7 * seed + 3)).astype(dtype) if dtype.startswith("complex") else np.zeros(shape, dtype)


@pytest.mark.parametrize("name", CASES)
def test_complex_numbers_are_stepped_as_two_real_ones(name):
    make, _ = CASES[name]

    def gradients(t: int) -> list[Any]:
        return [data((4, 3), 2 * t) + 1j * data((4, 3), 2 * t + 1), data((90, 100), t) + 1j * data((90, 100), -t % 99)]

    def parts(t: int) -> list[Any]:
        return [np.stack([g.real, g.imag], -1) for g in gradients(t)]

    found = stepped(make, gradients(0), gradients)
    for a, b in zip(found, stepped(make, parts(0), parts), strict=True):
        np.testing.assert_array_equal(np.stack([a.real, a.imag], -1), b)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("shape", [(7, 5), (130, 70)])
def test_half_precision_computes_in_float32_and_is_rounded_once_a_step(name, shape):
    make, _ = CASES[name]
    p = ndl.Tensor(data(shape, 0, "float16"))
    opt, wide = make([p]), ndl.Tensor(p.numpy().astype(np.float32))
    other = make([wide])
    for t in range(5):
        p.grad = ndl.Tensor(data(shape, t + 1, "float16"))
        wide.data = p.numpy().astype(np.float32)
        wide.grad = p.grad.numpy().astype(np.float32)
        opt.step()
        other.step()
        np.testing.assert_array_equal(p.numpy(), wide.numpy().astype(np.float16))
        for mine, its in zip(arrays_of(opt), arrays_of(other), strict=True):
            assert mine.dtype == np.float32
            np.testing.assert_array_equal(mine, its)


def arrays_of(opt: Any) -> list[Any]:
    return [a for key, a in opt.state_dict().items() if "/" in key and not key.startswith("missed")]


@pytest.mark.parametrize("shape", [(6, 5), (150, 70)])
def test_any_memory_order(shape):
    def result(laid_out: Callable[[Any], Any]) -> Any:
        p = ndl.Tensor(data(shape, 0))
        p.data = ndl.Tensor(laid_out(p.numpy()))
        opt = optim.Adam([p])
        for t in range(3):
            p.grad = ndl.Tensor(laid_out(data(shape, t + 1)))
            opt.step()
        return p.numpy()

    plain = result(lambda a: a)
    np.testing.assert_array_equal(result(np.asfortranarray), plain)
    np.testing.assert_array_equal(result(lambda a: np.repeat(a, 2, 0)[::2]), plain)


def test_many_small_ones_and_one_by_one_are_the_same():
    rng = np.random.default_rng(0)
    shapes = [tuple(rng.integers(1, 40, rng.integers(0, 3))) for _ in range(300)]  # several bundles
    starts = [data(shape, i, "float32") for i, shape in enumerate(shapes)]

    def gradients(t: int) -> list[Any]:
        return [data(shape, i + 1000 * t, "float32") for i, shape in enumerate(shapes)]

    together = stepped(CASES["adam"][0], starts, gradients, 3)
    for i in range(0, 300, 37):
        (alone,) = stepped(CASES["adam"][0], [starts[i]], lambda t, i=i: [gradients(t)[i]], 3)
        np.testing.assert_array_equal(together[i], alone)


def test_a_large_one_in_blocks_on_threads():
    n = 3 * BLOCK + 17
    start, g = data((n,), 0, "float32"), data((n,), 1, "float32")
    (found,) = stepped(CASES["adamw"][0], [start], lambda t: [g], 2)
    (piece,) = stepped(CASES["adamw"][0], [start[-50:]], lambda t: [g[-50:]], 2)
    np.testing.assert_array_equal(found[-50:], piece)


# -------------------------------------------------------------------------------------------------------- the programs


@pytest.mark.parametrize("seed", range(300))
def test_programs_of_random_rules_compute_in_place_what_the_rules_say(seed):
    rng = np.random.default_rng(seed)
    arrays, numbers = int(rng.integers(2, 6)), int(rng.integers(0, 3))
    sets = (0, *[i for i in range(2, arrays) if rng.random() < 0.8])
    unary = [np.negative, np.abs, np.square, np.tanh]
    binary = [np.add, np.subtract, np.multiply, np.maximum]

    def rule(*values: Any) -> tuple[Any, ...]:
        draw, pool = np.random.default_rng(seed + 1000), list(values)
        for _ in range(int(draw.integers(1, 12))):
            a, b = (pool[int(draw.integers(len(pool)))] for _ in range(2))
            if draw.random() < 0.3:
                pool.append(unary[int(draw.integers(4))](a))
            else:
                pool.append(binary[int(draw.integers(4))](a, b if draw.random() < 0.7 else 0.5))
        chosen = [pool[int(draw.integers(len(pool)))] for _ in sets]
        return tuple([a * 1 if any(a is n for n in values[arrays:]) else a for a in chosen])

    given = [data((200,), seed + i) for i in range(arrays)]
    scalars = [np.array(0.3 + i) for i in range(numbers)]
    wanted = rule(*[a.copy() for a in given], *scalars)
    program = Program(rule, arrays, numbers, sets, np.float64)
    elsewhere, first = np.empty(200), [a.copy() for a in given]
    run([Job(program, first, elsewhere, scalars)])
    in_place = [a.copy() for a in given]
    run([Job(program, in_place, in_place[0], scalars)])
    np.testing.assert_array_equal(first[0], given[0])
    for found, target in ((first, elsewhere), (in_place, in_place[0])):
        np.testing.assert_array_equal(target, np.broadcast_to(wanted[0], 200))
        for i in range(1, arrays):
            value = wanted[sets.index(i)] if i in sets else given[i]
            np.testing.assert_array_equal(found[i], np.broadcast_to(value, 200))


def test_the_pass_of_adam_is_twelve_calls_with_one_block_beside_the_arrays():
    rule = optim.Adam.update
    options = {"betas": (0.9, 0.999), "weight_decay": 0.0}
    program = Program(lambda *a: rule(options, *a), 4, 2, (0, 2, 3), np.float32)
    assert len(program.calls) == 12
    assert program.temporaries == 1


# ---------------------------------------------------------------------------------------------------------------- Muon


def muon_reference(p: Any, g: Any, u: Any, *, lr=0.1, momentum=0.95, decay=0.0, nesterov=True, match=False) -> Any:
    u = momentum * u + (1 - momentum) * g
    m = (g * (1 - momentum) + momentum * u if nesterov else u).reshape(-1, p.shape[-1])
    x = m / np.linalg.norm(m)
    for _ in range(5):
        u_, s, vh = np.linalg.svd(x, full_matrices=False)  # the polynomial, of the singular values themselves
        x = (u_ * (3.4445 * s - 4.775 * s**3 + 2.0315 * s**5)) @ vh
    rows, columns = m.shape
    ratio = 0.2 * max(rows, columns) ** 0.5 if match else max(1, columns / rows) ** 0.5
    return p * (1 - lr * decay) - lr * ratio * x.reshape(p.shape), u


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (3, 3, 2, 8)])
@pytest.mark.parametrize("match", [False, True])
def test_muon_drives_singular_values_by_its_polynomial(shape, match):
    p = ndl.Tensor(data(shape, 0))
    adjust = "match_rms_adamw" if match else "original"
    opt = optim.Muon([("w", p)], 0.1, weight_decay=0.2, hidden=lambda name, p: True, adjust=adjust)
    value, u = p.numpy(), np.zeros(shape)
    for t in range(5):
        g = data(shape, t + 1)
        p.grad = ndl.Tensor(g)
        opt.step()
        value, u = muon_reference(value, g, u, decay=0.2, match=match)
        np.testing.assert_allclose(p.numpy(), value, rtol=1e-9, atol=1e-9)


def test_muon_is_pytorchs_up_to_its_bfloat16():
    torch: Any = pytest.importorskip("torch")
    start = data((32, 16), 0, "float32")
    p, leaf = ndl.Tensor(start), torch.tensor(start.T.copy(), requires_grad=True)
    opt = optim.Muon([p], 0.02, weight_decay=0.1, hidden=lambda name, p: True)
    peer = torch.optim.Muon([leaf], lr=0.02, weight_decay=0.1)
    for t in range(10):
        g = data((32, 16), t + 1, "float32")
        p.grad, leaf.grad = ndl.Tensor(g), torch.tensor(g.T.copy())
        opt.step()
        peer.step()
    assert np.abs(p.numpy() - leaf.detach().numpy().T).max() < 0.02 * np.abs(p.numpy() - start).max()


def test_muon_splits_the_parameters_itself():
    nn = ndl.nn
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    opt = optim.Muon(model, rest={"lr": 0.001})
    hidden, rest = opt.param_groups
    assert hidden["names"] == ["0.weight", "2.weight"]
    assert rest["names"] == ["0.bias", "2.bias", "4.weight", "4.bias"]
    assert (hidden["lr"], rest["lr"], rest["betas"]) == (0.02, 0.001, (0.9, 0.999))
    before = [p.numpy() for p in model.parameters()]
    model(ndl.Tensor(data((5, 4), 0, "float32"))).sum().backward()
    opt.step()
    assert all((p.numpy() != b).any() for p, b in zip(model.parameters(), before, strict=True))
    with pytest.raises(ValueError, match="different rates"):
        opt.lr = 0.1
    hidden["lr"] = 0.1
    assert hidden["lr"] == 0.1


def test_muon_leaves_tables_of_embeddings_to_adamw():
    class MyEmbedding(ndl.nn.Module):
        def __init__(self):
            self.weight = ndl.nn.Parameter(data((5, 4), 0, "float32"))

    model = ndl.nn.Sequential(MyEmbedding(), ndl.nn.Linear(4, 4), ndl.nn.Linear(4, 5))
    assert optim.Muon(model).param_groups[0]["names"] == ["1.weight"]


# ---------------------------------------------------------------------------------------------------------- parameters


def test_what_parameters_may_be_given_as():
    model = ndl.nn.Linear(3, 2)
    w, b = model.parameters()
    for params in (model, model.named_parameters(), iter(model.named_parameters()), {"weight": w, "bias": b}):
        assert optim.Adam(params).param_groups[0]["names"] == ["weight", "bias"]
    for params in ([w, b], iter([w, b]), (w, b)):
        opt = optim.Adam(params)
        assert opt.param_groups[0]["names"] == ["0", "1"]
        assert opt.params[0] is w
    opt = optim.Adam([{"params": [w]}, {"params": [b], "lr": 0.5, "betas": [0.1, 0.2]}], lr=0.1)
    assert [group["names"] for group in opt.param_groups] == [["0"], ["1"]]
    assert [group["lr"] for group in opt.param_groups] == [0.1, 0.5]
    assert opt.param_groups[1]["betas"] == (0.1, 0.2)
    two = optim.Adam([{"params": ndl.nn.Linear(1, 1)}, {"params": ndl.nn.Linear(1, 1)}])
    assert [group["names"] for group in two.param_groups] == [["0.weight", "0.bias"], ["1.weight", "1.bias"]]
    opt.add_param_group({"params": [ndl.Tensor([1.0])], "lr": 2})
    assert opt.param_groups[2]["names"] == ["2"]


def test_options_of_groups_are_theirs():
    a, b = ndl.Tensor([1.0]), ndl.Tensor([1.0])
    opt = optim.SGD([{"params": [a]}, {"params": [b], "lr": 0.5, "weight_decay": 1.0}], lr=0.1)
    for p in (a, b):
        p.grad = ndl.Tensor([1.0])
    opt.step()
    assert (a.item(), b.item()) == (0.9, 0.0)


def test_a_parameter_of_two_names_is_stepped_once():
    model = ndl.nn.Sequential(ndl.nn.Linear(3, 3), ndl.nn.Linear(3, 3))
    model[1].weight = model[0].weight
    w = model[0].weight
    for params in (model, [w, w], [("a", w), ("b", w)]):
        opt = optim.SGD(params, 1.0)
        before = w.numpy()
        w.grad = ndl.Tensor(np.ones((3, 3), np.float32))
        opt.step()
        np.testing.assert_array_equal(w.numpy(), before - 1)


@pytest.mark.parametrize(
    ("params", "error", "match"),
    [
        (list, ValueError, "got no parameters"),
        (lambda: ndl.Tensor([1.0]), TypeError, r"one Tensor; write \[t\]"),
        (lambda: 3, TypeError, "needs a Module or a list of Tensors"),
        (lambda: [np.ones(3)], TypeError, "'0' must be a Tensor, got ndarray"),
        (lambda: [ndl.Tensor([1, 2])], TypeError, "'0' must be floating, got int64"),
        (lambda: [("w", ndl.Tensor([1.0]) * 2)], ValueError, "'w' is the output of MulScalar"),
        (lambda: [{"lr": 0.1}], TypeError, "dicts with 'params'"),
        (lambda: [{"params": [ndl.Tensor([1.0])], "momentun": 0.1}], TypeError, "no option 'momentun'"),
        (lambda: [("w", ndl.Tensor([1.0])), ("w", ndl.Tensor([1.0]))], ValueError, "two parameters are called 'w'"),
        (lambda: [{"params": [t := ndl.Tensor([1.0])]}, {"params": [t]}], ValueError, "in another group, too, as '0'"),
        (lambda: ndl.nn.Linear(None, 3), ValueError, "input"),
    ],
)
def test_parameters_that_cannot_be_stepped(params, error, match):
    with pytest.raises(error, match=match):
        optim.SGD(params())


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda ps: optim.SGD(ps, -1), "lr must be a number >= 0"),
        (lambda ps: optim.SGD(ps, float("nan")), "lr must be a number >= 0"),
        (lambda ps: optim.SGD(ps, momentum=1), "0 <= momentum < 1, got momentum=1"),
        (lambda ps: optim.SGD(ps, weight_decay=-1), "weight_decay >= 0"),
        (lambda ps: optim.SGD(ps, momentum=0.9, nesterov=True), "nesterov=True needs momentum > 0 and dampening=0"),
        (lambda ps: optim.SGD(ps, dampening=0, nesterov=True), "nesterov=True needs momentum > 0 and dampening=0"),
        (lambda ps: optim.Adam(ps, betas=(0.9, 1.0)), "Adam: needs 0 <= betas < 1"),
        (lambda ps: optim.AdamW(ps, eps=-1), "AdamW: needs eps >= 0"),
        (lambda ps: optim.RMSprop(ps, alpha=1.0), "0 <= alpha < 1"),
        (lambda ps: optim.Adagrad(ps, lr_decay=-0.1), "lr_decay >= 0"),
        (lambda ps: optim.Lion(ps, beta1=-1), "0 <= betas < 1"),
        (lambda ps: optim.Muon(ps, adjust="spectral"), "adjust is 'original' or 'match_rms_adamw'"),
        (lambda ps: optim.Muon(ps, hidden=lambda name, p: True), "no real matrix"),
    ],
)
def test_options_out_of_range(make, match):
    with pytest.raises(ValueError, match=match):
        make([ndl.Tensor([1.0, 2.0]), ndl.Tensor([[1.0, 2.0], [3.0, 4.0]])])


def test_split_decay():
    class Embedding(ndl.nn.Module):
        def __init__(self):
            self.weight = ndl.nn.Parameter(data((5, 4), 0, "float32"))

    model = ndl.nn.Sequential(Embedding(), ndl.nn.Linear(4, 4))
    assert model[1].bias.shape == (1, 4)  # two axes, and no matrix
    split = optim.split_decay

    def names(groups: Any) -> list[list[str]]:
        opt = optim.AdamW(groups)
        assert [group["weight_decay"] for group in opt.param_groups] == [0.1, 0.0]
        return [group["names"] for group in opt.param_groups]

    assert names(split(model, 0.1)) == [["0.weight", "1.weight"], ["1.bias"]]
    assert names(split(model, 0.1, embeddings=False)) == [["1.weight"], ["0.weight", "1.bias"]]
    assert names(split(model, 0.1, decays=lambda name, p: "bias" in name)) == [["1.bias"], ["0.weight", "1.weight"]]
    assert len(split([ndl.Tensor([1.0])], 0.1)) == 1
