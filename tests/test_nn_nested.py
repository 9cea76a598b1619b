"""A Module as a nested container of its trainable parameters: transforms, optimizers of SciPy, compiled functions."""

import copy
import pickle
import warnings
from typing import NamedTuple

import needle
import numpy as np
import pytest
from needle import CompileWarning, Tensor, nn, ops
from needle.nested import flatten, map_leaves
from numpy.testing import assert_allclose, assert_array_equal

rng = np.random.default_rng(0)
X, Y = rng.standard_normal((7, 4)), rng.integers(0, 2, 7)


class Pair(NamedTuple):
    first: nn.Linear
    rest: list


class Net(nn.Module):
    """Parts in every kind of container, a frozen part, a buffer that counts, and a tie."""

    def __init__(self):
        self.pair = Pair(nn.Linear(4, 3, rng=1, dtype="float64"), [{"a": nn.Linear(3, 3, rng=2, dtype="float64")}])
        self.out = nn.Linear(3, 2, rng=3, dtype="float64")
        self.again = self.pair.rest[0]["a"]
        self.frozen = nn.Parameter(np.full(2, 0.5), requires_grad=False)
        self.calls = nn.Buffer(np.zeros(()))

    def forward(self, x):
        self.calls.data = self.calls + 1
        x = self.again(self.pair.rest[0]["a"](self.pair.first(x)).tanh())
        return self.out(x) + self.frozen


NAMES = ["pair.first.weight", "pair.first.bias", "pair.rest.0.a.weight", "pair.rest.0.a.bias", "out.weight", "out.bias"]


def loss(model):
    return ops.softmax_loss(model(X), Y) + 0.1 * sum([(p * p).sum() for p in model.parameters()])


def in_vector(model):
    return np.concatenate([p.numpy().ravel() for p in model.parameters() if p.requires_grad])


def with_vector(model, vector):
    """A copy of the model with other values."""
    other, start = copy.deepcopy(model), 0
    for p in [p for p in other.parameters() if p.requires_grad]:
        p.data = vector[start : start + p.size].reshape(p.shape)
        start += p.size
    return other


def test_the_gradient_is_a_module_and_that_of_backward():
    model = Net()
    value, gradient = needle.value_and_grad(loss)(model)
    assert type(gradient) is Net
    assert [name for name, _ in gradient.named_parameters()] == [*NAMES, "frozen"]
    result = loss(model)
    result.backward()
    assert_allclose(value.item(), result.item())
    for (name, p), g in zip(model.named_parameters(), gradient.parameters(), strict=True):
        if name != "frozen":
            assert_allclose(g.numpy(), p.grad.numpy())
    assert gradient.again is gradient.pair.rest[0]["a"]
    assert isinstance(gradient.pair, Pair)
    assert_array_equal(needle.grad(loss)(model).out.bias.numpy(), gradient.out.bias.numpy())


def test_the_model_itself_is_as_it_was_but_for_its_buffers():
    model = Net()
    before, attributes = in_vector(model), dict(vars(model))
    needle.grad(loss)(model)
    assert_array_equal(in_vector(model), before)
    assert vars(model) == attributes
    assert all(p.grad is None for p in model.parameters())
    assert model.calls.numpy() == 1


def test_forward_mode_and_products_with_the_hessian():
    model = Net()
    gradient = needle.grad(loss)(model)
    direction = map_leaves(lambda p: rng.standard_normal(p.shape), gradient)
    v = np.concatenate([a.ravel() for a in flatten(direction)[0]])
    g = np.concatenate([a.numpy().ravel() for a in flatten(gradient)[0]])
    value, slope = needle.jvp(loss, (model,), (direction,))
    assert_allclose(value.item(), loss(model).item())
    assert_allclose(slope.item(), g @ v)
    product = flatten(needle.hvp(loss, (model,), (direction,)))[0]
    step, at = 1e-5, in_vector(model)

    def slopes(vector):
        return np.concatenate([a.numpy().ravel() for a in flatten(needle.grad(loss)(with_vector(model, vector)))[0]])

    around = (slopes(at + step * v) - slopes(at - step * v)) / (2 * step)
    assert_allclose(np.concatenate([a.numpy().ravel() for a in product]), around, rtol=1e-6, atol=1e-8)


