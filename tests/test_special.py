"""SciPy's special functions: every law that holds for ops, edges, accuracy, and what is said where there is no rule."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import needle
import numpy as np
import pytest
import scipy.special
import test_laws
from needle import Tensor
from needle.special import find
from needle.special.functions import scipys
from needle.special.rules import SLOPES, function
from numpy.testing import assert_allclose, assert_array_equal
from samples.scipy import SCIPY
from samples.special import SPECIAL

LAWS = {name: law for name, law in vars(test_laws).items() if hasattr(law, "law")}
NOT_HERE = {
    "test_a_sample_makes_a_node_of_its_op",
    "test_a_rule_says_the_same_on_arrays_as_on_tensors",
    "test_large_arrays_give_what_small_ones_do",
    "test_out_gives_the_same",
    "test_what_is_discrete_is_a_constant",
}
NOT_OF_MEMBERS = {"test_rule_called_by_hand_gives_what_backward_sets", "test_gradient_reads_only_what_the_op_saves"}
"""Of one of several results, whose node is that of the tuple's member."""
INF = np.inf


@pytest.mark.parametrize("law", [name for name in LAWS if name not in NOT_HERE])
@pytest.mark.parametrize("op", SCIPY)
def test_law_on_an_op_behind_needle_scipy(op, law):
    for sample in SCIPY[op]:
        if LAWS[law].which(sample):
            LAWS[law].law(op, sample)


@pytest.mark.parametrize("law", [name for name in LAWS if name not in NOT_HERE])
def test_law(law):
    failures = []
    for name, samples in SPECIAL.items():
        several = getattr(scipys(name), "nout", 1) > 1
        for sample in samples:
            if LAWS[law].which(sample) and not (several and law in NOT_OF_MEMBERS):
                try:
                    LAWS[law].law("Special", sample)
                except Exception as failure:
                    failure.add_note(f"in the sample {name}: {sample.name}")
                    failures.append(failure)
    if failures:
        raise ExceptionGroup(f"{len(failures)} samples", failures)


def test_no_function_is_missing_from_the_table():
    assert sorted(SPECIAL) == sorted(SLOPES)


def test_scipy_is_not_imported_by_needle():
    program = "import sys, needle, needle.scipy; assert not any(m.split('.')[0] == 'scipy' for m in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_scipys_own_functions_take_tensors():
    t = Tensor([0.5, 1.5])
    scipy.special.gammainc(2, t).sum().backward()
    assert_allclose(t.grad.numpy(), t.numpy() * np.exp(-t.numpy()))
    assert_array_equal(scipy.special.airy(t)[1].numpy(), scipy.special.airy(t.numpy())[1])
    assert find(np.exp) is None


def test_numbers_are_weak():
    for name, arguments in [("jv", (0,)), ("erf", ()), ("eval_legendre", (2,)), ("gammainc", (2.0,))]:
        x = np.array([0.3, 0.5], "f")
        t = Tensor(x)
        found = function(name)(*arguments, t)
        assert found.dtype == getattr(scipy.special, name)(*arguments, x).dtype
        found.sum().backward()
        assert t.grad.dtype == np.float32


