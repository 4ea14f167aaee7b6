"""Flat keywords: which field of which group a keyword of ``sort_recording`` means, derived from the dataclasses."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import Field, fields
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from spikelab.spike_sorting.settings.fields import default_of, option_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


Config = TypeVar("Config")
UNCHANGING = (str, int, float, type(None))  # values that need no copy
LONGEST_NAME = 80  # that is compared with known ones; the time grows with the square


class Place(NamedTuple):
    """Place of a setting: ``config.<group>.<name>``."""

    group: str
    name: str


def groups(config_type: type) -> dict[str, type]:
    """Return the group classes of a configuration class, by name and in their order."""
    return {group.name: type(default_of(group)) for group in fields(config_type)}


def flat_name(declared: Field[Any]) -> str:
    """Return the keyword of a field."""
    return option_of(declared).flat or declared.name


@cache
def flat_names(config_type: type) -> dict[str, Place]:
    """Map keywords to settings, exactly one keyword for each."""
    return {
        flat_name(declared): Place(group, declared.name)
        for group, group_type in groups(config_type).items()
        for declared in fields(group_type)
    }


@cache
def keywords(config_type: type) -> dict[str, Place]:
    """Map all legal keywords to settings: those of `flat_names`, and the field names that only one group has."""
    official = flat_names(config_type)
    count = Counter(place.name for place in official.values())
    return {place.name: place for place in official.values() if count[place.name] == 1} | official


def assign(config_type: type, values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Sort flat keywords into ``{group: {field: value}}``; TypeError for an unknown one, or two of one setting."""
    known = keywords(config_type)
    unknown = [name for name in values if name not in known]
    if unknown:
        raise TypeError("; ".join(f"Unknown parameter {name!r}{suggestion(name, known)}" for name in unknown))
    given: dict[Place, str] = {}
    assigned: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        place = known[name]
        if place in given:
            raise TypeError(f"{given[place]!r} and {name!r} are two names of one parameter; give one of them")
        given[place] = name
        assigned.setdefault(place.group, {})[place.name] = value
    return assigned


def with_settings(config: Config, values: Mapping[str, Mapping[str, Any]]) -> Config:
    """Copy a configuration with the settings ``{group: {field: value}}`` in it, legal or not."""
    changed = copy.copy(config)
    for name, group in vars(config).items():
        setattr(changed, name, with_fields(group, **values.get(name, {})))
    return changed


def with_fields(group: Config, **values: Any) -> Config:
    """Copy a group of settings with other values of some fields, legal or not."""
    changed = copy.copy(group)
    for name, value in {**vars(group), **values}.items():
        setattr(changed, name, value if isinstance(value, UNCHANGING) else copy.deepcopy(value))
    return changed


def changed(config: Config, values: Mapping[str, Any]) -> Config:
    """Copy a configuration with flat keywords changed, legal or not; TypeError as from :func:`assign`."""
    return with_settings(config, assign(type(config), values))


def suggestion(name: str, known: Iterable[str]) -> str:
    """Write the known names closest to `name` as the end of an error message; "" where none is close."""
    from difflib import get_close_matches

    near = get_close_matches(name[:LONGEST_NAME], list(known), n=3)
    return f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""
