"""Open a results folder again: all units, the decisions of curation, and the traces where they are kept."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting import decisions as decided
from spikelab.spike_sorting.data import BinaryRecording, SpikeTrains, Waveforms
from spikelab.spike_sorting.data.outcomes import DONE
from spikelab.spike_sorting.decisions import Decisions, State
from spikelab.spike_sorting.run.jobs import Job
from spikelab.spike_sorting.run.record import FINAL, RUN_RECORD, read_record
from spikelab.spike_sorting.run.sort_one import context_of
from spikelab.spike_sorting.settings.toml import config_from_toml
from spikelab.spike_sorting.stages import again, plugin_metrics, quality, recording, sorting, validation
from spikelab.spike_sorting.stages.manifest import REMEDY, STAGES_FOLDER, Manifest, intact
from spikelab.system import files
from spikelab.system.json_files import read_object

if TYPE_CHECKING:
    from spikelab.spike_sorting.curation import CurationOutcome
    from spikelab.spike_sorting.data import Validation
    from spikelab.spike_sorting.settings.schema import SortingPipelineConfig
    from spikelab.spikedata import SpikeData

logger = logging.getLogger(__name__)

CONFIG = "config_used.toml"


class TracesUnavailableError(ValueError):
    """Filtered traces that were deleted and cannot be written again."""


@dataclass(frozen=True)
class Results:
    """Results of a finished sort."""

    folder: Path  # absolute
    config: SortingPipelineConfig  # of this sort
    record: dict[str, Any]  # content of ``run.json``

    @classmethod
    def open(cls, folder: str | Path, *, finished: bool = True) -> Results:
        """Open the results folder of one recording; FileNotFoundError where it is none, or the sort did not finish.

        Without `finished` a sort may have failed since it finished first, as when decisions could not be applied: what
        the sorter found is there, and what follows from it may be of different runs.
        """
        path = Path(folder).absolute()
        if not (path / RUN_RECORD).is_file():
            raise FileNotFoundError(f"{path} is no results folder: it has no {RUN_RECORD}{_nested(path)}")
        record = read_record(path / RUN_RECORD)
        if not (path / CONFIG).is_file() or (finished and record["status"] != DONE):
            raise FileNotFoundError(
                f"{path} holds no finished sort: its status is {record['status']!r}; {_next_step(record['status'])}"
            )
        try:
            config = config_from_toml(path / CONFIG)
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"{path / CONFIG} is damaged ({error}); {REMEDY}") from error
        return cls(path, config, record)

    def stage(self, name: str) -> Path:
        """Return the folder of a stage's artifact."""
        return self.folder / STAGES_FOLDER / name

    def intact(self, name: str) -> Path:
        """Return the folder of a stage's artifact; FileNotFoundError without one, ValueError for a damaged file."""
        intact(self.stage(name))
        return self.stage(name)

    def run_id(self, stage: str) -> str:
        """Return the run id of a stage's artifact."""
        return intact(self.stage(stage)).run_id

    @cached_property
    def recording(self) -> BinaryRecording:
        """Channels, epochs and gain of the recording; its path may not exist."""
        values = read_object(self.intact("recording") / recording.DESCRIPTION)
        return BinaryRecording.from_dict(self.traces or Path("traces.dat"), values)

    @cached_property
    def waveforms(self) -> Waveforms:
        """Templates and metrics of all units."""
        return Waveforms.load(self.intact("waveforms"))

    @cached_property
    def trains(self) -> SpikeTrains:
        """Spikes of all units as the sorter found them, with its own ids; those that decisions are made on."""
        return SpikeTrains.load(self.intact("sorting") / sorting.SPIKES).inside(self.recording.n_samples)

    @cached_property
    def decisions(self) -> Decisions:
        """Decisions that these results were made with; the file ``decisions.json`` may have more."""
        path = self.intact("curation") / decided.FILE
        return decided.read(path) if path.is_file() else Decisions.on(self.trains)

    @cached_property
    def state(self) -> State:
        """Units after these decisions."""
        return decided.state_of(self.decisions, self.trains, self.recording.sampling_frequency)

    @cached_property
    def units(self) -> SpikeData:
        """All units of the sort."""
        from spikelab.spike_sorting.compilation import build_spikedata

        noted = self.record.get("metadata")
        trains = decided.regrouped(self.trains, self.state) if self.decisions.regroups else self.trains
        units = build_spikedata(self.recording, self.waveforms, self.config, trains, noted)
        if self.decisions.done:
            units = decided.with_decisions(units, decided.record_of(self.decisions, self.state))
        waveforms = self.run_id("waveforms")
        if self.config.waveform.si_quality_metrics:
            units = quality.with_quality(units, quality.stored_quality(self.folder, waveforms))
        stages = self.record.get("stages") or {}
        metrics = plugin_metrics.stored_metrics(self.folder, stages, waveforms)
        metrics |= validation.as_metrics(self.validation)
        metrics |= again.agreement_metric(again.stored_agreement(self.folder, stages, waveforms))
        return plugin_metrics.with_plugin_metrics(units, metrics)

    @cached_property
    def validation(self) -> Validation | None:
        """What a validation tells of these units; None without one."""
        return validation.stored_validation(self.folder, self.record.get("stages") or {}, self.run_id("waveforms"))

    @cached_property
    def curation(self) -> CurationOutcome:
        """Decisions of curation about the units."""
        from spikelab.spike_sorting.curation import CurationOutcome

        return CurationOutcome.load(self.intact("curation") / "curation.json", self.units)

    @cached_property
    def traces(self) -> Path | None:
        """Path of the filtered traces, where an intermediate folder still has them."""
        names = dict.fromkeys([self.record.get("intermediate") or "intermediate", "intermediate"])
        found = (recording.traces_in_place(self.folder, self.folder / name) for name in names)
        return next((path for path in found if path is not None), None)

    def write_traces(self, path: Path, recording_input: str | Path | None = None) -> None:
        """Filter the recording, which is at `recording_input` or where it was sorted, once more into the file `path`.

        Raises
        ------
        TracesUnavailableError
            If the recording is not there, was in memory, or is another one.
        """
        job = self.job(recording_input)
        source, context = job.recording_input, context_of(job, {})
        manifest = Manifest.read(self.stage("recording"))
        if manifest is None or manifest.settings["input"] != context.fingerprint:
            raise TracesUnavailableError(
                f"{source} is not the recording that was sorted, or it was changed since; give the unchanged one"
            )
        logger.info("the filtered traces are written again from %s", source)
        if not recording.write_traces_to(context, path):
            logger.warning("the traces differ from those that were sorted: another version of a library filtered them")

    def job(self, recording_input: str | Path | None = None) -> Job:
        """Make the job that sorts the same recording into the same folders again."""
        intermediate = self.folder / (self.record.get("intermediate") or "intermediate")
        return Job(
            self._recording_input(recording_input),
            self.record.get("name", self.folder.name),
            self.config,
            self.folder,
            files.tidy(intermediate),
            self.record.get("metadata") or {},
            self.record.get("chosen") or {},
        )

    def _recording_input(self, given: str | Path | None) -> Path:
        known = self.record.get("recording_input")
        if given is not None:
            source = Path(given)
        elif known is not None:
            source = (self.folder / known).resolve()
        else:
            raise TracesUnavailableError(
                "the filtered traces were deleted (delete_inter), and the recording was in memory"
            )
        if not source.exists():
            raise TracesUnavailableError(
                f"the filtered traces were deleted (delete_inter), and there is no recording at {source}"
            )
        return source


def _next_step(status: str) -> str:
    """Say what leads to a finished sort."""
    if status in FINAL and status != DONE:
        return "there is nothing to export; after a change of settings 'spikelab sort' tries again"
    return "the same 'spikelab sort' continues"


def _nested(folder: Path) -> str:
    """Return a hint where the results may be."""
    below = sorted(path.parent for path in folder.glob(f"*/{RUN_RECORD}")) if folder.is_dir() else []
    return f"; did you mean {below[0]}?" if below else "; expected the folder that 'spikelab sort' named"
