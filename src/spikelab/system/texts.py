"""Reading of texts that people and other programs write: settings, lists, job files, records.

Every fault is a ValueError that names the file and what was expected. Files that this package wrote itself are read by
:mod:`spikelab.system.json_files`.
"""

from __future__ import annotations

import json
import re
import stat
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikelab.system.quoting import printable

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_BYTES = 32 * 2**20
DEEPEST = 32
LONGEST_SHOWN = 120
# Dotted keys, whose parsing takes a time that grows with the square of their length.
DOTTED_KEY = re.compile(rf"(?:\.[ \t]*(?:[\w-]+|\"[^\"\n]*\"|'[^'\n]*')[ \t]*){{{DEEPEST}}}")
# Marks that UTF-16 begins with, as spreadsheets save "Unicode text"; little-endian UTF-32 begins with one, and a NUL.
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
TYPOGRAPHIC = re.compile("[\u2018\u2019\u201c\u201d\u201e]")


def read_text(path: str | Path, what: str) -> str:
    """Read a text file.

    `what` is the expected content, for messages: "a list of recordings". Besides errors of the system, a ValueError
    says that the file is no regular file, too large, or neither in UTF-8 nor in UTF-16 with its mark.
    """
    name = printable(str(path))
    if "\0" in str(path):
        raise ValueError(f"{name}: expected {what}; no file has a NUL character in its name")
    try:
        about = Path(path).stat()
        if not stat.S_ISREG(about.st_mode):
            kind = "a folder" if stat.S_ISDIR(about.st_mode) else "a pipe or device"
            raise ValueError(f"{name} is {kind}; expected {what}, a regular file")
        if about.st_size > MAX_BYTES:
            raise ValueError(f"{name} has {about.st_size} bytes; expected {what}, of at most {MAX_BYTES}")
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"{name} is not there; expected {what}") from None
    except PermissionError as error:
        raise PermissionError(f"{name} cannot be read ({error.strerror}); expected {what}") from error
    except OSError as error:
        raise ValueError(f"{name} cannot be read ({error.strerror}); expected {what}") from error
    return _decoded(content, name, what)


def _decoded(content: bytes, name: str, what: str) -> str:
    try:
        text = content.decode("utf-16" if content.startswith(UTF_16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        found = "the file ends in the middle of a character of UTF-16"
        if error.encoding.startswith("utf-8"):
            found = f"the byte 0x{content[error.start]:02x} is not UTF-8"
        raise ValueError(f"{name}, line {line}: {found}; expected {what} in UTF-8: save it so") from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise ValueError(f"{name}, line {line}: a NUL character; expected {what} in UTF-8: save it so")
    return text


def parse_toml(text: str, name: str) -> dict[str, Any]:
    """Parse TOML, with bounded nesting and numbers of at most 64 bits; `name` names the text in messages."""
    if (dotted := DOTTED_KEY.search(text)) is not None:
        line = text[: dotted.start()].count("\n") + 1
        raise ValueError(f"{name}, line {line}: a key of more than {DEEPEST} parts is no valid TOML of ours")
    content: dict[str, Any] = _parsed(tomllib.loads, "TOML", text, name)
    return content


def parse_json(text: str, name: str) -> Any:
    """Parse JSON, with bounded nesting and numbers of at most 64 bits; `name` names the text in messages."""
    return _parsed(json.loads, "JSON", text, name)


def _parsed(loads: Callable[[str], Any], language: str, text: str, name: str) -> Any:
    try:
        content = loads(text)
    except RecursionError:
        raise ValueError(f"{name} is no valid {language} of ours: it is nested more than {DEEPEST} deep") from None
    except ValueError as error:  # of the syntax; also a date that is none, or a number of thousands of digits
        reason = "a number has too many digits" if "digits" in str(error) else printable(str(error))
        raise ValueError(f"{name} is no valid {language}: {reason}{_advice(text, reason)}") from error
    _require_bounds(content, name)
    return content


def _advice(text: str, reason: str) -> str:
    """Say what people who are no programmers stumble over: quotes of word processors, backslashes of Windows."""
    if TYPOGRAPHIC.search(text):
        return ". It has typographic quotes; write straight ones"
    if "\\" in reason or "escape" in reason or "hex value" in reason:
        return ". In double quotes a backslash has a meaning of its own: write paths in single quotes"
    return ""


def read_toml(path: str | Path, what: str) -> dict[str, Any]:
    """Read and parse a TOML file; see :func:`read_text` and :func:`parse_toml`."""
    return parse_toml(read_text(path, what), printable(str(path)))


def read_json_object(path: str | Path, what: str) -> dict[str, Any]:
    """Read and parse a JSON file that holds one object; see :func:`read_text` and :func:`parse_json`."""
    content = parse_json(read_text(path, what), printable(str(path)))
    if not isinstance(content, dict):
        found = brief(content)
        raise ValueError(f"{path} holds {found}; expected {what}, an object")  # noqa: TRY004 - a file's value
    return content


def duration(seconds: float | None) -> str:
    """Format seconds as seconds, minutes or hours; "" for None."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def brief(value: Any) -> str:
    """Return the ``repr`` of a value from a file, cut short, for messages."""
    try:
        text = repr(value)
    except ValueError:  # a number of thousands of digits
        text = f"a number of {value.bit_length()} bits" if isinstance(value, int) else f"a {type(value).__name__}"
    return shortened(text)


def shortened(text: str) -> str:
    """Make a name from a file printable and cut it short, for messages."""
    text = printable(text)
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 3]}..."


def _require_bounds(content: Any, name: str) -> None:
    """Refuse deep nesting, and whole numbers of more than 64 bits."""
    level = [content]
    for _ in range(DEEPEST):
        if not level:
            return
        inside: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                inside += value.values()
            elif isinstance(value, list):
                inside += value
        _require_small(inside, name)
        level = [value for value in inside if isinstance(value, dict | list)]
    raise ValueError(f"{name} is nested more than {DEEPEST} deep; expected tables and lists of a few levels")


def _require_small(values: list[Any], name: str) -> None:
    for value in values:
        if isinstance(value, int) and not -(2**63) <= value < 2**64:
            raise ValueError(f"{name} has {brief(value)}; expected whole numbers of at most 64 bits")
