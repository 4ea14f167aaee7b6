"""What a configuration field may be: its default, its one-line description, its unit and the values it takes.

Everything that is known about a field is written once, in :func:`option`; the flat keywords, the validation, the
reference table and the docstrings of the groups are derived from it.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from spikelab.system.json_files import plain, scalar
from spikelab.system.memory import LARGEST_INTEGER, LEAST_MEMORY, parse_memory

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")


class Constraint(Protocol):
    """A set of legal values; ``str()`` completes the sentence "'x' must be ..."."""

    def accepts(self, value: Any) -> bool:
        """Whether `value` is one of them."""
        ...


@dataclass(frozen=True)
class Boolean:
    """True or False, NumPy's included."""

    def accepts(self, value: Any) -> bool:
        return isinstance(scalar(value), bool)

    def __str__(self) -> str:
        return "True or False"


@dataclass(frozen=True)
class Range:
    """A number, NumPy's included; a bool is none.

    Attributes
    ----------
    minimum, maximum : float
        Bounds, allowed themselves unless `above` is set.
    above : bool
        The minimum itself is not allowed.
    integer : bool
        Only whole numbers of an integer type.
    finite : bool
        Infinity is not allowed. NaN never is.
    """

    minimum: float = -math.inf
    maximum: float = math.inf
    above: bool = False
    integer: bool = False
    finite: bool = True

    def accepts(self, value: Any) -> bool:
        value = scalar(value)
        if isinstance(value, bool) or not isinstance(value, int if self.integer else int | float):
            return False
        if isinstance(value, float) and (math.isnan(value) or (self.finite and math.isinf(value))):
            return False
        if isinstance(value, int) and abs(value) > LARGEST_INTEGER:  # arithmetic with numpy and floats would overflow
            return False
        if self.above and value == self.minimum:
            return False
        return self.minimum <= value <= self.maximum

    def __str__(self) -> str:
        kind = "an integer" if self.integer else "a number"
        if self.maximum < math.inf:
            return f"{kind} from {self.minimum} to {self.maximum}"
        return kind if self.minimum == -math.inf else f"{kind} {'>' if self.above else '>='} {self.minimum}"


@dataclass(frozen=True)
class OneOf:
    """One of a few values, in the order in which they are named."""

    options: tuple[str, ...]

    def accepts(self, value: Any) -> bool:
        return isinstance(value, str) and value in self.options

    def __str__(self) -> str:
        return f"one of {{{', '.join(map(repr, self.options))}}}"


@dataclass(frozen=True)
class Text:
    """A string that matches a pattern; `text` says which."""

    pattern: str = r"(?s).+"
    text: str = "a non-empty string"

    def accepts(self, value: Any) -> bool:
        return isinstance(value, str) and re.fullmatch(self.pattern, value) is not None

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class PathLike:
    """A path as a string or a ``Path``; it need not exist."""

    def accepts(self, value: Any) -> bool:
        return isinstance(value, os.PathLike) or (isinstance(value, str) and value != "" and "\0" not in value)

    def __str__(self) -> str:
        return "a path"


@dataclass(frozen=True)
class FileName:
    """The name of a file, without folders, that is none of those that are taken."""

    taken: tuple[str, ...] = ()

    def accepts(self, value: Any) -> bool:
        if not isinstance(value, str | os.PathLike):
            return False
        text = os.fspath(value)
        return text not in ("", ".", "..", *self.taken) and not set(text) & {"/", "\\", ":", "\0"}

    def __str__(self) -> str:
        return f"the name of a file, without folders, other than {', '.join(self.taken)}"


@dataclass(frozen=True)
class Memory:
    """An amount of memory that :func:`parse_memory` understands, of a megabyte at least: 16 is not 16 gigabytes."""

    def accepts(self, value: Any) -> bool:
        try:
            return parse_memory(value) >= LEAST_MEMORY
        except ValueError:
            return False

    def __str__(self) -> str:
        return "an amount of memory such as '16G', '500M' or a number of bytes, at least 1M"


@dataclass(frozen=True)
class Parameters:
    """A dictionary of keyword arguments that TOML and JSON can hold."""

    def accepts(self, value: Any) -> bool:
        try:
            plain(value)
        except TypeError:
            return False
        return isinstance(value, dict) and all(isinstance(key, str) for key in value)

    def __str__(self) -> str:
        return "a dictionary of numbers, strings and lists by name"


