"""Plan jobs from the user's inputs: one per recording, each with its own folders; nothing is opened yet."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from spikelab.spike_sorting._exceptions import FolderUnusableError
from spikelab.spike_sorting.recording.fingerprint import fingerprint
from spikelab.spike_sorting.recording.source import resolve_source, safe_name, stem_of
from spikelab.spike_sorting.recording.streams import Stream, chosen_stream, listed
from spikelab.spike_sorting.settings.paths import with_absolute_paths
from spikelab.spike_sorting.settings.schema import SortingPipelineConfig
from spikelab.system import files
from spikelab.system.runlog import warn
from spikelab.system.texts import shortened

if TYPE_CHECKING:
    from spikelab.spike_sorting.run.estimate import Estimate

Request: TypeAlias = tuple[Any, SortingPipelineConfig]


@dataclass(frozen=True)
class Job:
    """One recording to sort, and its folders (absolute)."""

    recording_input: Any  # path or SpikeInterface recording
    name: str  # stem, stream and recording within the file
    config: SortingPipelineConfig
    results: Path
    intermediate: Path
    # What a list of recordings says of the recording besides, such as its condition, in values of JSON.
    metadata: Mapping[str, Any] = field(default_factory=dict)
    chosen: Mapping[str, str] = field(default_factory=dict)  # settings that nobody gave, and why they are as they are
    fingerprint: str | None = None  # of an input that need not be there: its results are gone on with
    takes: Estimate | None = None  # where the recording was looked into, and is still to be sorted


def as_list(recording_files: Any) -> list[Any]:
    """Return the inputs as a list of paths and recordings; a single one is a list of one."""
    if isinstance(recording_files, str | os.PathLike) or not isinstance(recording_files, Sequence):
        recording_files = [recording_files]
    return [Path(entry) if isinstance(entry, str | os.PathLike) else entry for entry in recording_files]


def plan_jobs(
    requests: Sequence[Request],
    intermediate_folders: Sequence[Any] | None = None,
    results_folders: Sequence[Any] | None = None,
    *,
    intermediate_parents: Sequence[Path | None] | None = None,
    results_parents: Sequence[Path | None] | None = None,
    metadata: Sequence[Mapping[str, Any]] | None = None,
    checked: bool = False,
) -> list[Job]:
    """Give every input its folders: those given, or folders in the given parents, or beside the recording.

    `metadata`: what is noted of each input. `checked`: the caller checks recordings, and whether a recording or a
    folder is given twice.

    Raises
    ------
    ValueError
        If a recording is given twice, a list of folders has the wrong length, or two jobs would share a folder.
    TypeError
        If a recording is neither a path nor a SpikeInterface recording.
    """
    if not checked:
        _reject_unreadable(requests)
        _reject_duplicates(requests)
    given_results = _folders("results_folders", results_folders, len(requests))
    given_intermediate = _folders("intermediate_folders", intermediate_folders, len(requests))
    parents_of_results = _folders("results_parents", results_parents, len(requests))
    parents_of_intermediate = _folders("intermediate_parents", intermediate_parents, len(requests))
    requests = [(entry, with_absolute_paths(config)) for entry, config in requests]
    _warn_of_shared_periods(requests)
    names = _names(requests)
    jobs = []
    for i, (entry, config) in enumerate(requests):
        sorter, beside = safe_name(config.sorter.sorter_name), _parent_folder(entry)
        results, intermediate = (
            given or (parent or beside) / f"{kind}_{sorter}_{names[i]}"
            for kind, given, parent in (
                ("sorted", given_results[i], parents_of_results[i]),
                ("inter", given_intermediate[i], parents_of_intermediate[i]),
            )
        )
        if results == intermediate:
            intermediate = results / "intermediate"
        noted = {} if metadata is None else metadata[i]
        jobs.append(Job(entry, names[i], config, files.tidy(results), files.tidy(intermediate), noted))
    if not checked:
        _reject_shared_folders(jobs)
    return jobs


def of_each_recording(config: SortingPipelineConfig, n_recordings: int) -> list[SortingPipelineConfig]:
    """Return the configuration of each recording: that of all, but for pulse times that are given for each."""
    from spikelab.spike_sorting.recording.stimulation.times import is_list_of_entries
    from spikelab.spike_sorting.recording.stimulation.times import of_each_recording as times_of_each

    times = config.recording.stim_times_s
    if not is_list_of_entries(times):
        return [config] * n_recordings
    return [config.override(stim_times_s=own) for own in times_of_each(times, n_recordings)]


def _warn_of_shared_periods(requests: Sequence[Request]) -> None:
    """Warn where the same periods of artefact are given for several recordings; wells of a file do share them."""
    sharing: dict[str, set[str]] = defaultdict(set)
    for entry, config in requests:
        if isinstance(config.recording.artifacts, list | tuple):
            sharing[repr(config.recording.artifacts)].add(str(entry) if isinstance(entry, Path) else str(id(entry)))
    for periods, entries in sharing.items():
        if len(entries) > 1:
            warn(
                f"artifacts: the same periods, {shortened(periods)} s, are dead time in each of {len(entries)} "
                "recordings. Where they are of one of them alone, sort it by itself, or give each its own in a list of "
                "recordings (spikelab batch)"
            )


def unusable_folder(job: Job) -> FolderUnusableError | None:
    """Find a folder of a job that cannot be made; the failure that its sort would end with, or None."""
    for folder in (job.results, job.intermediate):
        if why := files.why_unusable(folder):
            return FolderUnusableError(
                f"{folder} cannot be made: {why}. Give other results_folders or intermediate_folders", unusable=folder
            )
    return None


def require_sorter(config: SortingPipelineConfig) -> None:
    """Raise ValueError for an unknown sorter, for parameters that it does not have, and for unknown metrics."""
    from spikelab.spike_sorting.backends import get_backend_class
    from spikelab.spike_sorting.stages.metric_names import require_metrics

    get_backend_class(config.sorter.sorter_name)(config).check_settings()
    _require_further_sorts(config)
    require_metrics(config)


def _require_further_sorts(config: SortingPipelineConfig) -> None:
    """Raise ValueError where `sort_again` names a sorter that there is not, or sorts the same once more."""
    from spikelab.spike_sorting.backends import get_backend_class

    again, own = config.validation.sort_again, config.sorter.sorter_name
    names = again if isinstance(again, list) else [own] * bool(again)
    if own in names and not get_backend_class(own).takes_seed:
        raise ValueError(
            f"'sort_again' would sort with {own} again, which takes no seed and finds the same units each time; name "
            "other sorters, such as sort_again=['rt_sort'] (on the command line --again rt_sort)"
        )
    if twice := [name for name, uses in Counter(names).items() if uses > 1]:
        raise ValueError(
            f"'sort_again' names {twice[0]!r} more than once, got {again!r}; a number of times, such as 2, sorts with "
            "the sort's own sorter and other seeds"
        )
    for name in names:
        if name != own:
            other = config.override(sorter_name=name, sorter_params=None)
            get_backend_class(name)(other).check_installed()


def checked_streams(recording: Any, stream_ids: Sequence[str], config: SortingPipelineConfig) -> list[str]:
    """Return `stream_ids` ("all" is every one with electrodes), checked.

    Streams are named by id or by name. A ValueError says that `recording` does not have one of them.
    """
    streams = [stream_ids] if isinstance(stream_ids, str) else list(stream_ids)
    if len(set(streams)) < len(streams):
        raise ValueError(f"stream_ids: a stream is given twice: {streams}")
    present = _streams_of(recording, config)
    if present is None:  # of other formats it shows when the recording is opened
        return streams
    if streams == ["all"]:
        return _that_can_be_sorted(recording, present, config)
    chosen = [chosen_stream(Path(recording), present, stream).id for stream in streams]
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"stream_ids: a stream is given twice, by its id and by its name: {streams}")
    return streams


def _that_can_be_sorted(recording: Any, present: Sequence[Stream], config: SortingPipelineConfig) -> list[str]:
    """Return the streams that hold electrodes, without those, such as LFP, that are too slow for the band-pass."""
    electrodes = list(filter(attrgetter("electrodes"), present))
    if not electrodes:
        raise ValueError(f"{recording} has no stream with electrodes; it has {listed(present)}: name one to sort it")
    highest = config.recording.freq_max
    slow = [stream for stream in electrodes if stream.is_below(2 * highest)]
    if len(slow) in (0, len(electrodes)):
        return [stream.id for stream in electrodes]
    warn(f"of {recording}, {listed(slow)} is not sorted: its sampling rate is too low for freq_max ({highest:g} Hz)")
    return [stream.id for stream in electrodes if stream not in slow]


def _streams_of(recording: Any, config: SortingPipelineConfig) -> list[Stream] | None:
    from spikelab.spike_sorting.recording import set_plugin_path
    from spikelab.spike_sorting.recording.inspection import find_streams

    if config.recording.hdf5_plugin_path is not None:
        set_plugin_path(config.recording.hdf5_plugin_path)
    return find_streams(Path(recording), trust_input=config.recording.trust_input)


def n_files(recording_input: Any) -> int:
    """Count the files of an input, which is the number of its results; 1 where the files cannot be listed."""
    try:
        return max(1, len(resolve_source(recording_input).files))
    except (OSError, ValueError):
        return 1


def overview_folder(jobs: Sequence[Job]) -> Path:
    """Return the folder of the figures of several recordings together: beside their results folders."""
    sorter = safe_name(jobs[0].config.sorter.sorter_name)
    return jobs[0].results.parent / f"sorted_{sorter}_overview"


def _names(requests: Sequence[Request]) -> list[str]:
    """Name each request; equal names of one sorter get a short hash of recording and stream."""
    names = [(_name(entry, config), config.sorter.sorter_name) for entry, config in requests]
    uses = Counter(names)
    return [
        f"{named[0]}_{_short_hash(entry, config)}" if uses[named] > 1 else named[0]
        for (entry, config), named in zip(requests, names, strict=True)
    ]


def _name(entry: Any, config: SortingPipelineConfig) -> str:
    # A recording in memory has no name: its content names the recording.
    stem = stem_of(entry) if isinstance(entry, Path) else f"recording_{fingerprint(entry)[:8]}"
    chosen = (config.recording.stream_id, config.recording.rec_name)
    return "_".join([stem, *(safe_name(str(name)) for name in chosen if name)])


def _short_hash(entry: Any, config: SortingPipelineConfig) -> str:
    identity = f"{_identity(entry)} {config.recording.stream_id} {config.recording.rec_name}"
    return hashlib.blake2b(identity.encode(), digest_size=4).hexdigest()


def _identity(entry: Any) -> str:
    """Identify a recording: by the place of its file without links, or by its content in memory."""
    return str(entry.resolve()) if isinstance(entry, Path) else fingerprint(entry)


def _parent_folder(entry: Any) -> Path:
    if isinstance(entry, Path):
        parent = entry.absolute().parent  # of a link, the folder that the link is in
        if os.access(parent, os.W_OK):
            return parent
    return Path.cwd()


def _folders(name: str, folders: Sequence[Any] | None, count: int) -> list[Path | None]:
    if folders is None:
        return [None] * count
    if isinstance(folders, str | os.PathLike):
        folders = [folders]
    if len(folders) != count:
        raise ValueError(
            f"{name} has {len(folders)} entries for {count} recordings; expected a list of the same length, or None"
        )
    return [None if folder is None else files.tidy(Path(folder)) for folder in folders]


def _reject_unreadable(requests: Sequence[Request]) -> None:
    for entry, _ in requests:
        if not isinstance(entry, Path) and not hasattr(entry, "get_traces"):
            raise TypeError(
                f"recording_files: expected paths or SpikeInterface recordings, got {type(entry).__name__} ({entry!r})"
            )


def _reject_duplicates(requests: Sequence[Request]) -> None:
    if len(requests) == 1:
        return
    identities = [
        (_identity(entry), config.recording.stream_id, config.recording.rec_name) for entry, config in requests
    ]
    for identity, uses in Counter(identities).items():
        if uses > 1:
            entry = requests[identities.index(identity)][0]
            raise ValueError(f"recording_files: {entry} is given {'twice' if uses == 2 else f'{uses} times'}")


def _reject_shared_folders(jobs: Sequence[Job]) -> None:
    for attribute in ("results", "intermediate"):
        folders = Counter(getattr(job, attribute) for job in jobs)
        if shared := [folder for folder, uses in folders.items() if uses > 1]:
            raise ValueError(f"{attribute}_folders: {shared[0]} is given for more than one recording")
