"""A picture as SVG, DOT or Mermaid: boxes in frames, and arrows between boxes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple
from unicodedata import east_asian_width

from .frames import Line, Link, Placed, Rectangle, place
from .layout import LABEL, Point

FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace"
_MAIN, _SMALL = 12.0, 10.5
_MARGIN = 16.0


class Box(NamedTuple):
    """`lines` stand in it, of which the first is larger and bold as far as its name; `title` is shown on pointing at
    it. `nodes` is how many nodes it stands for."""

    role: str
    name: str
    lines: tuple[str, ...]
    title: str
    frame: int
    order: float
    nodes: int = 1
    output: bool = False
    folded: bool = False


class Frame(NamedTuple):
    """A frame inside of an earlier one; `rounds`: how often what is in it was computed."""

    text: str
    title: str
    parent: int
    order: float
    rounds: int = 1


class Arrow(NamedTuple):
    """From box to box; `frame`: from one round of this frame to its next, -1 if it is no such arrow."""

    source: int
    target: int
    frame: int = -1
    label: str = ""


class Picture(NamedTuple):
    """Frame 0 is the picture itself, and its text what the picture shows."""

    boxes: Sequence[Box]
    frames: Sequence[Frame]
    arrows: Sequence[Arrow]


class _Look(NamedTuple):
    """How a role looks: by colour and by form, so that it reads without colours, too."""

    legend: str
    fill: str
    stroke: str
    form: str
    dashes: str
    mermaid: tuple[str, str]


_LOOKS = {
    "parameter": _Look("requires grad", "#ddf4ff", "#0550ae", "round", "", ("([", "])")),
    "detached": _Look("detached", "#eef6fb", "#0550ae", "round", "4 3", ("([", "])")),
    "constant": _Look("constant", "#f0f1f3", "#57606a", "sharp", "4 3", ("[/", "/]")),
    "operation": _Look("operation", "#ffffff", "#424a53", "soft", "", ("[", "]")),
    "adjoint": _Look("adjoint", "#fff1e5", "#953800", "cut", "", ("{{", "}}")),
}
_COLOURS = ("#424a53", "#953800")
"""Of lines: between operations, and to or from adjoints."""
_PLAIN = " _,=()+-*/[]:.@%\u00d7\u2026"
_OUTPUT_FILL = {"operation": "#dafbe1", "adjoint": "#ffd8b5"}
_OUTPUT_LEGEND = {"operation": "output", "adjoint": "gradient"}


# ------------------------------------------------------------------------------------------------------------ text


def escape(text: str) -> str:
    """The text as XML has it, in an element or an attribute."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def text_width(text: str, size: float) -> float:
    """The width of a text in any font of `FONT`: all letters of one are equally wide, 0.62 of its size or less. What
    they do not have comes from other fonts, which are wider in Chinese, Japanese and Korean, and in pictographs."""
    return size * sum(0.62 if c < "\u0250" else 1.25 if east_asian_width(c) in "WF" else 0.9 for c in text)


def box_size(box: Box) -> tuple[float, float]:
    widths = [text_width(line, _SMALL if i else _MAIN) for i, line in enumerate(box.lines)]
    beside = 30 if _LOOKS[box.role].form in ("round", "cut") else 22
    return max(44.0, max(widths) + beside), _line_tops(box)[-1] + 4


def _line_tops(box: Box) -> list[float]:
    """Where the lines of text begin, counted from the box's upper side, and where the last one ends."""
    tops = [6.0]
    for i in range(len(box.lines)):
        tops.append(tops[-1] + (_SMALL if i else _MAIN) * 1.35)
    return tops


def _title_size(frame: Frame) -> tuple[float, float]:
    return text_width(frame.text, _SMALL + 0.5) + 4, 16.0


def _bundle(picture: Picture, arrow: Arrow) -> int:
    """0 for an arrow between operations, 1 for one to or from adjoints."""
    return int("adjoint" in (picture.boxes[arrow.source].role, picture.boxes[arrow.target].role))


