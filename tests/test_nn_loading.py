"""States by name: saving, loading all or nothing, names of PyTorch."""

import copy
import pickle
from types import MappingProxyType

import needle
import numpy as np
import pytest
from needle import Tensor, nn
from needle.nn.torch_state import TorchName, transposed
from numpy.testing import assert_array_equal


class Model(nn.Module):
    def __init__(self, seed=0):
        self.embed = nn.Linear(4, 3, bias=False, rng=seed)
        self.blocks = [nn.Linear(3, 3, rng=seed + 1) for _ in range(2)]
        self.mean = nn.Buffer(np.full(3, seed + 0.5))
        self.cache = nn.Buffer(np.zeros(3), persistent=False)
        self.tied = self.embed


FIRST = ["embed.weight", "blocks.0.weight", "blocks.0.bias", "blocks.1.weight", "blocks.1.bias", "mean"]


def same(state, other):
    return state.keys() == other.keys() and all((state[name] == other[name]).all() for name in state)


def test_a_state_is_made_of_copies_under_first_names():
    model = Model()
    state = model.state_dict()
    assert list(state) == FIRST
    assert all(type(array) is np.ndarray for array in state.values())
    before = state["mean"].copy()
    model.mean.data = model.mean * 0
    assert_array_equal(state["mean"], before)


def test_it_is_loaded_into_the_same_objects():
    model, other = Model(), Model(5)
    parameters = model.parameters()
    report = model.load_state_dict(other.state_dict())
    assert report.complete
    assert report.loaded == FIRST
    assert same(model.state_dict(), other.state_dict())
    assert all(p is q for p, q in zip(parameters, model.parameters(), strict=True))
    assert str(report) == "Model.load_state_dict: 6 tensors fit, 0 do not"


def test_values_come_from_tensors_arrays_and_lists_of_any_mapping():
    layer = nn.Linear(2, 1)
    layer.load_state_dict(MappingProxyType({"weight": Tensor([[1.0], [2.0]]), "bias": [[3]]}))
    assert_array_equal(layer(np.ones((1, 2))).numpy(), [[6.0]])
    assert layer.bias.dtype == np.float32


def test_a_graph_recorded_before_keeps_its_values():
    layer = nn.Linear(2, 1, dtype="float64")
    y = layer(Tensor([[1.0, 2.0]])) ** 2
    slope = 2 * y.numpy() ** 0.5 * np.sign(layer(np.array([[1.0, 2.0]])).numpy())
    layer.load_state_dict({"weight": np.zeros((2, 1)), "bias": np.zeros((1, 1))})
    y.backward()
    np.testing.assert_allclose(layer.bias.grad.numpy(), slope)


def test_one_wrong_shape_changes_nothing_and_everything_wrong_is_said_at_once():
    model, state = Model(), Model(5).state_dict()
    before = model.state_dict()
    state["blocks.0.weight"] = np.zeros((3, 4))
    state["blocks.1.wieght"] = state.pop("blocks.1.weight")
    state["mean"] = np.ones(3) + 1j
    state["head"] = np.ones(2)
    with pytest.raises(nn.LoadError) as caught:
        model.load_state_dict(state)
    assert same(model.state_dict(), before)
    report = caught.value.report
    assert report.loaded == ["embed.weight", "blocks.0.bias", "blocks.1.bias"]
    assert report.wrong_shape == {"blocks.0.weight": ((3, 3), (3, 4))}
    assert report.missing == {"blocks.1.weight": (3, 3)}
    assert report.unexpected == {"blocks.1.wieght": (3, 3), "head": (2,)}
    assert report.refused == {"mean": "model float64, state complex128, which it cannot hold"}
    text = str(caught.value)
    assert "wrong shape  blocks.0.weight  model (3, 3), state (3, 4)" in text
    assert "missing      blocks.1.weight  model (3, 3); the state has 'blocks.1.wieght'" in text
    assert "unexpected   blocks.1.wieght  state (3, 3); the model lacks 'blocks.1.weight'" in text
    assert text.endswith("nothing was changed")


