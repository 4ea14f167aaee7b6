"""Find everything that a sort would refuse, before anything is started: for ``sort``, ``batch`` and ``inspect``.

A row of `CHECKS` looks at one recording as it would be sorted, and reads no traces; `machine_faults` looks at sorters,
disks and files of settings for all jobs together. A fault says what was found, what was expected, and what to do about
it, on the command line or in a list.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting._exceptions import SpikeSortingClassifiedError
from spikelab.spike_sorting.data import Geometry
from spikelab.spike_sorting.recording.artefacts.given import periods_of_seconds
from spikelab.spike_sorting.recording.geometry.columns import by_shank, in_columns, is_known
from spikelab.spike_sorting.recording.motion.columns import columns_of
from spikelab.spike_sorting.recording.preprocess import MIN_FILTER_FRAMES
from spikelab.spike_sorting.recording.source import HEADERLESS_FIELDS
from spikelab.spike_sorting.run.choices import LOWEST_RATE_HZ, highest_edge
from spikelab.spike_sorting.run.jobs import unusable_folder
from spikelab.spike_sorting.settings.paths import AUTO, file_of
from spikelab.spike_sorting.stages import missing_files
from spikelab.spike_sorting.stages.checks import RESULTS_BYTES, Needs, check_disk, check_gpu, check_sorter
from spikelab.system.runlog import collected_warnings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from spikelab.spike_sorting.recording import StreamInfo
    from spikelab.spike_sorting.run.jobs import Job
    from spikelab.spike_sorting.settings.schema import SortingPipelineConfig

A_VALUE = "..."  # of a setting that only the user knows
MOST_PPM = 1e6


@dataclass(frozen=True)
class Fault:
    """What keeps a recording from being sorted: found, expected, and the settings or words that mend it."""

    key: str  # of a list: file, stream, config, sorter, results
    found: str
    expected: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    options: tuple[str, ...] = ()  # of the command line, which mend it too
    advice: str = ""
    error: Exception | None = None  # that the sort would end with; else ValueError
    choice: bool = False  # nothing is wrong with the file: one of several has to be chosen

    def text(self, *, in_list: bool = False) -> str:
        """Write the fault for the command line, or for an entry of a list."""
        text = f"{self.found}; expected {self.expected}" if self.expected else self.found
        ways = [*self.options, *_settings(self.settings, in_list=in_list)]
        advice = ", or ".join(filter(None, [" or ".join(ways), self.advice]))
        return f"{text}: {advice}" if advice else text

    def as_error(self) -> Exception:
        """Return the failure of a sort that this fault stands for, with the text for the command line."""
        return ValueError(self.text()) if self.error is None else self.error


def _settings(settings: Mapping[str, Any], *, in_list: bool) -> list[str]:
    if not settings:
        return []
    if in_list:
        return ["in config " + ", ".join(f"{name} = {value}" for name, value in settings.items())]
    return [" ".join(f"--set {name}={value}" for name, value in settings.items())]


@dataclass(frozen=True)
class Seen:
    """One recording as it would be sorted: its settings, and what was found in each of its files."""

    path: Path
    config: SortingPipelineConfig
    infos: tuple[StreamInfo, ...]

    @property
    def rate(self) -> float | None:
        """Sampling rate in Hz, where it is known."""
        return next((info.sampling_frequency for info in self.infos if info.sampling_frequency), None)

    @property
    def duration_s(self) -> float | None:
        """Length of all files together, where it is known."""
        lengths = [info.duration_s for info in self.infos if info.duration_s is not None]
        return sum(lengths) if len(lengths) == len(self.infos) else None


def faults_of(seen: Seen) -> list[Fault]:
    """Make all checks of one recording; what cannot be read is not checked further."""
    return unreadable(seen.infos, seen.config) or [fault for check in CHECKS for fault in check(seen)]


def unreadable(infos: Sequence[StreamInfo], config: SortingPipelineConfig | None = None) -> list[Fault]:
    """Return why files or streams cannot be read; of a headerless file, which settings it needs besides `config`."""
    found: dict[str, Fault] = {}
    for info in (info for info in infos if not info.readable):
        fault = Fault("file", info.problem, error=info.error)
        if info.needs_settings and config is not None:
            missing = {name: A_VALUE for name in HEADERLESS_FIELDS if getattr(config.recording, name) is None}
            fault = Fault("config", f"{info.file.name} is a binary file without a header", settings=missing)
        found.setdefault(fault.text(), fault)
    return list(found.values())


def _band(seen: Seen) -> Iterator[Fault]:
    recording, rate = seen.config.recording, seen.rate
    if rate is None:
        return
    if rate < LOWEST_RATE_HZ:
        yield Fault(
            "file",
            f"its sampling rate is {rate:g} Hz",
            f"at least {LOWEST_RATE_HZ:g} Hz, as spikes need",
            advice="it may be the stream of field potentials; choose another",
        )
    elif recording.freq_max >= rate / 2:
        yield Fault(
            "config",
            f"freq_max is {recording.freq_max:g} Hz",
            f"below half the sampling rate, {rate / 2:g} Hz",
            {"freq_max": highest_edge(rate)},
            advice="leave it out, and it is chosen",
        )


def _microvolts(seen: Seen) -> Iterator[Fault]:
    if seen.config.recording.gain_to_uv is None and any(info.no_gain for info in seen.infos):
        yield Fault("config", "its counts have no gain", "microvolts per count", {"gain_to_uv": A_VALUE})


def _length(seen: Seen) -> Iterator[Fault]:
    for info in seen.infos:
        if info.n_samples is not None and info.n_samples < MIN_FILTER_FRAMES:
            yield Fault("file", f"{info.file.name} has {info.n_samples} frames", f"at least {MIN_FILTER_FRAMES}")
    duration, recording = seen.duration_s, seen.config.recording
    starts = [recording.start_time_s or 0.0, min((start for start, _ in recording.rec_chunks_s or ()), default=0.0)]
    if duration and max(starts) >= duration:
        yield Fault(
            "config",
            f"nothing is kept: the first piece starts at {max(starts):g} s",
            f"a start within the {duration:g} s of the recording",
            advice="change start_time_s or rec_chunks_s",
        )


def _channels(seen: Seen) -> Iterator[Fault]:
    unwanted, known = seen.config.recording.bad_channels, seen.infos[0].channel_ids
    if not isinstance(unwanted, list) or not known:
        return
    unknown = [str(channel) for channel in unwanted if str(channel) not in known]
    if unknown:
        found, expected = f"bad_channels names {', '.join(unknown)}", f"channels such as {', '.join(known[:5])}"
        yield Fault("config", found, expected, advice="correct the names")


def _reference(seen: Seen) -> Iterator[Fault]:
    geometry = seen.infos[0].geometry
    if seen.config.recording.common_reference is None or geometry is None:
        return
    by = seen.config.recording.reference_by
    if by == "shank" and not all(geometry.shanks):
        found, mends = "reference_by is 'shank', and electrodes have no shank", {"reference_by": "group"}
        yield Fault("config", found, "names of shanks", mends)
        return
    yield from _single_channels(_referenced(geometry, by))


def _referenced(geometry: Geometry, by: str) -> Geometry:
    if by == "group":
        return geometry
    return by_shank(geometry) if by == "shank" else Geometry.of(geometry.places)


def _single_channels(geometry: Geometry) -> Iterator[Fault]:
    sizes = map(len, geometry.channels_of_groups())
    for name in (name for name, size in zip(geometry.group_names, sizes, strict=True) if size == 1):
        found = f"common_reference would leave nothing of {name or 'the only channel'}"
        yield Fault("config", found, "several channels in a group", {"common_reference": "none"})


def _columns(seen: Seen) -> Iterator[Fault]:
    geometry = seen.infos[0].geometry
    if seen.config.recording.spatial_filter is None or geometry is None or in_columns(by_shank(geometry)).any():
        return
    lie = "lie in no columns" if is_known(geometry) else "are in unknown places"
    mends = {"spatial_filter": "none"}
    yield Fault("config", f"spatial_filter is set, and the electrodes {lie}", "electrodes in columns", mends)


def _pulses(seen: Seen) -> Iterator[Fault]:
    """Pulse times of a list or a file that is there lie within the recording; of a file that is not, see `_files`."""
    from spikelab.spike_sorting.recording.stimulation.times import as_frames, given_times

    times, rate = seen.config.recording.stim_times_s, seen.rate
    path = file_of(times)
    if times == AUTO and all(info.no_events for info in seen.infos):  # a baseline beside others may have none
        yield Fault("config", seen.infos[0].no_events)
    if times in (None, AUTO) or rate is None or seen.duration_s is None or (path is not None and not path.exists()):
        return
    try:
        with collected_warnings():
            as_frames(given_times(times), [round(seen.duration_s * rate)], rate, seen.path.name, None)
    except (ValueError, OSError) as error:
        yield Fault("config", str(error), error=error)


def _periods(seen: Seen) -> Iterator[Fault]:
    periods, rate = seen.config.recording.artifacts, seen.rate
    if not isinstance(periods, list | tuple) or rate is None or seen.duration_s is None:
        return
    try:
        periods_of_seconds(periods, [[round(seen.duration_s * rate)]], rate)
    except ValueError as error:
        yield Fault("config", str(error), error=error)


def _motion(seen: Seen) -> Iterator[Fault]:
    """Movement is measured along columns."""
    recording, geometry = seen.config.recording, seen.infos[0].geometry
    if recording.motion is None or geometry is None:
        return
    together = recording.electrode_groups == "together"
    try:
        with collected_warnings():
            columns_of(Geometry.of(geometry.places) if together else geometry, recording.motion)
    except ValueError as error:
        yield Fault("config", str(error), settings={"motion": "none"}, error=error)


def _sample_times(seen: Seen) -> Iterator[Fault]:
    if seen.config.recording.phase_shift is True and not all(info.in_turn for info in seen.infos):
        found = "phase_shift is set, and the file does not say that channels are sampled one after the other"
        yield Fault("config", found, "times of sampling, as in files of Neuropixels", {"phase_shift": "auto"})


def _alike(seen: Seen) -> Iterator[Fault]:
    """Files that are sorted together have the same rate and as many channels."""
    first, recording = seen.infos[0], seen.config.recording
    for info in seen.infos[1:]:
        if None in (first.sampling_frequency, info.sampling_frequency, first.n_channels, info.n_channels):
            continue
        apart = abs(info.sampling_frequency / first.sampling_frequency - 1) * MOST_PPM  # type: ignore[operator]
        if apart > recording.rate_tolerance_ppm:
            yield Fault(
                "file",
                f"{info.file.name} has a sampling rate of {info.sampling_frequency:g} Hz",
                f"{first.sampling_frequency:g} Hz, as {first.file.name} has",
                advice="sort it on its own",
            )
        if info.n_channels != first.n_channels and recording.days == "same":
            yield Fault(
                "file",
                f"{info.file.name} has {info.n_channels} channels",
                f"{first.n_channels}, as {first.file.name} has",
                {"days": "shared"},
                advice="sort it on its own",
            )


CHECKS: tuple[Callable[[Seen], Iterator[Fault]], ...] = (
    _band,
    _microvolts,
    _length,
    _channels,
    _reference,
    _columns,
    _pulses,
    _periods,
    _motion,
    _sample_times,
    _alike,
)


def machine_faults(
    jobs: Sequence[Job], seen: Sequence[Seen | None], *, sorts_here: bool = True
) -> dict[int, list[Fault]]:
    """Check sorters, disks and files that settings name for all jobs together; faults by the position of their job.

    What is sorted already needs neither. With `sorts_here` False, other machines sort, and sorters are not checked.
    """
    found: dict[int, list[Fault]] = defaultdict(list)
    to_sort = [i for i, job in enumerate(jobs) if seen[i] is not None and not is_sorted(job.results)]
    if sorts_here:
        for i, fault in _sorters(jobs, to_sort):
            found[i].append(fault)
    for i, fault in _files(jobs):
        found[i].append(fault)
    unusable = dict(_folders(jobs, to_sort))
    for i, fault in (*unusable.items(), *_disks(jobs, seen, [i for i in to_sort if i not in unusable])):
        found[i].append(fault)
    return dict(found)


def is_sorted(results: Path) -> bool:
    """Whether a folder has spikes of an earlier sort; what is to be done again shows when it is sorted."""
    return (results / "stages" / "sorting" / "manifest.json").is_file()


def _sorters(jobs: Sequence[Job], to_sort: Sequence[int]) -> Iterator[tuple[int, Fault]]:
    """Check each sorter once: its package, model, MATLAB, container, and GPU."""
    from spikelab.spike_sorting.backends import get_backend_class

    checked: dict[str, SpikeSortingClassifiedError | None] = {}
    for i in to_sort:
        config = jobs[i].config
        asked = repr((config.sorter, config.rt_sort))
        if asked not in checked:
            try:
                needs = Needs(get_backend_class(config.sorter.sorter_name)(config))
                findings = [*check_sorter(needs), *check_gpu(needs)]
                checked[asked] = next((finding.failure for finding in findings if finding.failure is not None), None)
            except SpikeSortingClassifiedError as error:
                checked[asked] = error
        failure = checked[asked]
        if failure is not None:
            yield i, Fault("sorter", str(failure), error=failure)


def _files(jobs: Sequence[Job]) -> Iterator[tuple[int, Fault]]:
    """Find files that settings name and that are not there; what was read of them before is kept.

    The probe file is missed where the recording is looked into.
    """
    for i, job in enumerate(jobs):
        for path in missing_files(job.config, job.results):
            if path == file_of(job.config.recording.probe_path):
                continue
            found = f"there is no file {path}, which the settings name"
            yield i, Fault("config", found, error=FileNotFoundError(found))


def _folders(jobs: Sequence[Job], to_sort: Sequence[int]) -> Iterator[tuple[int, Fault]]:
    for i in to_sort:
        if (error := unusable_folder(jobs[i])) is not None:
            key = "results" if error.unusable == jobs[i].results else "intermediate"
            yield i, Fault(key, str(error), error=error)


def _disks(jobs: Sequence[Job], seen: Sequence[Seen | None], to_sort: Sequence[int]) -> Iterator[tuple[int, Fault]]:
    """Check the room for the largest scratch folder, or for all where they stay, and for all results."""
    if not to_sort:
        return
    needs: dict[Path, int] = {jobs[i].results: RESULTS_BYTES for i in to_sort}
    scratch = {i: scratch_bytes(jobs[i], seen[i]) for i in to_sort}
    largest = max(scratch, key=lambda i: scratch[i])
    for i, size in scratch.items():
        if i == largest or not jobs[i].config.execution.delete_inter:
            needs[jobs[i].intermediate] = needs.get(jobs[i].intermediate, 0) + size
    for finding in check_disk(Needs(folders=needs)):
        if finding.failure is not None:
            yield largest, Fault("results", str(finding.failure), error=finding.failure)


def scratch_bytes(job: Job, seen: Seen | None) -> int:
    """Estimate the bytes of the intermediate folder of a sort; 0 where the size of the recording is not known."""
    from spikelab.spike_sorting.backends import get_backend_class

    sizes = [(info.n_samples, info.n_channels) for info in (seen.infos if seen else ())]
    if any(None in size for size in sizes):
        return 0
    n_samples, n_channels = sum(size[0] or 0 for size in sizes), max((size[1] or 0 for size in sizes), default=0)
    backend = get_backend_class(job.config.sorter.sorter_name)(job.config)
    return 2 * n_samples * n_channels + backend.scratch_bytes(n_samples, n_channels)
