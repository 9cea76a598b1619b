"""Modules: what the walk finds, what can be done to all of it, containers, Linear, and parameters that come later."""

import copy
import pickle
import re
import warnings

import needle
import numpy as np
import pytest
from needle import Tensor, nn, ops, optim
from numpy.testing import assert_allclose, assert_array_equal


class Nested(nn.Module):
    """Layers in plain containers, and no super().__init__()."""

    def __init__(self):
        self.layers = [nn.Linear(4, 3), {"a": nn.Linear(3, 2)}]
        self.pair = (nn.Parameter(np.ones(2)), {"scale": nn.Parameter(np.full(2, 2.0))})
        self.mean = nn.Buffer(np.zeros(2))
        self.seen = nn.Buffer(np.zeros((), int), persistent=False)
        self.name, self.sizes = "nested", [1, 2, 3]

    def forward(self, x):
        x = self.layers[1]["a"](self.layers[0](x))
        return x * self.pair[0] + self.pair[1]["scale"]


NAMES = ["layers.0.weight", "layers.0.bias", "layers.1.a.weight", "layers.1.a.bias", "pair.0", "pair.1.scale"]


class Tied(nn.Module):
    def __init__(self):
        self.first = nn.Linear(3, 3)
        self.second = self.first
        self.weight = self.first.weight


class Parent(nn.Module):
    """Holds a child that points back."""

    def __init__(self):
        self.child = nn.Linear(2, 2)
        self.child.parent = self
        self.ring = [nn.Parameter(np.ones(1))]
        self.ring.append(self.ring)


def test_plain_containers_are_named_trained_saved_and_set(tmp_path):
    model = Nested()
    assert [name for name, _ in model.named_parameters()] == NAMES
    assert isinstance(model.parameters(), list)
    assert [name for name, _ in model.named_buffers()] == ["mean", "seen"]
    assert [name for name, _ in model.named_modules()] == ["", "layers.0", "layers.1.a"]
    assert model.children() == [model.layers[0], model.layers[1]["a"]]
    assert sorted(model.state_dict()) == sorted([*NAMES, "mean"])
    model.eval()
    assert [module.training for module in model.modules()] == [False] * 3
    assert model.train() is model
    assert model.layers[1]["a"].training
    before = model.state_dict()
    (model(np.ones((2, 4))) ** 2).sum().backward()
    optim.SGD(model, 0.1).step()
    after = model.state_dict()
    assert all((before[name] != after[name]).any() for name in NAMES)
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())
    needle.save(tmp_path / "model.safetensors", model=model)
    other = Nested()
    needle.load(tmp_path / "model.safetensors", model=other)
    assert all((other.state_dict()[name] == array).all() for name, array in after.items())


def test_each_tensor_comes_once_under_its_first_name():
    model = Tied()
    assert [name for name, _ in model.named_parameters()] == ["first.weight", "first.bias"]
    assert len(model.modules()) == 2
    assert len(model.children()) == 1
    others = {"second.weight": "first.weight", "second.bias": "first.bias", "weight": "first.weight"}
    assert nn.aliases(model) == others


def test_children_are_those_of_the_module_itself_even_if_they_are_found_deeper_first():
    model = nn.Sequential(nn.Residual(nn.Linear(2, 2)))
    model.again = model[0].fn
    assert [name for name, _ in model.named_children()] == ["0", "again"]


def test_what_holds_itself_is_entered_once():
    model = Parent()
    assert [name for name, _ in model.named_parameters()] == ["child.weight", "child.bias", "ring.0"]
    assert nn.aliases(model) == {}
    assert "Parent" in repr(model)
    visited = []
    model.apply(visited.append)
    assert visited == [model.child, model]
    other = copy.deepcopy(model)
    assert other.child.parent is other


def test_two_tensors_of_one_name_are_refused():
    model = nn.Module()
    model.parts = {1: nn.Parameter(np.ones(1)), "1": nn.Parameter(np.ones(1))}
    with pytest.raises(ValueError, match=r"two of its tensors are named 'parts\.1'"):
        model.named_parameters()
    with pytest.raises(ValueError, match=r"parts\.1"):
        model.state_dict()


# ---------------------------------------------------------------------------------------- parameters and buffers