# ------------------------------------------------------------------------------------------------------------- SVG


def placed(picture: Picture) -> Placed:
    """Where everything in the picture goes, before margins."""
    return place(
        sizes=[box_size(box) for box in picture.boxes],
        frame_of=[box.frame for box in picture.boxes],
        parents=[frame.parent for frame in picture.frames],
        titles=[_title_size(frame) for frame in picture.frames],
        order=[*[box.order for box in picture.boxes], *[frame.order for frame in picture.frames]],
        links=[
            Link(
                arrow.source,
                arrow.target,
                arrow.frame,
                text_width(arrow.label, _SMALL) + 8 if arrow.label else 0.0,
                _bundle(picture, arrow),
            )
            for arrow in picture.arrows
        ],
    )


def svg(picture: Picture) -> str:
    """The picture as SVG: it needs nothing from outside, and brings its own background. Text is text."""
    at = placed(picture)
    _, _, width, height = at.frames[0]
    legend, legend_width, legend_height = _legend(picture, max(width, 360.0), height + 22)
    width, height = max(width, legend_width) + 2 * _MARGIN, height + 22 + legend_height + 2 * _MARGIN
    indent = (width - 2 * _MARGIN - at.frames[0][2]) / 2
    what = escape(picture.frames[0].text)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" style="max-width:100%;height:auto" role="graphics-document" aria-label="{what}" '
        f'font-family="{escape(FONT)}" font-size="{_n(_MAIN)}" text-anchor="middle" fill="#1f2328">',
        f"<title>{what}</title>",
        _shape("soft", (0.5, 0.5, width - 1, height - 1), 'fill="#ffffff" stroke="#d0d7de"'),
        f'<g transform="translate({_n(_MARGIN + indent)} {_n(_MARGIN)})">',
    ]
    for frame, rectangle, title in list(zip(picture.frames, at.frames, at.titles, strict=True))[1:]:
        out.append(_frame(frame, rectangle, title))
    out += _lines(picture, at.lines)
    for i, (x, y) in at.labels.items():
        label = picture.arrows[i].label
        w = text_width(label, _SMALL) + 4
        out.append(
            f'<rect x="{_n(x - w / 2)}" y="{_n(y - LABEL / 2)}" width="{_n(w)}" height="{_n(LABEL)}" fill="#ffffff" '
            f'fill-opacity="0.9"/><text x="{_n(x)}" y="{_n(y + 3.5)}" font-size="{_n(_SMALL)}" fill="#424a53">'
            f"{escape(label)}</text>"
        )
    out += [_box(box, rectangle) for box, rectangle in zip(picture.boxes, at.boxes, strict=True)]
    out += ["</g>", f'<g transform="translate({_n(_MARGIN)} {_n(_MARGIN)})">', *legend, "</g>", "</svg>"]
    return "\n".join(out) + "\n"


def _n(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")


def _shape(form: str, at: Rectangle, attributes: str) -> str:
    x, y, w, h = at
    if form == "cut":
        c = min(9.0, h / 3)
        right, bottom = x + w, y + h
        upper = [(x, y + c), (x + c, y), (right - c, y), (right, y + c)]
        lower = [(right, bottom - c), (right - c, bottom), (x + c, bottom), (x, bottom - c)]
        return f'<polygon points="{" ".join(f"{_n(a)},{_n(b)}" for a, b in upper + lower)}" {attributes}/>'
    radius = {"round": min(h / 2, 16.0), "soft": 4.0, "sharp": 0.0}[form]
    return f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(w)}" height="{_n(h)}" rx="{_n(radius)}" {attributes}/>'


