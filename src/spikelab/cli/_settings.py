"""The configuration that the options of the command line describe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from spikelab.spike_sorting.settings.presets import CURATION_PRESETS, preset_for
from spikelab.spike_sorting.settings.toml import parse_value

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from spikelab.spike_sorting.settings.schema import SortingPipelineConfig


def build_config(sorter: str | None, config_file: Path | None, settings: dict[str, Any]) -> SortingPipelineConfig:
    """Build and check the configuration: the file or preset, with single settings changed; UsageError for a fault."""
    from spikelab.spike_sorting.settings.toml import config_from_toml
    from spikelab.spike_sorting.settings.validation import validate_config

    try:
        if config_file is None:
            config = preset_for(sorter or "kilosort2")
        else:
            config = config_from_toml(config_file)
            config = config if sorter is None else config.override(sorter_name=sorter)
        config = config.override(**settings)
        validate_config(config)
    except (TypeError, ValueError) as error:
        raise click.UsageError(str(error)) from error
    return config


def changes_of(preset: str | None, settings: Sequence[str]) -> dict[str, Any]:
    """Collect the settings of a preset of curation, and the single ones on top; UsageError for an unknown preset."""
    if preset is not None and preset not in CURATION_PRESETS:
        there_are = ", ".join(map(repr, CURATION_PRESETS))
        from spikelab.spike_sorting.backends import list_sorters

        sorters = "; a sorter is chosen with --sorter" if preset in list_sorters() else ""
        raise click.UsageError(f"there is no preset {preset!r}; there are: {there_are}{sorters}")
    return {**(CURATION_PRESETS[preset] if preset else {}), **parse_settings(settings)}


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """Parse ``["snr_min=8", "stream_id=well000"]`` into keywords; values are TOML, bare words strings, none is None."""
    parsed: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise click.UsageError(f"--set {setting}: expected FIELD=VALUE")
        parsed[name.strip()] = parse_value(text.strip())
    return parsed
