"""Values that a setting may take: each constraint is a test and the sentence that an error message ends with."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spikelab.system.json_files import plain, scalar
from spikelab.system.memory import LARGEST_INTEGER, LEAST_MEMORY, parse_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True)
class Constraint:
    """Set of legal values."""

    accepts: Callable[[Any], bool]
    sentence: str  # completes "'x' must be ..."; also ``str()`` of the constraint

    def __str__(self) -> str:
        return self.sentence


def number(
    minimum: float = -math.inf,
    maximum: float = math.inf,
    *,
    above: bool = False,
    integer: bool = False,
    finite: bool = True,
) -> Constraint:
    """Allow numbers, NumPy's included, from `minimum` (`above` it) to `maximum`; never a bool or NaN.

    `integer` allows only types of whole numbers; `finite` does not allow infinity.
    """
    kinds = int if integer else (int, float)

    def accepts(value: Any) -> bool:
        value = scalar(value)
        if isinstance(value, bool) or not isinstance(value, kinds) or not _is_usable(value, finite):
            return False
        return minimum <= value <= maximum and not (above and value == minimum)

    return Constraint(accepts, ("an integer" if integer else "a number") + _range(minimum, maximum, above))


def _range(minimum: float, maximum: float, above: bool) -> str:
    if maximum < math.inf:
        return f" from {minimum} to {maximum}"
    return f" {'>' if above else '>='} {minimum}" if minimum > -math.inf else ""


def _is_usable(value: float, finite: bool) -> bool:
    if isinstance(value, int):
        return abs(value) <= LARGEST_INTEGER  # arithmetic with numpy and floats overflows beyond
    return math.isfinite(value) or not finite


def one_of(*options: str) -> Constraint:
    """Allow a few strings, in the order in which the message names them."""
    return Constraint(
        lambda value: isinstance(value, str) and value in options, f"one of {{{', '.join(map(repr, options))}}}"
    )


def text(pattern: str, sentence: str) -> Constraint:
    """Allow strings that match a pattern as a whole."""
    return Constraint(lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None, sentence)


def file_name(*taken: str) -> Constraint:
    """Allow names of files, without folders, apart from those that are `taken`."""

    def accepts(value: Any) -> bool:
        if not isinstance(value, str | os.PathLike):
            return False
        name = os.fspath(value)
        return name not in ("", ".", "..", *taken) and not set(name) & {"/", "\\", ":", "\0"}

    return Constraint(accepts, f"the name of a file, without folders, other than {', '.join(taken)}")


def named(checks: Mapping[str, Constraint]) -> Constraint:
    """Allow dictionaries with some of the names in `checks`, each with a value that meets its constraint."""

    def accepts(value: Any) -> bool:
        return isinstance(value, dict) and all(
            name in checks and checks[name].accepts(item) for name, item in value.items()
        )

    names = ", ".join(f"{name} ({check})" for name, check in checks.items())
    return Constraint(accepts, f"a dictionary with any of {names}")


def list_of(item: Constraint, sentence: str, *, minimum: int = 0, length: int | None = None) -> Constraint:
    """Allow lists and tuples of values that all meet `item`, of at least `minimum` or of exactly `length` values."""

    def accepts(value: Any) -> bool:
        if not isinstance(value, list | tuple) or len(value) < minimum:
            return False
        return length in (None, len(value)) and all(map(item.accepts, value))

    return Constraint(accepts, sentence)


def either(*choices: Constraint) -> Constraint:
    """Allow values that meet any of several constraints."""
    return Constraint(lambda value: any(choice.accepts(value) for choice in choices), " or ".join(map(str, choices)))


def nullable(choice: Constraint) -> Constraint:
    """Allow None beside the values that meet `choice`."""
    return either(choice, Constraint(lambda value: value is None, "None"))


def _is_limit(value: Any) -> bool:
    """Tell whether `value` is lowest and highest value of a metric, one of which may be None."""
    if not isinstance(value, list | tuple) or len(value) != 2 or not all(map(FINITE_OR_NONE.accepts, value)):
        return False
    low, high = value
    return (low is None) != (high is None) or (low is not None and low <= high)


def _are_limits(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(name, str) and _is_limit(item) for name, item in value.items())


def _is_path(value: Any) -> bool:
    return isinstance(value, os.PathLike) or (isinstance(value, str) and value != "" and "\0" not in value)


def _is_memory(value: Any) -> bool:
    """Tell whether `value` is an amount of memory of a megabyte at least: 16 is not 16 gigabytes."""
    try:
        return parse_memory(value) >= LEAST_MEMORY
    except ValueError:
        return False


def _are_parameters(value: Any) -> bool:
    """Tell whether `value` is a dictionary of keyword arguments that TOML and JSON can hold."""
    try:
        plain(value)
    except TypeError:
        return False
    return isinstance(value, dict) and all(isinstance(key, str) for key in value)


def _are_times(value: Any) -> bool:
    """Tell whether `value` is a list of times, by site or not, or the path of one; 'auto' is a text like any path."""
    if isinstance(value, dict):
        return all(isinstance(site, str) and _are_numbers(times) for site, times in value.items())
    return _is_path(value) or _are_numbers(value)


def _are_numbers(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(map(NUMBER.accepts, value))


def _is_stimulation(value: Any) -> bool:
    """Tell whether `value` is the times of one recording, or a list of the times of several."""
    if value is None or _are_times(value):
        return True
    return isinstance(value, list | tuple) and all(entry is None or _are_times(entry) for entry in value)


BOOLEAN = Constraint(lambda value: isinstance(scalar(value), bool), "True or False")
NUMBER = number()
FINITE_OR_NONE = nullable(NUMBER)
POSITIVE = number(0, above=True)
NOT_NEGATIVE = number(0)
THRESHOLD = nullable(number(0, finite=False))
COUNT = number(1, integer=True)
INDEX = number(0, integer=True)
TEXT = text(r"(?s).+", "a non-empty string")
NAMES = nullable(list_of(TEXT, "a list of names"))
LIMITS = nullable(
    Constraint(
        _are_limits,
        "a dictionary of [lowest, highest] by metric, of which one may be None, such as {'amplitude': [30, None]}",
    )
)
STIMULATION = Constraint(
    _is_stimulation,
    "times in seconds as a list, lists by site, the path of a file, 'auto', a list with one of these for each "
    "recording, or None",
)
LABEL = text(r"(?s).*", "a string")
PATH = nullable(Constraint(_is_path, "a path"))
PARAMETERS = nullable(Constraint(_are_parameters, "a dictionary of numbers, strings and lists by name"))
MEMORY = Constraint(_is_memory, "an amount of memory such as '16G', '500M' or a number of bytes, at least 1M")
DEVICE = text(r"cpu|mps|cuda(:\d+)?", "'cpu', 'cuda', 'cuda:N' or 'mps'")
DTYPE = text(r"[<>=]?[iuf][1248]|u?int(8|16|32|64)|float(16|32|64)", "a number type such as 'int16' or '<f4'")
LOG_NAME = file_name("run.json", "config_used.toml", "sort_again.py", "sorted.npz", "sorted.mat", "unit_metrics.csv")
MERGE_PARAMETERS = {
    "dist_um": NOT_NEGATIVE,
    "max_violation_rate": NOT_NEGATIVE,
    "isi_threshold_ms": POSITIVE,
    "cosine_threshold": number(0, 1),
    "max_lag": INDEX,
    "delta_ms": NOT_NEGATIVE,
    "max_isi_increase": NOT_NEGATIVE,
}
