"""What a person says of a recording for its NWB file: checked, and in the types that pynwb wants."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting.settings.keywords import suggestion
from spikelab.system.quoting import printable
from spikelab.system.runlog import warn
from spikelab.system.tables import known_name
from spikelab.system.texts import brief, read_toml, shortened

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SUBJECT = "subject"
UNIT_OF_AGE = {"day": "D", "week": "W", "month": "M", "year": "Y"}
AGE = re.compile(r"(\d+)\s*(day|week|month|year)s?", re.IGNORECASE)
DURATION = re.compile(r"P(?=\d|T\d)(\d+Y)?(\d+M)?(\d+W)?(\d+D)?(T[\dHMS.]+)?(/(P[\dYMWDTHS.]+)?)?")
SEXES = {"male": "M", "female": "F", "unknown": "U", "other": "O", "m": "M", "f": "F", "u": "U", "o": "O"}


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)  # an id that is a number
    raise ValueError('a text, such as "text"')


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Sequence) or hasattr(value, "tolist"):
        return [_text(item) for item in value]
    raise ValueError('a list of texts, such as ["one", "two"]')


def _moment(value: Any) -> datetime:
    """Return a date and time with a time zone, this computer's where none is given; midnight of a date."""
    moment = value
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value.strip())
        except ValueError:
            moment = None
    elif isinstance(value, date) and not isinstance(value, datetime):
        moment = datetime.combine(value, time())
    if not isinstance(moment, datetime):
        raise ValueError("a date and time such as 2026-03-01T10:00:00+01:00, or a date such as 2026-03-01")  # noqa: TRY004 - a file's value
    return moment.astimezone() if moment.tzinfo is None else moment


def _start(value: Any) -> datetime:
    moment = _moment(value)
    if not isinstance(value, datetime) and (not isinstance(value, str) or len(value.strip()) <= len("2026-03-01")):
        warn(f"session_start_time is {value}, without a time of day: the start of that day is taken")
    return moment


def _age(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value
    given = value.strip() if isinstance(value, str) else ""
    if words := AGE.fullmatch(given):
        return f"P{words[1]}{UNIT_OF_AGE[words[2].lower()]}"
    if not DURATION.fullmatch(given):
        raise ValueError('a duration such as "P30D", "P12W" or "30 days"')
    return given


def _sex(value: Any) -> str:
    if not isinstance(value, str) or value.strip().lower() not in SEXES:
        raise ValueError('"M", "F", "U" (unknown) or "O" (other)')
    return SEXES[value.strip().lower()]


def _weight(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError('a weight with its unit, such as "25 g": NWB takes a bare number for kilograms')  # noqa: TRY004 - a file's value
    return value


FILE_FIELDS: dict[str, Callable[[Any], Any]] = {
    "session_description": _text,
    "identifier": _text,
    "session_start_time": _start,
    "experimenter": _texts,
    "experiment_description": _text,
    "institution": _text,
    "lab": _text,
    "keywords": _texts,
    "notes": _text,
    "related_publications": _texts,
    "session_id": _text,
    "surgery": _text,
    "virus": _text,
    "pharmacology": _text,
    "protocol": _text,
}
SUBJECT_FIELDS: dict[str, Callable[[Any], Any]] = {
    "subject_id": _text,
    "species": _text,
    "age": _age,
    "sex": _sex,
    "genotype": _text,
    "strain": _text,
    "description": _text,
    "weight": _weight,
    "date_of_birth": _moment,
}
OUTSIDE = {**FILE_FIELDS, "location": _text}


def read_metadata(given: Mapping[str, Any] | str | Path | None) -> dict[str, Any]:
    """Check metadata, or the TOML file of that name; return them in the types that pynwb wants.

    Names may differ in case and dashes; a single text is taken where a list is wanted, a date where a date and time is.

    Raises
    ------
    ValueError
        For a name or value that is not known, with file, name and the right form.
    """
    if given is None:
        return {}
    where = "metadata" if isinstance(given, Mapping) else printable(str(given))
    content = given if isinstance(given, Mapping) else read_toml(given, "metadata as TOML")
    values = {known_name(name, (*OUTSIDE, SUBJECT)): value for name, value in content.items()}
    subject = values.pop(SUBJECT, None)
    checked = _checked(values, OUTSIDE, where, "")
    if subject is not None:
        if not isinstance(subject, Mapping):
            raise ValueError(f"{where}: subject is {brief(subject)}; expected a table [subject] with subject_id, ...")
        named = {known_name(name, tuple(SUBJECT_FIELDS)): value for name, value in subject.items()}
        checked[SUBJECT] = _checked(named, SUBJECT_FIELDS, where, f"{SUBJECT}.")
    return checked


def _checked(
    values: Mapping[str, Any], known: Mapping[str, Callable[[Any], Any]], where: str, prefix: str
) -> dict[str, Any]:
    """Convert the values of one table."""
    faults, checked = [], {}
    for name, value in values.items():
        if name not in known:
            faults.append(_unknown(name, known, prefix))
            continue
        try:
            checked[name] = known[name](value)
        except ValueError as error:
            faults.append(f"{prefix}{name} is {brief(value)}; expected {error}")
    if faults:
        raise ValueError(f"{where}: {'; '.join(faults)}")
    return checked


def _unknown(name: str, known: Mapping[str, Any], prefix: str) -> str:
    found = f"there is no {prefix}{shortened(name)}"
    if name in SUBJECT_FIELDS and not prefix:
        return f"{found}; write it below [subject]"
    if name in OUTSIDE and prefix:
        return f"{found}; write it above [subject]"
    names = [*known, *([] if prefix else [SUBJECT])]
    return f"{found}{suggestion(name, names)}; there are {', '.join(names)}"
