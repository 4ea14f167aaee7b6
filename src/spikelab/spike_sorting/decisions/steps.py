"""Form of a step: which keys it has, and what their values may be."""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from numpy.typing import ArrayLike, NDArray

Step: TypeAlias = dict[str, Any]
"""One decision, as the JSON file has it: ``do`` and the keys that belong to it."""

VERDICTS = ("keep", "drop")
BY_SPIKES = ("amplitude", "projection", "given")
"""Ways to split that say of every spike where it goes; ``given`` is a split that another program made."""
LONGEST_LABEL = 100  # characters
LARGEST = 1e300  # of numbers: NaN and infinity are none


def require_step(step: Mapping[str, Any]) -> Step:
    """Check the form of a step, without knowing the units; returns it with its keys in one order.

    Parameters
    ----------
    step : mapping of str to object
        One of::

            {"do": "mark", "units": [3, 7], "verdict": "keep" | "drop" | null, "label": "good" | null}
            {"do": "merge", "units": [3, 9], "into": 57}
            {"do": "split", "unit": 57, "into": [58, 59], "by": "time", "at_s": 61.5}
            {"do": "split", "unit": 57, "into": [58, 59], "by": "amplitude", "second": "...", "points": [[...]]}

    Raises
    ------
    ValueError
        The step has another form; the message says what was found and what was expected.
    """
    checks = _checks(step)
    do = step["do"]
    _require_keys(do, [key for key in step if key != "do"], checks)
    return {"do": do} | {key: check(key, step[key]) for key, check in checks.items() if key in step}


def _require_keys(do: str, keys: list[str], known: Collection[str]) -> None:
    unknown = [key for key in keys if key not in known]
    missing = [key for key in known if key not in keys and key not in OPTIONAL]
    if unknown:
        raise ValueError(f"{do} has no {unknown[0]!r:.80}, expected {', '.join(known)}")
    if missing:
        raise ValueError(f"{do} needs {missing[0]!r}")
    if do == "mark" and not {"verdict", "label"} & {*keys}:
        raise ValueError("mark needs a verdict or a label")


def _checks(step: Any) -> _Checks:
    """Return the keys that a step has by what it does, with the check of each."""
    if not isinstance(step, dict):
        raise ValueError(f"expected a step like {{'do': 'merge', ...}}, found {step!r:.80}")  # noqa: TRY004 - a file's value
    do, by = step.get("do"), step.get("by")
    if not isinstance(do, str) or do not in CHECKS:
        raise ValueError(f"do: found {do!r:.80}, expected one of {', '.join(CHECKS)}")
    if do != "split":
        return CHECKS[do]
    if by not in ("time", *BY_SPIKES):
        raise ValueError(f"by: found {by!r:.80}, expected one of time, {', '.join(BY_SPIKES)}")
    return CHECKS[do] | (BY_TIME if by == "time" else BY_MASK)


def packed(second: ArrayLike) -> str:
    """Write which spikes of a unit, in time order, go to the second part: base64 of zlib of bits, the first bit first.

    Examples
    --------
    >>> import base64, zlib
    >>> from spikelab.spike_sorting.decisions import packed
    >>> bits = zlib.decompress(base64.b64decode(packed([False, True, True])))
    >>> f"{bits[0]:08b}"
    '01100000'
    """
    bits = np.packbits(np.asarray(second, dtype=bool)).tobytes()
    return base64.b64encode(zlib.compress(bits, 9)).decode("ascii")


def unpacked(text: str, n_spikes: int) -> NDArray[np.bool_]:
    """Read what :func:`packed` wrote for a unit with so many spikes."""
    expected = -(-n_spikes // 8)
    try:
        reader = zlib.decompressobj()
        data = reader.decompress(base64.b64decode(text, validate=True), expected + 1)
    except (binascii.Error, zlib.error, ValueError) as error:
        raise ValueError(f"second cannot be read ({error}); expected base64 of zlib of one bit per spike") from error
    if len(data) != expected or not reader.eof:
        found = "more" if len(data) > expected else len(data)
        raise ValueError(f"second has {found} bytes, expected {expected}: one bit for each of {n_spikes} spikes")
    return np.unpackbits(np.frombuffer(data, np.uint8), count=n_spikes).astype(bool)


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def _id(key: str, value: Any) -> int:
    if not _is_id(value):
        raise ValueError(f"{key}: found {value!r:.80}, expected the id of a unit")
    return int(value)


def _ids(least: int, most: int | None = None) -> Callable[[str, Any], list[int]]:
    """Make the check for a list of different ids, at least and at most so many."""
    count = f"{least}" if least == most else f"{least} or more"

    def check(key: str, value: Any) -> list[int]:
        if not isinstance(value, list) or not all(map(_is_id, value)):
            raise ValueError(f"{key}: found {value!r:.80}, expected a list of unit ids")
        if not least <= len(set(value)) <= (most or len(value)) or len(set(value)) < len(value):
            raise ValueError(f"{key}: found {value!r:.80}, expected {count} different unit ids")
        return list(value)

    return check


def _verdict(key: str, value: Any) -> str | None:
    if value is not None and value not in VERDICTS:
        raise ValueError(f"{key}: found {value!r:.80}, expected {', '.join(VERDICTS)} or null")
    return None if value is None else str(value)


def _label(key: str, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip() or len(value) > LONGEST_LABEL or not value.isprintable():
        raise ValueError(
            f"{key}: found {value!r:.80}, expected null or a text of 1 to {LONGEST_LABEL} characters on one line"
        )
    return value.strip()


def _number(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
        raise ValueError(f"{key}: found {value!r:.80}, expected a finite number")
    return float(value)


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{key}: found {value!r:.80}, expected text")  # noqa: TRY004 - a file's value
    return value


def _points(key: str, value: Any) -> list[list[float]]:
    if not isinstance(value, list) or not all(isinstance(point, list) and len(point) == 2 for point in value):
        raise ValueError(f"{key}: found {value!r:.80}, expected a list of points [x, y]")
    return [[_number(key, number) for number in point] for point in value]


_Checks: TypeAlias = "dict[str, Callable[[str, Any], Any]]"
CHECKS: dict[str, _Checks] = {
    "mark": {"units": _ids(1), "verdict": _verdict, "label": _label},
    "merge": {"units": _ids(2), "into": _id},
    "split": {"unit": _id, "into": _ids(2, 2), "by": _text},
}
BY_TIME: _Checks = {"at_s": _number}
BY_MASK: _Checks = {"second": _text, "points": _points}
OPTIONAL = ("verdict", "label", "points")
