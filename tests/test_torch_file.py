"""PyTorch's files without PyTorch: two carried ones, those it writes where it is installed, hostile and damaged."""

from __future__ import annotations

import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

import needle
import numpy as np
import pytest
from needle.files import read_torch
from numpy.testing import assert_array_equal

CARRIED = Path(__file__).parent / "torch_files"


def same(found, wanted):
    wanted = np.asarray(wanted)
    assert type(found) is np.ndarray
    assert found.dtype == wanted.dtype and found.shape == wanted.shape
    assert_array_equal(found, wanted)


# ------------------------------------------------------------------------------------------------- the carried files


@pytest.fixture(params=["checkpoint.pt", "legacy.pt"])
def checkpoint(request):
    return read_torch(CARRIED / request.param)


def eighths(*shape):
    return (np.arange(np.prod(shape)) / 8).reshape(shape).astype(np.float32)


def test_a_state_dict_is_read(checkpoint):
    model = checkpoint["model"]
    assert type(model) is OrderedDict
    numbers = {"0.weight": eighths(2, 3), "0.bias": eighths(2), "1.weight": eighths(2), "1.bias": eighths(2)}
    statistics = {"1.running_mean": np.zeros(2, np.float32), "1.running_var": np.ones(2, np.float32)}
    wanted = numbers | statistics | {"1.num_batches_tracked": np.array(0)}
    assert list(model) == list(wanted)
    for name, a in wanted.items():
        same(model[name], a)


def test_an_optimizer_is_read(checkpoint):
    opt = checkpoint["opt"]
    assert list(opt["state"]) == [0, 1, 2, 3]
    for i, shape in enumerate([(2, 3), (2,), (2,), (2,)]):
        assert list(opt["state"][i]) == ["step", "exp_avg", "exp_avg_sq"]
        same(opt["state"][i]["step"], np.float32(1))
        same(opt["state"][i]["exp_avg"], np.full(shape, 0.5, np.float32))  # (1 - 0.5) * 1
        same(opt["state"][i]["exp_avg_sq"], np.full(shape, 0.25, np.float32))
    (group,) = opt["param_groups"]
    assert group["lr"] == 0.0 and group["betas"] == (0.5, 0.75) and group["params"] == [0, 1, 2, 3]
    assert group["fused"] is None and group["amsgrad"] is False


def test_views_of_one_storage_are_views_of_one_array(checkpoint):
    base = np.arange(12, dtype=np.float32).reshape(3, 4)
    same(checkpoint["base"], base)
    same(checkpoint["columns"], base[:, ::2])
    same(checkpoint["transposed"], base.T)
    checkpoint["base"][1, 2] = 50
    assert checkpoint["columns"][1, 1] == 50 and checkpoint["transposed"][2, 1] == 50


def test_tied_parameters_share_memory(checkpoint):
    one, other = checkpoint["tied"]
    same(one, np.array([1.5, -2], np.float32))
    assert np.shares_memory(one, other)


def test_other_values_are_read(checkpoint):
    same(checkpoint["bfloat16"], np.array([1, -2.5, np.inf], np.float32))
    same(checkpoint["0-d"], np.array(7, np.int16))
    same(checkpoint["empty"], np.zeros((0, 3)))
    same(checkpoint["half"], np.array([0.5], np.float16))
    same(checkpoint["conjugated"], np.array([1 - 2j], np.complex64))
    same(checkpoint["unsigned"], np.array([65535], np.uint16))
    assert checkpoint["size"] == (2, 3)
    nested = checkpoint["nested"]
    assert list(nested) == ["list", 7] and nested["list"] == [1, 2.5, None, "three", (True, 2**70)]
    same(nested[7]["bool"], np.array([True, False]))


def test_nothing_of_torch_is_imported():
    place = str(Path(needle.__file__).parents[1])
    code = f"""
import sys
sys.path.insert(0, {place!r})
sys.modules["torch"] = None
import needle
needle.files.read_torch({str(CARRIED / "checkpoint.pt")!r})"""
    subprocess.run([sys.executable, "-c", code], check=True)


