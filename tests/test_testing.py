"""check_grads: it accuses no right rule, misses no wrong one, and names the usual mistakes."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import needle
import numpy as np
import pytest
from needle import Tensor, TensorOp, TensorTupleOp, autograd, ops
from needle.ops.factorizations import cholesky
from needle.ops.matrices import hermitian_part
from needle.ops.spectra import eig, eigvalsh
from needle.ops.systems import pinv
from needle.testing import GradientError, check_grads
from samples import SAMPLES, Sample
from test_laws import DIFFERENTIABLE, is_recorded, members, over, some, weights_like


def numbers(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng([seed, *shape]).uniform(0.3, 1.7, shape)


def report_of(f: Callable[..., Any], *inputs: Any, **options: Any) -> str:
    with pytest.raises(GradientError) as caught:
        check_grads(f, *inputs, **options)
    text = str(caught.value)
    assert len(text.splitlines()) <= 25
    return text


# ----------------------------------------------------------------------------------------- right rules are not accused


def can_be_checked(op: str, sample: Sample) -> bool:
    integers = all(a.dtype.kind in "iu" for a in sample.arrays)
    if integers and op in ("FloorDivide", "Steps", "Maximum", "Minimum", "FMax", "FMin"):
        return False  # jumps and ties are at integers
    if op == "CofactorsAlong" and sample.arrays[0].shape == (1, 1):
        return False  # 0 wherever it is, and without a magnitude that the rounding of its derivative could be held to
    return op != "SoftmaxLoss" and sample.smooth and is_recorded(sample)  # see below


TABLES = {op: [s for s in table if can_be_checked(op, s)] for op, table in DIFFERENTIABLE.items()}


def of_any_matrix(op: Any, f: Callable[..., Any]) -> Callable[..., Any]:
    """f; if its op takes its first input to be Hermitian, the function of any matrix that makes it so."""
    return (lambda a, *others: f(hermitian_part(a), *others)) if getattr(op, "hermitian", False) else f


@over({op: some(table, 5) for op, table in TABLES.items()})
def test_every_op_passes(op, sample):
    node = sample.function(*[Tensor(a) for a in sample.arrays])
    check_grads(of_any_matrix(node.op, sample.function), *sample.arrays)


@over({"SoftmaxLoss": SAMPLES["SoftmaxLoss"]})
def test_softmax_loss_passes_where_it_is_defined(op, sample):
    """Its targets are rows that sum to 1; the rule for them is that of such rows."""
    if len(sample.arrays) == 1:  # by labels
        check_grads(sample.function, *sample.arrays)
        return
    logits, targets = sample.arrays
    check_grads(lambda a: ops.softmax_loss(a, targets), logits)
    check_grads(lambda a: ops.softmax_loss(logits.astype(np.float64), needle.softmax(a)), targets.astype(np.float64))


@over({op: some(TABLES[op], 4) for op in ("EWiseMul", "EWisePow", "Tanh", "LogSumExp", "MatMul", "GetItem")})
def test_third_order_passes(op, sample):
    check_grads(sample.function, *sample.arrays, order=3)


STEPS: list[Callable[[Any, Any], Any]] = [
    lambda a, b: a * b,
    lambda a, b: a + b * b,
    lambda a, b: a / (1 + b * b),
    lambda a, b: needle.tanh(a) - b,
    lambda a, b: needle.exp(-a * a) + b,
    lambda a, b: needle.logsumexp(a, 0) * b + a,
    lambda a, b: needle.sin(a @ needle.transpose(a) @ a) * b,
    lambda a, b: needle.softmax(a) * needle.sin(b),
    lambda a, b: needle.where(a > b, a, b * a),
    lambda a, b: a[[1, 0, 1]][:2] * needle.cos(b),
    lambda a, b: needle.sqrt(1 + a * a).reshape(3, 2).reshape(2, 3) + b,
    lambda a, b: (a * a + 0.5) ** b,
]


class Planted(TensorOp):
    """tanh, with a rule that is off by a little."""

    def compute(self, a: Any) -> Any:
        return np.tanh(a)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad * (1 - node * node) * (1 + 1e-4)


def random_program(seed: int, last: Callable[[Any], Any]) -> Callable[..., Any]:
    chosen = np.random.default_rng(seed).integers(0, len(STEPS), 4)

    def f(p: dict[str, Any], b: Any) -> Any:
        a = p["a"][0]
        for k in chosen[:2]:
            a = STEPS[k](a, b)
        a = last(a)
        for k in chosen[2:]:
            a = STEPS[k](a, b)
        return {"sum": a.sum(), "all": [a, b * 2]}

    return f


@pytest.mark.parametrize("seed", range(8))
def test_random_programs(seed):
    """Right as they are; with one wrong rule somewhere inside they are wrong, and that rule is named."""
    inputs = {"a": [numbers(2, 3, seed=seed)]}, numbers(3, seed=seed)
    check_grads(random_program(seed, needle.tanh), *inputs)
    for mode in ("forward", "reverse"):
        text = report_of(random_program(seed, Planted()), *inputs, modes=mode)
        assert text.startswith(f"{mode} mode, order 1: the ")
        assert 'inputs[0]["a"][0]' in text
        assert "The rule at fault: Planted.gradient (test_testing.py:" in text
        assert "a constant factor: analytic is 1.000 x" in text


# ------------------------------------------------------------------------------------------- wrong rules do not pass


def mutant(op: Any, change: Callable[[Any, Any], Any]) -> Any:
    """The op with its adjoints changed: by (adjoint, the sum of out_grad)."""
    makes_tuple = isinstance(op, TensorTupleOp)

    class Mutant(TensorTupleOp if makes_tuple else TensorOp):
        hermitian = getattr(op, "hermitian", False)

        def compute(self, *arrays: Any) -> Any:
            return op.compute(*arrays)

        def gradient(self, out_grad: Any, node: Any) -> Any:
            total = sum(g.sum() for g in (out_grad if makes_tuple else (out_grad,)) if g is not None)
            adjoints = op.gradient_as_tuple(out_grad, node)
            return tuple(None if g is None else change(g, total) for g in adjoints)

    return Mutant()


def one_element_off(adjoint: Any, total: Any) -> Any:
    at = np.zeros(adjoint.shape)
    at.flat[-1] = 0.02 if np.finfo(adjoint.dtype).eps < 1e-10 else 0.7
    total = total.real if total.dtype.kind == "c" else total
    return adjoint + (total * Tensor(at, requires_grad=False)).astype(adjoint.dtype)


CHANGES: dict[str, Callable[[Any, Any], Any]] = {
    "one element off": one_element_off,
    "sign": lambda g, total: -g,
    "factor": lambda g, total: g * (1.5 if g.dtype == np.float16 else 1.002),
    "zero": lambda g, total: g * 0,
    "not differentiable": lambda g, total: Tensor(g.numpy(), requires_grad=False),
}


def slopes(sample: Sample) -> list[int]:
    """How many elements of the adjoint of each input are not zero."""
    out, pullback = needle.vjp(lambda *a: members(sample.function(*a)), *sample.arrays)
    adjoints = pullback(tuple(weights_like(tuple(map(np.asarray, out)))))
    pairs = zip(adjoints, sample.arrays, strict=True)
    return [np.count_nonzero(np.abs(g) > 1e-6) for g, a in pairs if a.dtype.kind != "b"]


def has_slopes(op: str, sample: Sample) -> bool:
    """Whether its adjoints are of anything: not so of floor(a / b), of 1**a, or of what has no elements."""
    return op not in ("Cast", "LdExp", "TupleGetItem") and any(slopes(sample))


MUTATED = {op: [s for s in some(table, 9) if has_slopes(op, s)] for op, table in TABLES.items()}


def test_no_op_is_missing_from_the_tables():
    without_slopes = {"FloorDivide", "Heaviside", "Once", "Sign", "Steps"}
    assert {op for op, table in TABLES.items() if not table} == {"SoftmaxLoss"}
    assert {op for op, table in MUTATED.items() if not table} == {
        "Cast",
        "LdExp",
        "SoftmaxLoss",
        "TupleGetItem",
        *without_slopes,
    }


NAMES = {
    "sign": "the sign is wrong",
    "factor": "a constant factor",
    "zero": "the gradient is zero",
    "not differentiable": "it is written on arrays",
}


@pytest.mark.parametrize("op", [op for op, table in MUTATED.items() if table])
def test_no_wrong_rule_passes(op):
    """Whatever it is called. What it is called is true. Each mistake is made in another sample."""
    for (name, change), sample in zip(CHANGES.items(), cycle(MUTATED[op])):
        node = sample.function(*[Tensor(a) for a in sample.arrays])
        with pytest.raises(GradientError) as caught:
            check_grads(of_any_matrix(node.op, mutant(node.op, change)), *[a.numpy() for a in node.inputs])
            pytest.fail(f"{name}, in the sample {sample.name}: not noticed")
        text = " ".join(str(caught.value).split())
        assert NAMES.get(name, "") in text, f"in the sample {sample.name}"
        if name == "one element off" and min(slopes(sample)) > 1:  # else it is a factor
            assert "looks like" not in text, f"in the sample {sample.name}"


# ------------------------------------------------------------------------------------------- the usual mistakes, named


def op(compute: Callable[..., Any], gradient: Callable[..., Any], base: Any = TensorOp, **more: Any) -> Any:
    """An op of one's own, from its two methods without `self`."""
    methods = {"compute": lambda self, *arrays: compute(*arrays), "gradient": lambda self, g, node: gradient(g, node)}
    return type("Own", (base,), {**methods, **more})()