def test_results_of_parameters_are_plain_tensors_and_copies_stay_parameters():
    p = nn.Parameter(np.arange(4.0).reshape(2, 2), dtype="float32")
    for result in (p + p, p @ p, p.T, p[0], p.reshape((4,)), p.detach(), p.data, -p, ops.exp(p), p * 2):
        assert type(result) is Tensor
    for other in (copy.copy(p), copy.deepcopy(p), pickle.loads(pickle.dumps(p))):
        assert type(other) is nn.Parameter
        assert other.requires_grad
        assert_array_equal(other.numpy(), p.numpy())
    assert repr(p).startswith("needle.nn.Parameter([[0., 1.],")
    frozen = pickle.loads(pickle.dumps(nn.Parameter(np.ones(1), requires_grad=False)))
    assert type(frozen) is nn.Parameter
    assert not frozen.requires_grad


def test_a_buffer_is_no_parameter_and_keeps_whether_it_is_saved():
    for persistent in (True, False):
        b = nn.Buffer(np.ones(2), persistent)
        for other in (b, copy.deepcopy(b), pickle.loads(pickle.dumps(b))):
            assert isinstance(other, nn.Buffer)
            assert other.persistent is persistent
            assert not other.requires_grad


def test_a_parameter_holds_a_copy():
    array = np.ones(3)
    p = nn.Parameter(array)
    array[:] = 0
    assert_array_equal(p.numpy(), np.ones(3))


@pytest.mark.parametrize("name", ["data", "in place", "new"])
def test_the_loops_that_train_by_hand(name):
    p = nn.Parameter(np.array([1.0, 2.0]))
    ((p * p).sum()).backward()
    if name == "data":
        p.data = p - 0.1 * p.grad
    elif name == "in place":
        with needle.no_grad():
            q = p
            q -= 0.1 * p.grad
        assert q is p
    else:
        q = p
        q += 1  # recorded: a new tensor, as for every leaf
        assert q is not p
        assert_array_equal(p.numpy(), [1.0, 2.0])
        return
    assert isinstance(p, nn.Parameter)
    assert_allclose(p.numpy(), [0.8, 1.6])


def test_elements_of_a_view_of_a_parameter_can_be_assigned_to():
    p = nn.Parameter(np.zeros((2, 2)))
    with needle.no_grad():
        p[0] = 1.0
        row = p[1]
        row[0] = 5.0
    assert isinstance(p, nn.Parameter)
    assert_array_equal(p.numpy(), [[1.0, 1.0], [5.0, 0.0]])


def test_a_leaf_tensor_where_a_parameter_stood_becomes_it():
    layer = nn.Linear(2, 2)
    weight = Tensor(np.eye(2))
    layer.weight = weight
    assert layer.weight is weight
    assert layer.parameters()[0] is weight
    layer(np.ones((1, 2))).sum().backward()
    assert_array_equal(weight.grad.numpy(), np.ones((2, 2)))


def test_a_computed_tensor_where_a_parameter_stood_stays_what_it_is():
    layer, made = nn.Linear(2, 2, bias=False), nn.Parameter(np.ones(4))
    layer.weight = made.reshape((2, 2)) * 2
    assert layer.parameters() == []
    layer(np.ones((1, 2))).sum().backward()
    assert_array_equal(made.grad.numpy(), np.full(4, 2.0))


def test_an_array_where_a_parameter_stood_is_refused():
    layer = nn.Linear(2, 2)
    with pytest.raises(TypeError, match=r"Linear\.weight is a Parameter; write weight\.data = array"):
        layer.weight = np.eye(2)
    layer.bias = None
    assert layer(np.ones((1, 2))).shape == (1, 2)


def test_a_tensor_that_looks_like_a_parameter_is_warned_of_once():
    class Forgotten(nn.Module):
        def __init__(self):
            self.inner = [Tensor([1.0])]
            self.constant = Tensor([1.0], requires_grad=False)
            self.computed = self.inner[0] * 2
            self.detached = self.inner[0].detach()

    with pytest.warns(UserWarning, match=r"inner\.0 is a Tensor that requires a gradient, but no Parameter") as caught:
        assert Forgotten().parameters() == []
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Forgotten().parameters()


# ------------------------------------------------------------------------------------------------ all of a module


def test_freezing_by_patterns():
    model = Nested()
    assert model.requires_grad_(False, "layers.0.*", "pair.0") is model
    assert [p.requires_grad for p in model.parameters()] == [False, False, True, True, False, True]
    model.requires_grad_(True)
    assert all(p.requires_grad for p in model.parameters())
    with pytest.raises(
        ValueError, match=r"no parameter matches 'layer\.0\.weight'; the closest is 'layers\.0\.weight'"
    ):
        model.requires_grad_(False, "layer.0.weight")


