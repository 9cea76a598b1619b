"""Measures whether the engine can still be read in one sitting, and fails where it cannot: `make lint` runs it.

It counts the lines of the engine's files, and what an op is made of, and watches which functions a plain `backward()`
runs. Each figure is printed beside its budget.
"""

from __future__ import annotations

import ast
import inspect
import io
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import needle
from needle import Op, Tensor

PACKAGE = Path(needle.__file__).parent
ENGINE = sorted((PACKAGE / "autograd").glob("*.py"))
BESIDE = [PACKAGE / name for name in ("forward.py", "batching.py", "tape.py")]
"""What the transforms add to the engine."""
RULES = {"compute", "gradient", "tangent", "batched", "hint", "gradient_as_tuple"}
CALLERS = {"on", "pull_back"}
"""The methods of an op that call its rules."""
GONE = {"array_gradient", "moving_gradient", "masks", "by_output", "by_input", "branch_of", "carries_mask", "mixes"}
GONE |= {"moves", "takes_branch", "takes_branches", "takes_buffer", "piecewise_linear", "batches"}
SKIPPED = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def lines_of(path: Path) -> tuple[int, int]:
    """The lines of a file without the declarations that only a type checker needs, and those of code: without
    docstrings, comments and blanks."""
    source = path.read_text()
    prose: set[int] = set()
    declarations: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            prose.update(range(node.lineno, (node.end_lineno or 0) + 1))
        elif isinstance(node, ast.AnnAssign) and node.value is None:
            declarations.update(range(node.lineno, (node.end_lineno or 0) + 1))
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in SKIPPED:
            code.update(range(token.start[0], token.end[0] + 1))
    return source.count("\n") - len(declarations), len(code - prose - declarations)


def classes_of_ops(cls: type[Any] = Op) -> Iterator[type[Any]]:
    for child in cls.__subclasses__():
        yield child
        yield from classes_of_ops(child)


def public(cls: type[Any]) -> tuple[set[str], set[str]]:
    """The public facts of a class, declared or set, and its public methods."""
    names = {name for name in (*vars(cls), *vars(cls)["__annotations__"]) if not name.startswith("_")}
    methods = {name for name in names if inspect.isfunction(vars(cls).get(name))}
    return names - methods, methods


def functions_of_backward() -> list[str]:
    """The functions of the engine that `backward()` runs for a small net, in the order of their first calls."""
    x, w, b = Tensor([[1.0, 2.0]]), Tensor([[3.0], [4.0]]), Tensor([0.5])
    y = (needle.relu(x @ w) * b + x).sum()
    called: dict[str, None] = {}

    def note(frame: Any, event: str, _: Any) -> None:
        if event == "call" and Path(frame.f_code.co_filename).parent.name == "autograd":
            called.setdefault(frame.f_code.co_name)

    sys.setprofile(note)
    try:
        y.backward()
    finally:
        sys.setprofile(None)
    return list(called)


def figures() -> Iterator[tuple[str, str, bool]]:
    """What was measured, beside its budget, and whether that holds."""
    counted = {path: lines_of(path) for path in (*ENGINE, *BESIDE)}
    longest = max(counted, key=lambda path: counted[path][0])
    yield f"longest file, {longest.name}", f"{counted[longest][0]} lines, at most 420", counted[longest][0] <= 420
    total, code = (sum(column) for column in zip(*counted.values(), strict=True))
    yield "the engine and what the transforms add", f"{total:,} lines, at most 2,700", total <= 2700
    yield "of which code", f"{code:,} lines, at most 1,750", code <= 1750
    facts, methods = public(Op)
    yield "facts of an op", f"{len(facts)}, at most 8: {', '.join(sorted(facts))}", len(facts) <= 8
    yield "methods of an op", ", ".join(sorted(methods)), methods <= RULES | CALLERS
    found = [f"{cls.__name__}.{name}" for cls in classes_of_ops() for name in sorted(GONE & set(vars(cls)))]
    yield "rules and facts that one rule made superfluous", ", ".join(found) or "none", not found
    called = functions_of_backward()
    sweeps = [name for name in called if "sweep" in name]
    walk = ["backward", "compute_gradient_of_variables", "sweep", "find_topo_sort"]
    yield "backward() runs", ", ".join(walk), [name for name in called if name in walk] == walk and len(sweeps) == 1


def main() -> int:
    failed = False
    for what, figure, holds in figures():
        print(f"{'ok' if holds else 'NO'}  {what}: {figure}")
        failed = failed or not holds
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
