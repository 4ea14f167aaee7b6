"""From what the user gave to jobs: one per recording, each with its own folders; nothing is opened yet."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting.recording.source import fingerprint, resolve_source, safe_name, stem_of

if TYPE_CHECKING:
    from spikelab.spike_sorting.config import SortingPipelineConfig


@dataclass(frozen=True)
class Job:
    """One recording to sort.

    Attributes
    ----------
    recording_input : path or SpikeInterface recording
    name : str
        Short name: stem, stream and recording within the file.
    config : SortingPipelineConfig
    results, intermediate : Path
    """

    recording_input: Any
    name: str
    config: SortingPipelineConfig
    results: Path
    intermediate: Path


def as_list(recording_files: Any) -> list[Any]:
    """The inputs as a list of paths and recordings; a single one is a list of one."""
    if isinstance(recording_files, str | os.PathLike) or not isinstance(recording_files, Sequence):
        recording_files = [recording_files]
    return [Path(entry) if isinstance(entry, str | os.PathLike) else entry for entry in recording_files]


def plan_jobs(
    recording_inputs: Sequence[Any],
    config: SortingPipelineConfig,
    intermediate_folders: Sequence[Any] | None = None,
    results_folders: Sequence[Any] | None = None,
) -> list[Job]:
    """Give every input its folders.

    Raises
    ------
    ValueError
        If an input is given twice, a list of folders has the wrong length, or two inputs would share a folder.
    TypeError
        If an entry is neither a path nor a recording.
    """
    _refuse_strangers(recording_inputs)
    _refuse_twins(recording_inputs)
    count = len(recording_inputs)
    given_results = _folders("results_folders", results_folders, count)
    given_intermediate = _folders("intermediate_folders", intermediate_folders, count)
    names = _names(recording_inputs, config)
    sorter = safe_name(config.sorter.sorter_name)
    jobs = []
    for i, entry in enumerate(recording_inputs):
        base = _base_folder(entry)
        results = given_results[i] or base / f"sorted_{sorter}_{names[i]}"
        intermediate = given_intermediate[i] or base / f"inter_{sorter}_{names[i]}"
        if results == intermediate:
            intermediate = results / "intermediate"
        jobs.append(Job(entry, names[i], config, results, intermediate))
    for attribute in ("results", "intermediate"):
        folders = Counter(getattr(job, attribute) for job in jobs)
        if shared := [folder for folder, uses in folders.items() if uses > 1]:
            raise ValueError(f"{attribute}_folders: {shared[0]} is given for more than one recording")
    return jobs


def n_files(recording_input: Any) -> int:
    """Files behind an input: the number of results it contributes; 1 where that cannot be told."""
    try:
        return max(1, len(resolve_source(recording_input).files))
    except (OSError, ValueError):
        return 1


def overview_folder(jobs: Sequence[Job]) -> Path:
    """Where figures of several recordings together go: beside their results folders."""
    sorter = safe_name(jobs[0].config.sorter.sorter_name)
    return jobs[0].results.parent / f"sorted_{sorter}_overview"


def _names(recording_inputs: Sequence[Any], config: SortingPipelineConfig) -> list[str]:
    chosen = [safe_name(str(name)) for name in (config.recording.stream_id, config.recording.rec_name) if name]
    names = ["_".join([_stem(entry), *chosen]) for entry in recording_inputs]
    places = [(_base_folder(entry), name) for entry, name in zip(recording_inputs, names, strict=True)]
    uses = Counter(places)
    return [
        f"{name}_{_short_hash(entry)}" if uses[place] > 1 else name
        for entry, name, place in zip(recording_inputs, names, places, strict=True)
    ]


def _stem(entry: Any) -> str:
    if isinstance(entry, Path):
        return stem_of(entry)
    return safe_name(entry.get_annotation("name") or "recording")


def _short_hash(entry: Any) -> str:
    identity = str(entry.resolve()) if isinstance(entry, Path) else fingerprint(entry)
    return hashlib.blake2b(identity.encode(), digest_size=4).hexdigest()


def _base_folder(entry: Any) -> Path:
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
        raise ValueError(f"{name} has {len(folders)} entries for {count} recordings; give one per recording or None")
    return [None if folder is None else Path(folder).absolute() for folder in folders]


def _refuse_strangers(recording_inputs: Sequence[Any]) -> None:
    for entry in recording_inputs:
        if not isinstance(entry, Path) and not hasattr(entry, "get_traces"):
            raise TypeError(
                f"recording_files: expected paths or SpikeInterface recordings, got {type(entry).__name__} ({entry!r})"
            )


def _refuse_twins(recording_inputs: Sequence[Any]) -> None:
    identities = [entry.resolve() if isinstance(entry, Path) else id(entry) for entry in recording_inputs]
    for identity, uses in Counter(identities).items():
        if uses > 1:
            twin = recording_inputs[identities.index(identity)]
            raise ValueError(f"recording_files: the same recording is given {uses} times: {twin}")
