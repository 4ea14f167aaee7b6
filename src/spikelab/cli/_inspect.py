"""``spikelab inspect``: tabulate the content of a file, and draw its electrodes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from spikelab.cli._output import code_for, message_for, most_severe, table
from spikelab.cli._sort import choice_lines, fault_text, faults_of_jobs, lines_of_left_out
from spikelab.spike_sorting.run.jobs import plan_jobs
from spikelab.system.quoting import printable, printable_lines

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from spikelab.spike_sorting.recording import StreamInfo
    from spikelab.spike_sorting.run.jobs import Job
    from spikelab.spike_sorting.run.parts import Part
    from spikelab.spike_sorting.run.wanted import Wanted
    from spikelab.spike_sorting.settings.schema import RecordingConfig

HEADER = ("file", "stream", "name", "recording", "channels", "rate (Hz)", "duration (s)", "state")
MAPS_SHOWN, NAMES_SHOWN = 3, 3


def inspect_files(files: Sequence[Path], wanted: Wanted, picture: Path | None = None) -> tuple[str, int]:
    """Show each input, and what a sort of it would choose and refuse; return the exit code too."""
    from spikelab.spike_sorting.run.parts import wanted_of_files

    texts, codes = [], []
    for file, own in zip(files, wanted_of_files(files, wanted), strict=True):
        text, code = _inspected(file, own, picture)
        texts.append(text)
        codes.append(code)
    return "\n".join(filter(None, texts)), most_severe([code for code in codes if code])


def _inspected(path: Path, wanted: Wanted, picture: Path | None) -> tuple[str, int]:
    from spikelab.spike_sorting.run.parts import UNREADABLE, parts_of_files

    try:
        shown = inspection_table(path, picture=picture, config=wanted.config.recording)
    except UNREADABLE as error:
        click.echo(f"error: {message_for(error)}", err=True)
        return "", code_for(error)
    parts = parts_of_files([path], wanted)
    jobs = plan_jobs([(part.path, part.wanted.config) for part in parts])
    faults = faults_of_jobs(jobs, parts)
    jobs = [replace(job, chosen=part.chosen) for job, part in zip(jobs, parts, strict=True)]
    found = [fault for of_job in faults.values() for fault in of_job]
    lines = [*choice_lines(jobs), *lines_of_left_out(parts)]
    if found:
        lines += ["spikelab sort would refuse this:", *dict.fromkeys(f"  {fault_text(fault)}" for fault in found)]
    lines += _estimated(jobs, parts, faults)
    refused = [code_for(fault.as_error()) for fault in found if not fault.choice]
    return "\n".join([shown, *map(printable_lines, lines), ""]), most_severe(refused)


def _estimated(jobs: Sequence[Job], parts: Sequence[Part], faults: Collection[int]) -> list[str]:
    """Say what sorts of those without a fault take, and which are sorted already."""
    from spikelab.spike_sorting.run.estimate import estimate_lines, estimates
    from spikelab.spike_sorting.run.faults import is_sorted

    can = [i for i in range(len(jobs)) if i not in faults]
    lines = estimate_lines(estimates([jobs[i] for i in can], [parts[i].seen for i in can]))
    return lines + [f"sorted already: {jobs[i].results}" for i in can if is_sorted(jobs[i].results)]


def inspection_table(
    path: Path,
    *,
    trust_input: bool = False,
    probe: Path | None = None,
    picture: Path | None = None,
    config: RecordingConfig | None = None,
) -> str:
    """Tabulate the streams and recordings of the file or folder at `path`; draw their electrodes, and list problems.

    Streams without electrodes have a table of their own. `config` stands in the place of `trust_input` and `probe`.
    """
    from spikelab.spike_sorting.recording import inspect_file

    streams = inspect_file(path, trust_input=trust_input, probe_path=probe, config=config)
    problems = list(dict.fromkeys(info.problem for info in streams if info.problem))
    lines = [f"{path}: {streams[0].format if streams else 'nothing'}", *_tables(streams)]
    lines += ["", *map(printable_lines, problems)] if problems else []
    lines += _maps(streams)
    if picture is not None:
        lines += ["", _drawn(streams, picture)]
    return "\n".join(lines) + "\n"


def _maps(streams: Sequence[StreamInfo]) -> list[str]:
    """Draw the electrodes of the streams, once where they are the same, and say what was assumed of them."""
    from spikelab.spike_sorting.recording.geometry import text_map

    lines: list[str] = []
    drawn: dict[str, list[StreamInfo]] = {}
    for info in streams:
        if info.geometry is not None:
            drawn.setdefault(printable_lines(text_map(info.geometry)), []).append(info)
    for shown, (picture, alike) in enumerate(drawn.items()):
        if shown == MAPS_SHOWN:
            lines += ["", f"and {len(drawn) - shown} more arrangements of electrodes: --picture FILE draws all"]
            break
        lines += ["", f"electrodes of {printable(_names(alike))}:", picture]
    assumed = dict.fromkeys(text for info in streams for text in info.assumed)
    return lines + ([""] if assumed else []) + [printable_lines(f"assumed: {text}") for text in assumed]


def _drawn(streams: Sequence[StreamInfo], picture: Path) -> str:
    """Draw the electrodes of all streams into a file."""
    from spikelab.spike_sorting.figures.electrodes import electrodes_figure

    located = [(_name(info), info.geometry, info.channel_ids) for info in streams if info.geometry is not None]
    if not located:
        return f"no picture: no electrodes of {len(streams)} streams are known"
    electrodes_figure(located).savefig(picture)
    return f"the electrodes are drawn in {picture}"


def _names(streams: Sequence[StreamInfo]) -> str:
    """Name some streams, the file once where all are of one."""
    first = streams[0].file.name
    names = [_name(info) for info in streams[:NAMES_SHOWN]]
    if all(info.file == streams[0].file for info in streams):
        names[1:] = [name.removeprefix(f"{first} ") for name in names[1:]]
    more = f" and {len(streams) - NAMES_SHOWN} more" if len(streams) > NAMES_SHOWN else ""
    return ", ".join(names) + more


def _name(info: StreamInfo) -> str:
    return " ".join(filter(None, [info.file.name, info.stream_id, info.rec_name]))


def _tables(streams: Sequence[StreamInfo]) -> list[str]:
    """Tabulate streams with electrodes, and below them the others."""
    electrodes = [info for info in streams if info.electrodes]
    others = [info for info in streams if not info.electrodes]
    lines = [_table(electrodes)] if electrodes or not others else []
    return [*lines, "", "without electrodes, and not among --stream all:", _table(others)] if others else lines


def _table(streams: Sequence[StreamInfo]) -> str:
    """Tabulate streams; the column of names is left out where no stream has one."""
    rows = [_row(info) for info in streams]
    named = any(info.stream_name for info in streams)
    columns = [i for i, title in enumerate(HEADER) if named or title != "name"]
    return table(tuple(HEADER[i] for i in columns), [tuple(row[i] for i in columns) for row in rows])


def _row(info: StreamInfo) -> tuple[str, ...]:
    return (
        info.file.name,
        info.stream_id or "-",
        info.stream_name or "-",
        info.rec_name or "-",
        _number(info.n_channels),
        _number(info.sampling_frequency),
        _number(info.duration_s),
        "ok" if info.readable else "cannot be read",
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.10g}" if value == int(value) else f"{value:.2f}"