def test_a_frozen_parameter_costs_no_gradient():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model.requires_grad_(False, "0.*")
    model(np.ones((1, 2))).sum().backward()
    assert model[0].weight.grad is None
    assert model[1].weight.grad is not None


def test_another_dtype_keeps_the_objects_and_their_gradients():
    model = Nested().float()
    model(np.ones((1, 4))).sum().backward()
    parameters, gradients = model.parameters(), [p.grad.numpy() for p in model.parameters()]
    assert model.double() is model
    assert all(p is q for p, q in zip(parameters, model.parameters(), strict=True))
    assert {p.dtype.name for p in parameters} == {"float64"}
    assert model.mean.dtype == np.float64
    assert model.seen.dtype == np.int64
    for p, gradient in zip(parameters, gradients, strict=True):
        assert p.grad.dtype == np.float64
        assert_array_equal(p.grad.numpy(), gradient)
    assert model(np.ones((1, 4))).dtype == np.float64
    assert model.to("float32")(np.ones((1, 4))).dtype == np.float32
    assert model.to(needle.cpu()) is model is model.to(dtype="float64", device=needle.cpu())
    assert model(np.ones((1, 4))).dtype == np.float64


def test_what_is_no_dtype_and_no_device_changes_nothing():
    model = Nested()
    model.complex = nn.Parameter(np.ones(2) * 1j)
    for given, error, says in [
        ("int32", TypeError, "floating dtype, got int32"),
        ("float64", TypeError, "a complex parameter has no real dtype float64"),
        ("cpu", TypeError, r"Nested\.to: 'cpu' is neither a dtype like \"float64\" nor a device like needle\.cpu\(\)"),
        (needle.cuda(), ValueError, r"needle\.cuda\(\) is not on this machine"),
    ]:
        with pytest.raises(error, match=says):
            model.to(given)
        assert model.layers[0].weight.dtype == np.float32


def test_what_was_recorded_before_a_change_of_dtype_keeps_its_values():
    layer = nn.Linear(2, 1)
    y = layer(np.ones((1, 2)))
    layer.double()
    y.backward()
    assert layer.weight.grad.dtype == np.float64


def test_apply_goes_to_those_within_first_in_order():
    model = nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.ReLU(), nn.Tanh()), nn.Identity())
    seen = []
    assert model.apply(seen.append) is model
    assert seen == [model[0], model[1][0], model[1][1], model[1], model[2], model]


def test_all_layers_are_drawn_again_in_place():
    model = nn.Sequential(nn.Linear(3, 2), nn.Residual(nn.Linear(2, 2)), nn.PReLU())
    parameters = model.parameters()
    model[2].weight.data = np.ones(1, "float32")
    model.reset_parameters(5)
    first = model.state_dict()
    model.reset_parameters(np.random.default_rng(5))
    assert all((model.state_dict()[name] == array).all() for name, array in first.items())
    assert all(p is q for p, q in zip(parameters, model.parameters(), strict=True))
    assert (first["1.fn.weight"].ravel()[:2] != first["0.weight"].ravel()[:2]).all()
    assert first["2.weight"] == [0.25]


def test_a_module_that_does_not_say_how_it_is_drawn_is_refused_before_anything_changes():
    model = nn.Sequential(nn.Linear(2, 2), Nested())
    before = model.state_dict()
    with pytest.raises(TypeError, match=r"Nested has the parameter 'pair\.0' of its own; define reset_parameters"):
        model.reset_parameters()
    assert all((model.state_dict()[name] == array).all() for name, array in before.items())


def test_evaluating_gives_each_module_its_own_flag_back():
    model = nn.Sequential(nn.Identity(), nn.Identity())
    model[1].eval()
    with pytest.raises(KeyError), nn.evaluating(model) as inside:
        assert inside is model
        assert not any(module.training for module in model.modules())
        raise KeyError
    assert [module.training for module in model.modules()] == [True, True, False]