def _symbol(role: str, output: bool, folded: bool, at: Rectangle) -> str:
    """The box itself: folded ones lie on others, outputs have a second border."""
    look = _LOOKS[role]
    x, y, w, h = at
    fill = _OUTPUT_FILL.get(role, look.fill) if output else look.fill
    dashes = f' stroke-dasharray="{look.dashes}"' if look.dashes else ""
    outline = f'fill="{fill}" stroke="{look.stroke}" stroke-width="1.2"{dashes}'
    sheets = [_shape(look.form, (x + d, y + d, w, h), outline) for d in ((5.0, 2.5, 0.0) if folded else (0.0,))]
    second = f'fill="none" stroke="{look.stroke}"'
    return "".join([*sheets, _shape(look.form, (x + 3, y + 3, w - 6, h - 6), second) if output else ""])


def _box(box: Box, at: Rectangle) -> str:
    x, y, w, _ = at
    out = [f'<g role="graphics-symbol" aria-label="{escape(box.title)}"><title>{escape(box.title)}</title>']
    out.append(_symbol(box.role, box.output, box.folded, at))
    for i, (line, top) in enumerate(zip(box.lines, _line_tops(box), strict=False)):
        size = _SMALL if i else _MAIN
        text = escape(line)
        if not i:
            name, equals, rest = line.partition(" = ")
            text = f'<tspan font-weight="700">{escape(name)}</tspan>{escape(equals + rest)}'
        more = f' font-size="{_n(_SMALL)}" fill="#424a53"' if i else ""
        out.append(f'<text x="{_n(x + w / 2)}" y="{_n(y + top + size)}"{more}>{text}</text>')
    return "".join([*out, "</g>"])


def _frame(frame: Frame, at: Rectangle, title: Rectangle) -> str:
    x, y, w, h = at
    look = 'fill="#f6f8fa" stroke="#6e7781" stroke-width="1"'
    sheets = [_shape("soft", (x + d, y + d, w, h), look) for d in ((6.0, 3.0, 0.0) if frame.rounds > 1 else (0.0,))]
    return (
        f"<g><title>{escape(frame.title)}</title>{''.join(sheets)}"
        f'<text x="{_n(title[0])}" y="{_n(title[1] + 12)}" font-size="{_n(_SMALL + 0.5)}" font-weight="700" '
        f'text-anchor="start" fill="#424a53">{escape(frame.text)}</text></g>'
    )


def _lines(picture: Picture, lines: Iterable[Line]) -> list[str]:
    """Lines of one box and look as one path, with arrow heads where they arrive."""
    paths: dict[tuple[int, bool, str], list[str]] = defaultdict(list)
    heads: dict[str, list[str]] = defaultdict(list)
    for line in lines:
        colour = _COLOURS[line.bundle]
        points = line.points
        if line.target >= 0:
            x, y = points[-1]
            heads[colour].append(f"M{_n(x)} {_n(y)}l-3.5 -7h7z")
            points = [*points[:-1], (x, y - 5)]
            if points[-2][1] > y - 5 and not line.returns:
                points[-2] = points[-1]
        way = _rounded(points) if line.returns else _curved(points)
        paths[line.source, line.between_rounds, colour].append(way)
    out = []
    for (source, between_rounds, colour), ways in paths.items():
        dashes = ' stroke-dasharray="5 4"' if between_rounds else ""
        title = escape(f"{picture.boxes[source].name}" + (", to the next round" if between_rounds else ""))
        out.append(
            f'<path d="{"".join(dict.fromkeys(ways))}" fill="none" stroke="{colour}" stroke-width="1.1"{dashes}>'
            f"<title>{title}</title></path>"
        )
    return out + [f'<path d="{"".join(each)}" fill="{colour}"/>' for colour, each in heads.items()]


def _curved(points: Sequence[Point]) -> str:
    """Upright where it passes a row, and bent between rows."""
    (x, y), *rest = points
    way = f"M{_n(x)} {_n(y)}"
    for x2, y2 in rest:
        if abs(x2 - x) < 0.3:
            way += f"V{_n(y2)}" if y2 != y else ""
        else:
            middle = _n((y + y2) / 2)
            way += f"C{_n(x)} {middle} {_n(x2)} {middle} {_n(x2)} {_n(y2)}"
        x, y = x2, y2
    return way


