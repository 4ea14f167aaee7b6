"""JSON that people read and that is quick to write; and reading it without trust in what it holds."""

from __future__ import annotations

import json
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


def plain(value: Any) -> Any:
    """Rebuild `value` from None, bool, int, float, str, list and dict only: what JSON and TOML can hold.

    Tuples and arrays become lists, paths strings.

    Raises
    ------
    TypeError
        If `value` holds anything else.
    """
    if hasattr(value, "tolist"):
        value = value.tolist()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"a setting cannot hold a {type(value).__name__}: {value!r}")


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


def read_object(path: Path) -> dict[str, Any]:
    """Read a file that holds a JSON object.

    Raises
    ------
    ValueError
        If the file is damaged or holds something else; the message names the file.
    OSError
        If there is no such file, or it cannot be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {type(error).__name__}: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged: expected a JSON object, found {type(content).__name__}")  # noqa: TRY004
    return content


def sealed(content: dict[str, Any]) -> dict[str, Any]:
    """`content` and a checksum of it, for :func:`read_sealed`; it is JSON-able with strings as keys."""
    as_read = json.loads(json.dumps(content))
    return {**content, CHECKSUM: _checksum(as_read)}


def read_sealed(path: Path, since: str | None = None) -> dict[str, Any]:
    """Read the content of a file that was written from :func:`sealed`.

    With `since`, what has neither a checksum nor that key was written by an earlier version, and is returned as it is.

    Raises
    ------
    ValueError
        As for :func:`read_object`, and where the checksum is not that of the content.
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