# --------------------------------------------------------------------------------------------------- what torch writes


def check(found, wanted):
    """The same as PyTorch has, in NumPy's terms."""
    torch = sys.modules["torch"]
    if isinstance(wanted, torch.Tensor):
        wanted = wanted.detach().cpu().resolve_conj().resolve_neg()
        same(found, (wanted.float() if wanted.dtype == torch.bfloat16 else wanted).numpy())
    elif isinstance(wanted, dict):
        assert list(found) == list(wanted)
        for key in wanted:
            check(found[key], wanted[key])
    elif isinstance(wanted, (list, tuple)):
        assert len(found) == len(wanted)
        for a, b in zip(found, wanted, strict=True):
            check(a, b)
    else:
        assert found == wanted and type(found) is type(wanted)


FORMATS = [{}, {"_use_new_zipfile_serialization": False}, {"pickle_protocol": 4}, {"pickle_protocol": 5}]


@pytest.mark.parametrize("how", FORMATS, ids=str)
def test_every_tensor_that_torch_saves_is_read(tmp_path, how):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    base = torch.randn(4, 6, 3)
    names = (
        "float64 float32 float16 bfloat16 complex64 complex128 int64 int32 int16 int8 uint8 uint16 uint32 uint64 bool"
    )
    tensors = {name: (torch.rand(3, 2) * 100).to(getattr(torch, name)) for name in names.split()}
    tensors |= {"view": base[1:, ::2, 1], "permuted": base.permute(2, 0, 1), "expanded": torch.ones(1, 3).expand(5, 3)}
    tensors |= {"bfloat16 view": base.bfloat16().transpose(0, 2)[:, 1:], "0-d": base[0, 0, 0], "empty": base[:, :0]}
    tensors |= {"neg": torch.randn(3, dtype=torch.complex64).conj().imag, "parameter": torch.nn.Parameter(base)}
    tensors |= {"channels last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)}
    everything = {"tensors": tensors, "set": {1, "a"}, "bytes": b"\xff\0", "none": None, "nan": [1e300, -0.0]}
    torch.save(everything, tmp_path / "a.pt", **how)
    check(read_torch(tmp_path / "a.pt"), everything)


@pytest.mark.parametrize("how", FORMATS, ids=str)
@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "LBFGS"])
def test_training_runs_are_read(tmp_path, how, optimizer):
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.LSTM(4, 2))
    opt = getattr(torch.optim, optimizer)(model.parameters(), lr=0.1)

    def loss():
        opt.zero_grad()
        value = model(torch.randn(5, 3))[0].square().sum()
        value.backward()
        return value

    opt.step(loss)
    schedule = torch.optim.lr_scheduler.StepLR(opt, 3)
    everything = {"model": model.state_dict(), "opt": opt.state_dict(), "schedule": schedule.state_dict(), "epoch": 3}
    torch.save(everything, tmp_path / "a.pt", **how)
    check(read_torch(tmp_path / "a.pt"), everything)


@pytest.mark.parametrize("how", FORMATS, ids=str)
def test_whole_modules_and_other_classes_are_refused_by_name(tmp_path, how):
    torch = pytest.importorskip("torch")
    for value, why in (
        (torch.nn.Linear(2, 2), r"would run torch\.nn\.modules\.linear\.Linear.*save model\.state_dict\(\)"),
        ({"best": np.float64(3)}, r"numpy\._core\.multiarray\.scalar"),
        (torch.eye(2).to_sparse(), r"torch\._utils\._rebuild_sparse_tensor"),
        ({"f8": torch.ones(2).to(torch.float8_e4m3fn)}, "dtype float8_e4m3fn, which NumPy has not"),
    ):
        torch.save(value, tmp_path / "a.pt", **how)
        with pytest.raises(ValueError, match=why):
            read_torch(tmp_path / "a.pt")


# ------------------------------------------------------------------------------------------------- hostile and damaged


