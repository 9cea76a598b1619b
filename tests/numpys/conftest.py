"""What of NumPy's own tests does not apply to Tensors, and why; and what does not pass yet."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

_FOREIGN = re.compile("booleans or numbers, got dtype |or a number, got .* of dtype |would be lost; write ")
"""What Needle says to a test that makes a Tensor of objects, strings, dates or records, or would drop a mask."""
_LISTED = re.compile(r"^(?:# (?P<reason>.*)|(?P<test>\S.*))$", re.M)


def _listed(file: str) -> dict[str, str]:
    """The tests in a list, and the comment above each: why it stands there."""
    found, reason = {}, ""
    for match in _LISTED.finditer((Path(__file__).parent / file).read_text()):
        if match["reason"]:
            reason = match["reason"]
        else:
            found[match["test"]] = reason
    return found


@pytest.fixture(autouse=True)
def _same_draws() -> None:
    np.random.seed(0)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    try:
        return (yield)
    except BaseException as error:
        told: BaseException | None = error
        while told is not None:
            if _FOREIGN.search(str(told)):
                pytest.skip("Needle refuses objects, strings, dates, records, masks and subclasses")
            told = told.__cause__ or told.__context__
        raise


def pytest_collection_modifyitems(config: Any, items: list[pytest.Item]) -> None:
    apart, failing = _listed("not_applicable.txt"), _listed("failing.txt")
    kept, left_out = [], []
    for item in items:
        file, _, test = item.nodeid.partition("::")
        name = f"{Path(file).stem.removeprefix('test_numpy_')}::{test}"
        if "test_numpy_" not in file:
            kept.append(item)
            continue
        if any(name == entry or name.startswith((f"{entry}[", f"{entry}::")) for entry in apart):
            left_out.append(item)
            continue
        reasons = [
            why for entry, why in failing.items() if name == entry or name.startswith((f"{entry}[", f"{entry}::"))
        ]
        if reasons:
            item.add_marker(pytest.mark.xfail(reason=reasons[0], strict=name in failing))
        item.add_marker(pytest.mark.filterwarnings("ignore:the matrix subclass"))
        kept.append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept
