"""Equality by value of nested containers that hold arrays."""

from __future__ import annotations

from typing import Any

import numpy as np


def same_value(a: Any, b: Any) -> bool:
    """Whether `a` and `b` have the same type and content, dtypes included; NaN equals NaN."""
    if isinstance(a, np.ndarray):
        return _same_array(a, b)
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same_value(value, b[key]) for key, value in a.items())
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same_value, a, b))
    # NaN and NaT are the values that differ from themselves.
    return bool(a == b) or bool(a != a and b != b)


def _same_array(a: np.ndarray[Any, Any], b: Any) -> bool:
    return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind in "fcmM")
