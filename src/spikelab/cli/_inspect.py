"""``spikelab inspect``: tabulate the content of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spikelab.cli._output import table

if TYPE_CHECKING:
    from pathlib import Path

    from spikelab.spike_sorting.recording import StreamInfo

HEADER = ("file", "stream", "recording", "channels", "rate (Hz)", "duration (s)", "state")


def inspection_table(path: Path, *, trust_input: bool = False) -> str:
    """Tabulate the streams and recordings of the file or folder at `path`; list problems below."""
    from spikelab.spike_sorting.recording import inspect_file

    streams = inspect_file(path, trust_input=trust_input)
    problems = list(dict.fromkeys(info.problem for info in streams if info.problem))
    lines = [f"{path}: {streams[0].format if streams else 'nothing'}", table(HEADER, [_row(info) for info in streams])]
    lines += ["", *problems] if problems else []
    return "\n".join(lines) + "\n"


def _row(info: StreamInfo) -> tuple[str, ...]:
    return (
        info.file.name,
        info.stream_id or "-",
        info.rec_name or "-",
        _number(info.n_channels),
        _number(info.sampling_frequency),
        _number(info.duration_s),
        "ok" if info.readable else "cannot be read",
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.10g}" if value == int(value) else f"{value:.2f}"
