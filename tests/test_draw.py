"""Drawings: that all is drawn, legible, folded as it should be, and that nothing is left behind by looking."""

from __future__ import annotations

import gc
import math
import os
import re
import sys
import weakref
import xml.etree.ElementTree as ET
from collections import Counter
from itertools import pairwise
from typing import Any

import needle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from needle import Tensor, autograd
from needle.autograd import find_topo_sort
from needle.seeing import fold as folding
from needle.seeing import layout, pictures
from needle.seeing.draw import Drawing, draw
from needle.watching import Watcher

SVG = "{http://www.w3.org/2000/svg}"


# ------------------------------------------------------------------------------------------------- graphs to draw


def five() -> Any:
    a, b = Tensor([1.0, 2.0]), Tensor([3.0, 4.0])
    return (a + b) * b


def net(layers: int = 3) -> Any:
    rng = np.random.default_rng(0)
    h = Tensor(rng.normal(size=(6, 5)).astype(np.float32), requires_grad=False)
    penalty: Any = 0
    for _ in range(layers):
        W, c = Tensor(rng.normal(size=(5, 5)).astype(np.float32)), Tensor(np.zeros(5, np.float32))
        h = needle.tanh(h @ W + c) + h
        penalty = penalty + (W * W).sum()
    targets = Tensor(np.eye(5, dtype=np.float32)[[0, 1, 2, 3, 4, 0]], requires_grad=False)
    return needle.softmax_loss(h, targets) + 0.01 * penalty


def loop(rounds: int = 5000) -> Any:
    x, a, b = Tensor([1.0, 2.0]), Tensor([0.1, 0.2]), Tensor([0.5, 0.5])
    for _ in range(rounds):
        x = x * b + a
    return x.sum()


def nested(outer: int = 100, inner: int = 50) -> Any:
    x, b = Tensor([1.0, 2.0]), Tensor([0.5, 0.5])
    for _ in range(outer):
        for _ in range(inner):
            x = x * b + b
        x = needle.tanh(x)
    return x


def layers(number: int = 200) -> tuple[Any, dict[str, Tensor]]:
    rng = np.random.default_rng(0)
    names: dict[str, Tensor] = {}
    h = Tensor(rng.normal(size=(2, 4)), requires_grad=False)
    for i in range(number):
        names[f"W{i}"], names[f"b{i}"] = Tensor(rng.normal(size=(4, 4))), Tensor(np.zeros(4))
        h = needle.relu(h @ names[f"W{i}"] + names[f"b{i}"])
    names["last"] = Tensor(rng.normal(size=(4, 3)))
    return (h @ names["last"]).sum(), names


