"""Describe all settings: a table for the documentation, text for ``spikelab show-config --describe``."""

from __future__ import annotations

import re
import textwrap
from dataclasses import Field, fields
from typing import Any

from spikelab.spike_sorting.settings.fields import default_of, option_of
from spikelab.spike_sorting.settings.keywords import flat_name, groups, keywords
from spikelab.spike_sorting.settings.schema import SortingPipelineConfig

INTRODUCTION = """\
# Configuration

Every setting of a sort, with its default. A setting is a field of one of the groups below
(`config.curation.snr_min = 4`, or `snr_min = 4` under `[curation]` in a TOML file), or a flat keyword of
`sort_recording`, `SortingPipelineConfig.from_kwargs` and `override`. A field name works as a keyword too where only
one group has it. In TOML, None is the string `"none"`. This page is generated from `spikelab.spike_sorting.config` by
`python -m docs._generate.settings docs/configuration.md`.
"""


def render_markdown() -> str:
    """Render the table of all settings as Markdown, one section for each group."""
    lines = [INTRODUCTION]
    for group, group_type in groups(SortingPipelineConfig).items():
        summary = (group_type.__doc__ or "").splitlines()[0]
        lines += [f"## {group}", "", summary, "", "| Field | Keyword | Default | Unit | Values | Meaning |"]
        lines += ["|---|---|---|---|---|---|", *map(_row, fields(group_type)), ""]
    return "\n".join(lines)


def render_text(width: int = 80) -> str:
    """Describe all settings as plain text, one block of lines for each, no line longer than `width`."""
    lines = textwrap.wrap(
        "Every setting, by the name that --set takes. In TOML and for --set, None is the word none.", width
    )
    for group, group_type in groups(SortingPipelineConfig).items():
        lines += ["", *textwrap.wrap(f"[{group}] {(group_type.__doc__ or '').splitlines()[0]}", width)]
        lines += [line for declared in fields(group_type) for line in _block(declared, width)]
    return "\n".join(lines)


def _block(declared: Field[Any], width: int) -> list[str]:
    about = option_of(declared)
    in_toml = "" if flat_name(declared) == declared.name else f" (in TOML: {declared.name})"
    unit = f", in {about.unit}" if about.unit else ""
    facts = f"{about.check}{unit}. Default: {default_of(declared)!r}"
    wrap = textwrap.TextWrapper(width, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return ["", f"  {flat_name(declared)}{in_toml}", *wrap.wrap(about.doc.replace("`", "")), *wrap.wrap(facts)]


def words_of(keyword: str) -> list[str]:
    """Return the words that a setting may be; none where it is a number, or free text."""
    place = keywords(SortingPipelineConfig).get(keyword)
    if place is None:
        return []
    declared = {field.name: field for field in fields(groups(SortingPipelineConfig)[place.group])}[place.name]
    check = option_of(declared).check
    quoted = filter(check.accepts, re.findall(r"'(\w+)'", str(check)))  # some are parts of an example
    others = {"none": None, "true": True, "false": False}
    return [*quoted, *(word for word, value in others.items() if check.accepts(value))]


def _row(declared: Field[Any]) -> str:
    about = option_of(declared)
    keyword = "" if flat_name(declared) == declared.name else f"`{flat_name(declared)}`"
    values = str(about.check).replace("<", "&lt;")
    cells = (f"`{declared.name}`", keyword, f"`{default_of(declared)!r}`", about.unit, values, about.doc)
    return f"| {' | '.join(cells)} |"
