"""Quoting of foreign names, so that they are harmless in shell scripts, in spreadsheets and on terminals."""

from __future__ import annotations

import logging
import os
import re
import shlex
from typing import Any

# Texts that a spreadsheet takes for a formula: also after blanks, also in the wide forms of East Asian keyboards.
FORMULA = re.compile(r"[\t\r\n]|\s*[=+\-@\uff1d\uff0b\uff0d\uff20]")
PROTECTED = re.compile(rf"'+(?={FORMULA.pattern})")
AS_TEXT = "'"


def in_shell(text: str | os.PathLike[str]) -> str:
    """Quote a path or name as one word for bash, on one line of printable text.

    ``$(NAME)``, which Kubernetes expands in a container's arguments, is quoted too.
    """
    name = os.fspath(text)
    if name.isprintable() and "$(" not in name:
        return shlex.quote(name)
    return f"$'{''.join(_escaped(character) for character in name)}'"


def _escaped(character: str) -> str:
    if character.isprintable() and character not in "\\'$":
        return character
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))


def in_spreadsheet(value: Any) -> Any:
    """Mark a text that a spreadsheet would run as a formula as text, with an apostrophe in front; leave the rest.

    Texts that are numbers, such as ``-1``, stay numbers.
    """
    if not isinstance(value, str) or not (FORMULA.match(value) or PROTECTED.match(value)) or _is_number(value):
        return value
    return AS_TEXT + value


def from_spreadsheet(text: str) -> str:
    """Undo :func:`in_spreadsheet`."""
    return text[len(AS_TEXT) :] if PROTECTED.match(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii() and text.isprintable()


def printable(text: str) -> str:
    """Escape control characters and undecodable bytes, which could do harm on a terminal or in a log.

    Line ends and tabs are escaped too.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def printable_lines(text: str) -> str:
    """Escape like :func:`printable`, but keep line ends and tabs."""
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in text.split("\n"))


class PrintableFormatter(logging.Formatter):
    """Formatter of log records that escapes control characters, which names in files may have."""

    def format(self, record: logging.LogRecord) -> str:
        """Format the record."""
        return printable_lines(super().format(record))
