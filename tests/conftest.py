"""Fixtures that several files of tests use."""

from __future__ import annotations

import gc

import pytest


@pytest.fixture
def uncollected():
    """The cyclic garbage collector is off: what goes, goes by its reference count."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()
