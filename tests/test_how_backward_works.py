"""docs/how_backward_works.md: what it quotes is the engine's, its pictures are what it draws, its tables are right."""

from __future__ import annotations

import doctest
import math
import re
from pathlib import Path
from typing import Any

import needle
import numpy as np
import pytest
from needle.autograd import Masked, unbroadcast
from numpy.testing import assert_array_equal

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "how_backward_works.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^(.*)\n```python\n((?:.*\n)*?)```$", re.MULTILINE)
MARK = re.compile(r"<!-- quoted from (\S+) -->")
OMITTED = "..."
DRAWINGS = {"pictures/textbook.svg": "textbook", "pictures/paths.svg": "paths", "pictures/second.svg": "second"}
"""Picture -> the variable of the page that is a drawing of the same."""


# --------------------------------------------------------------------------------------------------------------- quotes


def quotes(page: str) -> list[tuple[str, str]]:
    """The file that is named above each quoted block ("" if none is), and the block."""
    blocks = [(above, block) for above, block in BLOCK.findall(page) if ">>>" not in block]
    return [(mark[1] if (mark := MARK.fullmatch(above)) else "", block) for above, block in blocks]


def lines_of(text: str) -> list[str]:
    """Its lines without indentation, and without what is said to a linter."""
    return [re.sub(r"\s+# noqa.*", "", line).strip() for line in text.splitlines()]


def misquoted(quote: str, source: str) -> list[str]:
    """The first lines of a quote that do not follow in the source upon those before; none if it is right. Lines are
    next to each other in both, unless the quote has an omission between them."""
    there, start = lines_of(source), 0
    parts: list[list[str]] = [[]]
    for line in lines_of(quote):
        if line == OMITTED:
            parts.append([])
        else:
            parts[-1].append(line)
    for part in parts:
        places = (i for i in range(start, len(there) - len(part) + 1) if there[i : i + len(part)] == part)
        place = next(places, None)
        if place is None:
            return part
        start = place + len(part)
    return []


QUOTES = quotes(PAGE)


@pytest.mark.parametrize(("file", "quote"), QUOTES, ids=[quote.strip().splitlines()[0][:40] for _, quote in QUOTES])
def test_quotes_are_the_engines(file, quote):
    assert file, "a block that is not run needs <!-- quoted from ... --> in the line above it"
    assert misquoted(quote, (ROOT / file).read_text(encoding="utf-8")) == []


def test_every_quote_is_found():
    assert len(QUOTES) == PAGE.count("<!-- quoted from") == len(MARK.findall(PAGE)) >= 9


def test_a_quote_that_is_wrong_is_noticed():
    source = "def f(a):\n    if a:  # noqa: X1 - so\n        return 1\n\n    return 2\n\ndef g(a):\n    return 3\n"
    for right in ("if a:\n    return 1", "def f(a):\n...\n    return 2", "return 1\n\nreturn 2\n...\ndef g(a):"):
        assert misquoted(right, source) == []
    for wrong in ("if b:", "def f(a):\nreturn 1", "return 2\n...\nreturn 1", "return 3\n...\nreturn 3", "if a:  # why"):
        assert misquoted(wrong, source)
    page = (
        "<!-- quoted from a.py -->\n```python\nx = 1\n```\n\ntext\n```python\ny = 1\n```\n\n```python\n>>> 1\n1\n```\n"
    )
    assert quotes(page) == [("a.py", "x = 1\n"), ("", "y = 1\n")]


# ------------------------------------------------------------------------------------------------- pictures, and tables


@pytest.fixture(scope="module")
def names():
    """What the examples of the page define, and the drawings among it as they are made there."""
    defined: dict[str, Any] = {"__name__": "page"}
    for example in doctest.DocTestParser().get_examples(PAGE):
        exec(compile(example.source, "docs/how_backward_works.md", "exec"), defined)
    return defined


def texts(svg: str) -> list[Any]:
    """What stands in a picture, in order; numbers as such."""
    words = re.findall(r">([^<>\s][^<>]*)<", svg)
    return [float(word) if re.fullmatch(r"-?\d+\.\d*", word) else word for word in words]


def test_every_picture_has_a_drawing():
    assert sorted(re.findall(r"!\[.*\]\((.*)\)", PAGE)) == sorted(DRAWINGS)


@pytest.mark.parametrize("picture", DRAWINGS)
def test_pictures_show_what_the_page_draws(picture, names):
    kept, drawn = (ROOT / "docs" / picture).read_text(encoding="utf-8"), names[DRAWINGS[picture]].svg
    for a, b in zip(texts(kept), texts(drawn), strict=True):
        assert a == (pytest.approx(b) if isinstance(b, float) else b), f"{DRAWINGS[picture]}.save('docs/{picture}')"


def test_the_table_of_broadcasting():
    rows = re.findall(r"^\| (\(.*\)) \| (\(.*\)) \| (none|\(.*\)) \| (\d+) \|$", PAGE, re.MULTILINE)
    assert len(rows) == 6
    for value, output, summed, number in rows:
        shape, have = (tuple(map(int, re.findall(r"\d+", text))) for text in (value, output))
        axes = tuple(map(int, re.findall(r"\d+", summed)))
        assert np.broadcast_shapes(shape, have) == have
        assert_array_equal(unbroadcast(np.ones(have), shape), np.full(shape, float(number)), strict=True)
        adjoint = np.arange(math.prod(have)).reshape(have)
        assert_array_equal(unbroadcast(adjoint, shape), adjoint.sum(axes).reshape(shape))


def test_the_table_of_matrix_products():
    rows = re.findall(r"^\| (.*?) \| (\(\d, \d, \d\)) \|$", PAGE, re.MULTILINE)
    a, b = np.ones((5, 2, 3)), np.ones((1, 3, 4))
    g = a @ b
    shapes = [g.shape, (g @ b.mT).shape, (a.mT @ g).shape, unbroadcast(a.mT @ g, b.shape).shape]
    assert [shape for _, shape in rows] == list(map(str, shapes))


# ---------------------------------------------------------------------------------------------- what is said in passing


@pytest.mark.parametrize("name", ["where", "maximum", "relu", "clip", "max"])
def test_rules_that_send_structural_zeros(name):
    (said,) = re.findall(r"The rules of (.*?) send such adjoints", PAGE, re.DOTALL)
    assert f"`{name}`" in said
    x = needle.Tensor([0.0, 4.0])
    y = {
        "where": lambda: needle.where(x > 0, needle.sqrt(x), 0.0),
        "maximum": lambda: needle.maximum(x, needle.Tensor([1.0, 1.0])),
        "relu": lambda: needle.relu(x),
        "clip": lambda: needle.clip(x, 1.0, 5.0),
        "max": lambda: needle.max(x),
    }[name]()
    returned = y.op.gradient(needle.Tensor(np.ones(y.shape)), y)
    adjoints = returned if isinstance(returned, tuple) else (returned,)
    assert any(type(g() if callable(g) else g) is Masked for g in adjoints)


def test_a_nan_that_belongs_to_the_program_stays():
    x = needle.Tensor(0.0)
    with np.errstate(all="ignore"):
        (needle.sqrt(x) ** 2).backward()
    assert np.isnan(x.grad.item())


def test_many_paths_take_one_rule_a_node(monkeypatch):
    calls, gradient = [], needle.ops.EWiseAdd.gradient
    monkeypatch.setattr(needle.ops.EWiseAdd, "gradient", lambda *given: calls.append(1) or gradient(*given))
    x = needle.Tensor(1.0)
    y = x
    for _ in range(50):
        y = y + y
    y.backward()
    assert len(calls) == 50
    assert x.grad.item() == 2**50


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]*)\)", PAGE):
        assert (ROOT / "docs" / target).exists(), target
    assert "](how_backward_works.md)" in (ROOT / "docs" / "build_your_own.md").read_text(encoding="utf-8")