def _rounded(points: Sequence[Point]) -> str:
    """Upright and level pieces, with round corners."""
    way = f"M{_n(points[0][0])} {_n(points[0][1])}"
    for (x0, y0), (x, y), (x2, y2) in zip(points, points[1:], points[2:], strict=False):
        r = min(5.0, (abs(x - x0) + abs(y - y0)) / 2, (abs(x2 - x) + abs(y2 - y)) / 2)
        before = (x - r * _sign(x - x0), y - r * _sign(y - y0))
        after = (x + r * _sign(x2 - x), y + r * _sign(y2 - y))
        way += f"L{_n(before[0])} {_n(before[1])}Q{_n(x)} {_n(y)} {_n(after[0])} {_n(after[1])}"
    return way + f"L{_n(points[-1][0])} {_n(points[-1][1])}"


def _sign(number: float) -> float:
    return float((number > 0) - (number < 0))


def _legend(picture: Picture, width: float, top: float) -> tuple[list[str], float, float]:
    """The looks that occur, in rows of this width; and how wide and high that is."""
    entries: list[tuple[str, tuple[str, bool] | None]] = []
    for role, output in _kinds(picture):
        text = _OUTPUT_LEGEND.get(role, "gradient") if output else _LOOKS[role].legend
        entries.append((text, (role, output)))
    if any(frame.rounds > 1 for frame in picture.frames):
        entries.append(("to the next round", None))
    out, x, y, widest = [], 0.0, top, 0.0
    for text, look in entries:
        w = 24 + 6 + text_width(text, _SMALL) + 16
        if x and x + w > width + 16:
            x, y = 0.0, y + 20
        if look:
            out.append(_symbol(*look, False, (x, y, 24, 13)))
        else:
            out.append(f'<path d="M{_n(x)} {_n(y + 6.5)}h24" stroke="#424a53" stroke-dasharray="5 4"/>')
        out.append(
            f'<text x="{_n(x + 30)}" y="{_n(y + 10)}" font-size="{_n(_SMALL)}" text-anchor="start" fill="#424a53">'
            f"{escape(text)}</text>"
        )
        x += w
        widest = max(widest, x - 16)
    return out, widest, y + 13 - top


def _kinds(picture: Picture) -> list[tuple[str, bool]]:
    """The looks that occur, in the order of the table above."""
    occurring = {(box.role, box.output) for box in picture.boxes}
    return [(role, output) for role in _LOOKS for output in (False, True) if (role, output) in occurring]


# ------------------------------------------------------------------------------------------------- DOT and Mermaid


def dot(picture: Picture) -> str:
    """The picture for Graphviz."""
    out = [
        "digraph needle {",
        f"  graph [label={_quoted(picture.frames[0].text)}, labelloc=b, rankdir=TB, fontname=monospace, fontsize=11];",
        '  node [shape=box, fontname=monospace, fontsize=11, height=0.3, margin="0.12,0.06", fontcolor="#1f2328"];',
        '  edge [fontname=monospace, fontsize=10, arrowsize=0.7, color="#424a53"];',
    ]
    out += _nested(
        picture,
        lambda f: f"subgraph cluster_{f} {{ {_dot_frame(picture.frames[f])}",
        lambda b: f"n{b} [{_dot_box(picture.boxes[b])}];",
        "}",
    )
    for arrow in picture.arrows:
        attributes = [f"label={_quoted(arrow.label)}"] if arrow.label else []
        attributes += ["style=dashed", "constraint=false"] if arrow.frame >= 0 else []
        attributes += [f'color="{_COLOURS[1]}"'] if _bundle(picture, arrow) else []
        more = f" [{', '.join(attributes)}]" if attributes else ""
        out.append(f"  n{arrow.source} -> n{arrow.target}{more};")
    return "\n".join([*out, "}"]) + "\n"


def _dot_frame(frame: Frame) -> str:
    border = f'color="#6e7781"; peripheries={1 + (frame.rounds > 1)};'
    return f"label={_quoted(frame.text)}; tooltip={_quoted(frame.title)}; labeljust=l; labelloc=t; {border}"


