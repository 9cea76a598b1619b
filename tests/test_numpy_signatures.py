"""Every function of needle.numpy takes what NumPy's takes."""

from __future__ import annotations

import inspect

import needle.numpy as nnp
import numpy as np
import pytest

PRIVATE = {"einsum_call"}
STANDARD = {"clip"}
"""Functions with the Array API's parameters, which stand where NumPy has others; these are taken by name."""


def says_what_it_takes(function):
    try:
        return bool(inspect.signature(function))
    except ValueError:
        return False


def in_common(module):
    names = [
        name for name in dir(nnp) if name[0] != "_" and inspect.isfunction(getattr(nnp, name)) and hasattr(module, name)
    ]
    own = [name for name in names if getattr(nnp, name) is not getattr(module, name) and name not in STANDARD]
    return [name for name in own if says_what_it_takes(getattr(module, name))]


@pytest.mark.parametrize("name", in_common(np))
def test_signature_is_numpys(name):
    """The same names, kinds, order and defaults; it may take more behind that."""
    expected = inspect.signature(getattr(np, name)).parameters.values()
    own = inspect.signature(getattr(nnp, name)).parameters
    for parameter in expected:
        if parameter.kind is parameter.VAR_KEYWORD or parameter.name in PRIVATE:
            continue
        mine = own[parameter.name]
        assert mine.kind is parameter.kind
        same = mine.default is parameter.default or mine.default == parameter.default
        assert same or "no value" in str(parameter.default)
    order = [p.name for p in expected if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert [n for n in own if n in order] == order
