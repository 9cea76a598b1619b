"""Frames within frames: each is laid out by itself, the inner ones first, and is one large box to what is around it. An
edge passes through a frame's border at a port."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from .layout import PADDING, Edge, Element, Plan, Point, arrange

Rectangle = tuple[float, float, float, float]
"""Left, top, width, height."""
Thing = tuple[str, int, int, int]
"""What a frame holds: ("box", b, -1, 0), ("frame", f, -1, 0), ("title", f, -1, 0), and ports for a bundle of what comes
from box b: ("in", b, f, bundle), for the next round of frame f if that is not -1, and ("out", b, -1, bundle)."""


class Link(NamedTuple):
    """An edge between two boxes. `frame`: it leads from one round of this frame to its next (-1: it is no such edge).
    `label`: the width of its label. `bundle`: links from one box that share this number share their way."""

    source: int
    target: int
    frame: int = -1
    label: float = 0.0
    bundle: int = 0


class Line(NamedTuple):
    """A piece that some links from one box share: as far as a frame's border, or to the box `target` (else -1)."""

    source: int
    target: int
    between_rounds: bool
    returns: bool
    bundle: int
    points: list[Point]


@dataclass
class Placed:
    """Boxes and frames, the frames' names, the pieces of all links, and for links with a label its middle. Frame 0 is
    the whole, without a name."""

    boxes: list[Rectangle]
    frames: list[Rectangle]
    titles: list[Rectangle]
    lines: list[Line]
    labels: dict[int, Point]


@dataclass
class _Level:
    """What one frame holds, and the ways between its things: from a thing, by the port there, to a thing, by its port.
    A way has a label's width, and is a part of links, of which the first is kept."""

    things: dict[Thing, int] = field(default_factory=dict)
    ways: dict[tuple[Thing, Thing, Thing, Thing, bool, int], tuple[float, int]] = field(default_factory=dict)
    plan: Plan = field(default_factory=lambda: Plan([], [], 0.0, 0.0, [], {}))


def place(
    *,
    sizes: Sequence[tuple[float, float]],
    frame_of: Sequence[int],
    parents: Sequence[int],
    titles: Sequence[tuple[float, float]],
    order: Sequence[float],
    links: Sequence[Link],
) -> Placed:
    """Places for boxes in frames.

    `frame_of` says which frame a box is in, `parents` which earlier frame a frame is in; frame 0 is the drawing itself.
    `titles` are the sizes of the frames' names. `order` has a number for each box, then for each frame: links that do
    not lead to a next round lead from a lower to a higher one of the same frame.
    """
    levels = _levels(frame_of, parents, order, links)
    for f in reversed(range(len(parents))):  # the inner ones first
        level = levels[f]
        elements = []
        for kind, i, _, _ in level.things:
            if kind == "frame":
                elements.append(Element(levels[i].plan.width, levels[i].plan.height))
            elif kind == "box":
                elements.append(Element(*sizes[i]))
            else:
                elements.append(Element(*titles[i], kind) if kind == "title" else Element(0.0, 0.0, kind))
        edges = [
            Edge(
                level.things[a],
                level.things[b],
                _port_at(levels, a, leaves),
                _port_at(levels, b, enters),
                label,
                returns,
                links[i].bundle,
            )
            for (a, leaves, b, enters, returns, _), (label, i) in level.ways.items()
        ]
        level.plan = arrange(elements, edges)
        if f:
            kinds = {thing[0] for thing in level.things}
            _pad(level.plan, 0.0 if "in" in kinds else PADDING / 2, 0.0 if "out" in kinds else PADDING)
    return _collected(levels, sizes, titles, links)