@pytest.mark.parametrize("again", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_and_pickles_keep_ties_flags_and_classes(again):
    model = Tied().eval()
    model.first.weight.requires_grad = False
    other = again(model)
    assert other.first.weight is other.weight
    assert other.first is other.second
    assert type(other.weight) is nn.Parameter
    assert not other.weight.requires_grad
    assert not other.first.training
    assert other.weight is not model.weight
    other.weight.data = other.weight * 0
    assert model.weight.numpy().any()


def test_a_missing_forward_says_so():
    with pytest.raises(NotImplementedError, match=r"Nothing\.forward is missing"):
        type("Nothing", (nn.Module,), {})()(1)


def test_repr_nests_and_counts():
    model = nn.Sequential(nn.Linear(784, 100), nn.ReLU(), nn.Residual(nn.Linear(100, 100, bias=False)))
    assert repr(model).split("\n") == [
        "Sequential(  # 88,500 parameters",
        "  (0): Linear(784, 100)",
        "  (1): ReLU()",
        "  (2): Residual(",
        "    (fn): Linear(100, 100, bias=False)",
        "  )",
        ")",
    ]
    assert str(nn.Linear(2, 1)) == "Linear(2, 1)"
    assert repr(nn.Linear(2, 1)) == "Linear(2, 1)  # 3 parameters"
    assert repr(nn.Linear(None, 1)) == "Linear(None, 1)  # some parameters wait for the first input"


# ----------------------------------------------------------------------------------------------------- containers


def test_sequential_is_indexed_in_the_ways_of_the_course_and_of_pytorch():
    layers = [nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)]
    model = nn.Sequential(*layers)
    assert model.modules[0] is layers[0]
    assert list(model.modules) == layers
    assert model.modules() == [model, *layers]
    assert [model[i] for i in (0, 1, -1)] == layers
    assert list(model) == layers
    assert len(model) == 3
    assert list(model[1:]) == layers[1:]
    assert [name for name, _ in model.named_parameters()] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    x = np.ones((2, 3))
    assert_array_equal(model(x).numpy(), layers[2](layers[1](layers[0](x))).numpy())
    assert_array_equal(nn.Sequential()(x), x)


def test_sequential_changes_like_a_list():
    a, b, c = nn.ReLU(), nn.Tanh(), nn.Identity()
    model = nn.Sequential(a).append(c).insert(1, b)
    assert list(model) == [a, b, c]
    model[0] = c
    del model[1]
    assert list(model) == [c, c]
    model.extend([a])
    assert [name for name, _ in model.named_children()] == ["0", "2"]  # "1" is "0" again
    assert [type(layer) for layer in model[1:]] == [nn.Identity, nn.ReLU]


def test_sequential_of_names():
    model = nn.Sequential({"body": nn.Linear(2, 2), "head": nn.Linear(2, 1)})
    assert model.head is model[1]
    assert [name for name, _ in model[1:].named_parameters()] == ["head.weight", "head.bias"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ((nn.ReLU,), r"entry 0 is the class ReLU; write ReLU\(\)"),
        (([nn.ReLU()],), r"entry 0 is a list; write Sequential\(\*layers\)"),
        ((nn.ReLU(), np.tanh), r"entry 1 must be a Module, .* nn\.Function\(f\) makes one"),
    ],
)
def test_what_is_no_module_is_refused(given, says):
    with pytest.raises(TypeError, match=says):
        nn.Sequential(*given)


def test_lists_and_dicts_of_modules():
    several = nn.ModuleList([nn.Linear(1, 1)]).append(nn.ReLU())
    assert [name for name, _ in several.named_parameters()] == ["0.weight", "0.bias"]
    assert len(several) == 2
    assert type(several[:1]) is nn.ModuleList
    named = nn.ModuleDict({"a": nn.Linear(1, 1)})
    named["b"] = nn.ReLU()
    assert list(named) == named.keys() == ["a", "b"]
    assert "b" in named
    assert named["a"] is named.values()[0] is named.items()[0][1]
    del named["b"]
    assert len(named) == 1
    assert [name for name, _ in named.named_parameters()] == ["a.weight", "a.bias"]
    with pytest.raises(KeyError):
        named["c"]


def test_small_containers():
    x = np.arange(24.0).reshape(2, 3, 4)
    assert nn.Flatten()(x).shape == (2, 12)
    assert nn.Flatten(0, 1)(x).shape == (6, 4)
    assert nn.Flatten()(x[:0]).shape == (0, 12)
    assert nn.Flatten(0)(x).shape == (24,)
    with pytest.raises(ValueError, match="lacks these axes"):
        nn.Flatten()(np.ones(3))
    assert_array_equal(nn.Residual(nn.Function(np.tanh))(Tensor(x)).numpy(), np.tanh(x) + x)
    assert nn.Identity(5, anything=True)(x) is x


