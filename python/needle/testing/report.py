"""What is wrong, in words that fit on a screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..autograd import Tensor, Value, find_topo_sort
from .compare import Element, Mismatch, Probe, Settings, by_element, judge, mismatches, probe_of
from .diagnose import diagnose
from .functions import Function, upcast, written_index

ROWS = 6


def report(found: Sequence[Mismatch], settings: Settings) -> str:
    """What is to be said of a function's mismatches; "" if a closer look shows none."""
    narrow: list[str] = []
    if any(a.dtype != b.dtype for a, b in zip(found[0].function.given, found[0].function.wide, strict=True)):
        wide = found[0].function.widened()
        again = mismatches(wide, [m.mode for m in found], settings)
        if again:
            found = again
        else:
            narrow = _of_narrow_input(found[0], settings)
    for mismatch in found:
        text = _of_one(mismatch, found, narrow, settings)
        if text:
            return text
    return ""


def _of_one(mismatch: Mismatch, found: Sequence[Mismatch], narrow: list[str], settings: Settings) -> str:
    lines = []
    elements: list[Element] = []
    if mismatch.error is not None:
        title = f"{_mode(mismatch)}: the derivative cannot be computed"
        lines.append(f"{type(mismatch.error).__name__}: {mismatch.error}")
    elif mismatch.note:
        title = f"{_mode(mismatch)}: {mismatch.note}"
    else:
        output, probe = _output(mismatch, settings)
        elements = by_element(probe)
        wrong = [e for e in elements if e.verdict == "wrong"]
        if all(e.verdict == "right" for e in elements):
            return _of_right_elements(mismatch, len(elements) == probe.x.size, settings)
        if not wrong:
            return _of_a_rough_place(mismatch, elements, settings)
        title = f"{_mode(mismatch)}: {_what(mismatch)} is wrong{_others(mismatch, found)}"
        lines += _table(mismatch, output, probe, elements)
    if narrow:
        title = title.replace(" is wrong", " is wrong with the inputs as they are, and right in float64", 1)
        return "\n".join([title, *lines, "", *narrow])
    finding = diagnose(mismatch, settings)
    if finding.fault and mismatch.error is not None:
        title = f"{title} ({finding.fault})"
    elif finding.fault:
        lines += ["", *_wrapped(f"The rule at fault: {finding.fault}")]
    for k, mistake in enumerate(finding.mistakes[:2]):
        start = "Or" if k else "This looks like"
        lines += [
            "",
            *_wrapped(f"{start}: {mistake.what}"),
            f"    wrong:  {mistake.wrong}",
            f"    right:  {mistake.right}",
        ]
    return "\n".join([title, *lines])


def _mode(mismatch: Mismatch) -> str:
    modes = [f"{mode} mode" for mode in (mismatch.mode, *[g.mode for g in mismatch.function.chain if g.mode])]
    return f"{' over '.join(modes)}, order {len(modes)}"


def _what(mismatch: Mismatch) -> str:
    function, mode, i = mismatch.function, mismatch.mode, mismatch.i
    if function.parent is None:
        return f"the {'gradient' if mode == 'reverse' else 'derivative'} by {function.inputs[i]}"
    return f"the derivative of the {'gradient' if function.mode == 'reverse' else 'tangent'} by {function.inputs[i]}"


def _others(mismatch: Mismatch, found: Sequence[Mismatch]) -> str:
    names = [m.function.inputs[m.i] for m in found if m.mode == mismatch.mode and m.i != mismatch.i and m.error is None]
    modes = sorted({m.mode for m in found} - {mismatch.mode})
    said = [f"by {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"] if names else []
    said += [f"in {mode} mode" for mode in modes]
    return f" (and {' and '.join(said)})" if said else ""


def _output(mismatch: Mismatch, settings: Settings) -> tuple[int, Probe]:
    """The first output whose derivative is wrong, and its plain sum if that shows it, else one with random weights."""
    function = mismatch.function
    for o in range(len(function.values)):
        probe = probe_of(mismatch, settings, o)
        direction = probe.random_direction()
        if probe.agree(direction, probe.analytic(direction), probe.numeric(direction)):
            continue
        plain = Probe(mismatch, [np.sign(np.abs(w)).astype(w.dtype) for w in probe.weights], settings)
        if not plain.agree(direction, plain.analytic(direction), plain.numeric(direction)):
            return o, plain
        return o, probe
    return -1, probe_of(mismatch, settings)


def _table(mismatch: Mismatch, output: int, probe: Probe, elements: Sequence[Element]) -> list[str]:
    name = mismatch.function.outputs[output] if output >= 0 else "all outputs"
    weights = probe.weights[output]
    of = name if weights.size == 1 and output >= 0 else f"sum({name})"
    if output < 0 or np.any(np.abs(np.abs(weights) - 1) > 0):
        of = f"sum({name} * random weights)"
    wrong = [e for e in elements if e.verdict == "wrong"]
    rows = [("index", "analytic", "numeric", "rel. error")]
    for e in wrong[:ROWS]:
        rows.append((_index(e.index), _number(e.analytic), _number(e.numeric), f"{e.error:.2g}"))
    widths = [max(len(row[k]) for row in rows) for k in range(4)]
    lines = ["  ".join(["", row[0].ljust(widths[0]), *[row[k].rjust(widths[k]) for k in (1, 2, 3)]]) for row in rows]
    tried = f"of {probe.x.size}" if len(elements) == probe.x.size else f"of {len(elements)} that were tried"
    shape = f", of shape {probe.x.shape}"
    return ["", f"  d {of} / d {mismatch.function.inputs[mismatch.i]}{shape}: {len(wrong)} {tried} are wrong", *lines]


def _index(index: tuple[int, ...]) -> str:
    return written_index(index) or "()"


def _number(value: Any) -> str:
    return f"{value:.6g}"


def _wrapped(text: str, width: int = 108) -> list[str]:
    lines = [""]
    for word in text.split(" "):
        if len(lines[-1]) + len(word) > width:
            lines.append("    ")
        lines[-1] += word if not lines[-1].strip() else f" {word}"
    return lines


# ------------------------------------------------------------------------------ where there is nothing to compare with


def _of_a_rough_place(mismatch: Mismatch, elements: Sequence[Element], settings: Settings) -> str:
    """No element is wrong, but of some the numeric derivative says nothing."""
    function, order = mismatch.function, len(mismatch.function.chain)
    first = next(e for e in elements if e.verdict != "right")
    place = f"{function.inputs[mismatch.i]}{written_index(first.index)}"
    what = {1: "f", 2: "the first derivative of f"}.get(order, f"derivative {order - 1} of f")
    if first.corner is not None:
        slopes = f"left slope {_number(first.corner.left)}, right slope {_number(first.corner.right)}"
        place = f"within {_round(first.corner.within)} of {place}"
        bent = f"{what} {'jumps' if first.corner.jumps else 'has a kink'} {place}; {slopes}; check away from it"
        if first.corner.jumps and order > 1:
            bent = f"{what} jumps {place}, where f has a kink; check away from it"
        return "\n".join(
            _wrapped(bent)
            + _wrapped(
                f"({_mode(mismatch)}: analytic is {_number(first.analytic)}. There is no derivative to compare it "
                "with, so this says nothing against the gradient.)"
            )
        )
    if first.verdict == "noisy":
        return _noise(mismatch, first, place)
    if not np.isfinite(first.analytic):
        return (
            f"{_mode(mismatch)}: {_what(mismatch)} is {first.analytic} at {place}\n"
            "Differences do not converge to a finite slope there, either. Check away from it."
        )
    return _unclear(mismatch)