def archive(program, root="archive", **others):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        made.writestr(f"{root}/data.pkl", program)
        for name, content in others.items():
            made.writestr(f"{root}/{name.replace('__', '/')}", content)
    return file.getvalue()


class Calls:
    """Pickled, it calls what it is given."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.fixture
def trap(tmp_path):
    return tmp_path / "it ran"


def hostile(trap):
    touch = f"__import__('pathlib').Path({str(trap)!r}).touch()"
    command = f"touch '{trap}'"
    return {
        "os.system": (Calls(os.system, command), r"would run (posix|nt)\.system"),
        "eval": (Calls(eval, touch), r"would run builtins?\.eval|__builtin__\.eval"),
        "exec": (Calls(exec, touch), r"exec"),
        "subprocess": (Calls(subprocess.check_call, ["touch", str(trap)]), r"(subprocess|commands)\.check_call"),
        "open": (Calls(io.open, str(trap), "w"), "would run (_?io|builtins|__builtin__).open"),
        "deep inside": ({"a": [1, {"b": OrderedDict(c=Calls(os.system, command))}]}, "system"),
        "a key": ({("a", Calls(os.system, command)): 1}, "system"),
        "getattr": (Calls(getattr, OrderedDict, "__init__"), "getattr"),
        "import": (Calls(__import__, "antigravity"), "__import__"),
        "a class of ours": (needle.files.safetensors._Header({}, {}), "NEWOBJ|_Header|_reconstructor"),
    }


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("what", hostile(Path()))
def test_a_pickle_that_calls_anything_else_is_refused_before_it_runs(tmp_path, trap, what, protocol):
    value, why = hostile(trap)[what]
    program = pickle.dumps(value, protocol)
    for content in (archive(program), legacy(program, b"")):
        (tmp_path / "a.pt").write_bytes(content)
        with pytest.raises(ValueError, match=why) as caught:
            read_torch(tmp_path / "a.pt")
        assert "a.pt: holds more than numbers" in str(caught.value)
    assert not trap.exists()


PROGRAMS = {
    "INST": b"(S'true'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nS'true'\no.",
    "NEWOBJ of a known class": b"\x80\x02ccollections\nOrderedDict\n)\x81.",
    "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
    "a name made of parts": b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.__init__\x93.",
    "extension registry": b"\x80\x02\x82\x01.",
    "torch.load": b"\x80\x02ctorch\nload\nX\1\0\0\0a\x85R.",
    "a name that is near": b"\x80\x02ctorch._utils\n_rebuild_tensor_v4\n)R.",
    "writes to a function": b"\x80\x02ctorch._utils\n_rebuild_parameter\n}X\1\0\0\0ai\1b.",
    "buffers from outside": b"\x80\x05\x97.",
}


@pytest.mark.parametrize("what", PROGRAMS)
def test_other_instructions_are_refused(tmp_path, what):
    (tmp_path / "a.pt").write_bytes(archive(PROGRAMS[what]))
    with pytest.raises(ValueError, match=r"a\.pt: (holds more than numbers|is damaged|is no file of torch.save)"):
        read_torch(tmp_path / "a.pt")


def test_known_classes_cannot_be_changed(tmp_path):
    """BUILD on the class itself, and on a function: what the next file would be read with."""
    for target in (b"ccollections\nOrderedDict\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nFloatStorage\n"):
        state = pickle.dumps({"name": "int8", "_function": len, "keys": 3}, 2)[2:-1]
        slots = b"N" + state + b"\x86"
        for what in (state, slots):
            (tmp_path / "a.pt").write_bytes(archive(b"\x80\x02" + target + what + b"b0N."))
            with suppress(ValueError):
                read_torch(tmp_path / "a.pt")
            same(read_torch(CARRIED / "checkpoint.pt")["half"], np.array([0.5], np.float16))
    assert OrderedDict(a=1).keys() == {"a"}


def storage(kind=b"FloatStorage", key="0", count=4):
    return b"(X\7\0\0\0storagectorch\n" + kind + b"\n" + text(key) + text("cpu") + number(count) + b"tQ"


def text(value):
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value):
    return pickle.dumps(value, 2)[2:-1]


def tensor(shape, strides, offset=0, of=None, more=b"}"):
    of = storage() if of is None else of
    arguments = of + number(offset) + number(shape) + number(strides) + b"\x89" + more
    return b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR."


FOUR, LONG, KEYS = np.arange(4, dtype="<f4").tobytes(), struct.pack("<Q", 4), b"]X\1\0\0\x000a."


def legacy(program, storages, keys=b"]."):
    magic, version = pickle.dumps(0x1950A86A20F9469CFC6C, 2), pickle.dumps(1001, 2)
    return magic + version + pickle.dumps({"little_endian": True}, 2) + program + b"\x80\x02" + keys + storages


def test_the_files_that_these_tests_write_would_be_sound(tmp_path):
    (tmp_path / "a.pt").write_bytes(archive(tensor((2, 2), (1, 2)), data__0=FOUR))
    same(read_torch(tmp_path / "a.pt"), np.arange(4, dtype=np.float32).reshape(2, 2).T)
    content = legacy(tensor((2, 2), (2, 1)), LONG + FOUR, KEYS)
    (tmp_path / "a.pt").write_bytes(content)
    same(read_torch(tmp_path / "a.pt"), np.arange(4, dtype=np.float32).reshape(2, 2))


def test_big_endian_files_are_read(tmp_path):
    data = np.arange(4, dtype=">f4").tobytes()
    (tmp_path / "a.pt").write_bytes(archive(tensor((4,), (1,)), data__0=data, byteorder=b"big"))
    same(read_torch(tmp_path / "a.pt"), np.arange(4, dtype=np.float32))


BROKEN = {
    "beyond the end": (archive(tensor((5,), (1,)), data__0=FOUR), "reaches beyond its storage of 4"),
    "beyond by strides": (archive(tensor((2, 2), (3, 1)), data__0=FOUR), "reaches beyond"),
    "beyond by the offset": (archive(tensor((2,), (1,), 3), data__0=FOUR), "reaches beyond"),
    "0-d beyond": (archive(tensor((), (), 4), data__0=FOUR), "reaches beyond"),
    "negative offset": (archive(tensor((2,), (1,), -1), data__0=FOUR), "offset -1"),
    "negative stride": (archive(tensor((2,), (-1,), 3), data__0=FOUR), "strides"),
    "negative shape": (archive(tensor((-2,), (1,)), data__0=FOUR), "shape"),
    "shape of floats": (archive(tensor((2.0,), (1,)), data__0=FOUR), "shape"),
    "shape of strings": (archive(tensor("ab", (1,)), data__0=FOUR), "shape"),
    "fewer strides": (archive(tensor((2, 2), (1,)), data__0=FOUR), "strides"),
    "huge": (archive(tensor((2**61,), (0,)), data__0=FOUR), "reaches beyond"),
    "too many axes": (archive(tensor((1,) * 65, (1,) * 65), data__0=FOUR), "shape"),
    "no arguments": (archive(b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R."), "is damaged: "),
    "no storage": (archive(tensor((2,), (1,), of=b"K\1"), data__0=FOUR), "has no storage"),
    "storage missing": (archive(tensor((4,), (1,))), "storage '0' has None bytes, and needs 16"),
    "storage too short": (archive(tensor((4,), (1,)), data__0=FOUR[:-4]), "storage '0' has 12 bytes, and needs 16"),
    "storage too long": (archive(tensor((4,), (1,)), data__0=FOUR * 2), "has 32 bytes, and needs 16"),
    "storage of 1 EB": (archive(tensor((4,), (1,), of=storage(count=2**58)), data__0=FOUR), "needs 1,152,921"),
    "storage elsewhere": (archive(tensor((4,), (1,), of=storage(key="../data.pkl"))), "storage '../data.pkl'"),
    "storage that is none": (archive(b"\x80\x02K\1Q."), "a storage that is described as 1"),
    "storage of a function": (archive(tensor((4,), (1,), of=storage(b"Size"))), "a storage that is described as"),
    "storage of a dtype that has none": (archive(tensor((4,), (1,), of=storage(b"float8_e5m2"))), "float8_e5m2"),
    "booleans of 2": (archive(tensor((4,), (1,), of=storage(b"BoolStorage")), data__0=b"\0\1\2\0"), "booleans other"),
    "byte order": (archive(tensor((4,), (1,)), byteorder=b"middle"), "its byte order is b'middle'"),
    "pickle cut off": (archive(tensor((4,), (1,))[:-5], data__0=FOUR), "is damaged: "),
    "pickle without a stack": (archive(b"\x80\x02R."), "is damaged: "),
    "empty pickle": (archive(b""), "is damaged: "),
    "gap in the memory": (archive(b"\x80\x02Nr\xff\xff\xff\x7f."), "leaves gaps in its memory"),
    "a string of 2 GB": (archive(b"\x80\x02X\xff\xff\xff\x7fa."), "is damaged: "),
    "no pickle": (archive(b"", root="a/b"), "a zip archive without data.pkl"),
    "TorchScript": (archive(b"\x80\x02N.", **{"constants.pkl": b"\x80\x02N."}), "is TorchScript, a program"),
    "not a file of torch": (b"text", "neither a zip archive nor a pickle"),
    "empty": (b"", "neither a zip archive nor a pickle"),
    "a pickle": (pickle.dumps({"a": 1}, 2), "is a pickle, but none of torch.save"),
    "legacy of the future": (pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1002, 2), "a version"),
    "legacy, storage missing": (legacy(tensor((4,), (1,)), b""), "not those that it uses"),
    "legacy, cut off": (legacy(tensor((4,), (1,)), LONG + FOUR[:-1], KEYS), "is cut off"),
    "legacy, other length": (legacy(tensor((4,), (1,)), struct.pack("<Q", 5) + FOUR, KEYS), "5 elements"),
    "legacy, more": (legacy(tensor((4,), (1,)), LONG + FOUR + b"a", KEYS), "more follows"),
    "legacy, keys are no list": (legacy(b"\x80\x02N.", b"", b"N."), "not those that it uses"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_damaged_file_is_refused_with_a_reason(tmp_path, what):
    content, why = BROKEN[what]
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(ValueError, match=why) as caught:
        read_torch(tmp_path / "a.pt")
    assert str(caught.value).startswith(str(tmp_path / "a.pt"))


def test_changed_numbers_are_noticed(tmp_path):
    """The archive's checksums."""
    content = archive(tensor((4,), (1,)), data__0=FOUR)
    (tmp_path / "a.pt").write_bytes(content.replace(FOUR, FOUR[:-1] + b"\1"))
    with pytest.raises(ValueError, match=r"without checksums.*: Bad CRC-32"):
        read_torch(tmp_path / "a.pt")


@pytest.mark.parametrize("name", ["checkpoint.pt", "legacy.pt"])
def test_any_cut_is_refused(tmp_path, name):
    content = (CARRIED / name).read_bytes()
    for end in range(0, len(content), 53):
        (tmp_path / "a.pt").write_bytes(content[:end])
        with pytest.raises(ValueError, match=r"a\.pt: "):
            read_torch(tmp_path / "a.pt")


@pytest.mark.parametrize("name", ["checkpoint.pt", "legacy.pt"])
def test_any_damaged_byte_is_refused_or_harmless(tmp_path, name):
    content = (CARRIED / name).read_bytes()
    rng = np.random.default_rng(0)
    for at in rng.integers(0, len(content), 400):
        damaged = bytearray(content)
        damaged[at] ^= int(rng.integers(1, 256))
        (tmp_path / "a.pt").write_bytes(damaged)
        try:
            read_torch(tmp_path / "a.pt")
        except ValueError as error:
            assert "a.pt: " in str(error)
