"""Traces, the anomaly finder and profiles: what they say, and that they leave nothing behind."""

from __future__ import annotations

import gc
import io
import threading
from typing import Any

import needle
import numpy as np
import pytest
from needle import Tensor, autograd, ops, watching
from samples import SAMPLES, Sample
from test_laws import over, some, tensors_of


def listing(**options: Any) -> needle.trace:
    return needle.trace(file=io.StringIO(), **options)


def computed_lines(trace: needle.trace) -> dict[str, tuple[str, float]]:
    """name -> (expression, value), of a trace with values."""
    lines = [line for line in str(trace).splitlines() if " = " in line and "#" in line]
    return {
        line.split(" = ")[0]: (line.split(" = ")[1].split("  #")[0].strip(), float(line.split("#")[1]))
        for line in lines
    }


# ------------------------------------------------------------------------------------------------------------ traces


def test_a_trace_reads_like_a_worked_example():
    a, b = Tensor(2.0), Tensor(3.0)
    with listing() as trace:
        y = (a + b) * b
        y.backward()
    assert str(trace).splitlines() == [
        "v0 = a + b",
        "y = v0 * b",
        "",
        "backward from y",
        "dy_dy = 1",
        "dy_dv0 = dy_dy * b",
        "v1 = dy_dy * v0",
        "dy_db = v1 + dy_dv0",
        "dy_da = dy_dv0",
    ]


def test_the_lines_of_a_second_derivative_can_be_worked_through():
    """Each line's value follows from the lines above it, to the gradient of the gradient's squared norm."""
    a, b = Tensor(2.0), Tensor(3.0)
    with listing(values=True) as trace:
        y = (a + b) * b
        y.backward()
        s = a.grad * a.grad + b.grad * b.grad
        s.backward()
    known: dict[str, float] = {"a": 2.0, "b": 3.0}
    for name, (expression, value) in computed_lines(trace).items():
        assert eval(expression, {}, known) == pytest.approx(value)
        known[name] = value
    # y = ab + b^2, its gradient (b, a + 2b), and of b^2 + (a + 2b)^2: (2a + 4b, 10b + 4a)
    assert (known["dy_da"], known["dy_db"]) == (3, 8)
    assert (known["ds_da"], known["ds_db"]) == (a.grad.item(), b.grad.item()) == (16, 38)
    assert len(str(trace).splitlines()) == len(set(str(trace).splitlines())) + 1  # nothing twice but the empty line


def test_each_path_is_shown_if_asked():
    x = Tensor(3.0)
    with listing(values=True, partials=True) as trace:
        y = x * x + ops.sin(x) + 2 * x
        y.backward()
    known = computed_lines(trace)
    ways = [value for name, (_, value) in known.items() if name.startswith("dy_dx_by_")]
    assert len(ways) == 4  # x * x has two
    assert sum(ways) == pytest.approx(known["dy_dx"][1], rel=1e-5) == pytest.approx(x.grad.item(), rel=1e-5)


def test_forward_mode_has_its_tangents_beside_the_values():
    with listing(values=True) as trace:
        needle.jvp(lambda x1, x2: ops.log(x1) + x1 * x2 - ops.sin(x2), (2.0, 5.0), (1.0, 0.0))
    lines = computed_lines(trace)
    assert lines["v0"] == ("log(x1)", pytest.approx(np.log(2), rel=1e-5))
    assert lines["v0_dot"] == ("x1_dot / x1", 0.5)
    assert list(lines.values())[-1][1] == 5.5


def test_names_of_outputs_constants_and_arguments():
    X = np.arange(6.0).reshape(2, 3)
    w = Tensor(np.ones(3))
    with listing() as trace:
        (X @ w).sum().backward()
        ops.where(X[0] > 0, w * 2, w)
        needle.grad(lambda z: z * z * 3)(2.0)
    text = str(trace)
    assert "c0 = [[0., 1., 2.], [3., 4., 5.]]" in text
    assert "backward from v1, called L here" in text
    assert "dL_dw = " in text
    assert "where(c" in text
    assert "z * z" in text
    assert "dM_dz" in text


@over({op: some(table, 3) for op, table in SAMPLES.items()})
def test_every_op_can_be_written_down(op: str, sample: Sample):
    with np.errstate(all="ignore"), listing() as trace:
        sample.function(*tensors_of(sample))
    assert " = " in str(trace)
    assert "<function" not in str(trace)