def _dot_box(box: Box) -> str:
    look = _LOOKS[box.role]
    fill = _OUTPUT_FILL.get(box.role, look.fill) if box.output else look.fill
    return ", ".join(
        [
            f"label={_quoted(chr(10).join(box.lines))}",
            f"tooltip={_quoted(box.title)}",
            f'style="{"rounded," if look.form == "round" else ""}{"dashed," if look.dashes else ""}filled"',
            f'fillcolor="{fill}"',
            f'color="{look.stroke}"',
            f"peripheries={1 + box.output}",
            *(["shape=octagon"] if look.form == "cut" else ["shape=box3d"] if box.folded else []),
        ]
    )


def _quoted(text: str) -> str:
    """A string of DOT: entities are resolved in it, and a backslash begins an escape."""
    for plain, escaped in (("&", "&amp;"), ("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n")):
        text = text.replace(plain, escaped)
    return f'"{text}"'


def mermaid(picture: Picture) -> str:
    """The picture for Mermaid."""
    out = ["flowchart TD"]
    out += _nested(
        picture,
        lambda f: f'subgraph f{f}["{_entities(picture.frames[f].text)}"]',
        lambda b: _mermaid_box(b, picture.boxes[b]),
        "end",
    )
    for arrow in picture.arrows:
        label = f'|"{_entities(arrow.label)}"|' if arrow.label else ""
        out.append(f"  n{arrow.source} {'-.->' if arrow.frame >= 0 else '-->'}{label} n{arrow.target}")
    for role, output in _kinds(picture):
        look = _LOOKS[role]
        own = [f"n{i}" for i, box in enumerate(picture.boxes) if (box.role, box.output) == (role, output)]
        fill = _OUTPUT_FILL.get(role, look.fill) if output else look.fill
        name = f"{role}_output" if output else role
        style = f"fill:{fill},stroke:{look.stroke},color:#1f2328,stroke-width:{3 if output else 1}px"
        out.append(f"  classDef {name} {style}{',stroke-dasharray:4 3' if look.dashes else ''}")
        out.append(f"  class {','.join(own)} {name}")
    out += [f"  style f{f} fill:#f6f8fa,stroke:#6e7781,color:#1f2328" for f in range(1, len(picture.frames))]
    backward = [str(i) for i, arrow in enumerate(picture.arrows) if _bundle(picture, arrow)]
    out += [f"  linkStyle {','.join(backward)} stroke:{_COLOURS[1]}"] if backward else []
    return "\n".join(out) + "\n"


def _mermaid_box(b: int, box: Box) -> str:
    opening, closing = ("[[", "]]") if box.folded else _LOOKS[box.role].mermaid
    return f'n{b}{opening}"{"<br/>".join(map(_entities, box.lines))}"{closing}'


def _entities(text: str) -> str:
    """Signs that may mean something to Mermaid by their number, which it resolves after parsing."""
    return "".join(c if c.isalnum() or c in _PLAIN else f"#{ord(c)};" for c in text)


def _nested(picture: Picture, opening: Callable[[int], str], line: Callable[[int], str], closing: str) -> Iterable[str]:
    """Each box's line inside of its frame's; a frame's own inner ones follow it in the list."""
    inside: list[list[int]] = [[] for _ in picture.frames]
    for b, box in enumerate(picture.boxes):
        inside[box.frame].append(b)
    open_frames: list[int] = []
    for f, frame in enumerate(picture.frames):
        while open_frames and open_frames[-1] != frame.parent:
            yield "  " * len(open_frames) + closing
            open_frames.pop()
        if f:
            yield "  " * (len(open_frames) + 1) + opening(f)
        open_frames.append(f)
        for b in inside[f]:
            yield "  " * len(open_frames) + "  " * (f > 0) + line(b)
    for depth in range(len(open_frames) - 1, 0, -1):
        yield "  " * (depth + 1) + closing
