"""JSON files of this package: plain values, text that people can read, and reading that trusts no content."""

from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CHECKSUM = "checksum"


def scalar(value: Any) -> Any:
    """Turn a NumPy scalar into a Python number or bool, without importing NumPy; leave the rest."""
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value


def without_arrays(value: Any) -> Any:
    """Turn NumPy arrays, also those in lists and dictionaries, into lists, without importing NumPy; leave the rest."""
    if getattr(value, "ndim", 0) and hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, list | tuple) and any(map(_may_hold_arrays, value)):
        return [without_arrays(item) for item in value]
    if isinstance(value, dict) and any(map(_may_hold_arrays, value.values())):
        return {name: without_arrays(item) for name, item in value.items()}
    return value


def _may_hold_arrays(value: Any) -> bool:
    return isinstance(value, list | tuple | dict) or bool(getattr(value, "ndim", 0))


def _refuse(value: Any) -> Any:
    raise TypeError(f"a setting cannot hold a {type(value).__name__}: {value!r}")


def plain(
    value: Any, *, number: Callable[[float], Any] = lambda number: number, other: Callable[[Any], Any] = _refuse
) -> Any:
    """Rebuild `value` from None, bool, int, float, str, list and dict only: what JSON and TOML can hold.

    Tuples and arrays become lists, paths strings. `number` converts floats: :func:`finite_or_text` where NaN and
    infinity cannot be written. `other` converts values of any other type, which raise a TypeError by default.
    """
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float):
        return number(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, list | tuple):
        return [plain(item, number=number, other=other) for item in value]
    if isinstance(value, Mapping):
        return {str(key): plain(item, number=number, other=other) for key, item in value.items()}
    return os.fspath(value) if isinstance(value, os.PathLike) else other(value)


def finite_or_text(number: float) -> float | str:
    """Replace NaN and infinity, which JSON lacks, by their text: ``"nan"``, ``"inf"``, ``"-inf"``."""
    return number if math.isfinite(number) else str(number)


def readable(value: Any, levels: int = 4, **options: Any) -> str:
    """Write JSON with a line per item for as many levels of dicts and of lists of dicts, the rest on one line.

    A line is written by compiled code; ``json.dumps(indent=...)`` writes everything in Python, ten times slower. Keys
    are strings; `options` are those of :func:`json.dumps`.
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


def read_object(path: Path) -> dict[str, Any]:
    """Read a file that holds a JSON object; the ValueError for a damaged file names the file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {type(error).__name__}: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged: expected a JSON object, found {type(content).__name__}")  # noqa: TRY004
    return content


def sealed(content: dict[str, Any]) -> dict[str, Any]:
    """Add a checksum to `content`, for :func:`read_sealed`; `content` is JSON-able with strings as keys."""
    as_read = json.loads(json.dumps(content))
    return {**content, CHECKSUM: _checksum(as_read)}


def read_sealed(path: Path, since: str | None = None) -> dict[str, Any]:
    """Read the content of a file that was written from :func:`sealed`; a ValueError says that it is damaged.

    A file without a checksum and without the key `since` was written by an earlier version, and is read unchecked.
    """
    content = read_object(path)
    expected = content.pop(CHECKSUM, None)
    if expected is None and since is not None and since not in content:
        return content
    if expected != (found := _checksum(content)):
        raise ValueError(f"{path} is damaged: its checksum is {found}, expected {expected!r}")
    return content


def _checksum(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True)
    return f"{zlib.crc32(text.encode()):08x}"