def _of_right_elements(mismatch: Mismatch, all_of_them: bool, settings: Settings) -> str:
    """Every element is right that was looked at, but a random direction was not."""
    probe = probe_of(mismatch, settings)
    if any(judge(probe, probe.random_direction()).verdict == "wrong" for _ in range(3)):
        return (
            f"{_mode(mismatch)}: {_what(mismatch)} is wrong along a random direction\nBy each element alone that was "
            "looked at it is right. Is a rule not linear in out_grad, or in the tangents?"
        )
    return "" if all_of_them else _unclear(mismatch)


def _round(x: float) -> str:
    return f"{x:.0e}".replace("e-0", "e-")


def _unclear(mismatch: Mismatch) -> str:
    return (
        f"{_mode(mismatch)}: {_what(mismatch)} cannot be checked here\n"
        "Differences do not converge: f is not smooth at this point, or ends there, or varies in steps that are too "
        "small. Check at other inputs."
    )


def _noise(mismatch: Mismatch, first: Element, place: str) -> str:
    dtype, where = _narrowing(mismatch.function)
    return "\n".join(
        [
            f"{_mode(mismatch)}: {_what(mismatch)} cannot be checked beyond {dtype}'s digits",
            "",
            f"  by {place}: analytic {_number(first.analytic)}, numeric {_number(first.numeric)}, "
            f"rel. error {first.error:.2g}",
            "",
            f"This looks like: {dtype} noise. The difference is within what rounding to {dtype} gives.",
            f"    {where}",
            "    Check with float64 inputs, and keep float64 all through f: x.astype(np.float64).",
        ]
    )


def _narrowing(function: Function) -> tuple[str, str]:
    """The dtype with the fewest digits, and the op that first makes it of more, if the graph shows it."""
    variables = [Tensor(a) for a in function.wide]
    outputs = [y for y in function.call(*variables) if isinstance(y, Value)]
    for node in find_topo_sort(outputs):
        array = node._array
        if node.op is not None and isinstance(array, np.ndarray) and array.dtype.char in "efF":
            return str(array.dtype), f"{node.op!r} in f makes {array.dtype} of float64 (shape {array.shape})."
    return "float32", "f computes with fewer digits than its inputs have."


def _of_narrow_input(mismatch: Mismatch, settings: Settings) -> list[str]:
    """The derivative is right in float64: is it rounding in the inputs' own dtype that makes the difference?"""
    function = mismatch.function
    dtypes = " and ".join(sorted({str(a.dtype) for a in function.given}))
    if mismatch.error is not None or mismatch.note:
        return []
    probe = probe_of(mismatch, settings)
    direction = probe.random_direction()

    def deviation(h: float) -> Any:
        there = _moved(function, mismatch.i, h * direction)
        pairs = zip(function.at(there), function.at([upcast(a) for a in there]), strict=True)
        return np.concatenate([np.ravel(upcast(y) - upcast(exact)) for y, exact in pairs])

    off = np.array([deviation(k * 0.03) for k in range(12)])
    rough, size = np.max(np.abs(np.diff(off, 3, axis=0)), initial=0.0), np.max(np.abs(off), initial=0.0)
    relative = size / max([*function.magnitudes, 1e-300])
    analytic, numeric = probe.analytic(direction), probe.difference(direction)
    explained = abs(analytic - numeric) <= 1e3 * relative * max(abs(numeric), 1e-300)
    if explained and rough > size / 4:  # errors that jump from one input to the next, not another function's values
        text = f"{dtypes} noise. The difference is within what rounding gives: f itself is off by {relative:.0e}"
        return [
            *_wrapped(f"This looks like: {text} of its size."),
            "    Check with float64 inputs: x.astype(np.float64).",
        ]
    return _wrapped(f"This is not because of rounding: something in f, or in a rule, depends on the dtype ({dtypes}).")


def _moved(function: Function, i: int, by: Any) -> list[Any]:
    given = function.given
    return [*given[:i], (given[i] + by).astype(given[i].dtype), *given[i + 1 :]]
