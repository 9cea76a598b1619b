"""Where boxes and lines go: a layered layout after Sugiyama, Tagawa and Toda (1981).

Boxes stand in rows, and every edge leads to a lower row; in each row that it passes on its way, it takes a place like a
box. Five steps: rows, order within the rows, x coordinates, y coordinates, lines.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from itertools import pairwise
from math import ceil
from typing import NamedTuple

BESIDE = 22.0
"""Between two boxes of a row."""
LANE = 13.0
"""The width of a line in a row that it passes."""
BETWEEN = 30.0
"""Between two rows, at least."""
WIDEST = 1500.0
"""A row of more than this is broken into several."""
PADDING = 14.0
"""Between a frame and what is in it."""
LABEL = 16.0
"""The height of an edge's label."""
_SWEEPS = 16
_SMALL = 800
"""The most vertices for which the slower improvements run."""

Point = tuple[float, float]
_Near = tuple[int, float, float]
"""A neighbour of a vertex, and the ends of the line there and here, each measured from the middle."""


class Element(NamedTuple):
    """A member of a row. `role` is "" for a box, "in" and "out" for a port on the upper and the lower border of a
    frame, and "title" for the frame's name, at the left of the first row."""

    width: float
    height: float
    role: str = ""


class Edge(NamedTuple):
    """An edge between elements, from a lower index to a higher one, unless it `returns`. `leaves` and `enters` are the
    places of its ends, from the middle of the element (None: wherever it suits); `label` is the width of its label."""

    source: int
    target: int
    leaves: float | None = None
    enters: float | None = None
    label: float = 0.0
    returns: bool = False
    bundle: int = 0
    """Edges from one port that share this number share their way as far as they can."""


@dataclass
class Plan:
    """Elements by the middle of their upper side, edges by points, labels by edge and by their middle."""

    x: list[float]
    y: list[float]
    width: float
    height: float
    lines: list[list[Point]]
    labels: dict[int, Point]


@dataclass
class _Rows:
    """The rows of vertices: first the elements, then the points at which edges pass a row."""

    rows: list[list[int]]
    row_of: list[int]
    widths: list[float]
    inner: list[bool]
    """Whether a vertex is a passing point."""
    above: list[list[_Near]] = field(default_factory=list)
    below: list[list[_Near]] = field(default_factory=list)
    stops: list[list[int]] = field(default_factory=list)
    """For each edge, the vertices on its way."""
    beside: set[tuple[int, int]] = field(default_factory=set)
    """The segments from leaves to what has other inputs, too: they come from the side, so that the others can be
    upright."""


def arrange(elements: Sequence[Element], edges: Sequence[Edge]) -> Plan:
    """Places for elements and lines for edges, such that no element lies under a line or another element."""
    graph = _with_passing_points(elements, edges, _broken(elements, _rank(elements, edges)))
    _order(graph, elements)
    x = _tightened(graph, _across(graph))
    for v, element in enumerate(elements):
        if element.role == "title":  # the first of its row: to the left edge
            x[v] = min(a - w / 2 for a, w in zip(x, graph.widths, strict=True)) + element.width / 2
    return _drawn(graph, elements, edges, x)


def _rank(elements: Sequence[Element], edges: Sequence[Edge]) -> list[int]:
    """The row of each element: as high as its inputs allow, or, with at most one computed input, as low as its readers
    allow."""
    inputs: list[list[tuple[int, int]]] = [[] for _ in elements]
    readers: list[list[tuple[int, int]]] = [[] for _ in elements]
    for edge in edges:
        if not edge.returns:
            inputs[edge.target].append((edge.source, 2 if edge.label else 1))
            readers[edge.source].append((edge.target, 2 if edge.label else 1))
    rank = [0] * len(elements)
    for v, element in enumerate(elements):
        if element.role != "in":
            rank[v] = max([1, *[rank[u] + length for u, length in inputs[v]]])
    for v in reversed(range(len(elements))):
        lowest = [rank[w] - length for w, length in readers[v] if elements[w].role != "out"]
        computed = {u for u, _ in inputs[v] if inputs[u] or elements[u].role == "in"}
        if not elements[v].role and lowest and len(computed) <= 1:
            rank[v] = min(lowest)
    last = max([1, *rank]) + 1
    rank = [last if e.role == "out" else r for e, r in zip(elements, rank, strict=True)]
    labels = {rank[edge.source] + 1 for edge in edges if edge.label}
    used = {r: i for i, r in enumerate(sorted(labels.union(rank)))}
    return [used[r] for r in rank]


