"""Arrays of a page as short texts: whole numbers of one or two bytes with a scale, steps of any size."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

PackedArray = dict[str, Any]
"""``{"t": type, "d": base64, "k": scale, "o": offset}``; value = offset + scale * whole number."""


def rounded(values: ArrayLike, digits: int = 4) -> list[float | None]:
    """Round to some digits; None where a value is not finite, as JSON has no word for it."""
    return [
        float(f"{value:.{digits}g}") if np.isfinite(value) else None
        for value in np.asarray(values, dtype=np.float64).ravel().tolist()
    ]


def in_bytes(values: ArrayLike, steps: int = 255) -> PackedArray:
    """Pack values with some steps between the smallest and the largest; NaN as the smallest."""
    data = np.asarray(values, dtype=np.float64)
    finite = data[np.isfinite(data)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    step = (high - low) / steps or 1.0
    whole = np.rint((np.nan_to_num(data, nan=low, posinf=high, neginf=low) - low) / step)
    return {"t": "u1", "d": _text(whole.astype(np.uint8)), "k": float(f"{step:.6g}"), "o": float(f"{low:.6g}")}


def signed_bytes(values: ArrayLike) -> PackedArray:
    """Pack values with 127 steps from zero to the largest magnitude: what is zero stays zero."""
    data = np.nan_to_num(np.asarray(values, dtype=np.float64))
    step = float(np.abs(data).max(initial=0.0)) / 127 or 1.0
    return {"t": "i1", "d": _text(np.rint(data / step).astype(np.int8)), "k": float(f"{step:.6g}"), "o": 0.0}


def in_tenths(values: ArrayLike) -> PackedArray:
    """Pack values to a tenth, those beyond 3276.7 to a coarser step."""
    data = np.nan_to_num(np.asarray(values, dtype=np.float64))
    step = max(0.1, float(np.abs(data).max(initial=0.0)) / 32767)
    return {"t": "i2", "d": _text(np.rint(data / step).astype("<i2")), "k": float(f"{step:.6g}"), "o": 0.0}


def ascending(values: ArrayLike) -> PackedArray:
    """Pack ascending whole numbers as their steps, seven bits in a byte, the lowest first."""
    left: NDArray[np.int64] = np.diff(np.asarray(values, dtype=np.int64), prepend=0).astype(np.int64)
    columns, more = [], []
    while True:
        columns.append(left & 127)
        left = left >> 7
        more.append(left > 0)
        if not left.any():
            break
    digits = np.stack(columns, axis=1) if len(left) else np.empty((0, 1), dtype=np.int64)
    continued = np.stack(more, axis=1) if len(left) else np.empty((0, 1), dtype=np.bool_)
    kept = np.ones_like(continued)
    kept[:, 1:] = continued[:, :-1]
    return {"t": "steps", "d": _text((digits | (continued << 7))[kept].astype(np.uint8)), "k": 1, "o": 0}


def _text(values: NDArray[np.integer[Any]]) -> str:
    return b64encode(np.ascontiguousarray(values).tobytes()).decode()
