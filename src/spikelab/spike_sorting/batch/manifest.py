"""Read the list of a batch: recordings, sorters, settings and folders. Nothing is started.

A TOML file has a table ``[defaults]`` and a table ``[[recording]]`` for each entry; a CSV file has a row for each entry
and the same keys as columns. Further keys and columns are what people note of a recording: condition, line, day. All
faults of a file are reported together, each with its entry and key.
"""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting.batch.columns import (
    column_fault,
    further_columns,
    read_further,
    shared_wells,
    value_fault,
    well_fault,
)
from spikelab.spike_sorting.batch.entries import Entry, ManifestError, Problems, Request, located
from spikelab.spike_sorting.recording.source import natural_key
from spikelab.spike_sorting.run.choices import choose_sorter
from spikelab.spike_sorting.run.estimate import estimates
from spikelab.spike_sorting.run.faults import machine_faults
from spikelab.spike_sorting.run.jobs import Job, checked_streams, of_each_recording, plan_jobs
from spikelab.spike_sorting.run.parts import parts_of_files
from spikelab.spike_sorting.run.wanted import Problem, Wanted, wanted
from spikelab.spike_sorting.settings.keywords import suggestion
from spikelab.spike_sorting.settings.toml import decode, parse_value
from spikelab.system.quoting import printable
from spikelab.system.tables import Row, known_name, read_rows
from spikelab.system.texts import brief, read_toml, shortened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spikelab.spike_sorting.settings.schema import SortingPipelineConfig

KEYS = ("file", "stream", "sorter", "results", "intermediate", "config")
DEFAULTS = KEYS[1:]
CSV_SEPARATOR = ";"
A_LIST = "a list of recordings"
# Types of the value of a key, besides None, and their name in messages.
KINDS: dict[str, tuple[Any, str]] = {
    "file": (str | Path, "the path of a recording"),
    "stream": (str, "the name of a stream, or a list of names"),
    "sorter": (str, "the name of a sorter"),
    "results": (str | Path, "the path of a folder"),
    "intermediate": (str | Path, "the path of a folder"),
    "config": (str | Mapping, "settings, or the path of a file with them"),
}


@dataclass(frozen=True)
class Look:
    """How a list is looked into: every recording is opened without its traces, checked, and what nobody set is chosen.

    Attributes
    ----------
    all_recordings : bool
        Whether each recording of a well is sorted, where there are several.
    sorts_here : bool
        Whether this machine sorts, so that it has to have the sorters.
    """

    all_recordings: bool = False
    sorts_here: bool = True


def read_manifest(path: str | Path, look: Look | None = None) -> list[Job]:
    r"""Read a list of recordings, and plan a job for each recording and stream.

    Parameters
    ----------
    path : path
        ``.toml`` or ``.csv``; paths in it are relative to its folder.
    look : Look, optional
        Look into the recordings too, as ``spikelab batch`` does: all that a sort would refuse is among the faults, and
        sorter, preset and band-pass are chosen where the list does not name them. By default no recording is opened,
        and what the list does not name has its default.

    Returns
    -------
    list of Job

    Raises
    ------
    ManifestError
        With every fault of the file: unknown keys and settings, files that are not there, streams that a file does not
        have, a recording or a folder that is named twice.
    FileNotFoundError, PermissionError
        If there is no such file, or it may not be read.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "day1.raw.h5").touch()
    ...     _ = Path(folder, "list.toml").write_text("[[recording]]\nfile = 'day*.raw.h5'\nsorter = 'rt_sort'")
    ...     [job.name for job in read_manifest(Path(folder, "list.toml"))]
    ['day1']
    """
    path = Path(path)
    if path.suffix.lower() not in (".toml", ".csv"):
        raise ManifestError([f"{path}: expected a .toml or a .csv file"], str(path))
    read = _read_toml if path.suffix.lower() == ".toml" else _read_csv
    try:
        defaults, entries, problems = read(path)
    except ValueError as error:
        raise ManifestError([str(error)], printable(str(path))) from error
    return _plan(defaults, entries, path.absolute().parent, problems, str(path), look)


def jobs_from_entries(entries: Sequence[Mapping[str, Any]], defaults: Mapping[str, Any] | None = None) -> list[Job]:
    """Plan jobs from entries with the keys of a list (`KEYS`); paths are relative to the current folder.

    Raises
    ------
    ManifestError
        As for :func:`read_manifest`.
    """
    return _plan(dict(defaults or {}), [dict(entry) for entry in entries], Path.cwd(), [], "the list")


