"""Folds a large graph into few boxes: by the user's groups, by rounds that repeat, and else by stretches.

It works on numbers alone. Each box stands for an interval of the operations in evaluation order, so the graph between
boxes has no cycles, whatever was folded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from heapq import heapify, heappop, heappush
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Path = tuple[str, ...]
BROAD = 12
"""So many boxes side by side are few enough, whatever the limit."""
FAR = 64
"""Inputs computed more than this many operations before are compared by kind alone."""


@dataclass
class Graph:
    """Operations 0, 1, ... in evaluation order, and leaves 0, 1, ...

    Operation k reads `reads[first[k] : first[k + 1]]`: i >= 0 is operation i, -1 - i is leaf i. Operations with equal
    numbers in `exact` are written alike and have results of the same shape and dtype; those with equal numbers in
    `kind` differ in attributes at most. `leaf_kind` and the coarser `leaf_role` do the same for leaves. `paths` name
    the user's groups, the outermost first.
    """

    first: Array
    reads: Array
    exact: Array
    kind: Array
    leaf_kind: Array
    leaf_role: Array
    paths: Sequence[Path] = ()
    leaf_paths: Sequence[Path] = ()

    @property
    def size(self) -> int:
        return len(self.kind)

    @cached_property
    def owner(self) -> Array:
        """Which operation each entry of `reads` belongs to."""
        return np.repeat(np.arange(self.size), np.diff(self.first))

    @cached_property
    def edges(self) -> tuple[Array, Array]:
        """Sources and targets of the edges between operations."""
        inner = self.reads >= 0
        return self.reads[inner], self.owner[inner]

    @cached_property
    def alive(self) -> Array:
        """For each operation k, how many earlier values k or later ones read."""
        source, target = self.edges
        last = np.arange(self.size)
        np.maximum.at(last, source, target)
        ends = np.bincount(last, minlength=self.size)
        return np.arange(self.size) - np.concatenate([[0], np.cumsum(ends)[:-1]])

    @cached_property
    def kind_read(self) -> Array:
        """The kind that an entry i of `reads` refers to, at index i; negative ones count from the end."""
        return np.concatenate([self.kind, self.leaf_kind[::-1] + (self.kind.max(initial=0) + 1)])

    def alike(self, a: Array, b: Array) -> Array:
        """Whether inputs are of the same kind."""
        return self.kind_read[a] == self.kind_read[b]


@dataclass
class Scope:
    """`count` rounds of `period` operations each, from `start` on, in a frame around the `items` of the first round
    (operations and further scopes), or in one box if `closed`."""

    start: int
    period: int
    items: list[int | Scope]
    count: int = 1
    path: Path = ()
    closed: bool = False

    @property
    def stop(self) -> int:
        return self.start + self.period * self.count

    def inner(self) -> list[Scope]:
        return [item for item in self.items if isinstance(item, Scope)]


@dataclass
class Box:
    """A box in frame `frame`: operation `at`, the closed `scope`, or `leaves`."""

    frame: int
    at: int = -1
    scope: Scope | None = None
    leaves: Array | None = None


@dataclass
class Folding:
    """The boxes and frames of a drawing, and the box of each operation and leaf. Frame 0 is the whole drawing."""

    boxes: list[Box]
    frames: list[Scope]
    parents: list[int]
    box_of: Array
    leaf_box_of: Array
    round_of: Array
    """For each edge between operations: the frame, if it leads from one round of this to a later one, else -1."""

    def arrows(self, graph: Graph) -> tuple[Array, Array, Array]:
        """For each entry of the graph's `reads`: the box it comes from, the box that reads it, and the frame as in
        `round_of`."""
        leaf = graph.reads < 0
        sources, between = np.empty(len(leaf), np.int64), np.full(len(leaf), -1)
        sources[leaf] = self.leaf_box_of[-1 - graph.reads[leaf]]
        sources[~leaf] = self.box_of[graph.reads[~leaf]]
        between[~leaf] = self.round_of
        return sources, self.box_of[graph.owner], between

    def around(self, frame: int) -> list[int]:
        """This frame and those around it, the innermost first."""
        found = []
        while frame >= 0:
            found.append(frame)
            frame = self.parents[frame]
        return found

    def rounds(self, frame: int) -> list[Scope]:
        """Those of these frames that have several rounds."""
        return [self.frames[f] for f in self.around(frame) if self.frames[f].count > 1]

    def last(self, at: int, frame: int) -> int:
        """The operation of the last round that `at` stands for."""
        return at + sum((scope.count - 1) * scope.period for scope in self.rounds(frame))


def fold(graph: Graph, limit: int) -> Folding:
    """At most about `limit` boxes, few of them side by side, with as little folding as possible.

    First, groups are closed, the inner ones before those around them; then rounds that repeat exactly are drawn once;
    then those that differ only in attributes of operations. Each time, many leaves with the same readers are put
    together before going on. If that is not enough, stretches of operations are put together.
    """
    few = max(BROAD, limit // 5)
    smallest = _grouped(graph)
    broad: tuple[int, Folding] | None = None
    for labels in (None, graph.exact, graph.kind):
        root = _grouped(graph)
        if labels is not None:
            _find_rounds(graph, root, labels)
        for depth in range(max(map(len, graph.paths), default=0), -1, -1):
            if _size(root) <= limit:
                folding, in_rounds = _boxed(graph, root)
                for level in (0, 1):
                    groups = _leaf_groups(graph, folding, in_rounds, level)
                    if len(folding.boxes) + len(np.unique(groups)) > limit:
                        continue
                    found = _with_leaves(graph, folding, groups, level == 0)
                    width = _width(graph, found)
                    if width <= few:
                        return found
                    if broad is None or 2 * width <= broad[0]:
                        broad = width, found
            if depth:
                _close(root, depth)
        if _size(root) < _size(smallest):
            smallest = root
    if broad is not None:
        return broad[1]
    leaves = len(np.unique(_leaf_groups(graph, *_boxed(graph, smallest), 0)))
    _cut(graph, smallest, max(2, limit - leaves if 3 * leaves <= limit else limit * 2 // 5))
    folding, in_rounds = _boxed(graph, smallest)
    for level in range(4):
        groups = _leaf_groups(graph, folding, in_rounds, level)
        if level < 3 and len(folding.boxes) + len(np.unique(groups)) > limit:
            continue
        found = _with_leaves(graph, folding, groups, level == 0)
        if len(found.boxes) - len(folding.boxes) <= few or _width(graph, found) <= few:
            break
    return found


def _width(graph: Graph, folding: Folding) -> int:
    """The largest number of boxes in one row: equally far from their inputs, or, for leaves, from their readers.

    Closed boxes and those in rounds count as they are, wherever their frame is.
    """
    sources, targets, between = folding.arrows(graph)
    plain = (between < 0) & (sources != targets)
    leaves = np.array([box.leaves is not None for box in folding.boxes])
    depth = [0] * len(folding.boxes)
    for b, t in sorted({*zip(sources[plain].tolist(), targets[plain].tolist(), strict=True)}):
        if not leaves[b]:
            depth[t] = max(depth[t], depth[b] + 1)
    beside = np.full(len(depth), len(depth))
    leaf = plain & leaves[sources]
    np.minimum.at(beside, sources[leaf], np.array(depth)[targets[leaf]])
    return int(np.bincount(np.where(leaves, beside, depth), minlength=1).max())


def _size(root: Scope) -> int:
    """The number of boxes for operations."""
    total, stack = 0, [root]
    while stack:
        scope = stack.pop()
        if scope.closed:
            total += 1
        else:
            inner = scope.inner()
            total += len(scope.items) - len(inner)
            stack += inner
    return total


# ---------------------------------------------------------------------------------------------------------- groups


def keep_together(inputs: Sequence[Sequence[int]], paths: Sequence[Path]) -> list[int]:
    """An evaluation order that keeps each group's operations together, unless others must come in between; `inputs` are
    the operations that each operation reads."""
    order = list(range(len(inputs)))
    readers: list[list[int]] = [[] for _ in inputs]
    for k, reads in enumerate(inputs):
        for i in reads:
            readers[i].append(k)
    for depth in range(1, max(map(len, paths), default=0) + 1):
        done: list[int] = []
        start = 0
        while start < len(order):
            stop = start + 1
            outer = paths[order[start]][: depth - 1]
            if len(outer) == depth - 1:
                while stop < len(order) and paths[order[stop]][: depth - 1] == outer:
                    stop += 1
            done += _sorted_by_group(order[start:stop], inputs, readers, [paths[k][:depth] for k in order[start:stop]])
            start = stop
        order = done
    return order


def _sorted_by_group(
    operations: list[int], inputs: Sequence[Sequence[int]], readers: list[list[int]], groups: list[Path]
) -> list[int]:
    """Kahn's topological sort of groups: a group is next when all that it reads of others is done. If groups wait for
    each other, a single operation goes first."""
    depth = max(map(len, groups))
    units: dict[Any, list[int]] = {}
    unit_of: dict[int, Any] = {}
    for k, group in zip(operations, groups, strict=True):
        unit_of[k] = group if len(group) == depth else k
        units.setdefault(unit_of[k], []).append(k)
    rank = {k: i for i, k in enumerate(operations)}
    waits = {k: sum(i in rank for i in inputs[k]) for k in operations}
    unit_waits = {u: sum(i in rank and unit_of[i] != u for k in unit for i in inputs[k]) for u, unit in units.items()}
    ready = [(rank[unit[0]], unit[0]) for u, unit in units.items() if not unit_waits[u]]
    single = [rank[k] for k in operations if not waits[k]]
    heapify(ready)
    heapify(single)
    order: list[int] = []
    done: set[int] = set()
    while len(order) < len(operations):
        if ready:
            _, k = heappop(ready)
            batch = [j for j in units[unit_of[k]] if j not in done]
        else:
            k = operations[heappop(single)]
            batch = [] if k in done else [k]
        for k in batch:
            done.add(k)
            order.append(k)
            for reader in readers[k]:
                if reader not in rank:
                    continue
                waits[reader] -= 1
                if not waits[reader]:
                    heappush(single, rank[reader])
                u = unit_of[reader]
                if u != unit_of[k]:
                    unit_waits[u] -= 1
                    if not unit_waits[u]:
                        heappush(ready, (rank[units[u][0]], units[u][0]))
    return order


def _grouped(graph: Graph) -> Scope:
    """Scopes around stretches of operations with the same path."""
    root = Scope(0, graph.size, [])
    if not graph.paths:
        root.items = list(range(graph.size))
        return root
    open_scopes = [root]
    for k, path in enumerate(graph.paths):
        while open_scopes[-1].path != path[: len(open_scopes) - 1]:
            closing = open_scopes.pop()
            closing.period = k - closing.start
        while len(open_scopes) <= len(path):
            scope = Scope(k, 0, [], path=path[: len(open_scopes)])
            open_scopes[-1].items.append(scope)
            open_scopes.append(scope)
        open_scopes[-1].items.append(k)
    for scope in open_scopes[1:]:
        scope.period = graph.size - scope.start
    return root


def _close(root: Scope, depth: int) -> None:
    """Close the groups of this depth."""
    stack = [root]
    while stack:
        scope = stack.pop()
        scope.closed = scope.closed or len(scope.path) >= depth
        if not scope.closed:
            stack += scope.inner()


# ---------------------------------------------------------------------------------------------------------- rounds


def _find_rounds(graph: Graph, root: Scope, labels: Array) -> None:
    """Replace items that repeat by scopes of their first round, and again within these."""
    codes = _codes(graph, labels)
    stack = [root]
    while stack:
        scope = stack.pop()
        scope.items = _folded(graph, scope.items, labels, codes)
        stack += scope.inner()


def _codes(graph: Graph, labels: Array) -> Array:
    """Numbers that are equal for operations with equal labels and inputs from equally far back: rounds are searched in
    these. An input that is far away, or read by many, may be the same or another one in the next round."""
    if not graph.size:
        return labels
    reads, owner = graph.reads, graph.owner
    readers = np.bincount(reads[reads >= 0], minlength=graph.size)
    near = (reads >= 0) & (owner - reads <= FAR)
    near[near] = readers[reads[near]] <= 2
    distance = np.where(near, owner - reads, np.where(reads < 0, FAR + 1, FAR + 2)).astype(np.uint64)
    slot = (np.arange(len(reads)) - graph.first[owner]).astype(np.uint64)
    mixed = (distance + np.uint64(1)) * (slot * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0xBF58476D1CE4E5B9))
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mixed ^ (mixed >> np.uint64(29)), dtype=np.uint64)])
    mixed = (sums[graph.first[1:]] - sums[graph.first[:-1]]) * np.uint64(0x94D049BB133111EB)
    return np.unique(mixed + labels.astype(np.uint64), return_inverse=True)[1]


def _folded(graph: Graph, items: list[int | Scope], labels: Array, codes: Array) -> list[int | Scope]:
    """The items, with scopes in place of rounds; those that save most boxes first."""
    starts = [item.start if isinstance(item, Scope) else item for item in items]
    at = np.array([*starts, items[-1].stop if isinstance(items[-1], Scope) else starts[-1] + 1]) if items else None
    if at is None or len(items) < 5:
        return items
    names, code_of = _of_items(items, labels), _of_items(items, codes)
    runs = sorted(_periodic(code_of), key=lambda run: (run[0] + run[1] - run[2], run[1], run[0]))
    taken = np.zeros(len(items), bool)
    chosen: list[tuple[int, int, int]] = []
    for start, period, stop in runs:
        for low, high in _free(taken, start, stop):
            low, high = _extended(names, taken, low, high, period)
            for i, count in _rounds(graph, at, low, high, period):
                chosen.append((i, period, count))
                taken[i : i + period * count] = True
    folded: list[int | Scope] = []
    now = 0
    for i, period, count in sorted(chosen):
        folded += items[now:i]
        scope = Scope(int(at[i]), int(at[i + period] - at[i]), items[i : i + period], count)
        only = scope.items[0]
        if period == 1 and isinstance(only, Scope):
            scope.items, scope.path = only.items, only.path
        folded.append(scope)
        now = i + period * count
    return folded + items[now:]


def _of_items(items: list[int | Scope], numbers: Array) -> Array:
    """The numbers of operations; for scopes, numbers that are equal for equal sequences of these."""
    known: dict[bytes, int] = {}
    above = int(numbers.max(initial=0)) + 1
    return np.array(
        [
            above + known.setdefault(numbers[item.start : item.stop].tobytes(), len(known))
            if isinstance(item, Scope)
            else numbers[item]
            for item in items
        ]
    )


def _periodic(sequence: Array) -> Iterator[tuple[int, int, int]]:
    """Stretches (start, period, stop) of at least two equal rounds.

    Equal windows get equal names, for widths that double (Karp, Miller and Rosenberg, 1972). Where, place after place,
    the next equal window is p further on, the sequence has period p. Takes n log**2 n.
    """
    names, width = np.unique(sequence, return_inverse=True)[1], 1
    while len(names):
        order = np.argsort(names, kind="stable")
        same = names[order[1:]] == names[order[:-1]]
        if not same.any():
            return
        gap = order[1:] - order[:-1]
        near = same & (2 * gap > width) & (gap <= 2 * width)
        starts, periods = order[:-1][near], gap[near]
        by_period = np.lexsort((starts, periods))
        starts, periods = starts[by_period], periods[by_period]
        breaks = np.flatnonzero((np.diff(starts) != 1) | (np.diff(periods) != 0)) + 1
        for a, b in zip([0, *breaks], [*breaks, len(starts)], strict=True):
            if b > a and b - a - 1 + width >= periods[a]:
                start, period = int(starts[a]), int(periods[a])
                yield start, period, start + (b - a - 1) + width + period
        if 2 * width > len(sequence):
            return
        pairs = names[:-width].astype(np.int64) * (int(names.max()) + 1) + names[width:]
        names, width = np.unique(pairs, return_inverse=True)[1], 2 * width


def _free(taken: Array, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """The stretches between `start` and `stop` that are not taken."""
    edges = np.flatnonzero(np.diff(np.concatenate([[True], taken[start:stop], [True]]).astype(np.int8)))
    for low, high in zip(edges[::2], edges[1::2], strict=True):
        yield start + int(low), start + int(high)


def _extended(names: Array, taken: Array, low: int, high: int, period: int) -> tuple[int, int]:
    """The stretch, extended on both sides as far as names repeat: the first round may read from elsewhere."""
    while low and not taken[low - 1] and low + period - 1 < len(names) and names[low - 1] == names[low - 1 + period]:
        low -= 1
    while high < len(names) and not taken[high] and high - period >= 0 and names[high] == names[high - period]:
        high += 1
    return low, high


def _rounds(graph: Graph, at: Array, low: int, high: int, period: int) -> Iterator[tuple[int, int]]:
    """The rounds between items `low` and `high`, as (first item, count), that are wired alike.

    An operation repeats the one a period before it if each input is the same, or also a period further on, or if both
    come from before the rounds and are of one kind, or if it is from the round before where there is none before the
    first.
    """
    i = low
    while i + 2 * period <= high:
        start, far = int(at[i]), int(at[i + period] - at[i])
        stop = int(at[high]) - far
        broken, mended = _break(graph, start, start, stop, far)
        if broken < min(stop, start + far):
            i = int(np.searchsorted(at, mended))
            continue
        end = int(np.searchsorted(at, broken + far, "right")) - 1
        count, rest = divmod(end - i, period)
        if rest and not _begins(graph, start, far):  # they may as well begin later, and end at the end
            later = int(at[i + rest])
            if _break(graph, later, later, broken, far)[0] == broken:
                i += rest
        if (count > 2 and (count - 1) * period >= 4) or (count == 2 and period >= 8):
            yield i, count
            i += count * period
        else:
            i = max(i + 1, int(np.searchsorted(at, broken, "right")))


def _break(graph: Graph, start: int, k: int, stop: int, far: int) -> tuple[int, int]:
    """The first operation from k on that the one `far` later does not repeat, in rounds from `start` on, and the next
    start for which it might; (stop, stop) if all before `stop` are repeated."""
    width = 64
    while k < stop:
        end = min(k + width, stop)
        slots, a, b = _differing(graph, start, k, end, far)
        if len(slots):
            alike = graph.alike(a, b)
            fine = (a < start) & np.where(b < start, alike, b - far < start)
            if not fine.all():
                owner = graph.owner[graph.first[k] + slots]
                broken = int(owner[np.argmin(fine)])
                a, b, alike = a[owner == broken], b[owner == broken], alike[owner == broken]
                lowest = np.where(alike & (a > b), a, np.where((b < 0) & ~alike, broken, np.maximum(b - far, a))) + 1
                mended = min(broken + 1, int(lowest.max()))
                return broken, mended if mended > start else broken + 1
        k, width = end, 2 * width
    return stop, stop


def _begins(graph: Graph, start: int, far: int) -> bool:
    """Whether the first round has an input of another kind than the second: from before the rounds."""
    _, a, b = _differing(graph, start, start, start + far, far)
    return not graph.alike(a, b).all()


def _differing(graph: Graph, start: int, k: int, end: int, far: int) -> tuple[Array, Array, Array]:
    """The inputs of operations k to `end`, in rounds from `start` on, that the operations `far` later neither share nor
    repeat: their places from the first input on, they, and the inputs instead of them."""
    a = graph.reads[graph.first[k] : graph.first[end]]
    b = graph.reads[graph.first[k + far] : graph.first[end + far]]
    slots = np.flatnonzero((a != b) & ~((a >= start) & (b - a == far)))
    return slots, a[slots], b[slots]


# ------------------------------------------------------------------------------------------------------- stretches


def _cut(graph: Graph, root: Scope, budget: int) -> None:
    """Put stretches of items into closed scopes, until about `budget` boxes are left."""
    stack = [(root, budget)]
    while stack:
        scope, budget = stack.pop()
        size = _size(scope)
        if scope.closed or size <= budget:
            continue
        for inner in scope.inner():  # few rounds are not worth a frame among so many boxes
            inner.closed = inner.closed or _size(inner) * inner.count * 4 * budget < size
        parts: list[list[int | Scope]] = [[]]  # in turns plain items, and a frame
        for item in scope.items:
            if isinstance(item, Scope) and not item.closed:
                parts += [[item], []]
            else:
                parts[-1].append(item)
        frames = [item for part in parts[1::2] for item in part if isinstance(item, Scope)]
        if 3 * len(frames) >= budget:
            scope.items = _stretches(graph, scope.items, budget)
            continue
        room = _room([len(part) for part in parts[::2]], budget, size)
        scope.items = []
        for i, part in enumerate(parts):
            scope.items += part if i % 2 else _shortened(graph, part, room[i // 2])
        left = budget - (len(scope.items) - len(frames))
        for i, inner in enumerate(sorted(frames, key=_size)):
            share = max(1, left // (len(frames) - i))
            stack.append((inner, share))
            left -= min(share, _size(inner))


def _room(lengths: list[int], budget: int, size: int) -> list[int]:
    """The number of boxes for each stretch of these lengths, with `size` boxes in all. Unless that is far too many,
    only the longest stretches are shortened."""
    plain = sum(lengths)
    if plain > 2 * budget:
        share = max(budget // 2, budget - size + plain)
        return [max(1, share * length // plain) for length in lengths]
    room, excess = lengths[:], size - budget
    for i in sorted(range(len(room)), key=room.__getitem__, reverse=True):
        saved = max(0, min(excess, room[i] - 1))
        room[i] -= saved
        excess -= saved
    return room


def _shortened(graph: Graph, items: list[int | Scope], number: int) -> list[int | Scope]:
    """At most so many boxes: with one stretch in the middle if that is enough, else with stretches only."""
    if 2 * number < len(items):
        return _stretches(graph, items, number)
    much = len(items) - number + 1
    start = (len(items) - much) // 2
    stop = start + much
    return items if much < 2 else items[:start] + _stretches(graph, items[start:stop], 1) + items[stop:]


def _stretches(graph: Graph, items: list[int | Scope], number: int) -> list[int | Scope]:
    """At most this many stretches of items, cut where few values are alive; fewer if that makes many edges."""
    if len(items) <= number:
        return items
    at = np.array([item.start if isinstance(item, Scope) else item for item in items])
    last = items[-1]
    end = last.stop if isinstance(last, Scope) else last + 1
    source, target = graph.edges
    inside = (source >= at[0]) & (target < end) & (source < end) & (target >= at[0])
    source, target = source[inside], target[inside]
    while True:
        cuts = [0]
        for i in range(1, number):
            middle, around = i * len(items) // number, len(items) // (3 * number)
            near = np.arange(max(cuts[-1] + 1, middle - around), middle + around + 1)
            near = near[near < len(items)]
            if len(near):
                cuts.append(int(near[np.lexsort((abs(near - middle), graph.alive[at[near]]))[0]]))
        a, b = (np.searchsorted(at[cuts], side, "right") for side in (source, target))
        if number <= 6 or len(np.unique((a * len(items) + b)[a != b])) <= 3 * number:
            break
        number = max(6, number * 2 // 3)
    found: list[int | Scope] = []
    for i, j in zip(cuts, [*cuts[1:], len(items)], strict=True):
        start, stop = int(at[i]), int(at[j]) if j < len(items) else end
        found.append(items[i] if j == i + 1 else Scope(start, stop - start, [], closed=True))
    return found


# ----------------------------------------------------------------------------------------------------------- boxes


def _boxed(graph: Graph, root: Scope) -> tuple[Folding, Array]:
    """The boxes of these scopes, without leaves, and a mask of the operations in rounds."""
    source, target = graph.edges
    representative = np.arange(graph.size)
    box_at = np.zeros(graph.size, np.int64)
    in_rounds = np.zeros(graph.size, bool)
    folding = Folding([], [], [], representative, representative, np.full(len(source), -1))
    stack: list[tuple[int | Scope, int]] = [(root, -1)]
    while stack:
        item, parent = stack.pop()
        if not isinstance(item, Scope):
            box_at[item] = len(folding.boxes)
            folding.boxes.append(Box(parent, item))
        elif item.closed:
            box_at[item.start : item.stop] = len(folding.boxes)
            folding.boxes.append(Box(parent, item.start, item))
        else:
            frame = len(folding.frames)
            folding.frames.append(item)
            folding.parents.append(parent)
            if item.count > 1:
                inside = (representative >= item.start) & (representative < item.stop)
                number = np.where(inside, (representative - item.start) // item.period, -1)
                between = inside[source] & inside[target] & (number[source] != number[target])
                folding.round_of[between & (folding.round_of < 0)] = frame
                representative[inside] -= number[inside] * item.period
                in_rounds |= inside
            stack += [(inner, frame) for inner in reversed(item.items)]
    folding.box_of = box_at[representative]
    return folding, in_rounds


def _leaf_groups(graph: Graph, folding: Folding, in_rounds: Array, level: int) -> Array:
    """A number for each leaf, equal for leaves drawn as one: at level 0 those in the same place of several rounds, at
    level 1 four or more with the same readers, at 2 those with the same first reader, at 3 all; always of one role.
    Leaves of a closed group have its box's number, below all others."""
    slots = np.flatnonzero(graph.reads < 0)
    leaves, readers = -1 - graph.reads[slots], graph.owner[slots]
    grouped = any(graph.leaf_paths)
    if level == 1 or grouped:
        pairs = np.unique(np.stack([leaves, folding.box_of[readers]]), axis=1)
    count, boxes = len(graph.leaf_kind), len(folding.boxes)
    alone = boxes + count + np.arange(count)  # above all other keys
    first = np.full(count, -1)
    read, index = np.unique(leaves, return_index=True)
    first[read] = slots[index]
    known = first >= 0  # nothing drawn reads the others
    reader = graph.owner[first[known]]
    box = alone.copy()
    box[known] = folding.box_of[reader]
    if level == 0:
        repeated = np.zeros(count, bool)
        repeated[known] = in_rounds[reader]
        slot = np.zeros(count, np.int64)
        slot[known] = first[known] - graph.first[reader]
        keys = [np.where(repeated, box, alone), np.where(repeated, slot, 0), graph.leaf_kind]
    elif level == 1:
        sets = np.zeros(count, np.uint64)
        np.add.at(sets, pairs[0], np.random.default_rng(0).integers(0, 2**64, boxes, np.uint64)[pairs[1]])
        same = _numbered([sets.view(np.int64), graph.leaf_role])
        keys = [np.where(np.bincount(same)[same] < 4, alone, same)]
    else:
        keys = [box if level == 2 else np.zeros(count, np.int64), graph.leaf_role]
    groups = boxes + _numbered(keys)
    if grouped:
        single = np.bincount(pairs[0], minlength=count) == 1
        for leaf, b in pairs.T[single[pairs[0]]].tolist():
            scope = folding.boxes[b].scope
            if scope is not None and scope.path and graph.leaf_paths[leaf][: len(scope.path)] == scope.path:
                groups[leaf] = b
    return groups


