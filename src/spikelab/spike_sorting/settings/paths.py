"""Paths among the settings, which mean the same file wherever a run is gone on with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting.settings.keywords import with_settings
from spikelab.system.files import tidy

if TYPE_CHECKING:
    from spikelab.spike_sorting.settings.schema import SortingPipelineConfig

AUTO = "auto"  # of stim_times_s, no file
PATHS = ("probe_path", "stim_times_s")


def with_absolute_paths(config: SortingPipelineConfig, folder: Path | None = None) -> SortingPipelineConfig:
    """Return a configuration whose files of a recording have absolute paths, from `folder` or the current one."""
    values = {name: getattr(config.recording, name) for name in PATHS}
    located = {name: _located(value, folder) for name, value in values.items()}
    return config if located == values else with_settings(config, {"recording": located})


def _located(value: Any, folder: Path | None) -> Any:
    """Locate a path, and each of a list."""
    if isinstance(value, list | tuple) and any(isinstance(entry, str | Path) for entry in value):
        return [_located(entry, folder) for entry in value]
    if not isinstance(value, str | Path) or value == AUTO or Path(value).is_absolute():
        return value
    return str(tidy((folder or Path()) / Path(value).expanduser()))


def file_of(value: Any) -> Path | None:
    """Return the file that a setting names; None where it names none."""
    return Path(value) if isinstance(value, str | Path) and value != AUTO else None
