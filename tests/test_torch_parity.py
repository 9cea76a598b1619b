"""Random layers, losses and optimizers beside PyTorch's: outputs, all gradients, buffers, and twenty steps.

`python tests/test_torch_parity.py 300` compares so many of each; a name or more after the number chooses some.
"""

from __future__ import annotations

import sys
import traceback
from typing import Any

import needle
import numpy as np
import pytest
from beside_torch import NEAR, assert_near, gradients
from needle import Tensor, nn
from torch_cases import DRAWN, NETS, Case, Draw

pytestmark = pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss by both")
SEEDS = 3
DTYPES = ("float32", "float64")


def seed_of(name: str, seed: int) -> list[int]:
    return [seed, *name.encode()]


def assert_close(got: Any, expected: Any, what: str, scale: float = 0) -> None:
    """As `assert_near`, of a scale that may be larger: where gradients cancel out, what is left are rounding errors of
    the size of those that do not."""
    assert (got.shape, got.dtype) == (expected.shape, expected.dtype), what
    tolerance = NEAR[got.dtype] * max(1.0, scale, np.abs(expected).max(initial=0))
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance, err_msg=what)


def compare(torch: Any, case: Case, dtype: str, training: bool, seed: int) -> None:
    """Two calls with the same weights, the buffers of the first going into the second; a weighted sum of the second's
    outputs is differentiated."""
    ours, theirs = case.ours.to(dtype), case.theirs.to(getattr(torch, dtype))
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, p in theirs.named_parameters():
            if "norm" in name or p.ndim == 1:  # else they are all 1 or 0
                p.add_(torch.tensor(rng.standard_normal(p.shape) / 4))
        for name, b in theirs.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                b.copy_(torch.tensor(rng.random(b.shape) + 0.5))
    if theirs.state_dict():
        nn.load_torch(ours, theirs.state_dict())
    ours.train(training), theirs.train(training)
    arrays = [a.astype(dtype) if a.dtype.kind == "f" else a for a in map(np.asarray, case.inputs)]
    is_float = [a.dtype.kind == "f" and i not in case.constants for i, a in enumerate(arrays)]
    mine = [Tensor(a, requires_grad=f) for a, f in zip(arrays, is_float, strict=True)]
    others = [torch.tensor(a.copy(), requires_grad=f) for a, f in zip(arrays, is_float, strict=True)]
    case.call(ours, *mine), case.call_theirs(theirs, *others)
    ys, zs = case.call(ours, *mine), case.call_theirs(theirs, *others)
    ys, zs = (list(out) if isinstance(out, list) else [out] for out in (ys, zs))
    assert len(ys) == len(zs)
    weights = [rng.standard_normal(y.shape).astype(dtype) for y in ys]
    for i, (y, z) in enumerate(zip(ys, zs, strict=True)):
        assert_near(y.numpy(), z, f"output {i}")
    sum((y * w).sum() for y, w in zip(ys, weights, strict=True)).backward()
    total = sum((z * torch.tensor(w)).sum() for z, w in zip(zs, weights, strict=True))
    if not total.requires_grad:
        return
    total.backward()
    leaves = {f"input {i}": x for i, x in enumerate(others) if is_float[i]} | dict(theirs.named_parameters())
    wanted = {name: (torch.zeros_like(p) if p.grad is None else p.grad).numpy() for name, p in leaves.items()}
    found = {f"input {i}": x.grad for i, x in enumerate(mine) if is_float[i]}
    found = {name: np.zeros_like(wanted[name]) if g is None else g.numpy() for name, g in found.items()}
    largest = max([np.abs(g).max(initial=0) for g in wanted.values()], default=0)
    found |= gradients(ours)
    for name, g in wanted.items():
        assert_close(found[name], g, f"gradient of {name}", largest)
    state = nn.torch_state_dict(ours)
    for name, b in theirs.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            assert_near(state[name], b, name)


def check_layer(torch: Any, name: str, seed: int, dtype: str, training: bool) -> None:
    torch.manual_seed(seed)
    case = DRAWN[name](torch, Draw(seed_of(name, seed)))
    if dtype not in case.dtypes:
        return
    try:
        compare(torch, case, dtype, training, seed)
    except Exception as error:
        shapes = [np.shape(a) for a in case.inputs]
        error.add_note(f"{case.ours!r} beside {case.theirs!r}, inputs {shapes}, {case.options}, {training=}")
        raise


