"""needle.save and needle.load: all of a run in one file, given back exactly, or filled in whole or not at all."""

from __future__ import annotations

import collections
import copy
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import needle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from needle import Tensor, nn
from needle.files import read_metadata, read_safetensors, write_safetensors
from numpy.testing import assert_array_equal

package = pytest.importorskip("safetensors.numpy")


class Counter:
    """Something with a state, that refuses one without a count only after it has changed."""

    def __init__(self, count):
        self.count, self.array = count, np.full(2, float(count))

    def state_dict(self):
        return {"count": self.count, "array": self.array}

    def load_state_dict(self, state):
        self.array = state["array"]
        self.count = state["count"]


def net(seed):
    np.random.seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def same(a, b):
    assert type(a) is type(b)
    if isinstance(a, (Tensor, np.ndarray)):
        assert a.dtype == b.dtype and a.shape == b.shape
        if isinstance(a, Tensor):
            assert a.requires_grad == b.requires_grad
            a, b = a.numpy(), b.numpy()
        assert_array_equal(a, b)
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            same(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            same(x, y)
    elif isinstance(a, np.generic):
        assert a.dtype == b.dtype and a.tobytes() == b.tobytes()
    else:
        assert repr(a) == repr(b)  # tells zeros by their signs, and takes NaN for itself


def again(tmp_path, value):
    needle.save(tmp_path / "a", value=value)
    return needle.load(tmp_path / "a")["value"]


# ---------------------------------------------------------------------------------------------------- what comes back

VALUES = {
    "None": None,
    "booleans": [True, False],
    "numbers": [0, -1, 2**70, 0.1, -0.0, 1e-320, float("inf"), float("-inf"), float("nan")],
    "complex": [1 + 2j, complex("nan+infj")],
    "text": ["", "ä", "\0", "\N{SNOWMAN}", "\ud800", '"{}'],
    "bytes": b"\0\xff",
    "containers": [[], (), {}, ([],), {"a": {"b": [({},)]}}],
    "keys": {2: "a", (2, "b"): "c", None: 0, "d": 1, 2.5: 3, True: 4},
    "tags": {"dict": {"array": "x"}, "tensor": [1]},
    "scalars": [np.float16(0.1), np.float32(0.1), np.float64("nan"), np.int8(-3), np.uint64(2**64 - 1), np.bool_(True)],
    "complex scalar": np.complex64(1 - 2j),
    "arrays": [np.arange(6).reshape(2, 3).T, np.array(2.5), np.zeros((0, 2), np.int16), np.array([True])],
    "complex arrays": [np.array([[1 + 2j, complex("inf")]]), np.array(3j), np.zeros((0, 3), complex), np.ones(2, "c8")],
    "tensors": [Tensor([1.0, 2.0]), Tensor([1, 2], requires_grad=False), Tensor(2.5, dtype="float16"), Tensor([1j])],
}


@pytest.mark.parametrize("what", VALUES)
def test_values_come_back_exactly(tmp_path, what):
    same(again(tmp_path, VALUES[what]), VALUES[what])


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
keys = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
values = st.recursive(
    scalars | st.binary() | st.complex_numbers() | st.builds(np.arange, st.integers(0, 3)),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(keys, inner),
    max_leaves=20,
)


@settings(deadline=None, max_examples=80)
@given(values)
def test_any_nest_comes_back_exactly(tmp_path_factory, value):
    same(again(tmp_path_factory.mktemp("any"), value), value)


def test_ordered_dicts_and_strings_of_numpy_come_back_as_python_has_them(tmp_path):
    same(again(tmp_path, collections.OrderedDict(a=np.str_("x"))), {"a": "x"})


def test_random_generators_go_on_where_they_were(tmp_path):
    kinds = [np.random.MT19937, np.random.PCG64, np.random.PCG64DXSM, np.random.Philox, np.random.SFC64]
    given_rngs = [np.random.Generator(kind(1)) for kind in kinds] + [np.random.RandomState(2)]
    for rng in given_rngs:
        rng.normal(size=3)
    python = random.Random(3)
    found = again(tmp_path, [given_rngs, python])
    for rng, restored in zip(given_rngs, found[0], strict=True):
        assert_array_equal(rng.normal(size=5), restored.normal(size=5))
    assert python.random() == found[1].random()


def test_what_has_a_state_comes_back_as_the_state(tmp_path):
    model = net(0)
    found = again(tmp_path, {"model": model, "counters": [Counter(1), Counter(2)]})
    same(found["model"], model.state_dict())
    same(found["counters"][1], {"count": 2, "array": np.full(2, 2.0)})


# --------------------------------------------------------------------------------------------------------- the file


def test_the_file_is_one_that_others_read(tmp_path):
    model = net(0)
    needle.save(tmp_path / "a.safetensors", model=model, epoch=3)
    found = package.load_file(tmp_path / "a.safetensors")
    assert sorted(found) == ["model.0.bias", "model.0.weight", "model.2.bias", "model.2.weight"]
    assert_array_equal(found["model.0.weight"], model[0].weight.numpy())
    metadata = read_metadata(tmp_path / "a.safetensors")
    assert metadata["format"] == "needle" and metadata["version"] == "1"
    assert json.loads(metadata["structure"])["epoch"] == 3


def test_ties_are_saved_once_and_are_ties_again(tmp_path):
    t, a, z = Tensor([1.0, 2.0]), np.ones((2, 3)), np.arange(3) * 1j
    value = {"t": t, "same": [t], "a": a, "view": a[:], "other": a.T, "copy": a.copy(), "z": z, "zz": z}
    found = again(tmp_path, value)
    same(found, value)
    names = ["value.a", "value.copy", "value.other", "value.t", "value.z"]
    assert sorted(read_safetensors(tmp_path / "a")) == names
    assert found["t"] is found["same"][0] and found["a"] is found["view"] and found["z"] is found["zz"]
    found["a"][0, 0] = 5
    assert found["copy"][0, 0] == 1


def test_tied_weights_of_a_model(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            self.embed, self.head = nn.Linear(3, 3), nn.Linear(3, 3)
            self.head.weight = self.embed.weight

    model, other = Tied(), Tied()
    needle.save(tmp_path / "a", model=model)
    assert sorted(read_safetensors(tmp_path / "a")) == ["model.embed.bias", "model.embed.weight", "model.head.bias"]
    needle.load(tmp_path / "a", model=other)
    assert other.head.weight is other.embed.weight
    assert_array_equal(other.head.weight.numpy(), model.embed.weight.numpy())


def test_temporary_arrays_are_not_taken_for_each_other(tmp_path):
    """Each state_dict() is freed before the next is made, and memory is used again."""

    class Fresh:
        def __init__(self, value):
            self.value = value

        def state_dict(self):
            return {"a": np.full(1000, self.value)}

        def load_state_dict(self, state):
            raise NotImplementedError

    found = again(tmp_path, [Fresh(i) for i in range(10)])
    assert [state["a"][0] for state in found] == list(range(10))


def test_names_that_would_be_the_same_are_told_apart(tmp_path):
    value = {"a.b": np.ones(1), "a": {"b": np.zeros(1)}, "c": {1: np.ones(2), "1": np.zeros(2)}}
    same(again(tmp_path, value), value)


def test_a_missing_folder_is_made_and_an_old_file_replaced(tmp_path):
    for epoch in (1, 2):
        needle.save(tmp_path / "new" / "a", epoch=epoch)
    assert needle.load(str(tmp_path / "new" / "a")) == {"epoch": 2}
    assert os.listdir(tmp_path / "new") == ["a"]


# ------------------------------------------------------------------------------------------- what cannot be saved


def cyclic():
    value = [1]
    value.append({"inner": value})
    return value


def deep():
    value = []
    for _ in range(100_000):
        value = [value]
    return value


UNFIT = {
    "a function": ({"schedule": [1, len]}, TypeError, r"run\.schedule\.1 is the function len, which cannot be saved"),
    "a lambda": ([lambda: 0], TypeError, r"run\.0 is the function .*<lambda>"),
    "an object": ({"a": object()}, TypeError, r"run\.a is a object"),
    "a class": (np.float32, TypeError, "run is the function float32|run is the class"),
    "a set": ({"a": {1}}, TypeError, r"run\.a is a set"),
    "a defaultdict": (collections.defaultdict(int), TypeError, "run is a defaultdict"),
    "a generator": ((i for i in ()), TypeError, "run is "),
    "text arrays": (np.array(["a"]), TypeError, r"run: .*dtype <U1"),
    "objects": (np.array([None]), TypeError, r"run: .*dtype object"),
    "masked": (np.ma.masked_array([1.0], [True]), TypeError, "run: a masked array's mask would be lost"),
    "long doubles": (np.ones(1, np.longdouble), TypeError, "run has dtype .*, which cannot be saved; convert"),
    "a long double": (np.longdouble(1), TypeError, "run is a longdouble"),
    "dates": (np.array(["2020-01-01"], "M8[D]"), TypeError, "run: "),
    "a key": ({(1, object()): 2}, TypeError, r"the key \(1, <object.*>\) of run\.1 is a object"),
    "itself": (cyclic(), TypeError, r"run\.1\.inner contains itself"),
    "too deep": (deep(), ValueError, "nested too deeply"),
    "a name that is no Unicode": ({"\ud800": np.ones(1)}, ValueError, "no valid Unicode"),
}


@pytest.mark.parametrize("what", UNFIT)
def test_what_cannot_be_saved_is_named_and_the_old_file_stays(tmp_path, what):
    value, error, why = UNFIT[what]
    needle.save(tmp_path / "a", epoch=1)
    with pytest.raises(error, match=why):
        needle.save(tmp_path / "a", good=1, run=value)
    assert needle.load(tmp_path / "a") == {"epoch": 1}
    assert os.listdir(tmp_path) == ["a"]


def test_the_calls_of_other_libraries_are_answered_with_ours(tmp_path):
    with pytest.raises(
        TypeError, match=r"the path comes first, got a Sequential; write needle.save\(path, model=model\)"
    ):
        needle.save(net(0))
    with pytest.raises(TypeError, match="nothing to save"):
        needle.save(tmp_path / "a")
    with pytest.raises(TypeError, match="the path comes first"):
        needle.load(3)


# ------------------------------------------------------------------------------------------------- filling objects


def test_everything_is_filled(tmp_path):
    rng = np.random.default_rng(5)
    rng.random(3)
    needle.save(
        tmp_path / "a", model=net(1), counter=Counter(7), nets={"g": net(2), "d": (net(3), Counter(8))},
        t=Tensor([1.0, 2.0]), a=np.arange(3), generator=rng, epoch=3,
    )  # fmt: skip
    model, counter, g, d, inner = net(4), Counter(0), net(5), net(6), Counter(0)
    t, a, other = Tensor([0.0, 0.0]), np.zeros(3, int), np.random.default_rng(0)
    found = needle.load(
        tmp_path / "a", model=model, counter=counter, nets={"g": g, "d": (d, inner)}, t=t, a=a, generator=other
    )
    for filled, seed in ((model, 1), (g, 2), (d, 3)):
        same(filled.state_dict(), net(seed).state_dict())
    assert counter.count == 7 and inner.count == 8 and found["epoch"] == 3
    same(t, Tensor([1.0, 2.0]))
    same(a, np.arange(3))
    assert other.random() == rng.random()
    assert found["model"] is model and found["t"] is t


def test_global_random_states_are_restored(tmp_path):
    np.random.seed(3)
    random.seed(4)
    np.random.randn(3)  # an odd number: one more lies ready
    needle.save(tmp_path / "a", rng=True)
    expected = np.random.randn(5), random.random(), np.random.rand(3)
    needle.load(tmp_path / "a")
    np.random.seed(0)
    found = needle.load(tmp_path / "a", rng=True)
    assert_array_equal(np.random.randn(5), expected[0])
    assert random.random() == expected[1]
    assert_array_equal(np.random.rand(3), expected[2])
    assert set(found["rng"]) == {"numpy", "python"}


def test_a_generator_may_be_the_random_state(tmp_path):
    rng, other = np.random.default_rng(1), np.random.default_rng(2)
    needle.save(tmp_path / "a", rng=rng)
    needle.load(tmp_path / "a", rng=other)
    assert rng.random() == other.random()


def test_a_tensor_that_is_filled_stays_what_it_is(tmp_path):
    needle.save(tmp_path / "a", t=Tensor([1.0, 2.0]))
    t = Tensor([3.0, 4.0], requires_grad=False)
    needle.load(tmp_path / "a", t=t)
    assert t.requires_grad is False
    same(t.numpy(), np.array([1.0, 2.0]))


BAD_TARGETS = {
    "a name that is not there": (lambda: {"modle": net(9)}, ValueError, "has no modle; it has model, counter"),
    "another shape": (lambda: {"model": nn.Sequential(nn.Linear(3, 5))}, ValueError, r"2\.weight"),
    "a number": (lambda: {"epoch": 3}, TypeError, r"epoch: a int cannot be filled; .* needle.load\(path\)\['epoch'\]"),
    "a tensor of another shape": (lambda: {"t": Tensor([1.0])}, ValueError, r"t: Tensor of shape \(1,\)"),
    "an array of another dtype": (lambda: {"t": np.zeros(2, np.float32)}, ValueError, "dtype float32 .* has .*float64"),
    "another generator": (lambda: {"generator": np.random.Generator(np.random.MT19937())}, ValueError, "MT19937"),
    "no generator": (lambda: {"epoch": np.random.default_rng()}, ValueError, "epoch: a Generator .* has int"),
    "a dict of other keys": (lambda: {"nets": {"h": net(0)}}, ValueError, "nets: a dict of h .* a dict of g, d"),
    "a list of another length": (lambda: {"nets": {"d": [net(0)]}}, ValueError, r"nets\.d: 1 objects .* 2 members"),
    "a model for a number": (lambda: {"epoch": net(0)}, TypeError, "needs a dict of arrays by name"),
    "global states": (lambda: {"rng": True}, ValueError, "has no rng"),
    "read-only": (lambda: {"t": np.frombuffer(bytes(16))}, ValueError, "read-only"),
    "half-way": (lambda: {"broken": Counter(0)}, KeyError, "count"),
}


@pytest.mark.parametrize("what", BAD_TARGETS)
def test_all_or_nothing(tmp_path, what):
    """The bad one comes between good ones: those before it are put back, and those after it never touched."""
    make, error, why = BAD_TARGETS[what]
    needle.save(
        tmp_path / "a", model=net(1), counter=Counter(7), nets={"g": net(2), "d": [net(3), Counter(8)]},
        t=Tensor([1.0, 2.0]), generator=np.random.default_rng(5), epoch=3, broken={"array": np.zeros(2)},
        first=net(4), second=Counter(9), third=np.ones(2), fourth=Tensor([1.0]), last=np.random.default_rng(6),
    )  # fmt: skip
    first, second, third, fourth, last = net(5), Counter(1), np.zeros(2), Tensor([0.0]), np.random.default_rng(1)
    bad = make()
    before = copy.deepcopy([vars(b) if isinstance(b, Counter) else None for b in bad.values()])
    states = first.state_dict(), copy.deepcopy(last.bit_generator.state), np.random.get_state()[1].tolist()
    with pytest.raises(error, match=why):
        needle.load(tmp_path / "a", first=first, second=second, third=third, fourth=fourth, **bad, last=last)
    same(first.state_dict(), states[0])
    assert second.count == 1 and second.array[0] == 1 and third.tolist() == [0, 0] and fourth.tolist() == [0]
    same(last.bit_generator.state, states[1])
    assert np.random.get_state()[1].tolist() == states[2]
    for b, was in zip(bad.values(), before, strict=True):
        if was is not None:
            same(vars(b), was)


def test_the_error_says_what_became_of_the_others(tmp_path):
    needle.save(tmp_path / "a", good=Counter(1), bad={"array": np.zeros(2)})
    with pytest.raises(KeyError) as caught:
        needle.load(tmp_path / "a", good=Counter(2), bad=Counter(3))
    assert caught.value.__notes__ == ["needle.load: bad could not take its state; all objects are as they were"]


# ------------------------------------------------------------------------------------------------- damaged files


def written(path, metadata, arrays):
    write_safetensors(path, arrays, {"format": "needle", "version": "1", "structure": '{"a": 1}'} | metadata)


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ({"format": "pt"}, r"is no file of needle.save; needle.files.read_safetensors reads its arrays"),
        ({"version": "2"}, "has version 2 of the layout, and this Needle reads version 1; use .* a newer one"),
        ({"version": ""}, "has version  of the layout"),
        ({"structure": "{"}, "is damaged: its structure cannot be read"),
        ({"structure": "[]"}, "is damaged"),
        ({"structure": "3"}, "is damaged"),
        ({"structure": '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}"}, "is damaged"),
    ],
)
def test_other_files_and_versions_are_refused(tmp_path, metadata, why):
    written(tmp_path / "a", metadata, {})
    with pytest.raises(ValueError, match=why):
        needle.load(tmp_path / "a")


def test_a_plain_file_of_tensors_is_refused(tmp_path):
    write_safetensors(tmp_path / "a", {"w": np.ones(1)})
    with pytest.raises(ValueError, match=r"is no file of needle\.save"):
        needle.load(tmp_path / "a")


@pytest.mark.parametrize(
    "structure",
    [
        {"a": {"array": "nowhere"}},
        {"a": {"array": ["w"]}},
        {"a": {"unknown": 1}},
        {"a": {}},
        {"a": {"array": "w", "tuple": []}},
        {"a": {"tuple": 3}},
        {"a": {"dict": []}},
        {"a": {"items": [[1]]}},
        {"a": {"items": [[[1], 2]]}},
        {"a": {"float": "x"}},
        {"a": {"float": [1]}},
        {"a": {"complex": [1]}},
        {"a": {"scalar": ["O", 1]}},
        {"a": {"scalar": ["U3", "abc"]}},
        {"a": {"scalar": ["int8", 1000]}},
        {"a": {"scalar": ["nothing", 1]}},
        {"a": {"bytes": "é"}},
        {"a": {"complex128": "w"}},
        {"a": {"tensor": [1, True]}},
        {"a": {"tensor": [{"array": "w"}]}},
        {"a": {"generator": {"dict": {"bit_generator": "default_rng"}}}},
        {"a": {"generator": {"dict": {"bit_generator": "PCG64"}}}},
        {"a": {"random_state": 3}},
        {"a": {"python_random": {"tuple": [3, {"tuple": []}, None]}}},
        {"a": {"__class__": 1}},
    ],
    ids=str,
)
def test_a_damaged_structure_is_refused(tmp_path, structure):
    written(tmp_path / "a", {"structure": json.dumps(structure)}, {"w": np.ones(3)})
    with pytest.raises(ValueError, match=r"is damaged: its structure cannot be read"):
        needle.load(tmp_path / "a")


KILLED = """
import sys
sys.path.insert(0, {place!r})
import numpy as np, needle
print("ready", flush=True)
for i in range(1000):
    needle.save({path!r}, w=np.full(2_000_000, float(i)), epoch=i)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_process_that_is_killed_while_it_saves_leaves_the_old_file_or_the_new(tmp_path):
    path, place = tmp_path / "a", str(Path(needle.__file__).parents[1])
    needle.save(path, w=np.full(10, -1.0), epoch=-1)
    program = KILLED.format(place=place, path=str(path))
    caught = 0
    for attempt in itertools.count():
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(0.01 + 0.017 * attempt)
            process.send_signal(signal.SIGKILL)
            process.wait()
        found = needle.load(path)
        assert (found["w"] == found["epoch"]).all()
        caught += bool(list(tmp_path.glob("*.part")))
        for part in tmp_path.glob("*.part"):
            part.unlink()
        if caught and attempt >= 3:
            break
        assert attempt < 30
