"""What the number formats of other programs are in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def widened_bfloat16(bits: Array) -> Array:
    """float32 numbers from the bits (uint16) of bfloat16 ones, exactly: bfloat16 is float32's upper half."""
    wide: Array = bits.astype(np.uint32)
    wide <<= np.uint32(16)
    return wide.view(np.float32)


def native(array: Array) -> Array:
    """The same numbers in this machine's byte order."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