def tangle(operations: int = 10_000, leaves: int = 20) -> Any:
    rng = np.random.default_rng(1)
    values = [Tensor(rng.normal(size=3)) for _ in range(leaves)]
    for _ in range(operations):
        a, b = (values[i] for i in rng.integers(0, len(values), 2))
        kind = rng.integers(0, 4)
        values.append(a * b if kind == 0 else a + b if kind == 1 else needle.tanh(a) if kind == 2 else needle.sin(a))
    return needle.make_tuple(*values[-operations // 2 :])


def wide() -> Any:
    """Eight times eight products, all of different shapes, so that they do not fold."""
    x = Tensor(np.ones((1, 1)))
    total: Any = 0
    for i in range(8):
        total = total + (needle.sin(x.broadcast_to((i + 1, 2))) * Tensor(np.ones((i + 1, 2)))).sum()
    return total


def tuples() -> Any:
    a, b, c = Tensor([1.0, 2.0]), Tensor(np.ones((2, 2), np.float32)), Tensor([1, 2, 3])
    both = needle.make_tuple(a, b, c)
    return (both[0] * 2 + both[1].sum() + both[2].sum()).sum()


def groups(layers: int) -> tuple[Any, Any]:
    """An encoder and a decoder of so many layers, and the function that names their groups."""
    names: dict[Any, str] = {}

    def named(node: Any, name: str) -> Any:
        names[node] = name
        return node

    h = Tensor(np.ones((2, 4)), requires_grad=False)
    for part in ("encoder", "decoder"):
        for i in range(layers):
            group = f"{part}/layer{i}"
            W, c = named(Tensor(np.ones((4, 4))), group), named(Tensor(np.ones(4)), group)
            h = named(needle.tanh(named(named(h @ W, group) + c, group)), group)
    return h.sum(), names.get


def grouped(layers: int, **options: Any) -> Drawing:
    out, group = groups(layers)
    return draw(out, group=group, **options)


DRAWN = {
    "five": lambda: draw(five()),
    "five, backward": lambda: draw(five(), backward=True),
    "net": lambda: draw(net()),
    "net, backward": lambda: draw(net(), backward=True, limit=200),
    "net of 8, backward, folded": lambda: draw(net(8), backward=True, limit=30),
    "values": lambda: draw(net(1), values=True),
    "loop": lambda: draw(loop()),
    "loop, backward": lambda: draw(loop(), backward=True),
    "loop of 12, unfolded": lambda: draw(loop(12)),
    "nested": lambda: draw(nested()),
    "layers": lambda: draw(layers()[0]),
    "layers, backward": lambda: draw(layers()[0], backward=True),
    "tangle": lambda: draw(tangle(3000)),
    "tangle, unfolded": lambda: draw(tangle(60), limit=200),
    "wide": lambda: draw(wide(), limit=100),
    "fan": lambda: draw(needle.make_tuple(*[Tensor([1.0]) for _ in range(40)]), limit=200),
    "tuples": lambda: draw(tuples(), values=True),
    "tuples, backward": lambda: draw(tuples(), backward=True),
    "groups": lambda: grouped(3),
    "groups, backward": lambda: grouped(2, backward=True),
    "groups, closed": lambda: grouped(12),
    "groups, repeated": lambda: grouped(100),
}


@pytest.fixture(scope="module")
def drawn() -> dict[str, Drawing]:
    return {name: make() for name, make in DRAWN.items()}


def nodes(drawing: Drawing) -> int:
    return sum(box.nodes for box in drawing.picture.boxes)


def texts(drawing: Drawing) -> list[str]:
    """The first line of each box."""
    return [box.lines[0] for box in drawing.picture.boxes]


def edges(drawing: Drawing) -> set[tuple[str, str]]:
    boxes = drawing.picture.boxes
    return {(boxes[arrow.source].name, boxes[arrow.target].name) for arrow in drawing.picture.arrows}


def rounds(drawing: Drawing) -> list[int]:
    return [frame.rounds for frame in drawing.picture.frames if frame.rounds > 1]


# --------------------------------------------------------------------------------------------------- what is drawn


def test_a_small_graph_is_drawn_whole():
    a, b = Tensor([1.0, 2.0]), Tensor([3.0, 4.0], requires_grad=False)
    y = (a + b) * b
    drawing = draw(y)
    assert sorted(texts(drawing)) == ["a", "b", "v0 = a + b", "y = v0 * b"]
    assert edges(drawing) == {("a", "v0"), ("b", "v0"), ("v0", "y"), ("b", "y")}
    roles = {box.name: (box.role, box.output) for box in drawing.picture.boxes}
    assert roles == {
        "a": ("parameter", False),
        "b": ("constant", False),
        "v0": ("operation", False),
        "y": ("operation", True),
    }
    assert repr(drawing) == "<needle.Drawing of 4 nodes in 4 boxes>"
    assert drawing._repr_svg_() == drawing.svg == draw(y).svg  # and twice the same


def test_all_edges_of_an_unfolded_graph_are_drawn():
    out = tangle(60, leaves=6)
    drawing = draw(out, names={"out": out}, limit=1000)
    order = find_topo_sort([out])
    assert nodes(drawing) == len(drawing.picture.boxes) == len(order)
    named = {node: f"v{i}" for i, node in enumerate(order[:-1])} | {out: "out"}
    assert edges(drawing) == {(named[a], named[node]) for node in order for a in node.inputs}


def test_kinds_of_leaves_and_outputs_differ_in_form_not_only_in_colour():
    a, b, c = Tensor([1.0]), Tensor([2.0], requires_grad=False), Tensor([3.0]).detach()
    y = a * b + c
    root = ET.fromstring(draw(y).svg)
    forms = {}
    for group in root.iter(f"{SVG}g"):
        if group.get("role") == "graphics-symbol":
            shapes = [e for e in group if e.tag in (f"{SVG}rect", f"{SVG}polygon")]
            forms[group.find(f"{SVG}text")[0].text] = tuple(
                (shape.tag, shape.get("rx"), shape.get("stroke-dasharray")) for shape in shapes
            )
    assert len(set(forms.values())) == 5  # a, b, c, the product, the output
    fills = {e.get("fill") for e in root.iter(f"{SVG}rect")}
    assert len(fills) >= 4


def test_names_are_the_callers_then_given_ones_then_numbers():
    v0, W = Tensor([1.0]), Tensor([2.0])
    unnamed = [W * v0, W + v0]
    y = unnamed[0] * unnamed[1]
    assert sorted(texts(draw(y))) == ["W", "v0", "v1 = W * v0", "v2 = W + v0", "y = v1 * v2"]  # v0 is taken
    assert sorted(texts(draw(y, names={"weights": W, "out": y}))) == [
        "out = v1 * v2",
        "v0",
        "v1 = weights * v0",
        "v2 = weights + v0",
        "weights",
    ]


def test_shapes_and_dtypes():
    x = Tensor(np.ones((2, 3), np.float32))
    y = needle.make_tuple(x.sum(), (x > 0).astype(float) * x.astype(float))
    lines = {box.name: box.lines[1] for box in draw(y, names={"y": y}).picture.boxes}
    assert lines["x"] == "(2, 3) float32"
    assert lines["y"] == "[(), (2, 3)] float32, float64"
    assert "(2, 3)" in lines.values()  # float64 goes without saying
    assert "() float32" in lines.values()
    assert "shape" not in draw(y).svg
    titles = [box.title for box in draw(y).picture.boxes]
    assert any("(2, 3) float64" in title for title in titles)


def test_values_of_small_arrays():
    x, big = Tensor([1.0, np.nan, np.inf]), Tensor(np.arange(100.0))
    y = x.sum() * big
    drawing = draw(y, values=True)
    lines = {box.name: box.lines for box in drawing.picture.boxes}
    assert lines["x"][2] == "[ 1. nan inf]"
    assert len(lines["big"]) == len(lines["y"]) == 2
    assert len({box.name: box.lines for box in draw(y).picture.boxes}["x"]) == 2
    (title,) = [box.title for box in drawing.picture.boxes if box.name == "big"]
    assert title.splitlines() == ["big", "(100,) float64", "[ 0. 1. ... 98. 99.]"]
    assert "v0 = 2.5" in texts(draw(x * Tensor(2.5, requires_grad=False)))  # a number without a name says what it is


def test_several_outputs_of_which_one_is_computed_from_the_other():
    x = Tensor([1.0, 2.0])
    h = needle.sin(x)
    y = h * x
    drawing = draw([y, h])
    assert {box.name for box in drawing.picture.boxes if box.output} == {"y", "h"}
    assert nodes(drawing) == 3
    both = needle.make_tuple(h, y)
    assert {box.name for box in draw(both, names={"both": both}).picture.boxes if box.output} == {"both"}


def test_a_value_that_was_assigned_to_and_one_used_twice():
    x = Tensor([1.0, 2.0])
    h = x * x
    h.data = np.zeros(2)
    y = h + h
    drawing = draw(y)
    assert nodes(drawing) == len(find_topo_sort([y])) == 4
    assert ("h", "y") in edges(drawing)


# ------------------------------------------------------------------------------------------------ how it is drawn


def corners(shape: ET.Element) -> tuple[float, float, float, float]:
    if shape.tag == f"{SVG}polygon":
        points = [tuple(map(float, p.split(","))) for p in shape.get("points", "").split()]
        return (
            min(x for x, _ in points),
            min(y for _, y in points),
            max(x for x, _ in points),
            max(y for _, y in points),
        )
    x, y, w, h = (float(shape.get(name, 0)) for name in ("x", "y", "width", "height"))
    return x, y, x + w, y + h


def symbols(root: ET.Element) -> list[tuple[ET.Element, tuple[float, float, float, float]]]:
    found = []
    for group in root.iter(f"{SVG}g"):
        if group.get("role") == "graphics-symbol":
            shapes = [e for e in group if e.tag in (f"{SVG}rect", f"{SVG}polygon")]
            outer = [s for s in shapes if s.get("fill") != "none"]
            found.append((group, corners(outer[-1])))
    return found


def width_of(text: str, size: float) -> float:
    """At least what the text takes in a monospaced font, of which the widest, SF Mono, has letters of 0.618."""
    return 0.618 * size * sum(2 if ord(c) > 0x2E80 else 1 for c in text)


@pytest.mark.parametrize("name", DRAWN)
def test_every_text_is_inside_of_its_box(drawn, name):
    root = ET.fromstring(drawn[name].svg)
    for group, (left, top, right, bottom) in symbols(root):
        for text in group.iter(f"{SVG}text"):
            size = float(text.get("font-size", 12))
            middle, base = float(text.get("x")), float(text.get("y"))
            half = width_of("".join(text.itertext()), size) / 2
            assert left + 4 <= middle - half
            assert middle + half <= right - 4
            assert top <= base - size
            assert base + 0.25 * size <= bottom


@pytest.mark.parametrize("name", DRAWN)
def test_boxes_keep_apart_and_stay_inside_of_their_frames(drawn, name):
    picture = drawn[name].picture
    at = pictures.placed(picture)
    assert at.frames[0][:2] == (0, 0)
    rectangles = [(box.frame, *rectangle) for box, rectangle in zip(picture.boxes, at.boxes, strict=True)]
    rectangles += [(f.parent, *rectangle) for f, rectangle in zip(picture.frames[1:], at.frames[1:], strict=True)]
    for i, (frame, x, y, w, h) in enumerate(rectangles):
        left, top, fw, fh = at.frames[frame]
        margin = 8 if frame else -0.01
        assert left + margin <= x
        assert x + w <= left + fw - margin
        assert top + (7 if frame else -0.01) <= y
        assert y + h <= top + fh - margin
        for other, x2, y2, w2, h2 in rectangles[:i]:
            if other == frame:
                assert x + w + 8 <= x2 or x2 + w2 + 8 <= x or y + h + 8 <= y2 or y2 + h2 + 8 <= y


def sampled(path: str) -> list[list[tuple[float, float]]]:
    """Points along the lines of an SVG path."""
    lines: list[list[tuple[float, float]]] = []
    for command, numbers in re.findall(r"([MVLCQ])([-\d. ]*)", path):
        p = [float(n) for n in numbers.split()]
        if command == "M":
            lines.append([(p[0], p[1])])
            continue
        x, y = lines[-1][-1]
        ends = [(x, p[0])] if command == "V" else list(zip(p[::2], p[1::2], strict=True))
        controls = [(x, y), *ends]
        for i in range(1, 25):
            points = controls
            while len(points) > 1:  # de Casteljau
                points = [(a + (c - a) * i / 24, b + (d - b) * i / 24) for (a, b), (c, d) in pairwise(points)]
            lines[-1].append(points[0])
    return lines


@pytest.mark.parametrize("name", DRAWN)
def test_no_line_runs_through_a_box_or_a_frames_name(drawn, name):
    picture = drawn[name].picture
    at = pictures.placed(picture)
    root = ET.fromstring(drawn[name].svg)
    boxes = [rectangle for _, rectangle in symbols(root)]
    for (left, top, w, h), (fl, ft, fw, fh), frame in list(zip(at.titles, at.frames, picture.frames, strict=True))[1:]:
        right = left + width_of(frame.text, 11)
        assert left == pytest.approx(fl + layout.PADDING)
        assert right <= fl + fw - 4
        assert ft <= top <= top + h <= ft + fh
        assert right <= left + w
        assert all(x >= right or x2 <= left or y >= top + h or y2 <= top for x, y, x2, y2 in boxes)
        boxes.append((left, top, right, top + h))
    shown = {"".join(text.itertext()) for text in root.iter(f"{SVG}text")}
    assert {frame.text for frame in picture.frames[1:]} <= shown
    paths = [path for path in root.iter(f"{SVG}path") if path.get("fill") == "none"]
    assert paths
    for path in paths:
        for line in sampled(path.get("d")):
            for x, y in line:
                for left, top, right, bottom in boxes:
                    assert not (left + 1 < x < right - 1 and top + 1 < y < bottom - 1)


@pytest.mark.parametrize("name", DRAWN)
def test_lines_to_the_next_round_have_lanes_of_their_own(drawn, name):
    picture = drawn[name].picture
    at = pictures.placed(picture)
    lanes = [(max(x for x, _ in line.points), line) for line in at.lines if line.returns]
    assert bool(lanes) == any(arrow.frame >= 0 for arrow in picture.arrows)
    for lane, line in lanes:
        inside = [f for f, (x, y, w, h) in enumerate(at.frames) if x < lane < x + w and y < line.points[0][1] < y + h]
        f = max(inside)
        assert f in {arrow.frame for arrow in picture.arrows}
        for box, (x, _, w, _) in zip(picture.boxes, at.boxes, strict=True):
            assert box.frame != f or x + w + 4 <= lane
        for frame, (x, _, w, _) in zip(picture.frames, at.frames, strict=True):
            assert frame.parent != f or x + w + 4 <= lane
    assert all(abs(a - b) >= 4 or p.points[0][1] != q.points[0][1] for (a, p), (b, q) in pairwise(sorted(lanes)))


@pytest.mark.parametrize("name", DRAWN)
def test_every_arrow_leads_down_and_arrives(drawn, name):
    picture = drawn[name].picture
    at = pictures.placed(picture)
    for line in at.lines:
        (_, first), (x, last) = line.points[0], line.points[-1]
        if not line.returns:
            assert all(a[1] <= b[1] + 1e-6 for a, b in pairwise(line.points))
            assert first < last
        if line.target >= 0:
            left, top, width, _ = at.boxes[line.target]
            assert last == pytest.approx(top)
            assert left + 4 <= x <= left + width - 4
    arriving = Counter((line.source, line.target) for line in at.lines if line.target >= 0)
    assert arriving == Counter((arrow.source, arrow.target) for arrow in picture.arrows)
    for arrow in picture.arrows:
        if arrow.frame < 0:
            (_, y, _, h), (_, below, _, _) = at.boxes[arrow.source], at.boxes[arrow.target]
            assert y + h < below
    heads = sum(path.get("d", "").count("l-3.5 -7h7z") for path in ET.fromstring(drawn[name].svg).iter(f"{SVG}path"))
    assert heads == len(picture.arrows)


@pytest.mark.parametrize("name", DRAWN)
def test_the_picture_holds_all_that_is_drawn(drawn, name):
    root = ET.fromstring(drawn[name].svg)
    _, _, width, height = map(float, root.get("viewBox").split())
    inner = [g for g in root if g.tag == f"{SVG}g"]
    assert len(inner) == 2  # the graph, and the legend
    for group in inner:
        dx, dy = map(float, re.findall(r"[-\d.]+", group.get("transform")))
        for e in group.iter():
            if e.tag in (f"{SVG}rect", f"{SVG}polygon"):
                left, top, right, bottom = corners(e)
            elif e.tag == f"{SVG}path":
                points = [p for line in sampled(e.get("d")) for p in line]
                left, right = min(x for x, _ in points), max(x for x, _ in points)
                top, bottom = min(y for _, y in points), max(y for _, y in points)
            else:
                continue
            assert 0 <= left + dx <= right + dx <= width
            assert 0 <= top + dy <= bottom + dy <= height


def test_a_chain_stands_upright():
    x = Tensor([1.0])
    W = [Tensor([float(i)]) for i in range(10)]
    y = x
    for w in W:
        y = needle.tanh(y * w)
    drawing = draw(y)
    at = pictures.placed(drawing.picture)
    middles = {
        round(x + w / 2, 3)
        for box, (x, _, w, _) in zip(drawing.picture.boxes, at.boxes, strict=True)
        if box.role == "operation"
    }
    assert len(middles) == 1


@pytest.mark.parametrize("name", ["net", "tangle, unfolded", "wide", "groups, backward", "layers, backward"])
def test_long_lines_stand_upright(drawn, name):
    inner = [line.points[2:-2] for line in pictures.placed(drawn[name].picture).lines if not line.returns]
    assert any(len(points) > 2 for points in inner)
    assert all(abs(a - b) < 0.01 for points in inner for (a, _), (b, _) in pairwise(points))


def test_lines_are_made_shorter_and_nothing_overlaps_for_it(monkeypatch):
    lengths = []
    tightened = layout._tightened

    def length(graph: Any, x: list[float]) -> float:
        return sum(abs(x[u] + p - x[v] - q) for v, near in enumerate(graph.above) for u, p, q in near)

    def watched(graph: Any, x: list[float]) -> list[float]:
        before = length(graph, x)
        x = tightened(graph, x[:])
        lengths.append((before, length(graph, x)))
        for row in graph.rows:
            assert all(x[b] - x[a] >= layout._apart(graph, a, b) - 1e-6 for a, b in pairwise(row))
        return x

    monkeypatch.setattr(layout, "_tightened", watched)
    for name in ("net", "net, backward", "layers, backward", "wide", "tangle, unfolded"):
        assert DRAWN[name]().svg
    assert sum(after for _, after in lengths) < 0.9 * sum(before for before, _ in lengths)


def test_crossings_are_removed_where_they_can_be():
    """Two chains that are listed in opposite orders."""
    sizes = [(60.0, 40.0)] * 6
    links = [pictures.Link(i, 5 - i) for i in range(3)]
    at = pictures.place(
        sizes=sizes, frame_of=[0] * 6, parents=[-1], titles=[(0.0, 0.0)], order=[*range(6), 0], links=links
    )
    for i in range(3):
        assert at.boxes[i][0] == pytest.approx(at.boxes[5 - i][0])


# ---------------------------------------------------------------------------------------------------------- formats


HOSTILE = [
    "<lambda>",
    'a & b "quoted"',
    "back\\slash\\",
    "]]> -->",
    "#35; &amp; &lt;",
    "new\nline\ttab",
    "\x00\x1b\ud800\u202e",
    "张量 🙂 ñ",
    "`tick` $$x$$ {r} |p| ; end",
    "",
    "x" * 300,
]


def hostile() -> Drawing:
    tensors = {name: Tensor([1.0]) for name in HOSTILE}
    out: Any = 0
    for i, tensor in enumerate(tensors.values()):
        out = out + [needle.sin, needle.tanh, needle.exp, needle.cos][i % 4](tensor)
    return draw(out, names=tensors | {"</svg><script>": out}, group=lambda node: "<&\"'>" if node is out else None)


def test_hostile_names_break_no_format():
    drawing = hostile()
    root = ET.fromstring(drawing.svg)
    shown = {"".join(text.itertext()) for text in root.iter(f"{SVG}text")}
    assert {"<lambda>", 'a & b "quoted"', "back\\slash\\", "]]> -->", "#35; &amp; &lt;", "new line tab"} <= shown
    assert "\ufffd\ufffd\ufffd\ufffd" in shown
    assert "\ufffd" in shown  # the empty name
    assert "<&\"'>" in shown
    assert {e.tag for e in root.iter()} == {SVG + tag for tag in ("svg", "title", "rect", "g", "path", "text", "tspan")}
    assert drawing.svg.encode()

    # In DOT, strings end where they should.
    strings = re.findall(r'"(?:[^"\\]|\\.)*"', drawing.dot)
    rest = re.sub(r'"(?:[^"\\]|\\.)*"', "S", drawing.dot)
    assert re.fullmatch(r"[\w\s=\[\],;.{}>-]*", rest)
    assert rest.count("{") == rest.count("}") == 2
    assert any(r'"a &amp; b \"quoted\"\n' in s for s in strings)
    assert any(r'"back\\slash\\\n' in s for s in strings)

    # In Mermaid, each statement is on its own line, and labels are quoted and free of signs with a meaning.
    for line in drawing.mermaid.splitlines():
        for label in re.findall(r'"([^"]*)"', line):
            assert not set(label.replace("<br/>", "")) & set('<>"`&{}|$\\')
        assert line.count('"') in (0, 2)
    assert "#60;lambda#62;" in drawing.mermaid


@pytest.mark.parametrize("name", DRAWN)
def test_dot_and_mermaid_hold_the_same_boxes_frames_and_arrows(drawn, name):
    drawing = drawn[name]
    picture = drawing.picture
    dot, mermaid = drawing.dot, drawing.mermaid
    arrows = {(arrow.source, arrow.target) for arrow in picture.arrows}
    assert {(int(a), int(b)) for a, b in re.findall(r"^  n(\d+) -> n(\d+)", dot, re.M)} == arrows
    assert {
        (int(a), int(b)) for a, b in re.findall(r'^  n(\d+) -\.?->(?:\|"[^"]*"\|)? n(\d+)$', mermaid, re.M)
    } == arrows
    assert dot.count(" -> ") == mermaid.count("-> n") + mermaid.count('>|"') == len(picture.arrows)
    dashed = sum(arrow.frame >= 0 for arrow in picture.arrows)
    assert dot.count("constraint=false") == mermaid.count("-.->") == dashed

    def frames_of(text: str, opening: str, closing: str) -> dict[int, int]:
        found, stack = {}, [0]
        for line in text.splitlines():
            if opened := re.match(rf"\s*{opening}(\d+)", line):
                stack.append(int(opened[1]))
            elif line.strip() == closing:
                stack.pop()
            elif box := re.match(r"\s*n(\d+)[\s\[({]+\W*(label|\"|\[)", line):
                found.setdefault(int(box[1]), stack[-1])
        return found

    expected = {b: box.frame for b, box in enumerate(picture.boxes)}
    assert frames_of(dot.rsplit("}", 1)[0], r"subgraph cluster_", "}") == expected
    assert frames_of(mermaid, r"subgraph f", "end") == expected


def test_saving_picks_the_format_by_the_extension(tmp_path):
    drawing = draw(five())
    texts = {}
    for name in ("a.svg", "a.dot", "a.gv", "a.mmd", "a.md", "A.SVG"):
        drawing.save(tmp_path / name)
        texts[name] = (tmp_path / name).read_text(encoding="utf-8")
    assert texts["a.svg"] == texts["A.SVG"] == drawing.svg
    assert texts["a.dot"] == texts["a.gv"] == drawing.dot
    assert texts["a.mmd"] == drawing.mermaid
    assert texts["a.md"] == f"```mermaid\n{drawing.mermaid}```\n"
    drawing.save(str(tmp_path / "b.svg"))
    for name in ("a.png", "a", ".svg", "svg"):
        with pytest.raises(ValueError, match=r"Drawing\.save: the name must end in \.svg, .*got"):
            drawing.save(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*texts, "b.svg"])


def test_a_file_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    drawing = draw(five())
    path = tmp_path / "a.svg"
    path.write_text("before")

    def full(*_: object) -> None:
        assert path.read_text() == "before"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        drawing.save(path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


# ---------------------------------------------------------------------------------------------------------- folding


def test_a_loop_is_drawn_once():
    out = loop(5000)
    drawing = draw(out, names={"out": out})
    assert rounds(drawing) == [5000]
    assert nodes(drawing) == 10_004
    boxes = drawing.picture.boxes
    assert Counter(box.nodes for box in boxes) == {5000: 2, 1: 4}
    assert sum(box.frame == 1 for box in boxes) == 2
    first, second = (b for b, box in enumerate(boxes) if box.nodes == 5000)
    inner = [(arrow.source, arrow.target, arrow.frame) for arrow in drawing.picture.arrows if arrow.source in (0, 1)]
    assert sorted(inner) == [(first, second, -1), (second, first, 1), (second, 2, -1)]
    assert boxes[first].lines[0] == "v2 \u2026 v10001 = v0 * v1"
    assert "5,000 times" in boxes[first].title
    assert drawing.picture.frames[1].text == "\u00d7 5,000"
    assert repr(drawing) == "<needle.Drawing of 10,004 nodes in 6 boxes, 1 folded>"


def test_a_loop_in_a_loop():
    drawing = draw(nested(100, 50))
    assert rounds(drawing) == [100, 50]
    assert [frame.parent for frame in drawing.picture.frames] == [-1, 0, 1]
    assert Counter(box.nodes for box in drawing.picture.boxes) == {5000: 2, 100: 1, 1: 2}
    between = {arrow.frame for arrow in drawing.picture.arrows}
    assert between == {-1, 1, 2}


def test_equal_layers_with_their_weights():
    out, names = layers(200)
    drawing = draw(out, names=names)
    assert rounds(drawing) == [200]
    folded = [box for box in drawing.picture.boxes if box.role == "parameter" and box.nodes == 200]
    assert sorted(box.lines for box in folded) == [
        ("W0 \u2026 W199", "200 \u00d7 (4, 4)"),
        ("b0 \u2026 b199", "200 \u00d7 (4,)"),
    ]
    assert {box.frame for box in folded} == {1}  # each round has its own
    assert nodes(drawing) == len(find_topo_sort([out]))
    (shared,) = [box for box in drawing.picture.boxes if box.name == "last"]
    assert shared.frame == 0
    unnamed = draw(out)
    assert ("200 parameters", "200 \u00d7 (4, 4)") in [box.lines for box in unnamed.picture.boxes]


def test_rounds_that_differ_in_a_number_or_an_index():
    x = Tensor(np.ones((40, 3)))
    h: Any = Tensor(np.zeros(3), requires_grad=False)
    for t in range(40):
        h = needle.tanh(x[t] * (1 + t) + h)  # from the left, all x[t] would come first
    drawing = draw(h)
    assert rounds(drawing) == [40]
    assert any(" = x[0] \u2026 x[39]" in text for text in texts(drawing))
    assert any("* 1 \u2026 " in text and text.endswith("* 40") for text in texts(drawing))


def test_two_loops_one_after_the_other_and_a_head_and_a_tail():
    x, b = Tensor([1.0]), Tensor([2.0])
    y: Any = needle.exp(x)
    for _ in range(30):
        y = needle.sin(y) * b
    y = needle.log(y + 3)
    for _ in range(20):
        y = needle.cos(y + b)
    y = needle.sqrt(y * y)
    drawing = draw(y)
    assert rounds(drawing) == [30, 20]
    assert nodes(drawing) == len(find_topo_sort([y]))
    assert sum(box.nodes == 1 for box in drawing.picture.boxes) == 7  # x, b, exp, +, log, *, sqrt


def test_a_round_that_differs_breaks_the_row():
    x = Tensor([1.0])
    y = x
    for i in range(100):
        y = needle.sin(y) + x if i != 60 else needle.cos(y) + x
    assert sorted(rounds(draw(y))) == [39, 60]


def test_rounds_begin_where_they_seem_to():
    """The first layer is of another shape, but its last operation is like those of the others."""
    h: Any = Tensor(np.ones((2, 7)), requires_grad=False) @ Tensor(np.ones((7, 4)))
    h = needle.tanh(h + Tensor(np.ones(4)))
    for _ in range(30):
        h = needle.tanh(h @ Tensor(np.ones((4, 4))) + Tensor(np.ones(4)))
    inside = [box.lines[0] for box in draw(h, limit=40).picture.boxes if box.frame and box.role == "operation"]
    assert rounds(draw(h, limit=40)) == [30]
    assert ["@" in inside[0], "+" in inside[1], "tanh" in inside[2]] == [True, True, True]


def test_where_a_little_is_too_much_one_stretch_is_put_together():
    functions = [needle.sin, needle.cos, needle.tanh, needle.relu, needle.absolute]
    y: Any = Tensor([0.5])
    for k in np.random.default_rng(3).integers(0, 5, 70):
        y = functions[k](y)
    drawing = draw(y)
    (stretch,) = [box for box in drawing.picture.boxes if box.folded]
    assert stretch.nodes == 12
    assert len(drawing.picture.boxes) == 60


def test_rounds_that_are_wired_otherwise_are_no_rounds():
    x = Tensor([1.0])
    y = before = needle.exp(x)
    for i in range(100):  # the same operations, but one reads the value of the round before
        last = before if i == 60 else y
        y, before = needle.sin(y) + needle.cos(y) + needle.tanh(y) + needle.relu(last), y
    drawing = draw(y)
    assert len(rounds(drawing)) == 2
    assert sum(rounds(drawing)) == 100
    assert max(rounds(drawing)) in (60, 61)

    values = [needle.sin(x) if i < 50 else needle.cos(x) for i in range(100)]
    y = needle.make_tuple(*values)[0]
    for value in values:  # the same, but they read something of another kind
        y = y * value
    drawing = draw(y)
    assert 100 not in rounds(drawing)
    assert rounds(drawing).count(50) >= 2


def test_a_recurrence_over_two_steps():
    a, b = Tensor([1.0]), Tensor([1.0])
    for _ in range(500):
        a, b = b, a + b
    drawing = draw(b)
    assert rounds(drawing) == [500]
    assert nodes(drawing) == 502


def test_the_adjoints_of_a_loop_and_of_layers_fold_too():
    drawing = draw(loop(1000), backward=True)
    assert rounds(drawing)[0] == 1000
    assert all(number >= 998 for number in rounds(drawing))
    assert len(drawing.picture.boxes) <= 20
    out, names = layers(50)
    drawing = draw(out, names=names, backward=True)
    assert [number >= 49 for number in rounds(drawing)] == [True, True]
    gradients = [box.lines[0] for box in drawing.picture.boxes if box.output and box.role == "adjoint"]
    assert any(re.match(r"d\w+_dW49 \u2026 d\w+_dW1 = ", text) for text in gradients)


@pytest.mark.parametrize("limit", [10, 25, 60, 200])
@pytest.mark.parametrize("make", [loop, tangle, nested, lambda: layers()[0], lambda: net(300)])
def test_few_boxes_and_every_node_in_one_of_them(make, limit):
    out = make()
    drawing = draw(out, limit=limit)
    assert len(drawing.picture.boxes) <= limit
    assert nodes(drawing) == len(find_topo_sort([out]))


def test_a_long_stretch_says_what_is_in_it():
    out = tangle(5000)
    drawing = draw(out)
    stretches = [box for box in drawing.picture.boxes if box.folded and box.role == "operation"]
    counted: Counter[str] = Counter()
    for box in stretches:
        assert re.fullmatch(r"[\d,]+ operations", box.lines[0])
        for number, word in re.findall(r"(\d[\d,]*) (\w+)", box.title.splitlines()[1]):
            counted[word] += int(number.replace(",", ""))
    words = {
        "EWiseMul": "multiply",
        "EWiseAdd": "add",
        "Tanh": "tanh",
        "Sin": "sin",
        "MakeTensorTuple": "maketensortuple",
    }
    assert counted == Counter(words[type(n.op).__name__] for n in find_topo_sort([out]) if n.op is not None)
    assert rounds(drawing) == []  # a few equal operations in such a row are none
    assert len(drawing.picture.arrows) <= 60  # everything reads everything: few stretches, or nobody sees anything
    labels = [arrow.label for arrow in drawing.picture.arrows if arrow.label]
    assert any(re.fullmatch(r"[\d,]+ \u00d7 \(3,\)", label) for label in labels)


def test_many_leaves_of_one_reader_are_one_box():
    out = needle.make_tuple(*[Tensor([float(i)]) for i in range(50)])
    drawing = draw(out)
    assert sorted(box.nodes for box in drawing.picture.boxes) == [1, 50]
    assert ("50 parameters", "50 \u00d7 (1,)") in [box.lines for box in drawing.picture.boxes]


def test_a_very_long_chain_without_recursion():
    x = Tensor([0.5])
    y = x
    for _ in range(200_000):
        y = needle.sin(y)
    limit = sys.getrecursionlimit()
    depth, frame = 0, sys._getframe()
    while frame is not None:
        depth, frame = depth + 1, frame.f_back
    sys.setrecursionlimit(depth + 60)
    try:
        drawing = draw(y)
        svg = drawing.svg
    finally:
        sys.setrecursionlimit(limit)
    assert rounds(drawing) == [200_000]
    assert "200,000" in svg


@pytest.mark.parametrize("number", [3000, 20_000])
def test_many_different_operations_in_a_chain(number):
    rng = np.random.default_rng(0)
    functions = [needle.sin, needle.cos, needle.tanh, needle.relu, needle.absolute]
    y: Any = Tensor([0.5])
    for k in rng.integers(0, 5, number):
        y = functions[k](y)
    drawing = draw(y)
    assert nodes(drawing) == number + 1
    assert 10 < len(drawing.picture.boxes) <= 60
    assert rounds(drawing) == []  # by chance, a few equal ones follow each other here and there


def quotient_has_no_cycle(pairs: set[tuple[int, int]], boxes: int) -> bool:
    waiting = Counter(b for _, b in pairs)
    ready = [b for b in range(boxes) if not waiting[b]]
    done = 0
    while ready:
        done += 1
        a = ready.pop()
        for source, target in pairs:
            if source == a:
                waiting[target] -= 1
                if not waiting[target]:
                    ready.append(target)
    return done == boxes


@st.composite
def graphs(draw_from: Any) -> folding.Graph:
    operations = draw_from(st.integers(1, 40))
    leaves = draw_from(st.integers(0, 5))
    first, reads = [0], []
    for k in range(operations):
        choices = list(range(-leaves, k))
        some = draw_from(st.lists(st.sampled_from(choices), max_size=3)) if choices else []
        reads += some
        first.append(len(reads))
    numbers = st.lists(st.integers(0, 1), min_size=operations, max_size=operations)
    exact = np.array(draw_from(numbers)) + 2 * np.diff(first)
    roles = np.array(draw_from(st.lists(st.integers(0, 1), min_size=leaves, max_size=leaves)), np.int64)
    paths: list[tuple[str, ...]] = []
    if draw_from(st.booleans()):
        path = st.sampled_from([(), ("a",), ("b",), ("a", "c")])
        paths = draw_from(st.lists(path, min_size=operations, max_size=operations))
        inputs = [[i for i in reads[a:b] if i >= 0] for a, b in pairwise(first)]
        order = folding.keep_together(inputs, paths)
        assert sorted(order) == list(range(operations))
        place = {k: i for i, k in enumerate(order)}
        assert all(place[i] < place[k] for k in order for i in inputs[k])
        reads_of = [reads[first[k] : first[k + 1]] for k in order]
        reads = [place[i] if i >= 0 else i for some in reads_of for i in some]
        first = [0, *np.cumsum([len(some) for some in reads_of]).tolist()]
        exact, paths = exact[order], [paths[k] for k in order]
    return folding.Graph(
        first=np.array(first),
        reads=np.array(reads, np.int64),
        exact=exact,
        kind=np.diff(first),
        leaf_kind=roles,
        leaf_role=roles,
        paths=paths,
        leaf_paths=[()] * leaves if paths else [],
    )


@settings(deadline=None, max_examples=300)
@given(graph=graphs(), limit=st.integers(1, 50))
def test_whatever_is_folded_each_node_is_in_one_box_and_no_cycle_arises(graph, limit):
    found = folding.fold(graph, limit)
    assert len(found.box_of) == graph.size
    assert len(found.leaf_box_of) == len(graph.leaf_kind)
    boxes = set(found.box_of.tolist()) | set(found.leaf_box_of.tolist())
    assert boxes == set(range(len(found.boxes)))
    assert len(boxes) <= max(limit, 8)
    sources, targets, between = found.arrows(graph)
    pairs = {(a, b) for a, b, f in zip(sources.tolist(), targets.tolist(), between.tolist(), strict=True) if f < 0}
    assert quotient_has_no_cycle({(a, b) for a, b in pairs if a != b}, len(boxes))
    assert all(found.boxes[b].scope is not None for a, b in pairs if a == b)
    for a, b, f in zip(sources.tolist(), targets.tolist(), between.tolist(), strict=True):
        if f >= 0:  # both ends are inside of the frame whose rounds it connects
            for box in (a, b):
                frame = found.boxes[box].frame
                while frame not in (f, 0):
                    frame = found.parents[frame]
                assert frame == f
    for scope in found.frames:
        if scope.count > 1:
            assert scope.count >= 2
            for r in range(1, scope.count):
                a, b = scope.start, scope.start + r * scope.period
                assert (graph.kind[a : a + scope.period] == graph.kind[b : b + scope.period]).all()


@settings(deadline=None, max_examples=300)
@given(word=st.lists(st.integers(0, 2), max_size=40))
def test_periods_are_found_in_a_word(word):
    sequence = np.array(word, np.int64)
    found = list(folding._periodic(sequence))
    for start, period, stop in found:
        assert stop - start >= 2 * period
        assert word[start : stop - period] == word[start + period : stop]
    for period in range(1, len(word) // 3 + 1):  # each row of three rounds or more is in one that was found
        for start in range(len(word) - 3 * period + 1):
            stop = start + 3 * period
            if word[start : stop - period] == word[start + period : stop]:
                assert any(s <= start and stop <= e and period % p == 0 for s, p, e in found)


# ----------------------------------------------------------------------------------------------------------- groups


def test_groups_are_frames_in_frames():
    out, group = groups(3)
    drawing = draw(out, group=group)
    frames = drawing.picture.frames
    assert [frame.text for frame in frames[1:]] == [
        *["encoder", "layer0", "layer1", "layer2"],
        *["decoder", "layer0", "layer1", "layer2"],
    ]
    assert [frame.parent for frame in frames] == [-1, 0, 1, 1, 1, 0, 5, 5, 5]
    inside = Counter(box.frame for box in drawing.picture.boxes)
    assert inside == {0: 2, **dict.fromkeys((2, 3, 4, 6, 7, 8), 5)}


def test_groups_are_closed_from_the_inside_when_there_is_too_much():
    out, group = groups(12)
    drawing = draw(out, group=group)
    assert nodes(drawing) == len(find_topo_sort([out]))
    closed = [box for box in drawing.picture.boxes if box.folded]
    assert len(closed) == 24
    assert closed[0].lines == ("layer0", "3 operations, 2 tensors", "1 matmul, 1 add, 1 tanh")
    assert [frame.text for frame in drawing.picture.frames[1:]] == ["encoder", "decoder"]
    drawing = draw(out, group=group, limit=10)
    assert [box.lines[0] for box in drawing.picture.boxes if box.folded] == ["encoder", "decoder"]
    assert nodes(drawing) == len(find_topo_sort([out]))


def test_groups_that_repeat_are_drawn_once():
    out, group = groups(100)
    drawing = draw(out, group=lambda node: (group(node) or "").replace("encoder/", "").replace("decoder/l", "L"))
    assert rounds(drawing) == [200]
    assert [frame.text for frame in drawing.picture.frames[1:]] == ["layer0 \u2026 Layer99  \u00d7 200"]
    assert nodes(drawing) == len(find_topo_sort([out]))


def test_a_group_that_others_come_between_is_drawn_in_parts():
    """No order keeps a group together of which one part reads what is computed from the other outside of it."""
    x = Tensor([1.0])
    a = needle.sin(x)
    b = needle.cos(a)
    c = needle.tanh(b)
    drawing = draw(c, group=lambda node: "ends" if node is a or node is c else None)
    assert [frame.text for frame in drawing.picture.frames[1:]] == ["ends", "ends"]
    drawing = draw(c + needle.exp(a), group=lambda node: "ends" if node is a or node is c else None)
    assert len(drawing.picture.frames) == 3

    # Where an order exists, it is taken: here the two parts are apart in evaluation order.
    p, q = needle.sin(x), needle.cos(x)
    y = needle.make_tuple(p, needle.tanh(q), needle.exp(p))
    drawing = draw(y, group=lambda node: "group" if node.op is not None and "p" in node_names(node, p) else None)
    assert [frame.text for frame in drawing.picture.frames[1:]] == ["group"]


def node_names(node: Any, p: Any) -> str:
    return "p" if node is p or (p in node.inputs and len(node.inputs) == 1) else ""


# --------------------------------------------------------------------------------------------------------- backward


def test_the_adjoint_of_each_leaf_is_there_with_its_value():
    W, x, c = Tensor([[1.0, 2.0], [3.0, 4.0]]), Tensor([[0.5], [-1.0]]), Tensor([[2.0], [0.25]], requires_grad=False)
    d = Tensor([[1.5], [2.5]]).detach()
    L = (needle.tanh(W @ x) * c * d + needle.exp(x)).sum()
    drawing = draw(L, backward=True, values=True)
    assert all(leaf.grad is None for leaf in (W, x, c, d))
    assert L._grad is None
    L.backward()
    by_name = {box.name: box for box in drawing.picture.boxes}
    for name, leaf in (("W", W), ("x", x), ("d", d)):
        box = by_name[f"dL_d{name}"]
        assert box.role == "adjoint"
        assert box.output
        with np.printoptions(precision=4):
            assert box.title.splitlines()[2] == " ".join(str(leaf.grad.numpy()).split())
    assert "dL_dc" not in by_name  # a constant
    assert by_name["dL_dL"].role == "constant"
    assert re.fullmatch(r"dL_dx = v\d+ \+ v\d+", by_name["dL_dx"].lines[0])  # partial adjoints, summed
    forward = {box.name for box in draw(L).picture.boxes}
    assert forward == {box.name for box in drawing.picture.boxes if box.role not in ("adjoint",)} - {"dL_dL"}
    roles = {box.name: box.role for box in drawing.picture.boxes}
    read = {a for a, b in edges(drawing) if roles[b] == "adjoint" and roles[a] != "adjoint"}
    assert {"W", "x", "c", "d"} < read  # what rules read


def test_what_rules_compute_of_constants_is_drawn_as_computed():
    X, W = Tensor(np.ones((3, 2)), requires_grad=False), Tensor(np.ones((2, 2)))
    L = needle.relu(X @ W).sum()
    drawing = draw(L, backward=True)
    written = {box.lines[0].split(" = ", 1)[-1] for box in drawing.picture.boxes}
    assert any(text.startswith("transpose(X") for text in written)
    connected = {name for edge in edges(drawing) for name in edge}
    assert connected == {box.name for box in drawing.picture.boxes}


def test_names_of_adjoints():
    a, b = Tensor([1.0]), Tensor([2.0])
    y = a + b
    boxes = {box.name: box for box in draw(y, backward=True).picture.boxes}
    (seed,) = [box for name, box in boxes.items() if name.startswith("dy")]
    assert set(seed.title.splitlines()[0].split(" = ")) == {"dy_dy", "dy_da", "dy_db"}  # one and the same
    assert seed.output
    assert any(name.startswith("dL_d") for name in texts(draw([y, y * a], backward=True)))
    assert any(text.startswith("dv1_da") for text in texts(draw((a + b) * b, backward=True)))
    t = needle.make_tuple(a * 2, b)
    drawing = draw((t[0] * t[1]).sum(), backward=True, names={"t": t})
    names = {box.title.splitlines()[0] for box in drawing.picture.boxes}
    assert any("_dt[0] = " in name or name.endswith("_dt[0]") for name in names)


def test_no_state_is_changed_by_drawing(monkeypatch):
    class Counting(Watcher):
        seen = 0

        def computed(self, *_: Any) -> None:
            self.seen += 1

    x = Tensor([1.0, 2.0])
    h = x * x
    h.retain_grad()
    y = (h * x).sum()
    before = [(node, node.op, node.inputs, node.saved, node.needs, node._grad) for node in find_topo_sort([y])]
    for mode in (needle.enable_grad, needle.no_grad):
        with mode(), Counting() as counting:
            was = needle.is_grad_enabled()
            draw(y, backward=True, values=True)
            assert needle.is_grad_enabled() is was
        assert counting.seen == 0
    assert needle.watching.active == 0
    for node, *facts in before:
        assert all(
            a is b for a, b in zip(facts, [node.op, node.inputs, node.saved, node.needs, node._grad], strict=True)
        )
    assert x.grad is None
    assert autograd.get_asked() is None
    y.backward()
    assert x.grad.tolist() == [3.0, 12.0]
    drawing = draw(y, backward=True)
    assert x.grad.tolist() == [3.0, 12.0]
    assert nodes(drawing) > 4

    def broken(self: Any, out_grad: Any, node: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(type(y.op), "gradient", broken)
    with pytest.raises(ZeroDivisionError):
        draw(y, backward=True)
    assert needle.is_grad_enabled()
    assert needle.watching.active == 0
    assert autograd.get_asked() is None


def test_no_tensor_is_kept_alive():
    gc.collect()
    gc.disable()
    try:
        x = Tensor([1.0, 2.0])
        h = x * x
        y = h.sum()
        held = [weakref.ref(h), weakref.ref(y)]
        drawings = [draw(y), draw(y, backward=True), draw([h, y], names={"y": y}, group=lambda node: "all")]
        for drawing in drawings:
            assert drawing.svg
        del h, y
        assert [ref() for ref in held] == [None, None]
        assert "h = x * x" in drawings[0].svg.replace("</tspan>", "").replace('<tspan font-weight="700">', "")
    finally:
        gc.enable()


def test_a_functions_own_look_at_its_locals_is_left_alone():
    x = Tensor([1.0])
    mine = locals()
    y = x * x
    draw(y)
    assert mine["x"] is x


def test_a_gradient_is_drawn_without_running_the_sweep_again():
    x = Tensor(2.0)
    y = x**3
    y.backward()
    g = x.grad
    z = g * x
    drawing = draw(z)
    assert sorted(texts(drawing)) == ["g = gradient(x)", "x", "z = g * x"]
    assert g.inputs == ()
    assert draw(g).picture.boxes[0].output
    drawing = draw(z, backward=True)
    assert g.inputs == ()  # as before
    (found,) = [box.title for box in drawing.picture.boxes if box.name == "dz_dx"]
    assert found.splitlines()[2] == "36.0"  # z = 3 x**3
    z.backward()
    assert x.grad.item() == 36.0


def test_a_gradient_whose_output_is_gone_says_so():
    x = Tensor(2.0)
    y = x**3
    y.backward()
    del y
    z = x.grad * x
    assert nodes(draw(z)) == 3
    with pytest.raises(ValueError, match="the output that it came from is gone"):
        draw(z, backward=True)


def test_zero_gradients_and_leaves_that_are_not_reached():
    x, unused = Tensor([1.5]), Tensor([1.0])
    y = needle.sign(x) * 2 + needle.where(x > 1, x, unused)
    assert {box.name for box in draw(y, backward=True).picture.boxes} >= {"dy_dx", "dy_dunused"}


# ------------------------------------------------------------------------------------------------------------- lazy


@pytest.fixture
def lazy(monkeypatch):
    monkeypatch.setattr(autograd, "LAZY_MODE", True)


def test_deferred_values_are_not_computed_by_drawing(lazy):
    a, b = Tensor([1.0, 2.0]), Tensor([3.0, 4.0])
    h = needle.exp(a * b)
    y = h + a
    drawing = draw(y, values=True)
    assert not autograd.is_computed(y)
    assert not autograd.is_computed(h)
    lines = {box.name: box.lines for box in drawing.picture.boxes}
    assert lines["y"][1] == lines["h"][1] == "not computed"
    assert lines["a"][1] == "(2,)"
    loop_of_them = y
    for _ in range(100):
        loop_of_them = loop_of_them * a
    assert rounds(draw(loop_of_them)) == [100]
    assert not autograd.is_computed(y)
    with pytest.raises(ValueError, match=r"draw: backward=True needs values.*lazy mode.*t\.numpy\(\)"):
        draw(y, backward=True)
    assert not autograd.is_computed(y)


def test_adjoints_of_computed_values_in_lazy_mode(lazy):
    a, b = Tensor([1.0, 2.0]), Tensor([3.0, 4.0])
    y = (a * b + a).sum()
    y.numpy()
    boxes = {box.name: box for box in draw(y, backward=True).picture.boxes}
    assert boxes["dy_da"].title.splitlines()[2] == "[4. 5.]"
    assert all("not computed" not in box.title for box in boxes.values())


# ----------------------------------------------------------------------------------------------------------- errors


def test_what_cannot_be_drawn_is_refused_with_a_reason():
    x = Tensor([1.0])
    constant = Tensor([1.0], requires_grad=False)
    with needle.no_grad():
        unrecorded = x * x
    for wrong in (3.0, "x", None, np.ones(3), {"x": x}):
        with pytest.raises(TypeError, match="draw: needs a Tensor or a sequence of them, got"):
            draw(wrong)
    with pytest.raises(TypeError, match="got a float among them"):
        draw([x * x, 1.0])
    with pytest.raises(ValueError, match="empty sequence"):
        draw([])
    with pytest.raises(ValueError, match="has no record: it is a leaf; draw what is computed from it"):
        draw(x)
    with pytest.raises(ValueError, match=r"shape \(1,\) has no record: it was detached; draw the tensor"):
        draw((x * x).detach())
    for value in (constant, constant * 2, unrecorded):
        with pytest.raises(ValueError, match=r"has no record: .*requires_grad=True, outside of no_grad\(\)"):
            draw([x * x, value])
    with pytest.raises(TypeError, match=r"draw: names must be a dict of names and Tensors, got list"):
        draw(x * x, names=["x"])
    with pytest.raises(TypeError, match=r"draw: names must be a dict of names and Tensors, got str: float"):
        draw(x * x, names={"x": 1.0})
    for limit in (0, -1, 2.5, True, None):
        with pytest.raises(ValueError, match="draw: limit must be a number of boxes, 1 or more, got"):
            draw(x * x, limit=limit)
    with pytest.raises(TypeError, match="draw: group must return a name or None, got int"):
        draw(x * x, group=lambda node: 3)
    with pytest.raises(ValueError, match="backward=True needs Tensors that need a gradient"):
        draw(needle.make_tuple(x, x), backward=True)


def test_inside_of_a_transform():
    def f(x):
        with pytest.raises(ValueError, match="belongs to a transform that is running"):
            draw(x * x)
        return x * x

    assert needle.jvp(f, (3.0,), (1.0,)) == (9.0, 6.0)


def test_the_smallest_limit():
    drawing = draw(net(5), limit=1)
    assert len(drawing.picture.boxes) <= 8
    assert nodes(drawing) == len(find_topo_sort([net(5)]))
    assert math.isfinite(float(ET.fromstring(drawing.svg).get("width")))
