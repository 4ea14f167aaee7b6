"""Fields of the configuration: default, one-line description, unit and legal values of each.

They are declared once, by :func:`option`; the flat keywords, the validation, the reference table and the docstrings of
the groups are derived from the declaration.
"""

from __future__ import annotations

from dataclasses import MISSING, Field, dataclass, field, fields
from inspect import cleandoc
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from spikelab.spike_sorting.settings.constraints import Constraint

T = TypeVar("T")


@dataclass(frozen=True)
class Option:
    """Description of a field beside its name, type and default."""

    doc: str  # meaning, in one line
    check: Constraint  # legal values
    unit: str = ""
    flat: str | None = None  # flat keyword, where that is not the field's own name


def option(
    default: Any, doc: str, check: Constraint, unit: str = "", *, flat: str | None = None, in_repr: bool = True
) -> Any:
    """Declare a dataclass field with its :class:`Option`; a list as `default` is copied for each instance.

    The group's ``repr`` names a field without `in_repr` only where it was changed.
    """
    metadata = {"option": Option(doc, check, unit, flat)}
    if isinstance(default, list):
        return field(default_factory=default.copy, repr=in_repr, metadata=metadata)
    return field(default=default, repr=in_repr, metadata=metadata)


def option_of(declared: Field[Any]) -> Option:
    """Return the :class:`Option` of a field that was declared with :func:`option`."""
    found: Option = declared.metadata["option"]
    return found


def default_of(declared: Field[Any]) -> Any:
    """Return the default of a field, made anew where a factory makes it."""
    return declared.default if declared.default_factory is MISSING else declared.default_factory()


def settings_group(cls: type[T]) -> type[T]:
    """Class decorator: describe the fields in the docstring, and shorten ``repr``."""
    lines = [f"{declared.name} : {declared.type}\n    {_line_on(declared)}" for declared in fields(cls)]  # type: ignore[arg-type]
    cls.__doc__ = "\n".join([cleandoc(cls.__doc__ or ""), "", "Attributes", "----------", *lines, ""])
    cls.__repr__ = _brief_repr  # type: ignore[method-assign]
    return cls


def _line_on(declared: Field[Any]) -> str:
    if "option" not in declared.metadata:  # a group of fields
        return (default_of(declared).__doc__ or "").partition("\n")[0]
    about = option_of(declared)
    return f"{about.doc} [{about.unit}]" if about.unit else about.doc


def _brief_repr(self: Any) -> str:
    """``repr`` of a group with all fields, those without `in_repr` only where they were changed."""
    values = {f: repr(getattr(self, f.name)) for f in fields(self)}
    named = (f"{f.name}={value}" for f, value in values.items() if f.repr or value != repr(default_of(f)))
    return f"{type(self).__qualname__}({', '.join(named)})"
