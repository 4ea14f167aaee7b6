"""A configuration as TOML: a table for each group, null as the string "none", tuples as lists, paths as strings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import tomli_w

from spikelab.spike_sorting.settings.keywords import (
    Place,
    flat_names,
    groups,
    keywords,
    suggestion,
    with_settings,
)
from spikelab.spike_sorting.settings.schema import SortingPipelineConfig
from spikelab.spike_sorting.settings.validation import tell_illegal
from spikelab.system.json_files import plain
from spikelab.system.texts import brief, parse_json, parse_toml, read_toml, shortened

NULL = "none"


def config_to_toml(config: SortingPipelineConfig) -> str:
    """Return all settings of `config` as TOML.

    A string that reads ``none`` itself is written with a backslash in front, so that it comes back as a string.

    Raises
    ------
    TypeError
        If a setting holds something that is not a number, string, list or dictionary.

    Examples
    --------
    >>> from spikelab.spike_sorting import config_to_toml
    >>> from spikelab.spike_sorting.config import KILOSORT4
    >>> print(config_to_toml(KILOSORT4).split("[sorter]")[1].strip().splitlines()[0])
    sorter_name = "kilosort4"
    """
    return tomli_w.dumps(
        {
            group: {f.name: _encode(plain(getattr(getattr(config, group), f.name))) for f in fields(group_type)}
            for group, group_type in groups(type(config)).items()
        }
    )


def config_from_toml(source: str | Path, base: SortingPipelineConfig | None = None) -> SortingPipelineConfig:
    """Read settings from TOML.

    Parameters
    ----------
    source : str or Path
        TOML text; or a file: a ``Path``, or a string in one line that ends in ``.toml``.
    base : SortingPipelineConfig, optional
        Where settings that `source` does not name come from; the defaults without it. Stays as it is.

    Raises
    ------
    ValueError
        If `source` is no TOML, or the file cannot be read as text.
    FileNotFoundError
        If there is no such file.
    TypeError
        If it names a group or a setting that does not exist.

    Examples
    --------
    >>> from spikelab.spike_sorting import config_from_toml
    >>> from spikelab.spike_sorting.config import RT_SORT_MEA
    >>> config = config_from_toml("curation.snr_min = 4", base=RT_SORT_MEA)
    >>> config.curation.snr_min, config.sorter.sorter_name
    (4, 'rt_sort')
    """
    changed = read_config(source, base)
    tell_illegal(*(getattr(changed, group) for group in groups(type(changed))))
    return changed


def read_config(source: str | Path, base: SortingPipelineConfig | None = None) -> SortingPipelineConfig:
    """Read settings from TOML, as :func:`config_from_toml`; nothing is said of their values."""
    base = SortingPipelineConfig() if base is None else base
    changed = {}
    for group, values in _parse(source).items():
        if group not in groups(type(base)):
            raise TypeError(_unknown_group(group, type(base)))
        if not isinstance(values, Mapping):
            raise TypeError(f"[{group}] must be a table of settings, got {brief(values)}")
        names = [f.name for f in fields(getattr(base, group))]
        for name in values:
            if name not in names:
                raise TypeError(f"Unknown parameter {brief(name)} in [{group}]{suggestion(name, names)}")
        changed[group] = {name: decode(value) for name, value in values.items()}
    return with_settings(base, changed)


def settings_in_toml(source: str | Path) -> set[str]:
    """Return the flat keywords of the settings that TOML, which :func:`config_from_toml` reads, names."""
    named = {Place(group, name) for group, values in _parse(source).items() for name in values}
    return {keyword for keyword, place in flat_names(SortingPipelineConfig).items() if place in named}


def _parse(source: str | Path) -> dict[str, Any]:
    if not isinstance(source, str | Path):
        raise TypeError(f"expected settings as TOML text or the path of a file, got {brief(source)}")
    if isinstance(source, Path) or ("\n" not in source and source.endswith(".toml")):
        return read_toml(source, "settings as TOML")
    return parse_toml(source, "the text")


def _unknown_group(name: str, config_type: type) -> str:
    place = keywords(config_type).get(name)
    if place is not None:
        return f"{place.name!r} belongs into the table [{place.group}]"
    known = groups(config_type)
    near = suggestion(name, known) or f"; there are {', '.join(f'[{group}]' for group in known)}"
    return f"Unknown group [{shortened(name)}]{near}"


def _encode(value: Any) -> Any:
    if value is None:
        return NULL
    if isinstance(value, str) and value.lstrip("\\") == NULL:
        return "\\" + value
    if isinstance(value, list):
        return [_encode(item) for item in value]
    if isinstance(value, dict):
        return {key: _encode(item) for key, item in value.items()}
    return value


def decode(value: Any) -> Any:
    """Turn a value of a TOML file into a setting: the string "none" into None."""
    if value == NULL:
        return None
    if isinstance(value, str) and value.lstrip("\\") == NULL:
        return value[1:]
    if isinstance(value, list):
        return [decode(item) for item in value]
    if isinstance(value, dict):
        return {key: decode(item) for key, item in value.items()}
    return value


def parse_value(text: str) -> Any:
    """Read a setting that was typed: TOML, yes and no, none; bare words are strings."""
    words = {"none": None, "true": True, "false": False, "yes": True, "no": False}
    if text.lower() in words:
        return words[text.lower()]
    try:
        parsed = parse_toml(f"value = {text}", "the value")
    except ValueError:
        return _json_value(text)
    if list(parsed) != ["value"]:  # several lines are no value
        return text
    value = parsed["value"]
    return value if isinstance(value, str) else decode(value)


def _json_value(text: str) -> Any:
    """Read a list or dictionary as JSON has it, such as ``{"amplitude": [30, null]}``; other words are a string."""
    try:
        return parse_json(text, "the value") if text[:1] in ("[", "{") else text
    except ValueError:
        return text
