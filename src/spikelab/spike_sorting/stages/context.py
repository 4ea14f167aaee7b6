"""Context of the stages of one recording: configuration, folders, sorter and store."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikelab.system.json_files import plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spikelab.spike_sorting.backends.base import SorterBackend
    from spikelab.spike_sorting.settings.schema import SortingPipelineConfig
    from spikelab.spike_sorting.stages.store import StageStore


@dataclass(frozen=True)
class Context:
    """Inputs that all stages of one recording share."""

    recording_input: Any  # path or SpikeInterface recording, as the user gave it
    name: str  # short, for logs and figures
    config: SortingPipelineConfig
    backend: SorterBackend
    store: StageStore
    results: Path
    intermediate: Path  # folder of heavy files
    fingerprint: str  # identity of the input: the root of all keys
    sorts: bool = True  # whether the sorter will run
    wanted_memory: int = 0  # total_memory as the user gave it, in bytes; `config` has no more than this machine
    metadata: Mapping[str, Any] = field(default_factory=dict)  # what a list says of the recording, for its units

    @property
    def traces_path(self) -> Path:
        """Path of the binary recording."""
        return traces_path(self.intermediate)

    @property
    def sorter_folder(self) -> Path:
        """Scratch folder of the sorter."""
        return self.intermediate / "sorting" / "output"

    @property
    def waveforms_folder(self) -> Path:
        """Folder of the per-unit waveform files."""
        return self.intermediate / "waveforms"

    @property
    def keeps_waveform_files(self) -> bool:
        """Whether the intermediate folder keeps the files of the waveforms; without the recording, none are made."""
        given = self.recording_input
        is_gone = given is None or (isinstance(given, Path) and not given.exists())
        return not (self.config.execution.delete_inter or self.store.read_only or is_gone)

    def forced_by(self, *flags: str) -> str | None:
        """Return the first of the force flags that is set."""
        return next((flag for flag in flags if getattr(self.config.execution, flag)), None)

    def settings(
        self, group: str, *, only: tuple[str, ...] | None = None, leave_out: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """Return settings of one group of the configuration as a plain dict, for the key of a stage."""
        values = asdict(getattr(self.config, group))
        names = [name for name in only or values if name not in leave_out]
        return {name: plain(values[name]) for name in names}


def traces_path(intermediate: Path) -> Path:
    """Return the path of the binary recording in an intermediate folder."""
    return intermediate / "recording" / "traces.dat"


def stage_seed(random_seed: int | None, stage: str, content: str) -> int:
    """Compute a seed for one stage of one recording: batch order, workers and resume do not change it."""
    digest = hashlib.blake2b(f"{random_seed}/{stage}/{content}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little") % 2**31
