"""The course's arrays, and the switch by which Tensors hand them out."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import needle
import numpy as np
import pytest
from needle import Tensor
from needle import backend_ndarray as nd
from numpy.testing import assert_array_equal

A = np.random.default_rng(0).standard_normal((2, 3, 4))


def test_an_ndarray_is_numpys_and_a_copy():
    a = nd.array(A)
    assert isinstance(a, nd.NDArray) and isinstance(a, np.ndarray) and a.dtype == A.dtype and a.size == 24
    assert type(a.numpy()) is np.ndarray and not np.shares_memory(a, A) and not np.shares_memory(a.numpy(), a)
    a.flat[3] += 1
    assert a.numpy()[0, 0, 3] == A[0, 0, 3] + 1
    assert a.device == needle.cpu() == nd.cpu() and nd.default_device() == needle.cpu()
    assert nd.array(A, "float32").dtype == "float32" and nd.array([1, 2]).numpy().tolist() == [1, 2]
    assert_array_equal(nd.NDArray(Tensor(A), device=needle.cpu()).numpy(), A)
    assert isinstance(a[0] * 2, nd.NDArray)


@pytest.mark.parametrize("padding", [((0, 0), (1, 2), (3, 0)), ((0, 0),) * 3])
def test_pad(padding):
    padded = nd.NDArray(A, device=nd.cpu()).pad(padding)
    assert isinstance(padded, nd.NDArray)
    assert_array_equal(padded.numpy(), np.pad(A, padding))


def test_tensors_of_ndarrays():
    t = Tensor(nd.array(A), device=needle.cpu())
    assert type(t.numpy()) is np.ndarray and t.device == needle.cpu()
    y = (t * nd.array(A) + nd.array(A)).sum()
    y.backward()
    assert_array_equal(t.grad.numpy(), A)
    assert_array_equal((nd.array(A) - t).numpy(), np.zeros_like(A))


def test_no_gpu_is_there():
    for device in (needle.cuda(), nd.cuda()):
        assert device.enabled() is False and device == needle.cuda() != needle.cpu()
        assert repr(device) == "needle.cuda()" and device not in needle.all_devices()
        with pytest.raises(RuntimeError, match=r"needle.cuda\(\) is not on this machine; needle.all_devices\(\)"):
            device.zeros(3)
        for make in (lambda d=device: Tensor([1.0], device=d), lambda d=device: nd.NDArray([1.0], device=d)):
            with pytest.raises(ValueError, match="is not on this machine"):
                make()
    assert needle.cpu().enabled() is True


PROGRAM = """
    import numpy as np, needle as ndl
    from needle import backend_ndarray as nd
    from needle.data import ArrayDataset, DataLoader
    t = ndl.Tensor(np.arange(6.0).reshape(2, 3))
    y = (t * t).sum()
    for x in (t, y, next(iter(DataLoader(ArrayDataset(np.ones((4, 2))), 2)))[0]):
        assert isinstance(x.cached_data, nd.NDArray) is {handed_out}, type(x.cached_data)
        assert isinstance(x.realize_cached_data(), nd.NDArray) is {handed_out}
        assert type(x.numpy()) is np.ndarray
    t.realize_cached_data().flat[1] += 10
    assert t.numpy()[0, 1] == 11 and (t * 2).numpy()[0, 1] == 22
    y.backward()
    assert t.grad.numpy()[0, 1] == 2, "what was recorded saw the old value"
    t.cached_data = np.zeros((2, 3))
    assert t.numpy().sum() == 0
    if {handed_out}:
        assert t.cached_data.numpy().shape == (2, 3)
    assert ndl.grad(lambda x: (x * x).sum())(np.ones(3)).tolist() == [2, 2, 2]
    assert np.asarray(t.detach()).sum() == 0 and ndl.Tensor(t.cached_data).shape == (2, 3)
"""


@pytest.mark.parametrize("backend", ["nd", "np", None])
def test_the_courses_switch(backend):
    environment = {k: v for k, v in os.environ.items() if k != "NEEDLE_BACKEND"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    if backend:
        environment["NEEDLE_BACKEND"] = backend
    program = textwrap.dedent(PROGRAM.format(handed_out=backend == "nd"))
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_import_needle_imports_neither_data_nor_ndarrays():
    program = (
        "import sys, needle; print([m for m in sys.modules if 'needle.data' in m or 'ndarray' in m.split('.')[-1]])"
    )
    environment = {k: v for k, v in os.environ.items() if k != "NEEDLE_BACKEND"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert needle.data.DataLoader is not None and needle.backend_ndarray is nd