WITHOUT_COUNTERPART = (
    *("Module", "Sequential", "ModuleList", "ModuleDict", "Residual", "Function"),
    *("LearnedPositions", "SinusoidalPositions", "RotaryPositions"),
    *("GlobalAvgPool2d", "GlobalMaxPool2d", "HingeLoss"),
)


def test_no_layer_is_missing():
    layers = [name for name, c in vars(nn).items() if isinstance(c, type) and issubclass(c, nn.Module)]
    assert sorted(layers) == sorted([*WITHOUT_COUNTERPART, *[name for name in DRAWN if name not in NETS]])


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", DRAWN)
def test_layers_are_pytorchs(name, dtype, training, seed):
    check_layer(pytest.importorskip("torch"), name, seed, dtype, training)


# ---------------------------------------------------------------------------------------------------------- optimizers


def sgd(draw: Draw) -> tuple[dict[str, Any], dict[str, Any]]:
    """Ours and theirs: with dampening 0 they are the same, and as an average ours takes lr / (1 - momentum)."""
    lr, momentum, decay = draw.number(0.01, 0.3), draw.one(0.0, draw.number(0.1, 0.95)), draw.one(0.0, 0.05)
    theirs = {"lr": lr, "momentum": momentum, "weight_decay": decay}
    if momentum and draw.flag():
        return {**theirs, "dampening": 0, "nesterov": (nesterov := draw.flag())}, {**theirs, "nesterov": nesterov}
    return {**theirs, "lr": lr / (1 - momentum)}, theirs


def adam(draw: Draw) -> tuple[dict[str, Any], dict[str, Any]]:
    options: dict[str, Any] = {"lr": draw.number(0.001, 0.1), "weight_decay": draw.one(0.0, 0.1)}
    options |= {"betas": (draw.number(0.5, 0.95), draw.number(0.9, 0.999)), "eps": draw.one(1e-8, 1e-4)}
    options["amsgrad"] = draw.flag()
    mine = dict(options)
    if draw.flag():
        mine["beta1"], mine["beta2"] = mine.pop("betas")
    return mine, options


def rmsprop(draw: Draw) -> tuple[dict[str, Any], dict[str, Any]]:
    options: dict[str, Any] = {"lr": draw.number(0.001, 0.05), "alpha": draw.number(0.8, 0.99)}
    options |= {"weight_decay": draw.one(0.0, 0.1), "momentum": draw.one(0.0, 0.9), "centered": draw.flag()}
    options["eps"] = draw.one(1e-8, 1e-3)
    return options, options


def adagrad(draw: Draw) -> tuple[dict[str, Any], dict[str, Any]]:
    options: dict[str, Any] = {"lr": draw.number(0.01, 0.3), "lr_decay": draw.one(0.0, 0.1)}
    options |= {"weight_decay": draw.one(0.0, 0.1), "initial_accumulator_value": draw.one(0.0, 0.5), "eps": 1e-8}
    return options, options


OPTIMIZERS = {"SGD": sgd, "Adam": adam, "AdamW": adam, "RMSprop": rmsprop, "Adagrad": adagrad}


def pair_of(torch: Any, name: str, draw: Draw, mine: Any, others: Any, **more: Any) -> tuple[Any, Any]:
    options, theirs = OPTIMIZERS[name](draw)
    options, theirs = {**options, **more}, {**theirs, **more}
    found = getattr(needle.optim, name)(mine, **options), getattr(torch.optim, name)(others, **theirs)
    found[0].said = options, theirs
    return found


