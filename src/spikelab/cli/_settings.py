"""The configuration that the options of the command line describe."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import click

from spikelab.spike_sorting.run.choices import choose_sorter
from spikelab.spike_sorting.run.wanted import Wanted, wanted
from spikelab.spike_sorting.settings.keywords import flat_names
from spikelab.spike_sorting.settings.presets import preset_changes
from spikelab.spike_sorting.settings.schema import SortingPipelineConfig
from spikelab.spike_sorting.settings.toml import config_to_toml, parse_value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def what_is_wanted(
    sorter: str | None,
    config_file: Path | None,
    presets: Sequence[str] = (),
    settings: Sequence[str] = (),
    more: Mapping[str, Any] = MappingProxyType({}),
) -> Wanted:
    """Gather the settings that the options give, and `more` by keyword; UsageError with all their faults."""
    faults: list[str] = []
    changes: dict[str, Any] = {}
    for name in presets:
        try:
            changes |= (of_preset := preset_changes(name))
        except ValueError as error:
            faults.append(f"--preset: {error}{_is_a_sorter(name)}")
        else:
            theirs = of_preset.get("sorter_name", sorter)
            if sorter is not None and theirs != sorter:
                faults.append(f"--preset {name} is one of {theirs}, and --sorter asks for {sorter}: leave one out")
    single, malformed = parse_settings(settings)
    faults += malformed
    found, problems = wanted(sorter, config_file, {**changes, **single, **more}, choose_sorter)
    faults += [problem.text for problem in problems]
    if found is None or faults:
        raise click.UsageError("\n".join(faults))
    return found


def _is_a_sorter(name: str) -> str:
    from spikelab.spike_sorting.backends import list_sorters

    return "; a sorter is chosen with --sorter" if name.lower() in list_sorters() else ""


def parse_settings(settings: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Parse ``["snr_min=8", "stream_id=well000"]`` into keywords; values are TOML, bare words strings; with faults."""
    pairs = [setting.partition("=") for setting in settings]
    parsed = {name.strip(): parse_value(text.strip()) for name, equals, text in pairs if equals}
    return parsed, [f"--set {name}: expected FIELD=VALUE" for name, equals, _ in pairs if not equals]


# Settings that are chosen for each recording, where nobody gave them: their places in TOML.
CHOSEN = ("freq_max", "rt_sort_probe", "rt_sort_params", "rt_sort_device", "out_file")


def config_text(wanted: Wanted) -> str:
    """Write the configuration as TOML; what is chosen where it is not set is a comment, so that it stays unset."""
    names = [name for name in (*CHOSEN, "sorter_name") if not wanted.gave(name)]
    places = flat_names(SortingPipelineConfig)
    unset = {(places[name].group, places[name].name) for name in names}
    lines, group = [], ""
    for line in config_to_toml(wanted.config).splitlines():
        group = line.strip("[]") if line.startswith("[") and line.endswith("]") else group
        comment = (group, line.partition(" = ")[0]) in unset
        lines.append(f"# {line}  # not set: chosen for each recording" if comment else line)
    return "\n".join(lines) + "\n"
