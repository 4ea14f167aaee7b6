"""Render the table of all settings, for the documentation and ``spikelab show-config --describe``."""

from __future__ import annotations

from dataclasses import Field, fields
from typing import Any

from spikelab.spike_sorting.settings.fields import default_of, option_of
from spikelab.spike_sorting.settings.keywords import flat_name, groups
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


def _row(declared: Field[Any]) -> str:
    about = option_of(declared)
    keyword = "" if flat_name(declared) == declared.name else f"`{flat_name(declared)}`"
    values = str(about.check).replace("<", "&lt;")
    cells = (f"`{declared.name}`", keyword, f"`{default_of(declared)!r}`", about.unit, values, about.doc)
    return f"| {' | '.join(cells)} |"