def _numbered(keys: Sequence[Array]) -> Array:
    """0, 1, ... for places that are equal in all of these."""
    return np.unique(np.stack(keys), axis=1, return_inverse=True)[1].reshape(-1)


def _with_leaves(graph: Graph, folding: Folding, groups: Array, by_round: bool) -> Folding:
    """The folding with boxes for these groups of leaves."""
    boxes = len(folding.boxes)
    folding = replace(folding, boxes=folding.boxes[:])
    shown = np.unique(groups[groups >= boxes])
    folding.leaf_box_of = np.where(groups >= boxes, boxes + np.searchsorted(shown, groups), groups)
    slots = np.flatnonzero(graph.reads < 0)
    sources = folding.leaf_box_of[-1 - graph.reads[slots]]
    targets: list[set[int]] = [set() for _ in shown]
    for b, t in {*zip(sources.tolist(), folding.box_of[graph.owner[slots]].tolist(), strict=True)}:
        if b >= boxes:
            targets[b - boxes].add(t)
    members = np.argsort(folding.leaf_box_of, kind="stable")
    ends = np.searchsorted(folding.leaf_box_of[members], np.arange(boxes, boxes + len(shown) + 1))
    for b, reading in enumerate(targets):
        own = members[ends[b] : ends[b + 1]]
        frames = sorted({folding.boxes[t].frame for t in reading})
        folding.boxes.append(Box(_frame_of_leaves(graph, folding, own, frames, by_round), leaves=own))
    return folding


def _frame_of_leaves(graph: Graph, folding: Folding, leaves: Array, frames: list[int], by_round: bool) -> int:
    """The innermost frame around all their readers, within the user's groups that they belong to; one of several rounds
    only if each round has its own leaf."""
    if not frames:
        return 0
    chains = [folding.around(frame)[::-1] for frame in frames]
    common = [step[0] for step in zip(*chains, strict=False) if len(set(step)) == 1]
    path = graph.leaf_paths[leaves[0]] if graph.leaf_paths else ()
    for frame in reversed(common):
        number = int(np.prod([scope.count for scope in folding.rounds(frame)]))
        scope_path = folding.frames[frame].path
        if (number == 1 or (by_round and number == len(leaves))) and path[: len(scope_path)] == scope_path:
            return frame
    return 0