def test_without_strict_what_fits_is_loaded():
    model, state = Model(), Model(5).state_dict()
    before = model.state_dict()
    state["blocks.0.weight"] = np.zeros((3, 4))
    del state["mean"]
    report = model.load_state_dict(state, strict=False)
    assert not report.complete
    assert report.loaded == ["embed.weight", "blocks.0.bias", "blocks.1.weight", "blocks.1.bias"]
    assert_array_equal(model.embed.weight.numpy(), state["embed.weight"])
    assert_array_equal(model.blocks[0].weight.numpy(), before["blocks.0.weight"])


@pytest.mark.parametrize("strict", [True, False])
def test_where_nothing_matches_the_prefix_is_proposed(strict):
    model = Model()
    state = {f"model.{name}": array for name, array in Model(5).state_dict().items()}
    with pytest.raises(nn.LoadError, match=r"rename={'model\.': ''} brings 6 of these names together"):
        model.load_state_dict(state, strict=strict)
    model.load_state_dict(state, rename={"model.": ""})
    assert same(model.state_dict(), Model(5).state_dict())


def test_a_prefix_that_the_state_lacks_is_proposed():
    model = nn.Sequential({"inner": nn.Linear(2, 1), "other": nn.Linear(3, 1, bias=False)})
    with pytest.raises(nn.LoadError, match=r"rename={'': 'inner\.'} brings 2 of"):
        model.load_state_dict(model.inner.state_dict())


def test_renaming():
    state = {"a.x.weight": np.ones((2, 1)), "a.y": np.zeros((1, 1)), "old": np.ones(1)}
    layer = nn.Linear(2, 1)
    dropped = {"a.": "", "a.x.": "", "a.y": "bias"}
    report = layer.load_state_dict(state, strict=False, rename=dropped)
    assert report.loaded == ["weight", "bias"]
    names = {"a.x.weight": "weight", "a.y": "bias"}
    assert layer.load_state_dict(state, rename=names.get).complete  # None leaves out
    with pytest.raises(ValueError, match=r"rename makes 'w' of both 'a\.x\.weight' and 'a\.y'"):
        layer.load_state_dict(state, rename=lambda name: "w")


@pytest.mark.parametrize(
    ("model", "given", "fits"),
    [
        ("float32", "float64", True),
        ("float64", "float16", True),
        ("float32", "int64", True),
        ("complex128", "float32", True),
        ("float32", "complex64", False),
        ("int64", "float32", False),
    ],
)
def test_dtypes_are_cast_within_their_kind(model, given, fits):
    module = nn.Module()
    module.b = nn.Buffer(np.zeros(2), dtype=model)
    if fits:
        module.load_state_dict({"b": np.ones(2, given)})
        assert module.b.dtype == model
        assert_array_equal(module.b.numpy(), np.ones(2))
    else:
        with pytest.raises(nn.LoadError, match=f"model {model}, state {given}, which it cannot hold"):
            module.load_state_dict({"b": np.ones(2, given)})


