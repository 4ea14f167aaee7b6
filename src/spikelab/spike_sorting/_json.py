"""JSON that people read and that is quick to write."""

from __future__ import annotations

import json
from typing import Any


def readable(value: Any, levels: int = 4, *, margin: str = "", **options: Any) -> str:
    """Write `value` with a line per item for as many levels of dicts and of lists of these, and the rest on one line.

    What is on one line is written by compiled code; ``json.dumps(indent=...)`` writes all of it in Python, ten times
    slower. Keys are strings; `options` are those of :func:`json.dumps`.
    """
    is_dict = isinstance(value, dict)
    if levels == 0 or not value or not (is_dict or (isinstance(value, list) and isinstance(value[0], dict))):
        return json.dumps(value, **options)
    inside = margin + " "
    if is_dict:
        lines = (f"{json.dumps(k)}: {readable(v, levels - 1, margin=inside, **options)}" for k, v in value.items())
    else:
        lines = (readable(item, levels - 1, margin=inside, **options) for item in value)
    opening, closing = "{}" if is_dict else "[]"
    return f"{opening}\n{inside}" + f",\n{inside}".join(lines) + f"\n{margin}{closing}"