@dataclass(frozen=True)
class Named:
    """A dictionary with some of the names in `checks`, each with a value that meets its constraint."""

    checks: Mapping[str, Constraint]

    def accepts(self, value: Any) -> bool:
        return isinstance(value, dict) and all(
            name in self.checks and self.checks[name].accepts(item) for name, item in value.items()
        )

    def __str__(self) -> str:
        return f"a dictionary with any of {', '.join(f'{name} ({check})' for name, check in self.checks.items())}"


@dataclass(frozen=True)
class ListOf:
    """A list or tuple of values that all meet `item`; `text` says what they are.

    Attributes
    ----------
    item : Constraint
        What each one must meet.
    text : str
        The description, for example "a list of (start, end) in seconds".
    minimum : int
        Smallest length.
    length : int or None
        The only length allowed.
    """

    item: Constraint
    text: str
    minimum: int = 0
    length: int | None = None

    def accepts(self, value: Any) -> bool:
        if not isinstance(value, list | tuple) or len(value) < self.minimum:
            return False
        return self.length in (None, len(value)) and all(self.item.accepts(item) for item in value)

    def __str__(self) -> str:
        return self.text


class Either:
    """A value that meets any of several constraints."""

    def __init__(self, *choices: Constraint) -> None:
        self.choices = choices

    def accepts(self, value: Any) -> bool:
        return any(choice.accepts(value) for choice in self.choices)

    def __str__(self) -> str:
        return " or ".join(map(str, self.choices))


@dataclass(frozen=True)
class Nothing:
    """None."""

    def accepts(self, value: Any) -> bool:
        return value is None

    def __str__(self) -> str:
        return "None"


def nullable(choice: Constraint) -> Either:
    """Allow None beside what meets `choice`."""
    return Either(choice, Nothing())


@dataclass(frozen=True)
class Option:
    """What is known about a field beside its name, type and default.

    Attributes
    ----------
    doc : str
        One line on its meaning.
    check : Constraint
        The values it takes.
    unit : str
        Unit of the value, "" where there is none.
    flat : str or None
        The keyword by which it is set, where that is not the field's own name.
    """

    doc: str
    check: Constraint
    unit: str = ""
    flat: str | None = None


def option(
    default: Any, doc: str, check: Constraint, unit: str = "", *, flat: str | None = None, shown: bool = True
) -> Any:
    """Declare a dataclass field with its :class:`Option`.

    Parameters
    ----------
    default : Any
        The default; a list is copied for each instance.
    doc, check, unit, flat
        See :class:`Option`.
    shown : bool
        False for a field that the group's ``repr`` names only where it was changed.
    """
    metadata = {"option": Option(doc, check, unit, flat)}
    if isinstance(default, list):
        return field(default_factory=default.copy, repr=shown, metadata=metadata)
    return field(default=default, repr=shown, metadata=metadata)


def option_of(declared: Field[Any]) -> Option:
    """Return the :class:`Option` of a field that was declared with :func:`option`."""
    found: Option = declared.metadata["option"]
    return found


def default_of(declared: Field[Any]) -> Any:
    """Return the default of a field, made anew where a factory makes it."""
    return declared.default if declared.default_factory is MISSING else declared.default_factory()


def brief_repr(self: Any) -> str:
    """``repr`` of a group: all fields, those that are not `shown` only where they were changed."""
    values = {f: repr(getattr(self, f.name)) for f in fields(self)}
    named = (f"{f.name}={value}" for f, value in values.items() if f.repr or value != repr(default_of(f)))
    return f"{type(self).__qualname__}({', '.join(named)})"


def documented(cls: type[T]) -> type[T]:
    """Class decorator: append a line for each field to the docstring."""
    lines = [(cls.__doc__ or "").rstrip(), "", "Attributes", "----------"]
    for declared in fields(cls):  # type: ignore[arg-type]
        lines += [f"{declared.name} : {declared.type}", f"    {_line_on(declared)}"]
    cls.__doc__ = "\n".join(lines) + "\n"
    return cls


def _line_on(declared: Field[Any]) -> str:
    if "option" not in declared.metadata:  # a group of fields
        return (default_of(declared).__doc__ or "").partition("\n")[0]
    about = option_of(declared)
    return f"{about.doc} [{about.unit}]" if about.unit else about.doc