@pytest.mark.parametrize("names", [["embed"], ["tied"], ["embed", "tied"]])
@pytest.mark.parametrize("again", [lambda m: m, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_tied_tensors_are_one_entry_and_both_names_are_accepted(names, again):
    model = again(Model())
    state = Model(5).state_dict()
    weight = state.pop("embed.weight")
    report = model.load_state_dict({**state, **{f"{name}.weight": weight for name in names}})
    assert report.complete
    assert model.tied.weight is model.embed.weight
    assert_array_equal(model.tied.weight.numpy(), weight)


def test_tied_tensors_of_different_values_are_refused():
    state = Model().state_dict()
    state["tied.weight"] = state["embed.weight"] + 1
    with pytest.raises(nn.LoadError, match=r"one tensor in the model under embed\.weight and tied\.weight, but tied"):
        Model().load_state_dict(state)


def test_what_is_no_state_is_refused():
    with pytest.raises(TypeError, match="needs a dict of arrays by name, got Model"):
        Model().load_state_dict(Model())
    with pytest.raises(TypeError, match="'a' is no array of numbers, but of class str"):
        Model().load_state_dict({"a": "b"})


def test_long_reports_are_cut():
    model = nn.Module()
    model.many = [nn.Parameter(np.zeros(1)) for _ in range(50)]
    with pytest.raises(nn.LoadError, match="missing      and 29 more"):
        model.load_state_dict({"many.0": np.zeros(1)})


# ------------------------------------------------------------------------------------------------ PyTorch's names


class Parts(nn.Module):
    """Two tensors that are one in PyTorch, a matrix within that is transposed there, and one that only PyTorch has."""

    def __init__(self):
        self.q, self.k = [nn.Parameter(np.arange(6.0).reshape(3, 2) + i) for i in (0, 10)]
        self.inner = nn.Linear(3, 2, dtype="float64")

    def torch_names(self):
        return {
            "q": TorchName("qk", lambda a: a[:2].T, np.transpose),
            "k": TorchName("qk", lambda a: a[2:].T, np.transpose),
            "inner.weight": transposed("w"),
        }

    def torch_extra(self):
        return {"steps": 0}


def test_a_layer_says_what_pytorch_calls_its_tensors():
    model = nn.Sequential(Parts(), nn.Linear(2, 1))
    state = nn.torch_state_dict(model)
    shapes = {name: array.shape for name, array in state.items()}
    assert shapes == {
        "0.qk": (4, 3),
        "0.w": (2, 3),
        "0.inner.bias": (2,),
        "1.weight": (1, 2),
        "1.bias": (1,),
        "0.steps": (),
    }
    assert_array_equal(state["0.qk"][2:].T, model[0].k.numpy())
    other = nn.Sequential(Parts(), nn.Linear(2, 1))
    other[0].q.data = np.zeros((3, 2))
    assert nn.load_torch(other, state).complete
    assert same(other.state_dict(), model.state_dict())
    with pytest.raises(nn.LoadError, match=r"rename={'model\.': ''} brings"):
        nn.load_torch(other, {f"model.{name}": array for name, array in state.items()})
    assert nn.load_torch(other, {f"model.{name}": a for name, a in state.items()}, {"model.": ""}).complete


def test_loading_of_pytorchs_layout_by_the_wrong_function_says_which_is_right():
    model = nn.Linear(2, 3)
    with pytest.raises(nn.LoadError, match=r"nn\.load_torch\(model, state\) translates"):
        model.load_state_dict(nn.torch_state_dict(model))


def test_weights_that_are_laid_out_like_ours_already():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    weight, bias = np.arange(4.0).reshape(2, 2), np.ones(2)
    state = {"0.weight": weight, "0.bias": bias, "1.weight": weight, "1.bias": bias}
    nn.load_torch(model, state, input_first=["0.weight"])
    assert_array_equal(model[0].weight.numpy(), state["0.weight"])
    nn.load_torch(model, state)
    assert_array_equal(model[0].weight.numpy(), state["0.weight"].T)


def test_tied_tensors_have_all_their_names_in_pytorch():
    state = nn.torch_state_dict(Model())
    assert_array_equal(state["embed.weight"], state["tied.weight"])
    assert nn.load_torch(Model(3), state).complete


def test_pytorch_and_needle_load_each_others_states():
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    ours = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    assert nn.load_torch(ours, theirs.state_dict()).complete
    x = np.random.default_rng(0).standard_normal((5, 4)).astype("float32")
    expected = theirs(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(ours(x).numpy(), expected, rtol=1e-5, atol=1e-6)
    ours.reset_parameters(0)
    theirs.load_state_dict({name: torch.from_numpy(a) for name, a in nn.torch_state_dict(ours).items()})
    expected = theirs(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(ours(x).numpy(), expected, rtol=1e-5, atol=1e-6)
    narrow = {name: t.to(torch.bfloat16) for name, t in theirs.state_dict().items()}
    assert nn.load_torch(ours, narrow).complete
    assert_array_equal(ours[0].bias.numpy()[0], narrow["0.bias"].float().numpy())


def test_a_state_does_not_depend_on_the_recording_mode():
    model = Model()
    with needle.no_grad():
        model.load_state_dict(Model(5).state_dict())
    assert all(p.requires_grad for p in model.parameters())