def _read_toml(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]], list[str]]:
    content = read_toml(path, A_LIST)
    problems = [
        f"[{shortened(name)}]: unknown table{suggestion(name, ('defaults', 'recording'))}"
        for name in content
        if name not in ("defaults", "recording")
    ]
    entries, defaults = content.get("recording", []), content.get("defaults", {})
    if not isinstance(entries, list):
        problems.append("recording: write [[recording]], with two brackets, once for each entry")
        entries = []
    if not isinstance(defaults, dict):
        problems.append(f"defaults: expected a table [defaults], got {brief(defaults)}")
        defaults = {}
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict):
            problems.append(f"entry {number}: expected a table [[recording]], got {brief(entry)}")
    return defaults, [entry for entry in entries if isinstance(entry, dict)], problems


def _read_csv(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]], list[str]]:
    """Read rows as entries; rows without a value, which spreadsheets write, are left out."""
    header, *filled = read_rows(path, A_LIST) or [Row(0, [])]
    columns = [known_name(name, KEYS) for name in header.cells]
    problems = [f"column {name!r} is there twice" for name, n in Counter(columns).items() if n > 1 and name]
    entries = []
    for number, row in enumerate(filled, start=1):
        entry, faults = _parse_row(columns, row.cells)
        problems += [f"entry {number}, line {row.line}{fault}" for fault in faults]
        entries.append(entry)
    problems += read_further(filter(None, dict.fromkeys(columns)), entries, KEYS)
    return {}, entries, problems