def check_steps(torch: Any, name: str, seed: int, dtype: str) -> None:
    """Twenty steps by given gradients, some of which are missing, are clipped, or come at another rate."""
    draw = Draw(seed_of(name, seed))
    shapes = [(), (0, 2), (3,), *[draw.shape(0) for _ in range(3)], (draw.int(1, 90), draw.int(1, 90))]
    starts = [draw.normal(*shape).astype(dtype) for shape in shapes]
    mine, leaves = [Tensor(a) for a in starts], [torch.tensor(a.copy(), requires_grad=True) for a in starts]
    opt, peer = pair_of(torch, name, draw, mine, leaves)
    skips, clips, slows = draw.flag(), draw.flag(), draw.flag()
    for t in range(20):
        for p, leaf in zip(mine, leaves, strict=True):
            g = draw.normal(*p.shape).astype(dtype)
            is_missing = skips and draw.int(0, 4) == 0
            p.grad, leaf.grad = (None, None) if is_missing else (Tensor(g), torch.tensor(g.copy()))
        if clips:
            norms = opt.clip_grad_norm(20.0).item(), torch.nn.utils.clip_grad_norm_(leaves, 20.0).item()
            np.testing.assert_allclose(*norms, rtol=NEAR[np.dtype(dtype)])
        if slows and t == 10:
            opt.lr = opt.lr / 3
            peer.param_groups[0]["lr"] /= 3
        opt.step()
        peer.step()
    for i, (p, leaf) in enumerate(zip(mine, leaves, strict=True)):
        assert_near(p.numpy(), leaf, f"parameter {i} of {opt.said}, {skips=}, {clips=}, {slows=}")


def check_training(torch: Any, name: str, seed: int) -> None:
    """Twenty steps of a random net, in float64 and with an eps far above rounding errors: of gradients that would be 0,
    such as those of the biases of keys in attention, Adam would make steps of the size of its rate, and weight decay
    would make them grow."""
    torch.manual_seed(seed)
    draw = Draw(seed_of(name, seed))
    case = DRAWN[draw.one(*NETS, "TransformerEncoder")](torch, draw)
    ours, theirs = case.ours.to("float64"), case.theirs.double()
    nn.load_torch(ours, theirs.state_dict())
    eps = {} if name == "SGD" else {"eps": 0.1}
    opt, peer = pair_of(torch, name, draw, ours, theirs.parameters(), **eps)
    for _ in range(20):
        opt.zero_grad(), peer.zero_grad()
        y = case.call(ours, *[Tensor(a, requires_grad=False) for a in case.inputs])
        z = case.call_theirs(theirs, *[torch.tensor(a.copy()) for a in case.inputs])
        goal = np.cos(np.arange(y.size)).reshape(y.shape)
        nn.MSELoss()(y, goal).backward()
        torch.nn.MSELoss()(z, torch.tensor(goal)).backward()
        opt.step(), peer.step()
    state = nn.torch_state_dict(ours)
    for key, value in theirs.state_dict().items():
        if value.dtype.is_floating_point:
            assert_close(state[key].astype("float32"), value.float().numpy(), f"{key} of {opt.said}")


@pytest.mark.parametrize("seed", range(2 * SEEDS))
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_twenty_steps_are_pytorchs(name, dtype, seed):
    check_steps(pytest.importorskip("torch"), name, seed, dtype)


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_is_pytorchs(name, seed):
    check_training(pytest.importorskip("torch"), name, seed)


# --------------------------------------------------------------------------------------------------------- many of each


def main(count: int, names: list[str]) -> int:
    """Prints each failure, and how many there were of each name."""
    import torch  # noqa: PLC0415

    torch.set_num_threads(1)
    failures = 0
    for name in names or [*DRAWN, *OPTIMIZERS]:
        wrong = 0
        for seed in range(count):
            checks: list[Any] = []
            if name in OPTIMIZERS:
                checks = [(check_steps, (name, seed, dtype)) for dtype in DTYPES] + [(check_training, (name, seed))]
            else:
                checks = [(check_layer, (name, seed, d, training)) for d in DTYPES for training in (True, False)]
            for check, arguments in checks:
                try:
                    check(torch, *arguments)
                except Exception:
                    wrong += 1
                    if wrong <= 3:
                        print(f"--- {check.__name__}{arguments}\n{traceback.format_exc(limit=-2)}")
        failures += wrong
        print(f"{name}: {wrong} of {count} seeds' checks failed" if wrong else f"{name}: fine", flush=True)
    return min(failures, 1)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100, sys.argv[2:]))
