"""JSON that people read and that is quick to write."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def readable(value: Any, levels: int = 4, **options: Any) -> str:
    """Write `value` with a line per item for as many levels of dicts and of lists of these, and the rest on one line.

    What is on one line is written by compiled code; ``json.dumps(indent=...)`` writes all of it in Python, ten times
    slower. Keys are strings; `options` are those of :func:`json.dumps`.
    """
    return _indented(value, levels, "", json.JSONEncoder(**options).encode)


def _indented(value: Any, levels: int, margin: str, encode: Callable[[Any], str]) -> str:
    is_dict = isinstance(value, dict)
    if levels == 0 or not value or not (is_dict or (isinstance(value, list) and isinstance(value[0], dict))):
        return encode(value)
    inside = margin + " "
    if is_dict:
        lines = (f"{encode(key)}: {_indented(item, levels - 1, inside, encode)}" for key, item in value.items())
    else:
        lines = (_indented(item, levels - 1, inside, encode) for item in value)
    opening, closing = "{}" if is_dict else "[]"
    return f"{opening}\n{inside}" + f",\n{inside}".join(lines) + f"\n{margin}{closing}"