def _parse_row(columns: Sequence[str], cells: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Make an entry of a row, without empty cells; returns its faults as well."""
    faults = [": more values than columns"] if any(cells[len(columns) :]) else []
    pairs = [(key, cell) for key, cell in zip(columns, cells, strict=False) if cell]
    faults += [f": {brief(cell)} is in a column without a name" for key, cell in pairs if not key]
    entry: dict[str, Any] = {key: cell for key, cell in pairs if key}
    return entry, faults + [f", config: {problem}" for problem in _parse_settings(entry)]


def _parse_settings(entry: dict[str, Any]) -> list[str]:
    """Parse ``config`` of a row, unless it is a file, into settings; returns its faults."""
    text = entry.get("config", "")
    if CSV_SEPARATOR not in text and "=" not in text:
        return []
    problems, settings = [], {}
    for part in filter(None, map(str.strip, text.split(CSV_SEPARATOR))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not name:
            problems.append(f"expected FIELD=VALUE, got {brief(part)}")
        elif name in settings:
            problems.append(f"{name} is set twice")
        settings[name] = parse_value(value)
    entry["config"] = settings
    return problems


def _plan(
    defaults: Mapping[str, Any],
    entries: Sequence[Mapping[str, Any]],
    folder: Path,
    problems: list[str],
    source: str,
    look: Look | None = None,
) -> list[Job]:
    found = Problems(list(problems))
    found.found += _faults_of_columns("[defaults]", defaults, DEFAULTS)
    requests = _all_requests(defaults, entries, folder, found, look)
    _reject_duplicates(requests, found)
    jobs = [] if found.found and look is None else _jobs(requests, found)
    if look is not None:
        _check_machine(requests, jobs, look, found)
    if found.found:
        raise ManifestError(found.found, source)
    if look is None:
        return jobs
    takes = estimates(jobs, [request.part.seen if request.part is not None else None for request in requests])
    return [replace(job, takes=one) for job, one in zip(jobs, takes, strict=True)]


def _all_requests(
    defaults: Mapping[str, Any], entries: Sequence[Mapping[str, Any]], folder: Path, found: Problems, look: Look | None
) -> list[Request]:
    """Expand all entries, each with the defaults under it."""
    if not entries and not found.found:
        found.found.append("there is no [[recording]] in it")
    requests: list[Request] = []
    names = [_entry_name(number, entry) for number, entry in enumerate(entries, start=1)]
    shared = {i: (j, well) for i, j, well in shared_wells([{**defaults, **entry} for entry in entries], KEYS)}
    configs: dict[str, Wanted | None] = {}
    for number, (name, entry) in enumerate(zip(names, entries, strict=True)):
        found.found += _faults_of_columns(name, entry, KEYS)
        if number in shared:
            other, well = shared[number]
            told = "if they are two recordings of it, a further column such as day tells them apart"
            found.found.append(f"{name}, well: {well} is the well of {names[other]} too; {told}")
        merged = {**defaults, **entry, "config": _merged_config(defaults, entry)}
        planned = Entry(name, merged, frozenset(entry), folder)
        if _has_right_types(planned, found):
            requests += _requests(planned, found, configs, look)
    return requests


def _entry_name(number: int, entry: Mapping[str, Any]) -> str:
    named = entry.get("file", "without a file")
    return f"entry {number} ({shortened(named) if isinstance(named, str) else brief(named)})"


def _faults_of_columns(name: str, values: Mapping[str, Any], known: Sequence[str]) -> list[str]:
    """Check the keys that are none of ours: each is a note on the recording, with a name and a value of its own."""
    further = [key for key in values if key not in known]
    faults = {
        key: column_fault(key, known) or value_fault(values[key]) or well_fault(key, values[key]) for key in further
    }
    return [f"{name}, {shortened(key)}: {fault}" for key, fault in faults.items() if fault]


def _has_right_types(entry: Entry, problems: Problems) -> bool:
    """Check the types of the values of an entry, and that its paths can be located."""
    before = len(problems.found)
    for key, (kinds, expected) in KINDS.items():
        value = entry.values.get(key)
        if not (value is None or isinstance(value, kinds) or (key == "stream" and _is_list_of_names(value))):
            problems.add(entry, key, f"expected {expected}, got {brief(value)}")
    for key in ("results", "intermediate", "config"):
        value = entry.values.get(key)
        if isinstance(value, str | Path) and (key, value) != ("config", ""):
            try:
                located(entry.folder, value)
            except ValueError as error:
                problems.add(entry, key, error)
    return len(problems.found) == before


def _is_list_of_names(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)


def _merged_config(defaults: Mapping[str, Any], entry: Mapping[str, Any]) -> Any:
    """Merge the settings of the entry into the common ones; a file is not merged."""
    common, own = defaults.get("config", {}), entry.get("config", {})
    if isinstance(common, Mapping) and isinstance(own, Mapping):
        return {**common, **own}
    return own or common


def _requests(
    entry: Entry, problems: Problems, configs: dict[str, Wanted | None], look: Look | None
) -> Iterator[Request]:
    """Expand an entry into recordings and streams; entries with the same settings share them."""
    settings = repr((entry.values.get("sorter"), entry.values["config"]))
    faults: list[Problem] = []
    if settings not in configs:
        configs[settings], faults = _wanted(entry, look)
    for fault in faults:
        problems.add(entry, fault.key, fault.text)
    wanted = configs[settings]
    paths = _paths(entry, problems)
    if wanted is None:
        return
    stream = entry.values.get("stream")
    names = [stream] if isinstance(stream, str) else list(stream or ())
    pattern = glob.has_magic(str(entry.values.get("file", "")))
    several = pattern or stream == "all" or not isinstance(stream, str | None)
    for path in paths:
        if look is None:
            yield from _as_listed(entry, path, wanted.config, stream, several, problems)
        else:
            yield from _looked_into(entry, path, wanted, names, several, look, problems)


def _as_listed(
    entry: Entry, path: Path, config: SortingPipelineConfig, stream: Any, several: bool, problems: Problems
) -> Iterator[Request]:
    """Plan the streams that an entry names; no recording is opened but for its list of streams."""
    try:
        streams = [None] if stream is None else checked_streams(path, stream, config)
    except (ValueError, OSError) as error:
        problems.add(entry, "stream", error)
        return
    try:
        configs = of_each_recording(config, len(streams))
    except ValueError as error:
        problems.add(entry, "config", error)
        return
    for name, own in zip(streams, configs, strict=True):
        yield Request(entry, path, own if name is None else own.override(stream_id=name), several)


def _looked_into(
    entry: Entry, path: Path, wanted: Wanted, names: Sequence[str], several: bool, look: Look, problems: Problems
) -> Iterator[Request]:
    """Plan the recordings that an entry stands for, with everything that a sort would refuse of them."""
    try:
        parts = parts_of_files([path], wanted, names, all_recordings=look.all_recordings)
    except ValueError as error:  # pulse times for another number of recordings
        problems.add(entry, "config", error)
        return
    of_which = f"{path.name}: " if several else ""
    for part in parts:
        for fault in part.faults:
            problems.add(entry, fault.key, of_which + fault.text(in_list=True), of_recording=True)
        yield Request(entry, path, part.wanted.config, several or len(parts) > 1, part)


def _wanted(entry: Entry, look: Look | None) -> tuple[Wanted | None, list[Problem]]:
    """Read the settings of an entry, with all their faults; None where there is nothing to go on with."""
    sorter, given = entry.values.get("sorter"), entry.values["config"]
    source = located(entry.folder, given) if isinstance(given, str) else None
    changes = {} if isinstance(given, str) else decode(dict(given))
    found, problems = wanted(sorter, source, changes, None if look is None else choose_sorter)
    if found is None or (problems and look is None):
        return None, problems
    return found.located(entry.folder), problems


def _paths(entry: Entry, problems: Problems) -> list[Path]:
    name = entry.values.get("file")
    if not isinstance(name, str | Path) or not str(name):
        problems.add(entry, "file", "the path of a recording is missing")
        return []
    try:
        path = located(entry.folder, name)
        if path.exists():
            return [path]
    except (OSError, ValueError) as error:
        problems.add(entry, "file", error)
        return []
    if not glob.has_magic(str(name)):
        problems.add(entry, "file", f"there is no file or folder {path}")
        return []
    found = sorted(map(Path, glob.glob(str(path), recursive=True)), key=lambda found: natural_key(str(found)))  # noqa: PTH207
    if not found:
        problems.add(entry, "file", f"nothing is called {path}")
    return found


def _reject_duplicates(requests: Sequence[Request], problems: Problems) -> None:
    seen: dict[tuple[Any, ...], Entry] = {}
    for request in requests:
        config = request.config
        chosen = (config.sorter.sorter_name, config.recording.stream_id, config.recording.rec_name)
        identity = (request.path.resolve(), *chosen)
        if identity in seen:
            stream = f", stream {chosen[1]}" if chosen[1] else ""
            first = seen[identity].name
            hint = "; stream says which well is sorted" if _names_a_well(request.entry) and not chosen[1] else ""
            problem = f"{request.path}{stream} is already in {first}, with the same sorter{hint}"
            problems.add(request.entry, "file", problem)
        seen.setdefault(identity, request.entry)


def _names_a_well(entry: Entry) -> bool:
    return any(key.casefold() == "well" for key in entry.values)


def _reject_shared_folders(requests: Sequence[Request], folders: Sequence[Path], key: str, problems: Problems) -> None:
    seen: dict[Path, Entry] = {}
    for request, planned in zip(requests, folders, strict=True):
        folder = Path(os.path.normpath(planned))
        if folder in seen:
            problem = f"{folder} is already the folder of {seen[folder].name}"
            if key in request.entry.own:
                problem += "; what several have their folders in is named in [defaults]"
            problems.add(request.entry, key, problem)
        seen.setdefault(folder, request.entry)


def _check_machine(requests: Sequence[Request], jobs: Sequence[Job], look: Look, problems: Problems) -> None:
    """Add what the sorters lack here, once for each, and which disks have too little room."""
    seen = [None if request.part is None else request.part.seen for request in requests]
    told: set[str] = set()
    for i, faults in machine_faults(jobs, seen, sorts_here=look.sorts_here).items():
        for text, fault in ((fault.text(in_list=True), fault) for fault in faults):
            if text not in told:
                problems.add(requests[i].entry, fault.key, text)
            told.add(text)


def _metadata(request: Request) -> dict[str, Any]:
    return further_columns(request.entry.values, KEYS)


def _jobs(requests: Sequence[Request], problems: Problems) -> list[Job]:
    """Plan jobs in the order of `requests`, and check that each has folders of its own."""
    jobs = plan_jobs(
        [(request.path, request.config) for request in requests],
        [request.own_folder("intermediate") for request in requests],
        [request.own_folder("results") for request in requests],
        intermediate_parents=[request.folder("intermediate") for request in requests],
        results_parents=[request.folder("results") for request in requests],
        metadata=list(map(_metadata, requests)),
        checked=True,
    )
    _reject_shared_folders(requests, [job.results for job in jobs], "results", problems)
    if not problems.found:  # scratch in shared results is not reported as well
        _reject_shared_folders(requests, [job.intermediate for job in jobs], "intermediate", problems)
    return [replace(job, chosen=request.chosen) for job, request in zip(jobs, requests, strict=True)]