def all_axes_reversed(a: Any) -> Any:
    for i in range(a.ndim // 2):
        a = needle.transpose(a, (i, a.ndim - 1 - i))
    return a


class SinOnArrays(TensorOp):
    def compute(self, a: Any) -> Any:
        return np.sin(a)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        slopes = np.cos(node.inputs[0].numpy())
        return out_grad * Tensor(slopes, requires_grad=False)


class SinAllOnArrays(TensorOp):
    def compute(self, a: Any) -> Any:
        return np.sin(a)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return Tensor(out_grad.numpy() * np.cos(node.inputs[0].numpy()))


class SinKept(TensorOp):
    def compute(self, a: Any) -> Any:
        self.slopes = np.cos(a)
        return np.sin(a)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad * Tensor(self.slopes)


class SinOfMyCos(TensorOp):
    """A right rule, made of an op whose rule is wrong."""

    def compute(self, a: Any) -> Any:
        return np.sin(a)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad * MY_COS(node.inputs[0])


def by_a_constant(x: Any) -> Any:
    y = needle.exp(x)
    return x * y.detach()


SIN = op(np.sin, lambda g, node: g * needle.cos(node.inputs[0]))
MY_COS = op(np.cos, lambda g, node: g * needle.sin(node.inputs[0]))
KEEPS, WEIGHTS = SinKept(), numbers(3, 3)
MANY, FEW, MATRICES = numbers(4, 3), numbers(3), numbers(3, 3, 3)


@dataclass
class Plant:
    """A mistake, the same without it, and what the report says of it."""

    name: str
    wrong: Any
    right: Any
    inputs: tuple[Any, ...]
    says: tuple[str, ...]


PLANTS = [
    Plant(
        "one slice of a broadcast input",
        op(np.add, lambda g, node: (g, g[0])),
        op(np.add, lambda g, node: (g, g)),
        (MANY, FEW),
        (
            "the gradient by inputs[1] is wrong",
            "the sum over a broadcast axis is missing",
            "first repetition along axis 0",
        ),
    ),
    Plant(
        "the last slice",
        op(np.multiply, lambda g, node: (g * node.inputs[1], (g * node.inputs[0])[:, -1:])),
        op(np.multiply, lambda g, node: (g * node.inputs[1], g * node.inputs[0])),
        (MANY, numbers(4, 1)),
        ("the sum over a broadcast axis is missing", "last repetition along axis 1", "(out_grad * derivative)[:, -1]"),
    ),
    Plant(
        "the mean over two broadcast axes",
        op(np.multiply, lambda g, node: (g * node.inputs[1], (g * node.inputs[0]).mean((0, 2), keepdims=True)[0])),
        op(np.multiply, lambda g, node: (g * node.inputs[1], g * node.inputs[0])),
        (numbers(2, 3, 4), numbers(3, 1)),
        ("the sum over a broadcast axis is missing", "the mean over axes (0, 2), not the sum"),
    ),
    Plant(
        "a slice of a broadcast batch",
        op(np.matmul, lambda g, node: (g @ node.inputs[1].mT, (node.inputs[0].mT @ g)[0])),
        op(np.matmul, lambda g, node: (g @ node.inputs[1].mT, (node.inputs[0].mT @ g).sum(0))),
        (numbers(2, 3, 4), numbers(4, 2)),
        ("the sum over a broadcast axis is missing", "first repetition along axis 0", "(out_grad * derivative).sum(0)"),
    ),
    Plant(
        "all axes transposed in a matrix product",
        op(np.matmul, lambda g, node: (g @ all_axes_reversed(node.inputs[1]), all_axes_reversed(node.inputs[0]) @ g)),
        op(np.matmul, lambda g, node: (g @ node.inputs[1].mT, node.inputs[0].mT @ g)),
        (MATRICES, numbers(3, 3, 3, seed=1)),
        ("all axes are transposed where the last two are meant", "wrong:  return out_grad @ np.transpose(b)", "b.mT"),
    ),
    Plant(
        "all axes transposed",
        op(lambda a: a.swapaxes(-1, -2), lambda g, node: all_axes_reversed(g)),
        op(lambda a: a.swapaxes(-1, -2), lambda g, node: g.mT),
        (MATRICES,),
        ("all axes are transposed where two are meant", "right:  return out_grad.mT"),
    ),
    Plant(
        "a transpose forgotten",
        op(np.matmul, lambda g, node: (g @ node.inputs[1], node.inputs[0] @ g)),
        op(np.matmul, lambda g, node: (g @ node.inputs[1].mT, node.inputs[0].mT @ g)),
        (numbers(3, 3), numbers(3, 3, seed=1)),
        ("a wrong transpose", "wrong:  return out_grad @ b\n", "right:  return out_grad @ b.mT"),
    ),
    Plant(
        "an inverse permutation",
        op(lambda a: a.transpose(1, 2, 0), lambda g, node: g.transpose(0, 1).transpose(1, 2)),
        op(lambda a: a.transpose(1, 2, 0), lambda g, node: g.transpose(1, 2).transpose(0, 1)),
        (MATRICES,),
        ("the axes of the adjoint are in the wrong order",),
    ),
    Plant(
        "twice",
        op(np.square, lambda g, node: 4 * g * node.inputs[0]),
        op(np.square, lambda g, node: 2 * g * node.inputs[0]),
        (FEW,),
        ("analytic is 2.000 x numeric everywhere.",),
    ),
    Plant(
        "half",
        op(np.square, lambda g, node: g * node.inputs[0]),
        op(np.square, lambda g, node: 2 * g * node.inputs[0]),
        (FEW,),
        ("analytic is 0.500 x numeric everywhere (1/2)", "return 1/2 * out_grad"),
    ),
    Plant(
        "the sum's adjoint for a mean",
        op(np.mean, lambda g, node: g.broadcast_to(node.inputs[0].shape)),
        op(np.mean, lambda g, node: (g / 12).broadcast_to(node.inputs[0].shape)),
        (MANY,),
        (
            "analytic is 12.000 x numeric everywhere (12 is the number of the input's elements)",
            "right:  return out_grad / 12",
        ),
    ),
    Plant(
        "the mean's adjoint for a sum over an axis",
        op(lambda a: a.sum(0), lambda g, node: (g / 4).broadcast_to(node.inputs[0].shape)),
        op(lambda a: a.sum(0), lambda g, node: g.broadcast_to(node.inputs[0].shape)),
        (MANY,),
        ("analytic is 0.250 x numeric everywhere (1/4, and 4 is the length of the input's axis 0)",),
    ),
    Plant("sign", MY_COS, needle.cos, (FEW,), ("the sign is wrong: analytic is -1.000 x numeric everywhere",)),
    Plant(
        "sign of one input",
        op(np.subtract, lambda g, node: (g, g)),
        op(np.subtract, lambda g, node: (g, -g)),
        (FEW, MANY),
        ("the gradient by inputs[1] is wrong", "the adjoint of input 1 is wrong", "the sign is wrong"),
    ),
    Plant(
        "a path forgotten",
        op(lambda a: a * a + a, lambda g, node: g * 2 * node.inputs[0]),
        op(lambda a: a * a + a, lambda g, node: g * 2 * node.inputs[0] + g),
        (FEW,),
        ("a path is forgotten: compute uses input 0 3 times", "the 3rd use held constant"),
    ),
    Plant(
        "one path of several kept",
        op(lambda a: a / np.sqrt(np.sum(a * a)), lambda g, node: g / needle.sqrt((node.inputs[0] ** 2).sum())),
        op(
            lambda a: a / np.sqrt(np.sum(a * a)),
            lambda g, node: (g - node * (g * node).sum()) / needle.sqrt((node.inputs[0] ** 2).sum()),
        ),
        (FEW,),
        ("a path is forgotten: compute uses input 0 3 times", "the 1st and 2nd use held constant"),
    ),
    Plant(
        "a path forgotten through concatenate",
        op(lambda a: np.concatenate([a, np.sin(a)]), lambda g, node: g[:3]),
        op(lambda a: np.concatenate([a, np.sin(a)]), lambda g, node: g[:3] + g[3:] * needle.cos(node.inputs[0])),
        (FEW,),
        ("a path is forgotten: compute uses input 0 2 times", "the 1st use held constant"),
    ),
    Plant(
        "the output for the input",
        op(np.square, lambda g, node: 2 * g * node),
        op(np.square, lambda g, node: 2 * g * node.inputs[0]),
        (FEW,),
        ("the rule reads the output where input 0 is meant", "derivative(node.inputs[0])"),
    ),
    Plant(
        "the input for the output",
        op(np.exp, lambda g, node: g * node.inputs[0]),
        op(np.exp, lambda g, node: g * node),
        (FEW,),
        ("the rule reads input 0 where the output is meant",),
    ),
    Plant(
        "detached",
        by_a_constant,
        lambda x: x * needle.exp(x),
        (FEW,),
        (
            "an intermediate is detached: .detach() takes the output of Exp, of shape (3,), out of the graph",
            "wrong:  return x * y.detach()",
        ),
    ),
    Plant(
        "through NumPy",
        lambda x: x * Tensor(np.exp(x.numpy()), requires_grad=False),
        lambda x: x * needle.exp(x),
        (FEW,),
        ("an intermediate is detached: .numpy() takes an input, of shape (3,)", "np.exp(x.numpy())"),
    ),
    Plant(
        "stop_gradient",
        lambda x: x * needle.stop_gradient(needle.sin(x)),
        # a shift that changes nothing may be detached
        lambda x: needle.exp(x - needle.max(x).detach()) / needle.exp(x - needle.max(x).detach()).sum(),
        (FEW,),
        ("an intermediate is detached: stop_gradient takes the output of Sin",),
    ),
    Plant(
        "wrapped once more",
        lambda x: x * Tensor(needle.sin(x)),
        lambda x: x * needle.sin(x),
        (FEW,),
        ("Tensor(t): the transform that is running (grad, jvp, ...) differentiates this Tensor",),
    ),
    Plant(
        "all of it through NumPy",
        lambda x: np.sin(x.data.numpy()),
        needle.sin,
        (FEW,),
        ("an intermediate is detached: .data takes an input",),
    ),
    Plant(
        "float32 inside",
        lambda x: needle.sin((100 * x).astype(np.float32)).astype(np.float64),
        lambda x: needle.sin(100 * x),
        (FEW,),
        ("cannot be checked beyond float32's digits", "float32 noise", "Cast in f makes float32 of float64", "float64"),
    ),
    Plant(
        "float32 cancelling",
        lambda x: ((x + 1e5) - 1e5) ** 2,
        lambda x: (x + 1) ** 2,
        (FEW.astype(np.float32),),
        ("is wrong with the inputs as they are, and right in float64", "float32 noise", "Check with float64 inputs"),
    ),
    Plant(
        "on arrays",
        lambda x: needle.exp(SinOnArrays()(x)),
        lambda x: needle.exp(SIN(x)),
        (FEW,),
        (
            "reverse mode over reverse mode, order 2",
            "The rule at fault: SinOnArrays.gradient",
            "the rule gives the right numbers, but it is written on arrays: .numpy() at",
            "wrong:  slopes = np.cos(node.inputs[0].numpy())",
        ),
    ),
    Plant(
        "on arrays, with out_grad",
        lambda x: needle.exp(SinAllOnArrays()(x)),
        lambda x: needle.exp(SIN(x)),
        (FEW,),
        ("forward mode, order 1", "it is written on arrays", "forward mode and second derivatives lose"),
    ),
    Plant(
        "on arrays that compute kept",
        lambda x: needle.exp(SinKept()(x)),
        lambda x: needle.exp(SIN(x)),
        (FEW,),
        ("order 2", "SinKept.gradient", "it is written on arrays: a part of it does not come by Tensor operations"),
    ),
    Plant(
        "an op that a rule is made of",
        lambda x: needle.exp(SinOfMyCos()(x)),
        lambda x: needle.exp(SIN(x)),
        (FEW,),
        ("order 2", "The rule at fault: Own.gradient", "the sign is wrong"),
    ),
    Plant(
        "an op with a memory, used twice",
        lambda x: KEEPS(x) * KEEPS(2 * x) @ WEIGHTS @ WEIGHTS,
        lambda x: SinKept()(x) * SinKept()(2 * x) @ WEIGHTS @ WEIGHTS,
        (FEW,),
        ("one SinKept is used 2 times, and keeps what compute saw in self.slopes", "SinKept()(x) * SinKept()(z)"),
    ),
    Plant(
        "None",
        op(np.multiply, lambda g, node: (g * node.inputs[1], None)),
        op(np.multiply, lambda g, node: (g * node.inputs[1], g * node.inputs[0])),
        (FEW, FEW),
        ("the rule returns None for input 1", "wrong:  return ..., None", "right:  return ..., out_grad * derivative"),
    ),
    Plant(
        "adjoints in the wrong order",
        op(np.multiply, lambda g, node: (g * node.inputs[0], g * node.inputs[1])),
        op(np.multiply, lambda g, node: (g * node.inputs[1], g * node.inputs[0])),
        (FEW, numbers(3, seed=1)),
        ("the adjoints are in the wrong order: input 0 got that of input 1",),
    ),
    Plant(
        "an adjoint given twice",
        op(np.multiply, lambda g, node: (g * node.inputs[0], g * node.inputs[0])),
        op(np.multiply, lambda g, node: (g * node.inputs[1], g * node.inputs[0])),
        (FEW, numbers(3, seed=1)),
        ("the gradient by inputs[0] is wrong", "one adjoint is given twice: input 0 got that of input 1, too"),
    ),
    Plant(
        "a conjugate",
        op(lambda a: (a * a.conj()).real, lambda g, node: 2 * g * node.inputs[0]),
        op(lambda a: (a * a.conj()).real, lambda g, node: 2 * g * node.inputs[0].conj()),
        (FEW + 1j * FEW[::-1],),
        ("the conjugate is wrong",),
    ),
    Plant(
        "one output of two",
        op(lambda a: (np.sin(a), a * a), lambda g, node: g[0] * needle.cos(node.inputs[0]) + g[1], base=TensorTupleOp),
        op(
            lambda a: (np.sin(a), a * a),
            lambda g, node: g[0] * needle.cos(node.inputs[0]) + g[1] * 2 * node.inputs[0],
            base=TensorTupleOp,
        ),
        (FEW,),
        ("d sum(output[1]) / d inputs[0]", "The rule at fault: Own.gradient"),
    ),
]


@pytest.mark.parametrize("plant", PLANTS, ids=[plant.name for plant in PLANTS])
def test_the_mistake_is_named(plant):
    text = " ".join(report_of(plant.wrong, *plant.inputs).split())
    for words in plant.says:
        assert " ".join(words.split()) in text


@pytest.mark.parametrize("plant", PLANTS, ids=[plant.name for plant in PLANTS])
def test_the_right_rule_is_not_accused(plant):
    check_grads(plant.right, *plant.inputs, order=1 if "memory" in plant.name else 2)


@pytest.mark.parametrize("plant", PLANTS, ids=[plant.name for plant in PLANTS])
def test_the_mistake_is_named_inside_of_a_function(plant):
    """Where the op is one of many, on values that are not f's inputs."""
    if "float32" in plant.name or any(a.dtype.kind == "c" for a in plant.inputs):
        return

    def f(*inputs: Any) -> Any:
        first, *others = [a + 0.1 * needle.sin(a) for a in inputs]
        out = plant.wrong(first, *others)
        outputs = [out] if isinstance(out, (Tensor, np.ndarray)) else out
        return {"loss": sum(needle.tanh(0.3 * y + 1).sum() for y in outputs)}

    text = " ".join(report_of(f, *plant.inputs).split())
    named = [words for words in plant.says if words[:3] in ("the", "a p", "all", "ana", "an ", "it ")]
    for words in named:
        assert words.replace("inputs[0]", "").strip(".")[:40] in text.replace("inputs[0]", "")


def test_derivatives_of_ones_own_are_named():
    """Of functions with a rule, as of ops."""

    @needle.custom_gradient
    def add(a: Any, b: Any) -> Any:
        return a + b, lambda g: (g, g[0])

    @needle.custom_gradient
    def square(a: Any) -> Any:
        y = a * a
        return y, lambda g: 2 * g * y

    @needle.custom_jvp
    def cube(a: Any) -> Any:
        return a**3

    @cube.defjvp
    def rule(primals: Any, tangents: Any) -> Any:
        return cube(*primals), -3 * primals[0] ** 2 * tangents[0]

    text = report_of(lambda a, b: needle.tanh(add(a, b)), MANY, FEW)
    assert "The rule at fault: the gradient rule of add (test_testing.py:" in text
    assert "the sum over a broadcast axis is missing" in text
    text = report_of(lambda a: square(needle.sin(a)), FEW)
    assert "the gradient rule of square" in text
    assert "the rule reads the output where input 0 is meant" in text
    text = report_of(lambda a: cube(needle.sin(a)), FEW)
    assert "the forward rule of cube (test_testing.py:" in text
    assert "the sign is wrong" in text
    check_grads(needle.numerical(np.tanh), FEW)


def test_wrong_ops_inside_of_a_checkpoint_are_named():
    check_grads(needle.checkpoint(lambda a: needle.sin(a) * a), FEW)
    text = report_of(needle.checkpoint(lambda b: MY_COS(b) * b), FEW)
    assert "The rule at fault: Own.gradient" in text
    assert "the sign is wrong" in text
    text = report_of(needle.checkpoint(lambda b: needle.sin(b).detach() * b), FEW)
    assert "an intermediate is detached: .detach() takes the output of Sin" in text


def test_hermitian_matrices_move_as_a_whole():
    """Their ops read one triangle, and are not accused of it, whoever else is at fault."""
    a = numbers(3, 3) @ numbers(3, 3).T + 3 * np.eye(3)
    a = a + 0.1j * (numbers(3, 3) - numbers(3, 3).T)
    for f in (cholesky, eigvalsh, lambda x: pinv(x, hermitian=True)):
        text = " ".join(report_of(f, a).split())
        assert "The rule at fault" not in text
        assert "reads one triangle of a matrix that it takes to be Hermitian" in text
        assert "check_grads(lambda a: f((a + a.mT.conj()) / 2), a)" in text
        check_grads(lambda x, f=f: f((x + x.mT.conj()) / 2), a)
    square = [numbers(3, 3) + 2 * np.eye(3)]
    text = report_of(lambda x: by_a_constant(cholesky(x @ x.mT)), *square)
    assert "an intermediate is detached" in text
    text = report_of(lambda x: cholesky(MY_COS(x) @ MY_COS(x).mT + x @ x.mT), *square)
    assert "The rule at fault: Own.gradient" in text
    assert "the sign is wrong" in text


def test_outputs_that_are_real_here_and_complex_there():
    for f in (eig, lambda a: eig(a)[0]):
        check_grads(f, np.array([[1.0, -0.02], [0.13, 1.05]]))
        check_grads(f, np.array([[1.0, 0.02], [0.05, 1.1]]))


def by_kind(self, g, node):
    """A rule that is right for Tensors alone."""
    a, b = node.inputs
    return (g * a, g * a) if isinstance(a, np.ndarray) else (g * b, g * a)


def test_gradient_on_arrays_and_tangent_are_named(monkeypatch):
    monkeypatch.setattr(ops.EWiseMul, "gradient", by_kind)
    text = report_of(lambda a, b: needle.tanh(a * b), FEW, numbers(3, seed=1))
    assert "The rule at fault: EWiseMul.gradient" in text
    assert "it is right for Tensors, and must say the same of arrays" in " ".join(text.split())
    monkeypatch.undo()
    monkeypatch.setattr(ops.EWiseMul, "gradient", lambda self, g, node: (g * node.inputs[0], g * node.inputs[1]))
    text = report_of(lambda a, b: needle.tanh(a * b), FEW, numbers(3, seed=1))
    assert "the adjoints are in the wrong order" in text
    assert "The rule at fault: EWiseMul.gradient" in text

    class Twice(ops.Linear):
        def compute(self, a: Any) -> Any:
            return 2 * a

        def gradient(self, out_grad: Any, node: Any) -> Any:
            return 2 * out_grad

        def tangent(self, tangents: Any, node: Any) -> Any:
            return -2 * tangents[0]

    check_grads(Twice(), FEW, modes="reverse")
    text = report_of(Twice(), FEW)
    assert text.startswith("forward mode, order 1: the derivative by inputs[0] is wrong")
    assert "The rule at fault: Twice.tangent" in text
    assert "`gradient` is right" in text
    assert "the sign is wrong" in text
    monkeypatch.setattr(Twice, "tangent", lambda self, tangents, node: 2 * tangents[0].sum())
    text = report_of(Twice(), FEW)
    assert "the tangent of output has shape (), not (3,)" in text
    assert "Twice.tangent" in text
    monkeypatch.setattr(Twice, "tangent", lambda self, tangents, node: 2 * abs(tangents[0]))
    assert "forward mode, order 1: the derivative by inputs[0] is wrong" in report_of(Twice(), FEW)


# ------------------------------------------------------------------------------------------------------- what is said


def test_the_table_names_elements_outputs_and_inputs():
    Layer = namedtuple("Layer", "weights bias")
    off = np.array([[0.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    scaled = op(lambda a: a * 3, lambda g, node: g * 3 + g * Tensor(off, requires_grad=False))

    def f(layers: Any, x: Any) -> Any:
        return {"first": x.sum(), "second": [x @ scaled(layers[1].weights) + layers[1].bias]}

    layers = [Layer(1.0, None), Layer(numbers(3, 2), numbers(2))]
    lines = report_of(f, {1: layers[1]}, numbers(2, 3)).splitlines()
    assert lines[0] == "reverse mode, order 1: the gradient by inputs[0][1].weights is wrong (and in forward mode)"
    assert lines[2] == '  d sum(output["second"][0]) / d inputs[0][1].weights, of shape (3, 2): 1 of 6 are wrong'
    x = numbers(2, 3).sum(0)[1]
    assert lines[4].split() == ["[1,", "1]", f"{4 * x:.6g}", f"{3 * x:.6g}", "0.25"]


def test_at_most_six_rows_worst_first():
    factors = 1 + 0.1 * np.arange(40.0)
    f = op(lambda a: a * 3, lambda g, node: g * 3 * Tensor(factors, requires_grad=False))
    lines = report_of(f, numbers(40)).splitlines()
    assert "39 of 40 are wrong" in lines[2]
    assert [line.split()[0] for line in lines[4:10]] == [f"[{k}]" for k in range(39, 33, -1)]
    assert not lines[10]


def test_one_wrong_element_of_many_is_found():
    off = np.zeros((60, 50))
    off[41, 7] = 0.3
    f = op(np.sin, lambda g, node: g * needle.cos(node.inputs[0]) * (1 + Tensor(off, requires_grad=False)))
    text = report_of(lambda x: needle.exp(f(x)), numbers(60, 50))
    assert "[41, 7]" in text
    assert ": 1 of " in text


def test_no_mistake_is_named_that_does_not_match():
    f = op(np.sin, lambda g, node: g * needle.tanh(node.inputs[0]) * 1.7 + g)
    text = report_of(f, FEW)
    assert "The rule at fault" in text
    assert "looks like" not in text
    assert "wrong:" not in text


def test_several_wrong_inputs_are_listed():
    f = op(lambda a, b, c: a * b * c, lambda g, node: (-g, g * node.inputs[0] * node.inputs[2], -g))
    assert "inputs[0] is wrong (and by inputs[2] and in forward mode)" in report_of(f, FEW, FEW, FEW)


def test_wrong_only_along_with_others():
    """A tangent rule that is not linear: right by each element, wrong by two of them."""

    class Sum(ops.Summation):
        def gradient(self, out_grad: Any, node: Any) -> Any:
            return super().gradient(out_grad, node)

        def tangent(self, tangents: Any, node: Any) -> Any:
            return needle.sqrt((tangents[0] ** 2).sum()) * needle.sign(tangents[0].sum())

    text = report_of(Sum(), FEW)
    assert text.startswith("forward mode, order 1: the derivative by inputs[0] is wrong along a random direction")


# --------------------------------------------------------------------------------------- where nothing can be compared


def test_kinks():
    text = report_of(needle.relu, np.array([1.0, 2.0, -1.0, 0.0]))
    assert text.startswith("f has a kink within 1e-5 of inputs[0][3]; left slope 0, right slope 1; check away from it")
    assert "wrong:" not in text
    text = report_of(lambda p: abs(p["a"][0]), {"a": [np.zeros(1)]}, order=2)
    assert text.startswith('the first derivative of f jumps within 1e-5 of inputs[0]["a"][0][0], where f has a kink')
    check_grads(lambda p: abs(p["a"][0]), {"a": [np.zeros(1)]}, order=1)  # 0 is the mean of -1 and 1
    text = report_of(lambda x: x * (x > 1).astype(float), np.array([0.5, 1.0]))
    assert text.startswith("f jumps within 1e-5 of inputs[0][1]")
    check_grads(needle.relu, np.array([1e-4, 2.0, -1e-4]))  # near, and on the one side


def test_a_kink_does_not_hide_a_wrong_rule():
    f = op(lambda a: np.maximum(a, 0), lambda g, node: 2 * g * (node.inputs[0] > 0))
    text = report_of(f, np.array([0.0, 1.0, 2.0, -1.0]))
    assert "2 of 4 are wrong" in text
    assert [line.split()[0] for line in text.splitlines()[4:6]] == ["[1]", "[2]"]


def test_many_kinks_near():
    rng = np.random.default_rng(0)
    W = rng.normal(size=(300, 300))
    check_grads(lambda x: needle.relu(needle.relu(x @ W) @ W).sum(), rng.normal(size=(4, 300)))


def test_infinite_and_undefined():
    assert report_of(needle.log, np.array([1.0, 2.0, -1.0])).startswith("f is nan at output[2]")
    text = report_of(lambda x: {"y": [needle.exp(x)]}, np.array([[1.0, 1e4]]))
    assert text.startswith('f is inf at output["y"][0][0, 1]')
    text = report_of(needle.sqrt, np.array([1.0, 2.0, 0.0]))
    assert text.startswith("reverse mode, order 1: the gradient by inputs[0] is inf at inputs[0][2]")
    naive = op(lambda a: a * np.log(np.abs(a) + (a == 0)), lambda g, node: g * (needle.log(abs(node.inputs[0])) + 1))
    assert "inf" in report_of(naive, np.array([1.5, 0.0]), order=1)
    zero_times_inf = op(np.square, lambda g, node: g * node / node.inputs[0] * 2)
    text = report_of(zero_times_inf, np.array([2.0, 0.0]), modes="reverse")
    assert "1 of 2 are wrong" in text
    assert text.splitlines()[4].split()[:2] == ["[1]", "nan"]


def test_nondeterministic():
    rng = np.random.default_rng(0)
    text = report_of(lambda x: x * rng.uniform(size=3), FEW)
    assert text.startswith("f is not deterministic: output[0] is ")
    check_grads(lambda x: x * np.random.default_rng(0).uniform(size=3), FEW)


def test_another_value_in_one_mode():
    def f(x: Any) -> Any:
        return x * (2.0 if needle.is_grad_enabled() else 3.0)

    assert "output has another value in forward mode than without it" in report_of(f, FEW, modes="forward")


def test_a_rule_that_raises():
    def too_many(g: Any, node: Any) -> Any:
        return g, g

    text = report_of(lambda x: needle.sin(op(np.log, too_many)(x)), FEW)
    assert text.startswith("reverse mode, order 1: the derivative cannot be computed (Own.gradient (test_testing.py:")
    assert "Own.gradient returned 2 adjoint(s) for 1 input(s)" in text
    text = report_of(op(np.log, lambda g, node: 1 / node.inputs[0].numpy()), FEW)
    assert "returned a ndarray where a Tensor is needed" in text
    mask = op(lambda a: np.maximum(a, 0), lambda g, node: g * (node.inputs[0].realize_cached_data() > 0))
    check_grads(mask, FEW, order=1)
    text = report_of(mask, FEW)
    assert "order 2: the derivative cannot be computed" in text
    assert ".numpy()    # if its derivative is 0, as that of a mask" in text


def test_a_rule_that_raises_for_others_is_still_named():
    def gradient(g: Any, node: Any) -> Any:
        if autograd.wanted(node.inputs[1]):
            raise NotImplementedError("nobody needs this")
        return 2 * g * node.inputs[1], None

    f = op(np.multiply, gradient)
    text = report_of(lambda a: f(a, Tensor(FEW, requires_grad=False)), FEW, order=1)
    assert "The rule at fault: Own.gradient" in text


def test_errors_of_f_itself_are_its_own():
    with pytest.raises(ZeroDivisionError):
        check_grads(lambda x: x / (1 // 0), FEW)


# ------------------------------------------------------------------------------------------ inputs, outputs, arguments


def test_what_f_takes_and_gives():
    @dataclass
    class Parameters:
        W: Any
        b: Any

    def f(p: Parameters, x: Any, kind: str, mask: Any) -> Any:
        assert kind == "linear"
        y = needle.masked(x @ p.W + p.b, mask)
        return [y, {"none": None, "half": (y / 2).sum()}, y > 0, 3.0]

    mask = numbers(2, 4) > 1
    p = Parameters(Tensor(numbers(3, 4)), 2)
    check_grads(f, p, numbers(2, 3).astype(np.float32), "linear", mask)
    assert p.W.grad is None
    check_grads(lambda a, b: needle.make_tuple(a * b, a + b), FEW, 3)
    check_grads(lambda table, rows: table[rows] * 2, numbers(5, 3), np.array([1, 1, 4]))
    check_grads(lambda n: n * n / 3, 7)
    check_grads(lambda a, b: needle.exp(a) * b.real + abs(a - b), 0.3 + 0.4j, numbers(2) * (1 - 2j))
    check_grads(lambda x: x.reshape(-1)[:0], FEW)
    check_grads(needle.grad(lambda y: (y**3 * needle.sin(y)).sum()), FEW)
    check_grads(lambda x, y: x.sum() + y, np.zeros((0, 3)), FEW)


@pytest.mark.parametrize("dtype", ["e", "f", "d", "g", "F", "D"])
def test_dtypes(dtype):
    x = (numbers(3, 4) * (1 + 0.3j if dtype in "FD" else 1)).astype(dtype)
    check_grads(lambda a: needle.exp(a / 4) * a + needle.sin(a).sum(0), x)
    wrong = op(np.sin, lambda g, node: g * needle.cos(node.inputs[0]) * 1.1)
    assert "analytic is 1.1" in report_of(lambda a: needle.exp(wrong(a)), x).replace("1.099", "1.100")
    assert np.all(x == (numbers(3, 4) * (1 + 0.3j if dtype in "FD" else 1)).astype(dtype))


def test_float32_only():
    """f insists on its dtype, so differences are taken in it."""

    class Insists(TensorOp):
        factor = 2.0

        def compute(self, a: Any) -> Any:
            assert a.dtype == np.float32, "float32 only"
            return a * a

        def gradient(self, out_grad: Any, node: Any) -> Any:
            return out_grad * node.inputs[0] * self.factor

    f = Insists()
    check_grads(lambda x: f(x) + x, FEW.astype(np.float32))
    f.factor = 2.1
    text = report_of(lambda x: f(x) + x, FEW.astype(np.float32))
    assert "The rule at fault: Insists.gradient" in text
    assert "a constant factor" in text


def test_the_rule_depends_on_the_dtype():
    f = op(np.square, lambda g, node: g * node.inputs[0] * (3 if node.dtype == np.float32 else 2))
    text = report_of(f, FEW.astype(np.float32))
    assert "is wrong with the inputs as they are, and right in float64" in text
    assert "This is not because of rounding: something in f, or in a rule, depends on the dtype (float32)." in text


def test_tolerances_and_steps():
    slightly = op(np.sin, lambda g, node: g * needle.cos(node.inputs[0]) * 1.0001)
    report_of(slightly, FEW)
    check_grads(slightly, FEW, rtol=1e-3)
    check_grads(slightly, FEW, atol=1e-2)
    report_of(slightly, FEW, rtol=1e-5, atol=1e-6)
    check_grads(needle.sin, FEW, eps=1e-2, seed=7)


def test_magnitudes():
    """Large and small numbers, alone and together; far from 0, and at 0."""
    wrong = op(np.square, lambda g, node: 2.001 * g * node.inputs[0])
    for scale in (1e-12, 1e-3, 1e3, 1e12):
        check_grads(lambda x, s=scale: (x / s) ** 3 * s, FEW * scale)
        report_of(lambda x, s=scale: wrong(x / s) * s, FEW * scale)
    check_grads(lambda x: needle.log(x) * x, np.array([1e-9, 1.0, 1e9]))
    check_grads(lambda x: needle.sin(x) + x**3, np.array([0.0, 0.0]))
    check_grads(needle.sin, np.array([1e4, 0.0, 1.0]))
    check_grads(lambda x: needle.softmax(x).sum() + needle.logsumexp(x - x), np.array([1.0, 5.0, -3.0]))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"modes": ("sideways",)}, 'modes must be among "forward" and "reverse"'),
        ({"modes": ()}, "modes must be among"),
        ({"order": 0}, "order must be 1, 2, ..."),
        ({"order": True}, "order must be"),
        ({"rtol": -1.0}, "rtol must be a positive number"),
        ({"eps": 0}, "eps must be a positive number"),
        ({"atol": float("nan")}, "atol must be a positive number"),
    ],
)
def test_bad_options(options, words):
    with pytest.raises(ValueError, match=words):
        check_grads(needle.sin, FEW, **options)


def test_nothing_to_differentiate():
    with pytest.raises(TypeError, match="nothing to differentiate by"):
        check_grads(lambda x, how: x, np.array([True]), "how")
    with pytest.raises(TypeError, match="f must return numbers"):
        check_grads(lambda x: None, FEW)


def test_deep_graphs():
    """A graph deeper than the recursion limit: checked, and looked through for the wrong op."""
    off = op(np.sin, lambda g, node: -g * needle.cos(node.inputs[0]))

    def f(x: Any, last: Any = needle.sin) -> Any:
        for _ in range(1100):
            x = x + 1e-4
        return last(x)

    check_grads(f, FEW, order=1, modes="reverse")
    assert "the sign is wrong" in report_of(lambda x: f(x, off), FEW, order=1, modes="reverse")


def test_recording_is_as_it_was():
    with needle.no_grad():
        check_grads(needle.sin, FEW)
        assert not needle.is_grad_enabled()
    with pytest.raises(GradientError):
        check_grads(MY_COS, FEW)
    assert needle.is_grad_enabled()
    assert issubclass(GradientError, AssertionError)


def test_modes_and_orders(monkeypatch):
    """Which mixtures are tried: the forward derivative of the gradient is wrong, and nothing else."""

    class Sin(ops.Elementwise):
        def compute(self, a: Any) -> Any:
            return np.sin(a)

        def gradient(self, out_grad: Any, node: Any) -> Any:
            return out_grad * COS(node.inputs[0])

        def tangent(self, tangents: Any, node: Any) -> Any:
            return tangents[0] * needle.cos(node.inputs[0])

        takes_out = False

    class Cos(ops.Elementwise):
        def compute(self, a: Any) -> Any:
            return np.cos(a)

        def gradient(self, out_grad: Any, node: Any) -> Any:
            return -out_grad * needle.sin(node.inputs[0])

        def tangent(self, tangents: Any, node: Any) -> Any:
            return tangents[0] * needle.sin(node.inputs[0])

        takes_out = False

    COS = Cos()
    check_grads(Sin(), FEW, order=1)
    check_grads(Sin(), FEW, modes="reverse", order=3)
    check_grads(Sin(), FEW, modes="forward", order=2)
    text = report_of(Sin(), FEW)
    assert text.startswith("forward mode over reverse mode, order 2: ")
    assert "The rule at fault: Cos.tangent" in text
    assert "the sign is wrong" in text