def _broken(elements: Sequence[Element], rank: list[int]) -> list[int]:
    """The same, with too wide rows broken into several like lines of text."""
    now, broken = 0, [0] * len(rank)
    for row in _by_row(rank):
        total = sum(elements[v].width + BESIDE for v in row)
        ports = any(elements[v].role in ("in", "out") for v in row)
        parts = 1 if ports else max(1, ceil(total / WIDEST))
        filled = 0.0
        for v in row:
            broken[v] = now + min(parts - 1, int(filled / (total / parts)))
            filled += elements[v].width + BESIDE
        now += parts
    return broken


def _by_row(rank: list[int]) -> list[list[int]]:
    rows: list[list[int]] = [[] for _ in range(max(rank, default=-1) + 1)]
    for v, r in enumerate(rank):
        rows[r].append(v)
    return rows


def _with_passing_points(elements: Sequence[Element], edges: Sequence[Edge], rank: list[int]) -> _Rows:
    """The rows with a vertex wherever an edge passes one, at first in the same place as its source in its own row."""
    rows = _by_row(rank)
    graph = _Rows(rows, list(rank), [e.width for e in elements], [False] * len(elements))
    across = {v: (i + 0.5) / len(row) for row in rows for i, v in enumerate(row)}
    ways: dict[tuple[int, float | None, int, int], list[int]] = {}
    segments: dict[tuple[int, int, float, float], None] = {}
    for i, edge in enumerate(edges):
        if edge.returns:
            graph.stops.append([])
            continue
        key = (edge.source, edge.leaves, edge.bundle, i if edge.label else -1)
        way = ways.setdefault(key, [edge.source])
        while rank[edge.source] + len(way) < rank[edge.target]:
            r = rank[edge.source] + len(way)
            way.append(len(graph.widths))
            rows[r].append(way[-1])
            graph.row_of.append(r)
            graph.widths.append(max(LANE, edge.label) if len(way) == 2 else LANE)
            graph.inner.append(True)
            across[way[-1]] = across[edge.source]
        stops = [*way[: rank[edge.target] - rank[edge.source]], edge.target]
        graph.stops.append(stops)
        for a, b in pairwise(stops):
            leaves = (edge.leaves or 0.0) if a == edge.source else 0.0
            segments[a, b, leaves, (edge.enters or 0.0) if b == edge.target else 0.0] = None
    for row in rows:
        row.sort(key=across.__getitem__)
    graph.above = [[] for _ in graph.widths]
    graph.below = [[] for _ in graph.widths]
    for a, b, leaves, enters in segments:
        graph.above[b].append((a, leaves, enters))
        graph.below[a].append((b, enters, leaves))
    from_leaf = [not near and (v >= len(elements) or elements[v].role != "in") for v, near in enumerate(graph.above)]
    for row in rows:
        for v in row:
            from_leaf[v] = from_leaf[v] or (graph.inner[v] and all(from_leaf[u] for u, _, _ in graph.above[v]))
            if not all(from_leaf[u] for u, _, _ in graph.above[v]):
                graph.beside.update((u, v) for u, _, _ in graph.above[v] if from_leaf[u])
    return graph


# Order within the rows -------------------------------------------------------------------------------------------