def test_a_trace_of_a_block_that_fails_is_printed(capsys):
    x = Tensor([1.0])
    with pytest.raises(ZeroDivisionError), needle.trace():
        y = x * 2
        y / (1 // 0)
    assert capsys.readouterr().out == "y = x * 2\n"


def test_traced_gradients_are_those_of_untraced_runs():
    rng = np.random.default_rng(0)
    X, T = rng.normal(size=(5, 4)), np.eye(3)[[0, 1, 2, 0, 1]]

    def run() -> list[Any]:
        W1, W2 = Tensor(np.sin(np.arange(24.0)).reshape(4, 6)), Tensor(np.cos(np.arange(18.0)).reshape(6, 3))
        inner = ops.relu(X @ W1)
        inner.retain_grad()
        detached = W2.detach()
        loss = ops.softmax_loss(inner @ W2 + inner @ detached, T) + W1[[0, 0, 2]].sum()
        loss.backward()
        grads = [W1.grad, W2.grad, inner.grad, detached.grad]
        (W1.grad * W1.grad).sum().backward()
        return [g.numpy() for g in [*grads, W1.grad]]

    expected = run()
    with listing(values=True, partials=True):
        traced = run()
    with needle.detect_anomaly():
        watched = run()
    with needle.profile(file=io.StringIO()):
        profiled = run()
    for found in (traced, watched, profiled):
        for g, e in zip(found, expected, strict=True):
            np.testing.assert_allclose(g, e, rtol=1e-13, atol=1e-15)


def test_watchers_are_of_one_thread_and_leave_nothing_behind():
    seen: list[str] = []

    def elsewhere() -> None:
        x = Tensor(2.0)
        (x * x).backward()
        seen.append(str(x.grad.item()))

    x = Tensor(3.0)
    with listing() as trace:
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        x * 5
    assert seen == ["4.0"]
    assert str(trace) == "v0 = x * 5"
    assert watching.active == 0
    assert watching.here() == ()
    with pytest.raises(RuntimeError, match="at work already"), listing() as trace, trace:
        pass
    assert watching.active == 0
    del trace
    while gc.collect():  # what one collection frees, may free what other tests have left behind
        pass
    before = autograd.TENSOR_COUNTER
    with needle.detect_anomaly() as finder:
        for _ in range(20):
            (x * x).backward()
        assert len(finder._lines) < 5
    del finder
    gc.collect()
    assert before == autograd.TENSOR_COUNTER


def test_lazy_programs_are_traced_as_they_compute(monkeypatch):
    monkeypatch.setattr(autograd, "LAZY_MODE", True)
    x = Tensor(3.0)
    with listing() as trace:
        y = x * x
        y.backward()
    assert "y = x * x" in str(trace)
    assert x.grad.item() == 6


# ---------------------------------------------------------------------------------------------------------- anomalies


def test_the_gradient_that_made_a_nan_is_named():
    x = Tensor([4.0, 0.0])
    with needle.detect_anomaly():
        y = (ops.sqrt(x) ** 2).sum()  # the line that is named
        with pytest.raises(needle.AnomalyError, match=r"the gradient of sqrt\(x\) made a NaN at \[1\]") as caught:
            y.backward()
    said = str(caught.value)
    assert "out_grad[1] = 0, " in said
    assert "x[1] = 0" in said
    assert "y = (ops.sqrt(x) ** 2).sum()  # the line that is named" in said
    assert "test_seeing.py" in said


def test_forward_and_in_forward_mode():
    x = Tensor([[1.0, -2.0]])
    with needle.detect_anomaly():
        with pytest.raises(needle.AnomalyError, match=r"log\(x\) made a NaN at \[0, 1\]\n  from x\[0, 1\] = -2"):
            ops.log(x)
        with pytest.raises(needle.AnomalyError, match=r"x / b made an infinity"):
            x / Tensor(0.0)
        with pytest.raises(needle.AnomalyError, match=r"forward derivative of sqrt\(a\) made an infinity"):
            needle.jvp(lambda x: ops.sqrt(x) ** 2, (0.0,), (1.0,))
        with pytest.raises(needle.AnomalyError, match=r"the gradient of a \*\* 0.5 made an infinity"):
            needle.grad(needle.grad(lambda x: x**1.5))(0.0)
        with pytest.raises(needle.AnomalyError, match=r"of shape \(1, 2\), -2 to 1"):
            x @ Tensor([[1e308], [-1e308]])


def test_what_is_no_anomaly():
    x = Tensor([1.0, 2.0])
    with needle.detect_anomaly():
        ops.logsumexp(Tensor([-np.inf, 0.0])).backward()  # an infinity that was there before
        ops.where(x > 0, x, -np.inf)
    with needle.detect_anomaly(forward=False):
        ops.where(x >= 0, x, ops.sqrt(-x)).sum().backward()  # masked: no NaN gets out of the rule
    assert x.grad.numpy().tolist() == [1, 1]
    with needle.detect_anomaly(inf=False), pytest.raises(needle.AnomalyError, match="made a NaN"):
        y = x / Tensor(0.0)
        y - y


# ----------------------------------------------------------------------------------------------------------- profiles


def test_a_profile_counts_calls_and_new_bytes():
    x = Tensor(np.ones((100, 10)))
    with needle.profile(file=io.StringIO()) as report:
        for _ in range(3):
            (ops.exp(x) * 2).sum().backward()
        needle.jvp(ops.tanh, (np.ones(5),), (np.ones(5),))
    rows = {row.op: row for row in report.rows}
    assert (rows["Exp"].calls, rows["Exp"].rule_calls, rows["Exp"].bytes) == (3, 3, 3 * 8000)
    assert rows["MulScalar"].rule_bytes == 3 * 8000
    assert (rows["Tanh"].calls, rows["Tanh"].rule_calls) == (1, 1)
    assert rows["Summation"].calls == 3
    assert 0 < sum(row.total for row in report.rows) < report.seconds
    text = str(report)
    assert text.splitlines()[1].split()[0] == report.rows[0].op
    assert "rest is Python" in text