# --------------------------------------------------------------------------------------------------------- Linear


def test_linear_draws_in_the_order_of_the_course():
    np.random.seed(3)
    layer = nn.Linear(5, 4)
    np.random.seed(3)
    bounds = np.sqrt(6 / 5), np.sqrt(6 / 4)
    weight = (np.random.rand(5, 4) * 2 * bounds[0] - bounds[0]).astype("float32")
    bias = (np.random.rand(4, 1) * 2 * bounds[1] - bounds[1]).astype("float32")
    assert_allclose(layer.weight.numpy(), weight, rtol=1e-6)
    assert_allclose(layer.bias.numpy(), bias.T, rtol=1e-6)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (4, 2, 3), (0, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_of_inputs_with_any_number_of_axes(shape, bias):
    layer = nn.Linear(3, 2, bias=bias, dtype="float64", rng=1)
    x = Tensor(np.random.default_rng(0).standard_normal(shape))
    expected = x.numpy() @ layer.weight.numpy() + (layer.bias.numpy()[0] if bias else 0)
    assert_allclose(layer(x).numpy(), expected, rtol=1e-12)
    layer(x).sum().backward()
    assert x.grad.shape == shape
    assert_allclose(x.grad.numpy(), np.broadcast_to(layer.weight.numpy().sum(1), shape))


@pytest.mark.parametrize("dtype", ["float64", "float16", "int64", "uint8", "bool"])
def test_a_layer_computes_in_the_dtype_of_its_parameters(dtype):
    layer, x = nn.Linear(3, 2), np.ones((2, 3)).astype(dtype)
    assert layer(x).dtype == np.float32
    t = Tensor(x)
    layer(t).sum().backward()
    if dtype != "bool":
        assert t.grad.dtype == (np.float64 if t.dtype.kind in "iu" else t.dtype)
    assert layer(np.ones((2, 3), "complex64")).dtype == np.complex64


@pytest.mark.parametrize("shape", [(), (2,), (2, 4), (2, 3, 1)])
def test_linear_refuses_other_sizes(shape):
    fix = r"; nn\.Flatten\(\) before it" if len(shape) == 3 else "$"
    with pytest.raises(ValueError, match=re.escape(f"must have in_features=3, got shape {shape}") + fix):
        nn.Linear(3, 2)(Tensor(np.ones(shape)))


# ----------------------------------------------------------------------------------- parameters that wait for an input


def test_a_layer_that_waits_for_its_first_input():
    np.random.seed(0)
    layer = nn.Linear(None, 4)
    layer(np.ones((2, 3)))
    np.random.seed(0)
    usual = nn.Linear(3, 4)
    assert layer.in_features == 3
    for p, q in zip(layer.parameters(), usual.parameters(), strict=True):
        assert type(p) is nn.Parameter
        assert_array_equal(p.numpy(), q.numpy())


@pytest.mark.parametrize(
    "use", [nn.Module.parameters, nn.Module.state_dict, nn.Module.double, lambda m: m.load_state_dict({})]
)
def test_until_then_what_needs_parameters_names_the_layer_and_the_line(use):
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(None, 4))
    with pytest.raises(ValueError, match=r"first input: 1 \(Linear\(None, 4\)\); write model\.materialize\(x\)"):
        use(model)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_waiting_layers_can_be_copied_and_materialized(again):
    model = again(nn.Sequential(nn.Linear(None, 4, bias=False, dtype="float64"), nn.Linear(None, 1)))
    assert model.materialize(np.ones((2, 3))) is model
    assert [p.shape for p in model.parameters()] == [(3, 4), (4, 1), (1, 1)]
    assert model[0].weight.dtype == np.float64
    assert model[0].bias is None
    assert model.training
    with pytest.raises(ValueError, match="in_features=3"):
        model(np.ones((2, 5)))


def test_materialize_says_which_layer_was_not_reached():
    model = nn.Sequential(nn.Linear(None, 2))
    model.add = nn.Identity()
    model.add.unused = [nn.Linear(None, 1)]
    with pytest.raises(ValueError, match=r"add\.unused\.0"):
        model.materialize(np.ones((1, 1)))
