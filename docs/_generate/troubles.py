"""The pictures of docs/howto about movement, stimulation and artefacts, of recordings that are generated for them.

From the root of the repository::

    python -m docs._generate.troubles docs/images
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from docs._generate.photographs import COLOURS
from spikeinterface.core import NumpyRecording

from spikelab.spike_sorting import sort_recording
from spikelab.spike_sorting.config import RecordingConfig
from spikelab.spike_sorting.data import dead_time_of
from spikelab.spike_sorting.recording import open_recording
from spikelab.spike_sorting.recording.motion import load_movements

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from spikelab.spikedata import SpikeData

    Floats = NDArray[np.float64]

FS, NOISE_UV, RAIL_UV = 20_000.0, 6.0, 6_000.0
COLUMN = np.array([[16.0 * (row % 2), 20.0 * row] for row in range(24)])
GRID = 35.0 * np.array([[column, row] for row in range(4) for column in range(4)])
ANSWERS_MS = 9.0  # after a pulse, of the neuron that answers
INK, COURSE, MARK = "#26547c", "#d1495b", "#b8b8b8"
DPI, WIDTH_INCH = 90, 9.0


def shape() -> Floats:
    """Return a spike of size 1, its trough at frame 12."""
    frames = np.arange(44) - 12.0
    return -np.exp(-((frames / 3.5) ** 2)) + 0.35 * np.exp(-(((frames - 13) / 7.0) ** 2))


def with_spikes(traces: Floats, frames: NDArray[np.int64], hills: Floats) -> None:
    """Add a spike at each frame, as large as `hills` (spikes, channels) says."""
    spike = shape()
    for frame, hill in zip(frames.tolist(), hills, strict=True):
        traces[frame - 12 : frame - 12 + len(spike)] += spike[:, None] * hill


def hills_at(homes: Floats, places: Floats, size_uv: float) -> Floats:
    """Return how large a spike is on each electrode, by the place of its neuron, shape (spikes, electrodes)."""
    distances = np.linalg.norm(places - homes[:, None], axis=2)
    return np.asarray(size_uv * np.exp(-((distances / 32.0) ** 2)))


def recording_of(traces: Floats, places: Floats) -> NumpyRecording:
    """Make a recording in microvolts."""
    recording = NumpyRecording([traces.astype(np.float32)], FS)
    recording.set_channel_gains(1.0)
    recording.set_channel_offsets(0.0)
    recording.set_dummy_probe_from_locations(places)
    return recording


def way_um(times_s: Floats) -> Floats:
    """Return how far the tissue has moved: it settles, breathes slowly, and jumps once."""
    settles = -15.0 * (1 - np.exp(-times_s / 8.0))
    return settles + 8.0 * np.sin(2 * np.pi * times_s / 6.0) + np.where(times_s > 20.0, 22.0, 0.0)


def drifting(seconds: float = 36.0) -> NumpyRecording:
    """Make a recording of fourteen neurons along a column of electrodes, on tissue that moves."""
    rng = np.random.default_rng(0)
    traces = rng.normal(0, NOISE_UV, (int(seconds * FS), len(COLUMN)))
    for unit in range(14):
        frames = np.sort(rng.integers(50, len(traces) - 50, int(6 * seconds)))
        homes = np.column_stack([np.full(len(frames), 8.0), 20.0 + 31.0 * unit + way_um(frames / FS)])
        with_spikes(traces, frames, hills_at(homes, COLUMN, rng.uniform(90, 260)))
    return recording_of(traces, COLUMN)


def stimulated(seconds: float = 15.0) -> tuple[NumpyRecording, Floats]:
    """Make a recording of a culture that is stimulated twice a second, and the times of the pulses in seconds."""
    rng = np.random.default_rng(0)
    traces = rng.normal(0, NOISE_UV, (int(seconds * FS), len(GRID)))
    pulses = np.arange(0.4, seconds - 0.3, 0.5)
    for unit, (x, y) in enumerate([(10.0, 15.0), (95.0, 10.0), (20.0, 95.0), (90.0, 95.0)]):
        frames = rng.choice(np.arange(100, len(traces) - 100, 200), int(15 * seconds), replace=False)
        frames = np.sort(frames + rng.integers(0, 100, len(frames)))
        if unit == 1:
            after_ms = np.concatenate([ANSWERS_MS + 6 * k + rng.normal(0, 0.7, len(pulses)) for k in (0, 1)])
            answers = np.tile(pulses, 2) + after_ms / 1000
            frames = np.sort(np.concatenate([frames[::6], (answers * FS).astype(np.int64)]))
        homes = np.tile([x, y], (len(frames), 1))
        with_spikes(traces, frames, hills_at(homes, GRID, rng.uniform(130, 200)))
    away = np.linalg.norm(GRID - GRID[5], axis=1)
    time_ms = np.arange(int(0.1 * FS)) / FS * 1000
    for pulse in pulses:
        start = round(pulse * FS)
        for channel, size in enumerate(9_000 * np.exp(-away / 80)):
            traces[start : start + len(time_ms), channel] += size * np.exp(-time_ms / rng.uniform(4, 6))
            traces[start : start + 16, channel] = np.where(np.arange(16) < 8, 1, -1) * 2 * RAIL_UV
    return recording_of(np.clip(traces, -RAIL_UV, RAIL_UV), GRID), pulses


def disturbed(seconds: float = 4.0) -> NumpyRecording:
    """Make a recording in which all amplifiers are once on the rail for 5 ms, and come back slowly."""
    rng = np.random.default_rng(0)
    traces = rng.normal(0, NOISE_UV, (int(seconds * FS), len(GRID)))
    start, length = round(2.0 * FS), round(0.005 * FS)
    frames = np.arange(400, len(traces) - 400, 437)
    frames = frames[np.abs(frames - start) > 100]
    with_spikes(traces, frames, hills_at(np.tile([50.0, 40.0], (len(frames), 1)), GRID, 120.0))
    after = np.arange(len(traces) - start - length) / FS * 1000
    traces[start + length :] += RAIL_UV * np.exp(-after / 12.0)[:, None]
    traces[start : start + length] = 2 * RAIL_UV
    return recording_of(np.clip(traces, -RAIL_UV, RAIL_UV), GRID)


def drift_map(folder: Path, seconds: float = 36.0) -> Figure:
    """Draw where spikes were over time, with the course on top, and below moved back by it."""
    from matplotlib.figure import Figure

    sort_recording(
        [drifting(seconds)], sorter="threshold", motion="estimate", results_folders=[folder / "results"],
        intermediate_folders=[folder / "scratch"], create_figures=False, n_jobs=1,
    )  # fmt: skip
    (movement,) = load_movements(folder / "results" / "stages" / "movement" / "motion")
    found, course = movement.map, movement.course
    assert course is not None
    figure = Figure((WIDTH_INCH, 5.4), dpi=DPI, layout="constrained")
    for axes, counts, title in zip(
        figure.subplots(2, 1, sharex=True), (found.seen, found.straightened), ("as recorded", "moved back"), strict=True
    ):
        fewer = counts.reshape(len(counts), -1, 4).sum(axis=2, dtype=float)  # times, so that each is wide enough
        extent = (0, found.seconds, *found.depths_um)
        axes.imshow(np.log1p(fewer), origin="lower", aspect="auto", cmap="Greys", vmax=1.4, extent=extent)
        axes.set(ylabel="depth (um)", title=title)
    top, bottom = figure.axes
    times = course.times_s
    for depth in (90.0, 230.0, 370.0):
        top.plot(times, depth + course.at(times, np.array([depth]))[:, 0], color=COURSE, linewidth=1.3)
    bottom.set_xlabel("time (s)")
    return figure


def around_pulses(folder: Path, sorter: str = "rt_sort") -> Figure:
    """Draw an electrode before and after, and units around the pulses."""
    from matplotlib.figure import Figure

    recording, pulses = stimulated()
    (units,) = sort_recording(
        [recording], sorter=sorter, stim_times_s=pulses.tolist(), results_folders=[folder / "results"],
        intermediate_folders=[folder / "scratch"], create_figures=False, n_jobs=1,
    )  # fmt: skip
    figure = Figure((WIDTH_INCH, 4.6), dpi=DPI, layout="constrained")
    left, right = figure.subfigures(1, 2)
    _draw_cleaned(left, recording, pulses)
    _draw_units(right, units)
    return figure


def _draw_cleaned(figure: Figure, recording: NumpyRecording, pulses: Floats) -> None:
    """Draw filtered traces of an electrode near a site around one pulse, with and without what removes it."""
    start, end = (round((pulses[9] + ms / 1000) * FS) for ms in (-10, 50))
    time_ms = (np.arange(start, end) / FS - pulses[9]) * 1000
    settings = {"band-pass alone": None, "stim_times_s": pulses.tolist()}
    for axes, (title, times) in zip(figure.subplots(2, 1, sharex=True), settings.items(), strict=True):
        opened = open_recording(recording, RecordingConfig(stim_times_s=times))
        traces = opened.get_traces(start_frame=start, end_frame=end)[:, 3]
        axes.plot(time_ms, traces, color=INK, linewidth=0.8)
        axes.set(title=title, ylabel="uV")
    figure.axes[1].set_xlabel("time after the pulse (ms)")


def _draw_units(figure: Figure, units: SpikeData) -> None:
    """Draw a row of spikes for each pulse, of the unit that answers most and of another one."""
    aligned = units.align_to(units.stim_times(), before=20, after=50)
    rates = aligned.rates(2.0)
    order = np.argsort(-np.nanmax(rates, axis=1))
    chosen = [int(order[0]), int(order[-1])]
    for axes, unit in zip(figure.subplots(2, 1, sharex=True), chosen, strict=True):
        events, times = aligned.raster(unit)
        axes.plot(times, events, "|", color=INK, markersize=4)
        axes.axvline(0, color=COURSE, linewidth=1)
        axes.set(title=f"unit {aligned.unit_ids[unit]}", ylabel="pulse", ylim=(-1, len(aligned)))
    figure.axes[1].set_xlabel("time after the pulse (ms)")


def beside_artefact() -> Figure:
    """Draw filtered traces around an artefact with and without ``artifacts``."""
    from matplotlib.figure import Figure

    recording = disturbed()
    figure = Figure((WIDTH_INCH, 4.2), dpi=DPI, layout="constrained")
    start, end = round(1.98 * FS), round(2.08 * FS)
    for axes, setting in zip(figure.subplots(2, 1, sharex=True), (None, "auto"), strict=True):
        opened = open_recording(recording, RecordingConfig(artifacts=setting))
        traces = opened.get_traces(start_frame=start, end_frame=end)[:, 5]
        axes.plot(np.arange(start, end) / FS, traces, color=INK, linewidth=0.8)
        for first, last in dead_time_of(opened) / FS:
            axes.axvspan(first, last, color=MARK)
        axes.set(title="band-pass alone" if setting is None else 'artifacts="auto": dead time is grey', ylabel="uV")
    figure.axes[1].set_xlabel("time (s)")
    return figure


def save(figure: Figure, picture: Path) -> None:
    """Write a figure as a small PNG."""
    from PIL import Image

    figure.savefig(picture)
    Image.open(picture).convert("RGB").quantize(COLOURS).save(picture, optimize=True)


def main() -> None:
    """Draw the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the pictures go")
    folder = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as scratch:
        save(drift_map(Path(scratch) / "drift"), folder / "drift_map.png")
        save(around_pulses(Path(scratch) / "pulses"), folder / "around_pulses.png")
    save(beside_artefact(), folder / "beside_artefact.png")


if __name__ == "__main__":
    main()