def _levels(
    frame_of: Sequence[int], parents: Sequence[int], order: Sequence[float], links: Sequence[Link]
) -> list[_Level]:
    """What each frame holds. A link climbs from its source out of frames, and down into those of its target."""
    levels = [_Level() for _ in parents]
    depth = [0] * len(parents)
    for f in range(1, len(parents)):
        depth[f] = depth[parents[f]] + 1
    ports: list[dict[Thing, None]] = [{} for _ in parents]
    for i, link in enumerate(links):
        f, g = frame_of[link.source], frame_of[link.target]
        common = link.frame
        if common < 0:
            a, b = f, g
            while a != b:
                a, b = (parents[a], b) if depth[a] >= depth[b] else (a, parents[b])
            common = a
        thing = port = ("box", link.source, -1, 0)
        while f != common:
            out = ("out", link.source, -1, link.bundle)
            ports[f][out] = None
            levels[f].ways.setdefault((thing, port, out, out, False, link.bundle), (0.0, i))
            thing, port, f = ("frame", f, -1, 0), out, parents[f]
        target = target_port = ("box", link.target, -1, 0)
        while g != common:
            entry = ("in", link.source, link.frame, link.bundle)
            ports[g][entry] = None
            levels[g].ways.setdefault((entry, entry, target, target_port, False, link.bundle), (0.0, i))
            target, target_port, g = ("frame", g, -1, 0), entry, parents[g]
        way = (thing, port, target, target_port, link.frame >= 0, link.bundle)
        levels[common].ways.setdefault(way, (link.label, i))
    inside: list[list[tuple[float, Thing]]] = [[] for _ in parents]
    for b, f in enumerate(frame_of):
        inside[f].append((order[b], ("box", b, -1, 0)))
    for f in range(1, len(parents)):
        inside[parents[f]].append((order[len(frame_of) + f], ("frame", f, -1, 0)))
    for f, level in enumerate(levels):
        entries = [port for port in ports[f] if port[0] == "in"]
        exits = [port for port in ports[f] if port[0] == "out"]
        title: list[Thing] = [("title", f, -1, 0)] if f else []
        things = [*entries, *title, *[thing for _, thing in sorted(inside[f])], *exits]
        level.things = {thing: i for i, thing in enumerate(things)}
    return levels


def _port_at(levels: list[_Level], thing: Thing, port: Thing) -> float | None:
    """Where a port is, from the middle of its thing; None for a box, which has none."""
    if thing[0] == "frame":
        inner = levels[thing[1]]
        return inner.plan.x[inner.things[port]] - inner.plan.width / 2
    return None if thing[0] == "box" else 0.0


def _pad(plan: Plan, above: float, below: float) -> None:
    """Space between what is in a frame and its border."""
    plan.x = [x + PADDING for x in plan.x]
    plan.y = [y + above for y in plan.y]
    plan.lines = [[(x + PADDING, y + above) for x, y in line] for line in plan.lines]
    plan.labels = {i: (x + PADDING, y + above) for i, (x, y) in plan.labels.items()}
    plan.width += 2 * PADDING
    plan.height += above + below


def _collected(
    levels: list[_Level],
    sizes: Sequence[tuple[float, float]],
    titles: Sequence[tuple[float, float]],
    links: Sequence[Link],
) -> Placed:
    """All levels in the coordinates of the whole drawing."""
    nowhere = (0.0, 0.0, 0.0, 0.0)
    placed = Placed([nowhere] * len(sizes), [nowhere] * len(levels), [nowhere] * len(levels), [], {})
    placed.frames[0] = (0.0, 0.0, levels[0].plan.width, levels[0].plan.height)
    for f, level in enumerate(levels):
        left, top, _, _ = placed.frames[f]
        for (kind, i, _, _), x, y in zip(level.things, level.plan.x, level.plan.y, strict=True):
            where = {"box": placed.boxes, "frame": placed.frames, "title": placed.titles}.get(kind)
            if where is not None:
                width, height = sizes[i] if kind == "box" else titles[i]
                if kind == "frame":
                    width, height = levels[i].plan.width, levels[i].plan.height
                where[i] = (left + x - width / 2, top + y, width, height)
        for k, ((_, _, target, _, returns, _), (_, i)) in enumerate(level.ways.items()):
            points = [(left + x, top + y) for x, y in level.plan.lines[k]]
            end = target[1] if target[0] == "box" else -1
            link = links[i]
            placed.lines.append(Line(link.source, end, link.frame >= 0, returns, link.bundle, points))
            if k in level.plan.labels:
                x, y = level.plan.labels[k]
                placed.labels[i] = (left + x, top + y)
    return placed