def test_the_hessian_equals_differences_and_has_no_block_of_what_is_frozen():
    model = Net().requires_grad_(False, "pair.*").eval()
    hessian = needle.hessian(loss)(model)
    parts = [[block.numpy() for block in flatten(row)[0]] for row in [hessian.out.weight, hessian.out.bias]]
    assert [[block.shape for block in row] for row in parts] == [
        [(3, 2, 3, 2), (3, 2, 1, 2)],
        [(1, 2, 3, 2), (1, 2, 1, 2)],
    ]
    matrix = np.block([[b.reshape((6 if i == 0 else 2, -1)) for b in row] for i, row in enumerate(parts)])
    at, step = in_vector(model), 1e-4
    assert at.size == 8

    def value(*moves):
        vector = at.copy()
        for i, by in moves:
            vector[i] += by * step
        return loss(with_vector(model, vector)).item()

    for i in range(8):
        for j in range(8):
            corners = value((i, 1), (j, 1)) - value((i, 1), (j, -1)) - value((i, -1), (j, 1)) + value((i, -1), (j, -1))
            assert_allclose(matrix[i, j], corners / (4 * step * step), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", ["BFGS", "Newton-CG"])
def test_minimize_returns_a_trained_module(method):
    model = Net().requires_grad_(False, "pair.first.*")
    before = model.state_dict()
    found = needle.minimize(loss, model, method=method)
    assert type(found.x) is Net
    assert found.fun < loss(model).item() - 0.1
    assert_allclose(loss(found.x).item(), found.fun, rtol=1e-6)
    assert found.x.pair.first.weight is model.pair.first.weight
    trained = found.x.named_parameters()
    assert [name for name, p in trained if p.requires_grad] == NAMES[2:]
    assert all(type(p) is nn.Parameter for _, p in trained)
    assert type(found.jac) is Net
    assert all((model.state_dict()[name] == array).all() for name, array in before.items() if name != "calls")
    assert found.x.again is found.x.pair.rest[0]["a"]
    again = pickle.loads(pickle.dumps(copy.deepcopy(found.x)))
    assert_allclose(loss(again).item(), found.fun, rtol=1e-6)
    loss(again).backward()  # it can be trained on
    assert again.out.weight.grad is not None


def test_a_module_with_nothing_to_train_says_so():
    with pytest.raises(TypeError, match="nothing to differentiate by"):
        needle.grad(loss)(Net().requires_grad_(False))


def test_modules_that_point_back_follow_to_the_copy():
    class Child(nn.Module):
        def forward(self, x):
            return x * self.parent.scale

    class Parent(nn.Module):
        def __init__(self):
            self.scale = nn.Parameter(2.0)
            self.child = Child()
            self.child.parent = self
            self.ring = [self.scale]
            self.ring.append(self.ring)

        def forward(self, x):
            return self.child(x)

    gradient = needle.grad(lambda m: m(3.0))(Parent())
    assert gradient.scale.item() == 3.0
    assert gradient.child.parent is gradient


def test_functions_of_a_module_among_other_arguments():
    model = nn.Linear(4, 2, rng=0, dtype="float64")
    by_model, by_x = needle.grad(lambda m, x: (m(x) ** 2).sum(), argnums=(0, 1))(model, X)
    assert type(by_model) is nn.Linear
    assert_allclose(by_x.numpy(), 2 * model(X).numpy() @ model.weight.numpy().T)
    nested = needle.grad(lambda d: (d["model"](X) * d["scale"]).sum())({"model": model, "scale": 2.0})
    assert_allclose(nested["scale"].item(), model(X).numpy().sum())
    assert_allclose(nested["model"].bias.numpy(), np.full((1, 2), 14.0))


# ------------------------------------------------------------------------------------------------- compiled functions


def training_step(model, x, y):
    model.zero_grad()
    result = ops.softmax_loss(model(x), y)
    result.backward()
    for p in model.parameters():
        if p.grad is not None:
            p.data = p - 0.1 * p.grad
    return result


def small():
    return nn.Sequential(nn.Linear(4, 5, rng=1), nn.ReLU(), nn.Residual(nn.Linear(5, 5, rng=2)), nn.Linear(5, 2, rng=3))


def batches(count):
    for i in range(count):
        x = np.random.default_rng(i).standard_normal((7, 4)).astype("float32")
        yield Tensor(x, requires_grad=False), Tensor((x[:, 0] > 0).astype(int), requires_grad=False)


def test_a_training_step_of_a_module_is_captured_once_and_equals_the_eager_one():
    eager, captured, step = small(), small(), needle.compile(training_step)
    with warnings.catch_warnings():
        warnings.simplefilter("error", CompileWarning)
        for x, y in batches(20):
            assert_allclose(training_step(eager, x, y).item(), step(captured, x, y).item(), rtol=1e-6)
    for p, q in zip(eager.parameters(), captured.parameters(), strict=True):
        assert_allclose(p.numpy(), q.numpy(), rtol=1e-5, atol=1e-7)
    assert step.explain().startswith("training_step\n")  # captured once
    other = small()
    x, y = next(batches(1))
    step(other, x, y)
    assert_array_equal(other[0].weight.numpy(), needle_step_of(small(), x, y)[0].weight.numpy())
    assert step.explain().startswith("training_step, captured 2 times")


def needle_step_of(model, x, y):
    training_step(model, x, y)
    return model


def test_a_change_of_the_module_is_captured_anew():
    eager, captured, step = small(), small(), needle.compile(training_step)
    changes = [
        lambda m: m.requires_grad_(False, "0.*"),
        lambda m: m.append(nn.Tanh()),
        lambda m: setattr(m[3], "weight", nn.Parameter(np.ones((5, 2)), dtype="float32")),
        nn.Module.double,
    ]
    for i, (x, y) in enumerate(batches(8)):
        if i % 2 == 0:
            changes[i // 2](eager)
            changes[i // 2](captured)
        assert_allclose(training_step(eager, x, y).item(), step(captured, x, y).item(), rtol=1e-6)
    for p, q in zip(eager.parameters(), captured.parameters(), strict=True):
        assert_allclose(p.numpy(), q.numpy(), rtol=1e-5, atol=1e-7)


def test_what_a_layer_does_in_training_and_in_use_is_captured_apart():
    class Scaled(nn.Module):
        def __init__(self):
            self.weight = nn.Parameter(np.ones(3))

        def forward(self, x):
            return x * self.weight * (2.0 if self.training else 1.0)

    model, step = nn.Sequential(Scaled()), needle.compile(lambda m, x: m(x).sum())
    x = Tensor(np.ones(3))
    for mode in (True, False, True, False):
        assert step(model.train(mode), x).item() == (6.0 if mode else 3.0)


def test_a_compiled_function_returns_gradients_as_modules():
    model = small().double()

    @needle.compile
    def both(model, x, y):
        return needle.value_and_grad(lambda m: ops.softmax_loss(m(x), y))(model)

    for x, y in batches(4):
        value, gradient = both(model, x, y)
        expected, right = needle.value_and_grad(lambda m, x=x, y=y: ops.softmax_loss(m(x), y))(model)
        assert_allclose(value.item(), expected.item())
        assert type(gradient) is nn.Sequential
        for g, h in zip(gradient.parameters(), right.parameters(), strict=True):
            assert_allclose(g.numpy(), h.numpy(), rtol=1e-10, atol=1e-12)
    assert both.explain().count("operations were recorded") == 1


def test_a_compiled_function_that_returns_the_model_runs_as_it_is():
    model = small()
    same = needle.compile(lambda model, x: model)
    with pytest.warns(CompileWarning, match="returns an object of class Sequential"):
        assert same(model, Tensor(1.0)) is model
    assert same(model, Tensor(1.0)) is model


def test_a_module_in_a_closure_or_attribute_is_captured_likewise():
    model = small()
    step = needle.compile(lambda x, y: training_step(model, x, y))
    eager = small()
    for x, y in batches(5):
        assert_allclose(step(x, y).item(), training_step(eager, x, y).item(), rtol=1e-6)
    assert step.explain().count("operations were recorded") == 1


def test_a_module_itself_can_be_compiled():
    class Scaled(nn.Module):
        def __init__(self):
            self.weight = nn.Parameter(np.ones(3))
            self.explain = "an attribute of the module"

        def forward(self, x):
            return x * self.weight * (2.0 if self.training else 1.0)

    model = Scaled()
    compiled, x = needle.compile(model), Tensor(np.ones(3))
    for mode in (True, False, True):
        model.train(mode)
        assert_array_equal(compiled(x).numpy(), np.full(3, 2.0 if mode else 1.0))
    model.weight.data = np.full(3, 5.0)
    compiled(x).sum().backward()
    assert_array_equal(compiled(x).numpy(), np.full(3, 10.0))
    assert_array_equal(model.weight.grad.numpy(), np.full(3, 2.0))
    assert compiled.explain().startswith("Scaled, captured 3 times")  # the flag of the class, and of the object twice