def _order(graph: _Rows, elements: Sequence[Element]) -> None:
    """Sort the rows by barycentres, downwards and upwards in turn, from several initial orders, and keep the order with
    the fewest crossings; among equals, the one with the shortest lines."""
    titles = {v for v, element in enumerate(elements) if element.role == "title"}
    place: list[float] = [0.0] * len(graph.widths)
    rows = graph.rows

    def number(row: list[int]) -> None:
        row.sort(key=lambda v: v not in titles)
        for i, v in enumerate(row):
            place[v] = float(i)

    def key(v: int, port: float) -> float:
        return place[v] + 0.9 * port / max(graph.widths[v], 1.0)

    def cost() -> tuple[int, float]:
        crossings, length = 0, 0.0
        for above, row in pairwise(rows):
            ends = sorted((key(a, leaves), key(b, enters)) for b in row for a, leaves, enters in graph.above[b])
            seen: list[float] = []
            for start, end in ends:
                crossings += len(seen) - bisect_right(seen, end)
                insort(seen, end)
                length += abs((start + 0.5) / len(above) - (end + 0.5) / len(row))
        return crossings, length

    def sort(row: list[int], near: list[list[_Near]]) -> None:
        middle = {v: sum(key(u, port) for u, port, _ in near[v]) / len(near[v]) for v in row if near[v]}
        moved = iter(sorted((v for v in row if v in middle), key=middle.__getitem__))
        row[:] = [next(moved) if v in middle else v for v in row]
        number(row)

    def swap_neighbours(row: list[int]) -> bool:
        """Swap each pair of neighbours that then has fewer crossings."""
        better = False
        for i in range(len(row) - 1):
            v, w = row[i], row[i + 1]
            if v in titles:
                continue
            saved = 0
            for near in (graph.above, graph.below):
                for a, p, _ in near[v]:
                    for b, q, _ in near[w]:
                        saved += (key(a, p) > key(b, q)) - (key(a, p) < key(b, q))
            if saved > 0:
                row[i], row[i + 1] = w, v
                place[v], place[w] = place[w], place[v]
                better = True
        return better

    small = len(graph.widths) <= _SMALL
    first = [row[:] for row in rows]
    best, kept = None, first
    for beginning in range(4 if small else 1):
        rows[:] = [row[:: -1 if beginning % 2 else 1] for row in first]
        for row in rows:
            number(row)
        for sweep in range(_SWEEPS):
            down = (sweep + beginning // 2) % 2 == 0
            for row in rows[1:] if down else rows[-2::-1]:
                sort(row, graph.above if down else graph.below)
            for _ in range(4 if small else 0):
                if not sum(map(swap_neighbours, rows)):
                    break
            now = cost()
            if best is None or now < best:
                best, kept = now, [row[:] for row in rows]
    rows[:] = kept


# x coordinates ---------------------------------------------------------------------------------------------------


def _across(graph: _Rows) -> list[float]:
    """The middle of each vertex: Brandes and Köpf, "Fast and simple horizontal coordinate assignment" (2001), with
    ports: vertices are aligned greedily to the upper or lower, left or right ones of their middle neighbours, and the
    four layouts are averaged by their two medians, which keeps long edges straight."""
    crossing = _crossings_of_passing_lines(graph) | graph.beside | {(v, u) for u, v in graph.beside}
    found = []
    for upwards in (False, True):
        for leftwards in (False, True):
            rows = graph.rows[::-1] if upwards else graph.rows
            sign = -1.0 if leftwards else 1.0
            rows = [row[::-1] if leftwards else row for row in rows]
            x = _compacted(graph, rows, *_aligned(graph, rows, graph.below if upwards else graph.above, crossing, sign))
            found.append([sign * a for a in x])
    spans = [_span(x, graph.widths) for x in found]
    left, right = min(spans, key=lambda span: span[1] - span[0])
    for i, (low, high) in enumerate(spans):
        shift = right - high if i % 2 else left - low
        found[i] = [a + shift for a in found[i]]
    return [sum(sorted(four)[1:3]) / 2 for four in zip(*found, strict=True)]


def _span(x: list[float], widths: list[float]) -> tuple[float, float]:
    sides = list(zip(x, widths, strict=True))
    return min((a - w / 2 for a, w in sides), default=0.0), max((a + w / 2 for a, w in sides), default=0.0)


def _crossings_of_passing_lines(graph: _Rows) -> set[tuple[int, int]]:
    """The segments that cross one between two passing points; they give way, so that long lines stay straight."""
    place = {v: i for row in graph.rows for i, v in enumerate(row)}
    marked = set()
    for upper, lower in pairwise(graph.rows):
        left, done = 0, 0
        for i, v in enumerate(lower):
            passing = [u for u, _, _ in graph.above[v] if graph.inner[v] and graph.inner[u]]
            if not passing and i < len(lower) - 1:
                continue
            right = place[passing[0]] if passing else len(upper) - 1
            for w in lower[done : i + 1]:
                for u, _, _ in graph.above[w]:
                    if not left <= place[u] <= right and not (graph.inner[u] and graph.inner[w]):
                        marked.add((u, w))
                        marked.add((w, u))
            left, done = right, i + 1
    return marked


def _aligned(
    graph: _Rows,
    rows: list[list[int]],
    near: list[list[_Near]],
    crossing: set[tuple[int, int]],
    sign: float,
) -> tuple[list[int], list[float]]:
    """For each vertex the first one of its column, and its distance to the right of that, which puts ports above each
    other."""
    place = {v: i for row in rows for i, v in enumerate(row)}
    root, shift = list(range(len(graph.widths))), [0.0] * len(graph.widths)
    for row in rows[1:]:
        rightmost = -1
        for v in row:
            by_place = sorted(
                [n for n in near[v] if (n[0], v) not in graph.beside], key=lambda n: (place[n[0]], sign * n[1])
            )
            middles = by_place[(len(by_place) - 1) // 2 : len(by_place) // 2 + 1]
            for u, port, own in middles:
                if (u, v) not in crossing and rightmost < place[u]:
                    root[v], shift[v] = root[u], shift[u] + sign * (port - own)
                    rightmost = place[u]
                    break
    return root, shift


def _compacted(graph: _Rows, rows: list[list[int]], root: list[int], shift: list[float]) -> list[float]:
    """Columns as far left as their neighbours allow, then moved right towards the next ones as far as there is room."""
    after: dict[int, dict[int, float]] = defaultdict(dict)
    columns = TopologicalSorter(dict.fromkeys(root, ()))
    for row in rows:
        for a, b in pairwise(row):
            apart = _apart(graph, a, b) + shift[a] - shift[b]
            p, q = root[a], root[b]
            columns.add(q, p)
            after[p][q] = max(after[p].get(q, apart), apart)
    x = dict.fromkeys(root, 0.0)
    for row in rows:  # the first column of each row may start anywhere: at its own left edge
        for v in row[:1]:
            x[root[v]] = max(x[root[v]], graph.widths[v] / 2 - shift[v])
    order = list(columns.static_order())
    for p in order:
        for q, apart in after[p].items():
            x[q] = max(x[q], x[p] + apart)
    for p in reversed(order):
        if after[p]:
            x[p] = max(x[p], min(x[q] - apart for q, apart in after[p].items()))
    return [x[root[v]] + shift[v] for v in range(len(root))]


def _tightened(graph: _Rows, x: list[float]) -> list[float]:
    """The same with shorter lines: groups of vertices on upright lines move where the lines that leave the group pull
    them, as far as there is room, and push others along if both gain."""
    lines = [
        (u, v, port - own, 8.0 if graph.inner[u] and graph.inner[v] else 0.5 if (u, v) in graph.beside else 1.0)
        for v, near in enumerate(graph.above)
        for u, port, own in near
    ]
    at: list[list[tuple[int, float, float]]] = [[] for _ in x]
    for u, v, shift, weight in lines:
        at[u].append((v, -shift, weight))
        at[v].append((u, shift, weight))
    beside: list[list[tuple[int, float, bool]]] = [[] for _ in x]
    for row in graph.rows:
        for a, b in pairwise(row):
            apart = _apart(graph, a, b)
            beside[a].append((b, apart, True))
            beside[b].append((a, apart, False))

    def group_around(v: int, rigid: bool) -> set[int]:
        """The vertices connected to v by upright lines; if not rigid, only by those between passing points."""
        found, stack = {v}, [v]
        while stack:
            u = stack.pop()
            for w, shift, weight in at[u]:
                if w not in found and abs(x[w] + shift - x[u]) < 0.01 and (rigid or weight > 1):
                    found.add(w)
                    stack.append(w)
        return found

    def pull(group: set[int], right: bool) -> tuple[float, float]:
        """How much a step to this side shortens the lines, and how far that holds."""
        gain, far = 0.0, 1e9
        sign = 1.0 if right else -1.0
        for v in group:
            for w, shift, weight in at[v]:
                if w not in group:
                    ahead = sign * (x[w] + shift - x[v])
                    gain += weight if ahead > 0.01 else -weight
                    if ahead > 0.01:
                        far = min(far, ahead)
        return gain, far

    def room(group: set[int], right: bool) -> tuple[float, int]:
        """The distance to the nearest obstacle, and its vertex."""
        free, what = 1e9, -1
        for v in group:
            for w, apart, is_right in beside[v]:
                if is_right is right and w not in group:
                    between = abs(x[w] - x[v]) - apart
                    if between < free:
                        free, what = between, w
        return free, what

    for _ in range(12 if len(x) <= _SMALL else 0):
        moved = False
        for v in range(len(x)):
            for rigid in (True, False):
                for right in (True, False):
                    group = group_around(v, rigid)
                    gain, far = pull(group, right)
                    while gain > 0 and len(group) < len(x):
                        free, what = room(group, right)
                        if free > 0.01:
                            break
                        group |= group_around(what, rigid)
                        gain, far = pull(group, right)
                    if gain > 0:
                        step = min(far, room(group, right)[0])
                        if 0.01 < step < 1e8:
                            for u in group:
                                x[u] += step if right else -step
                            moved = True
        if not moved:
            break
    return x


def _apart(graph: _Rows, a: int, b: int) -> float:
    """The distance that the middles of two neighbours in a row need."""
    passing = graph.inner[a] + graph.inner[b]
    return (graph.widths[a] + graph.widths[b]) / 2 + (BESIDE, 0.8 * LANE, LANE)[passing]


# y coordinates and lines -----------------------------------------------------------------------------------------


def _drawn(graph: _Rows, elements: Sequence[Element], edges: Sequence[Edge], x: list[float]) -> Plan:
    low, high = _span(x, graph.widths)
    x = [a - low for a in x]
    leaves, enters = _ends(graph, elements, edges, x)
    heights = [
        max([elements[v].height if v < len(elements) else LABEL for v in row], default=0.0) for row in graph.rows
    ]
    tops, turns, total = _down(graph, edges, heights, x)
    bottoms = [top + height for top, height in zip(tops, heights, strict=True)]
    ys = []
    for v, element in enumerate(elements):
        row = graph.row_of[v]
        room = bottoms[row] - tops[row] - element.height
        if element.role in ("title", "in") or not graph.below[v]:
            room = 0.0  # at the top: nothing follows
        ys.append(tops[row] + (room if not graph.above[v] else room / 2))
    lines: list[list[Point]] = []
    labels = {}
    lane = high - low
    for i, edge in enumerate(edges):
        a, b = edge.source, edge.target
        start = (x[a] + leaves[i], ys[a] + elements[a].height)
        end = (x[b] + enters[i], ys[b])
        if edge.returns:
            lane += PADDING if lane == high - low else 8.0
            down, up = turns[i]
            lines.append([start, (start[0], down), (lane, down), (lane, up), (end[0], up), end])
            continue
        points = [start, (start[0], bottoms[graph.row_of[a]])]
        for v in graph.stops[i][1:-1]:
            points += [(x[v], tops[graph.row_of[v]]), (x[v], bottoms[graph.row_of[v]])]
        lines.append([*points, (end[0], tops[graph.row_of[b]]), end])
        if edge.label:
            v = graph.stops[i][1]
            labels[i] = (x[v], (tops[graph.row_of[v]] + bottoms[graph.row_of[v]]) / 2)
    return Plan(x[: len(elements)], ys, lane, total, lines, labels)


def _down(
    graph: _Rows, edges: Sequence[Edge], heights: list[float], x: list[float]
) -> tuple[list[float], dict[int, tuple[float, float]], float]:
    """The upper side of each row; for each edge that returns, its turns below its source and above its target; and the
    whole height. Rows are further apart where lines slope more."""
    turning: dict[int, list[tuple[int, bool]]] = defaultdict(list)
    for i, edge in enumerate(edges):
        if edge.returns:
            turning[graph.row_of[edge.source]].append((i, True))
            turning[graph.row_of[edge.target] - 1].append((i, False))
    tops, turns, y = [], dict.fromkeys(turning and range(len(edges)), (0.0, 0.0)), 0.0
    for r in range(-1, len(heights)):
        if r >= 0:
            tops.append(y)
            y += heights[r]
        for k, (i, below) in enumerate(turning[r]):
            at = y + 9 + 6 * k
            turns[i] = (at, turns[i][1]) if below else (turns[i][0], at)
        between = 0.0
        if 0 <= r < len(heights) - 1:
            slopes = [abs(x[v] - x[u]) for u in graph.rows[r] for v, _, _ in graph.below[u]]
            to_border = not heights[r] or not heights[r + 1]
            between = BETWEEN * (0.6 if to_border else 1.0) + min(40.0, 0.04 * max(slopes, default=0.0))
        y += max(between, 9 + 6 * len(turning[r]) + BETWEEN / 2 if turning[r] else 0.0)
    return tops, turns, y


@dataclass
class _End:
    """A common end of edges at an element, and how far `ahead` they lead to the right of its middle."""

    ahead: float
    edges: list[int] = field(default_factory=list)


_FAR = 1e9


def _ends(
    graph: _Rows, elements: Sequence[Element], edges: Sequence[Edge], x: list[float]
) -> tuple[list[float], list[float]]:
    """Where each edge leaves and enters, from the middle of its element: upright lines in the middle, others on the
    side to which they lead; lines that share their way share their end."""
    leaves, enters = [0.0] * len(edges), [0.0] * len(edges)
    outgoing: dict[int, dict[int, _End]] = defaultdict(dict)
    incoming: dict[int, dict[tuple[int, float], _End]] = defaultdict(dict)
    for i, edge in enumerate(edges):
        if edge.leaves is not None:
            leaves[i] = edge.leaves
        else:
            way = i if edge.returns or edge.label else -1 - edge.bundle
            ahead = _FAR + i if edge.returns else x[graph.stops[i][1]] - x[edge.source]
            outgoing[edge.source].setdefault(way, _End(ahead)).edges.append(i)
        if edge.enters is not None:
            enters[i] = edge.enters
        elif edge.returns:
            incoming[edge.target][-i - 1, 0.0] = _End(_FAR + i, [i])
        else:
            before = graph.stops[i][-2]
            port = (edge.leaves or 0.0) if before == edge.source else 0.0
            end = _End(x[before] + port - x[edge.target])
            incoming[edge.target].setdefault((before, port), end).edges.append(i)
    by_element = [(v, leaves, list(ends.values())) for v, ends in outgoing.items()]
    by_element += [(v, enters, list(ends.values())) for v, ends in incoming.items()]
    for v, places, found in by_element:
        ends = sorted(found, key=lambda end: end.ahead)
        room = elements[v].width / 2 - 12
        middle, at = (len(ends) - 1) / 2, 0.0
        nearest = min(range(len(ends)), key=lambda k: abs(ends[k].ahead))
        if abs(ends[nearest].ahead) <= min(24.0, room):
            middle, at = nearest, ends[nearest].ahead if places is enters else 0.0
        step = min(16.0, (room - at) / max(len(ends) - 1 - middle, 0.5), (room + at) / max(middle, 0.5))
        for k, end in enumerate(ends):
            for i in end.edges:
                places[i] = at + step * (k - middle)
    return leaves, enters
