"""The table of all settings, for the documentation and for ``spikelab show-config --describe``."""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import groupby
from typing import Any

from spikelab.spike_sorting.settings.fields import default_of, option_of
from spikelab.spike_sorting.settings.flat import flat_name, groups
from spikelab.spike_sorting.settings.schema import SortingPipelineConfig

INTRODUCTION = """\
# Configuration

Every setting of a sort, with its default. A setting is a field of one of the groups below
(`config.curation.snr_min = 4`, or `snr_min = 4` under `[curation]` in a TOML file), or a flat keyword of
`sort_recording`, `SortingPipelineConfig.from_kwargs` and `override`. A field name works as a keyword too where only
one group has it. In TOML, None is the string `"none"`. This page is generated from `spikelab.spike_sorting.config` by
`python -m docs._generate.settings docs/configuration.md`.
"""


@dataclass(frozen=True)
class FieldInfo:
    """One setting.

    Attributes
    ----------
    group, name : str
        It is ``config.<group>.<name>``.
    keyword : str
        Its flat keyword.
    type : str
        Its type annotation.
    default : Any
        Its default.
    unit : str
        Its unit, "" where it has none.
    values : str
        The values it takes, as words.
    doc : str
        Its meaning, one line.
    """

    group: str
    name: str
    keyword: str
    type: str
    default: Any
    unit: str
    values: str
    doc: str


def field_table() -> list[FieldInfo]:
    """List all settings, by group, in the order of the dataclasses."""
    return [
        FieldInfo(
            group=group,
            name=declared.name,
            keyword=flat_name(declared),
            type=str(declared.type),
            default=default_of(declared),
            unit=option_of(declared).unit,
            values=str(option_of(declared).check),
            doc=option_of(declared).doc,
        )
        for group, group_type in groups(SortingPipelineConfig).items()
        for declared in fields(group_type)
    ]


def render_markdown() -> str:
    """Write the table of all settings as Markdown, one section for each group."""
    lines = [INTRODUCTION]
    for group, settings in groupby(field_table(), lambda setting: setting.group):
        summary = (groups(SortingPipelineConfig)[group].__doc__ or "").splitlines()[0]
        lines += [f"## {group}", "", summary, "", "| Field | Keyword | Default | Unit | Values | Meaning |"]
        lines += ["|---|---|---|---|---|---|", *map(_row, settings), ""]
    return "\n".join(lines)


def _row(setting: FieldInfo) -> str:
    values = setting.values.replace("<", "&lt;")
    keyword = "" if setting.keyword == setting.name else f"`{setting.keyword}`"
    cells = (f"`{setting.name}`", keyword, f"`{setting.default!r}`", setting.unit, values, setting.doc)
    return f"| {' | '.join(cells)} |"
