"""Settings of a sort that takes the units of a folder: where they are, and what is known of their recording."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting.backends.imported.recordings import PROBE_FILE
from spikelab.system import files

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from spikelab.spike_sorting.backends.imported.recordings import FoundRecording

SORTER = "imported"


def sorter_params(folder: Path, keep: Collection[str] | None) -> dict[str, Any]:
    """Return what the backend is told: the folder, and the labels that are taken."""
    wanted = [keep] if isinstance(keep, str) else list(keep or ())
    return {"folder": str(folder), **({"keep": wanted} if wanted else {})}


def with_probe(found: FoundRecording, results: Path, given: Collection[str]) -> dict[str, Any]:
    """Return the settings that describe the recording, but for those `given`; its probe is written into the results."""
    settings = {name: value for name, value in found.settings.items() if name not in given}
    if found.probe is not None and "probe_path" not in given:
        from probeinterface import write_probeinterface

        results.mkdir(parents=True, exist_ok=True)
        with files.replacing(results / PROBE_FILE) as path:
            write_probeinterface(path, found.probe)
        settings["probe_path"] = str(results / PROBE_FILE)
    return settings