# name, numbers, which of them moves, first and second derivative
EDGES = [
    ("expit", (1000.0,), 0, 0, 0),
    ("expit", (-INF,), 0, 0, 0),
    ("log_expit", (-1000.0,), 0, 1, 0),
    ("softplus", (1000.0,), 0, 1, 0),
    ("logit", (0.0,), 0, INF, None),
    ("log_ndtr", (-1000.0,), 0, 1000.000999998, -0.999999000006),
    ("log_ndtr", (-1e8,), 0, 1e8, -1),
    ("log_ndtr", (50.0,), 0, 0, 0),
    ("ndtr", (-40.0,), 0, 0, 0),
    ("erfcx", (1e8,), 0, -1 / np.sqrt(np.pi) * 1e-16, 2 / np.sqrt(np.pi) * 1e-24),
    ("dawsn", (1e8,), 0, -0.5e-16, 1e-24),
    ("entr", (0.0,), 0, INF, None),
    ("xlogy", (0.0, 0.0), 1, 0, 0),
    ("xlogy", (0.0, 2.0), 1, 0, 0),
    ("xlog1py", (0.0, -1.0), 1, 0, 0),
    ("rel_entr", (0.0, 0.0), 1, 0, 0),
    ("kl_div", (0.0, 0.5), 1, 1, 0),
    ("kl_div", (0.5, 0.5), 1, 0, 2),
    ("gammaln", (0.0,), 0, -INF, INF),
    ("rgamma", (0.0,), 0, 1, 2 * 0.5772156649015329),
    ("rgamma", (-1.0,), 0, -1, None),
    ("binom", (3.0, 5.0), 1, 0.05, None),
    ("gammainc", (1.0, 0.0), 1, 1, -1),
    ("gammainc", (2.0, 0.0), 1, 0, 1),
    ("gammainc", (0.5, 0.0), 1, INF, -INF),
    ("gammainc", (3.0, INF), 1, 0, 0),
    ("gammainc", (3.0, 0.0), 0, 0, 0),
    ("betainc", (2.0, 3.0, 0.0), 2, 0, 12),
    ("betainc", (1.0, 1.0, 1.0), 2, 1, 0),
    ("erfinv", (1.0,), 0, INF, INF),
    ("j1", (0.0,), 0, 0.5, 0),
    ("jv", (2, 0.0), 1, 0, 0.25),
    ("i0e", (0.0,), 0, 0, None),
    ("exprel", (0.0,), 0, 1 / 2, 1 / 3),
    ("boxcox", (2.0, 0.0), 1, np.log(2) ** 2 / 2, np.log(2) ** 3 / 3),
    ("ellipk", (0.0,), 0, np.pi / 8, 9 * np.pi / 64),
    ("ellipe", (0.0,), 0, -np.pi / 8, -3 * np.pi / 64),
    ("ellipkinc", (1.2, 0.0), 1, (1.2 - np.sin(2.4) / 2) / 4, 9 / 32 * (1.2 - 2 / 3 * np.sin(2.4) + np.sin(4.8) / 12)),
    ("ellipkinc", (0.0, 0.0), 1, 0, 0),
    ("ellipkm1", (1e-300,), 0, -5e299, None),
    ("spence", (1.0,), 0, -1, 0.5),
    ("expn", (0, 1.0), 1, -2 / np.e, 5 / np.e),
    ("pseudo_huber", (0.0, 0.0), 1, 0, None),
    ("pseudo_huber", (0.0, 1.0), 0, 1, -2),
    ("huber", (1.0, 2.0), 1, 1, 0),
    ("agm", (1.0, 1.0), 1, 0.5, -0.125),
    ("stdtr", (3.0, 0.0), 0, 0, None),
]


@pytest.mark.parametrize(("name", "numbers", "i", "first", "second"), EDGES)
def test_edges(name, numbers, i, first, second):
    def f(x):
        return function(name)(*numbers[:i], x, *numbers[i + 1 :])

    with np.errstate(all="ignore"):
        x = numbers[i]
        assert_allclose(needle.grad(f)(x), first, rtol=1e-12)
        assert_allclose(needle.jvp(f, (x,), (1.0,))[1], first, rtol=1e-12)
        if second is not None:
            assert_allclose(needle.grad(needle.grad(f))(x), second, rtol=1e-9)


# Of gammainc(a, x) by a, and of betainc(a, b, x) by a and b, to 30 digits by mpmath.
BY_SHAPE = [
    ("gammainc", (0.001, 1e-06), 0, -13.06580970832131),
    ("gammainc", (0.05, 0.2), 0, -1.207324853016592),
    ("gammainc", (0.5, 3.0), 0, -0.04724032644797375),
    ("gammainc", (3.3, 0.7), 0, -0.03559840022461681),
    ("gammainc", (20.0, 30.0), 0, -0.01096616648745958),
    ("gammainc", (200.0, 150.0), 0, -1.731907109270468e-5),
    ("gammainc", (3000.0, 3100.0), 0, -0.001403107608707863),
    ("betainc", (0.01, 0.5, 0.3), 0, -2.334275968937207),
    ("betainc", (0.01, 0.5, 0.3), 1, 0.04393075889760734),
    ("betainc", (1.5, 0.2, 0.9), 0, -0.1084614040240679),
    ("betainc", (1.5, 0.2, 0.9), 1, 1.285840041401099),
    ("betainc", (5.0, 3.0, 0.1), 0, -0.0003528562689134491),
    ("betainc", (5.0, 3.0, 0.1), 1, 0.0001775945268126949),
    ("betainc", (40.0, 70.0, 0.4), 0, -0.03546974480401135),
    ("betainc", (40.0, 70.0, 0.4), 1, 0.02185588912978113),
    ("betainc", (1000.0, 20.0, 0.99), 0, -4.267563657213205e-5),
    ("betainc", (1000.0, 20.0, 0.99), 1, 0.002970135653403661),
]


@pytest.mark.parametrize(("name", "numbers", "i", "expected"), BY_SHAPE)
def test_derivatives_by_shape_parameters(name, numbers, i, expected):
    found = needle.grad(lambda p: function(name)(*numbers[:i], p, *numbers[i + 1 :]))(numbers[i])
    assert_allclose(found, expected, rtol=3e-11)


def test_complex_gamma_functions():
    for z in [0.5 + 0.3j, -3.2 + 0.1j, 20 + 3j]:
        h = 1e-3
        for name in ["gamma", "loggamma", "digamma", "rgamma"]:
            of = getattr(scipy.special, name)
            expected = (8 * (of(z + h) - of(z - h)) - (of(z + 2 * h) - of(z - 2 * h))) / (12 * h)
            assert_allclose(needle.holomorphic_grad(function(name))(z), expected, rtol=1e-7)


def test_what_has_no_rule_says_so():
    t = Tensor([0.5, 1.5])
    with pytest.raises(NotImplementedError, match=r"jv: its derivative by argument 0 is not known.*stop_gradient"):
        function("jv")(t, 2.0).sum().backward()
    with pytest.raises(NotImplementedError, match=r"kolmogorov.*needle.numerical\(scipy.special.kolmogorov\)"):
        function("kolmogorov")(t).sum().backward()
    with pytest.raises(NotImplementedError, match="gammainc by argument 0"):
        needle.grad(needle.grad(needle.grad(lambda a: function("gammainc")(a, 2.0))))(1.5)
    with pytest.raises(NotImplementedError, match="ive: its derivative is known for real arguments only"):
        function("ive")(1, Tensor([1 + 1j])).real.sum().backward()
    with pytest.raises(ValueError, match=r"beta: the shapes \(2,\) and \(3,\) do not broadcast"):
        function("beta")(t, Tensor([1.0, 2.0, 3.0]))
    orders = Tensor([0, 1], requires_grad=False)
    needle.stop_gradient(function("jv")(orders, t)).sum()
    function("jv")(orders, t).sum().backward()
    assert_allclose(t.grad.numpy(), scipy.special.jvp([0, 1], [0.5, 1.5]))
    assert_array_equal(function("kolmogorov")(t.detach()).numpy(), scipy.special.kolmogorov(t.numpy()))


def test_jacobians_go_in_one_run_or_as_well():
    x = np.array([0.3, 0.7])
    assert_allclose(needle.jacobian(function("erf"))(x), np.diag(2 / np.sqrt(np.pi) * np.exp(-x * x)))
    assert_allclose(needle.jacobian(lambda x: function("airy")(x)[0])(x), np.diag(scipy.special.airy(x)[1]))


def test_nothing_is_left_behind():
    gc.collect()
    gc.disable()
    try:
        before = needle.autograd.TENSOR_COUNTER
        for name in ["erf", "airy", "betainc", "gammainc", "xlogy"]:
            t = Tensor([0.3, 0.6])
            found = function(name)(*[t] * scipys(name).nin)
            loss = (found[0] if isinstance(found, tuple) else found).sum()
            loss.backward()
            t.grad.sum().backward()
            del t, found, loss
        assert before == needle.autograd.TENSOR_COUNTER
    finally:
        gc.enable()


def test_wrapped_functions_are_seen_through():
    program = """
import needle, numpy as np, scipy.special as s
from needle.special import find
from needle.scipy import special
assert find(s.expit.__wrapped__) and special.expit(needle.Tensor([0.0])).item() == 0.5
assert needle.grad(s.logsumexp)(np.zeros(2))[0] == 0.5
"""
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "SCIPY_ARRAY_API": "1"})
