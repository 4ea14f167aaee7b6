"""What goes before the sorter on a Neuropixels probe: each step, and the whole chain, beside SpikeInterface's own.

Writes ``results/probe.md``::

    python -m benchmarks.probe
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.reporting import RESULTS, machine, markdown, write
from benchmarks.rt_sort_converter import sample_shifts
from spikelab.system.resources import cpu_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from spikeinterface import BaseRecording

CHANNELS, FS, SECONDS, WARM_UP_SECONDS = 384, 30_000.0, 60, 1
GAIN_UV, CHUNK_FRAMES, SEED = 0.195, 26_000, 42
BAD = [10, 100, 191, 192, 300]
BAND = (300.0, 6000.0)
LEAST_SPEED = 4.0  # times real time, of the chain on one core
# Step, what it is called here, and by SpikeInterface.
STEPS = {
    "shift": ("sample shifts, with the band-pass", "phase_shift, bandpass_filter"),
    "band": ("band-pass", "bandpass_filter"),
    "interpolate": ("5 channels interpolated", "interpolate_bad_channels"),
    "highpass": ("spatial high-pass", "highpass_spatial_filter"),
    "median": ("median reference", "common_reference"),
    "local": ("local average reference", "common_reference (local)"),
    "chain": ("all but the references, checked and as int16 on disk", "the same, saved as int16"),
}


def make(folder: Path, seconds: int) -> Path:
    """Write noise with a common part, as counts."""
    import spikeinterface as si

    rng = np.random.default_rng(SEED)
    piece = rng.normal(0, 8, (round(FS), CHANNELS)) + rng.normal(0, 12, (round(FS), 1))
    recording = si.NumpyRecording([np.tile(np.rint(piece / GAIN_UV).astype(np.int16), (seconds, 1))], FS)
    recording.set_channel_gains(GAIN_UV)
    recording.set_channel_offsets(0.0)
    channels = np.arange(CHANNELS)
    recording.set_dummy_probe_from_locations(np.column_stack([32.0 * (channels % 2), 20.0 * (channels // 2)]))
    recording.set_property("inter_sample_shift", sample_shifts(CHANNELS))
    target = folder / f"probe_{seconds}"
    recording.save(folder=target, verbose=False, progress_bar=False, n_jobs=1)
    return target


def cpu_of(whose: str, name: str, recording: Path) -> float:
    """Run one step, chunk by chunk, on the counts of a recording; return its CPU seconds. The chain writes a file."""
    from spikeinterface import load

    run, counts = {"spikelab": _ours, "spikeinterface": _theirs}[whose], load(recording)
    start = cpu_seconds()
    made = run(name, counts, recording.parent)
    for first in range(0, counts.get_num_samples() if made is not None else 0, CHUNK_FRAMES):
        made.get_traces(0, first, min(first + CHUNK_FRAMES, counts.get_num_samples()))
    return cpu_seconds() - start


def _ours(name: str, recording: BaseRecording, folder: Path) -> BaseRecording | None:
    from spikelab.spike_sorting.config import RecordingConfig
    from spikelab.spike_sorting.filters.bandpass import BandPassRecording
    from spikelab.spike_sorting.recording import open_recording, write_binary
    from spikelab.spike_sorting.recording.across import across_channels

    if name in ("shift", "band"):
        gains, shifts = np.full(CHANNELS, GAIN_UV), sample_shifts(CHANNELS) if name == "shift" else None
        return BandPassRecording(recording, *BAND, gains, shifts)
    settings: dict[str, dict[str, Any]] = {
        "interpolate": {},
        "highpass": {"spatial_filter": "highpass"},
        "median": {"common_reference": "median"},
        "local": {"common_reference": "average", "reference_by": "local"},
    }
    if name in settings:
        bad = {str(channel) for channel in BAD} if name == "interpolate" else set()
        return across_channels(recording, RecordingConfig(**settings[name]), bad, "x")
    config = RecordingConfig(spatial_filter="highpass", bad_channels=BAD, bad_channels_action="interpolate")
    write_binary(open_recording(recording, config), folder / "traces.dat", n_jobs=1, total_memory="4G", seed=SEED)
    return None


def _theirs(name: str, recording: BaseRecording, folder: Path) -> BaseRecording | None:
    import spikeinterface.preprocessing as pre

    bad = recording.channel_ids[BAD]
    steps: dict[str, Callable[[BaseRecording], BaseRecording]] = {
        "shift": lambda r: pre.bandpass_filter(pre.phase_shift(r), *BAND, dtype="float32"),
        "band": lambda r: pre.bandpass_filter(r, *BAND, dtype="float32"),
        "interpolate": lambda r: pre.interpolate_bad_channels(r, bad),
        "highpass": pre.highpass_spatial_filter,
        "median": pre.common_reference,
        "local": lambda r: pre.common_reference(r, reference="local", operator="average", local_radius=(40, 140)),
    }
    if name in steps:
        return steps[name](recording)
    for each in ("shift", "interpolate", "highpass"):
        recording = steps[each](recording)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        recording.save(folder=Path(scratch) / "saved", dtype="int16", n_jobs=1, verbose=False, progress_bar=False)
    return None


def table(costs: dict[tuple[str, str], float], seconds: int) -> str:
    """Microseconds of CPU per channel and second of recording, and how many times real time 384 channels run."""
    rows = []
    for name, (ours, theirs) in STEPS.items():
        a, b = (costs[whose, name] for whose in ("spikelab", "spikeinterface"))
        each = [f"{1e6 * cpu / (CHANNELS * seconds):.0f}" for cpu in (a, b)]
        rows.append([ours, each[0], theirs, each[1], f"{a / b:.3f}", f"{seconds / a:.1f}"])
    header = ["spikelab", "us", "SpikeInterface", "us", "ratio", "times real time"]
    return markdown(header, rows)


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=SECONDS, help="length of the recording")
    parser.add_argument("--repeats", type=int, default=1, help="how often each step is measured")
    parser.add_argument("--scratch", type=Path, help="where files are written")
    args = parser.parse_args()
    costs = {}
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch, threadpool_limits(1):
        warm_up, recording = (make(Path(scratch), seconds) for seconds in (WARM_UP_SECONDS, args.seconds))
        for name in STEPS:
            for whose in ("spikelab", "spikeinterface"):
                cpu_of(whose, name, warm_up)
                costs[whose, name] = statistics.median(cpu_of(whose, name, recording) for _ in range(args.repeats))
    speed = args.seconds / costs["spikelab", "chain"]
    measured = (
        f"{CHANNELS} channels at {FS / 1e3:g} kHz, {args.seconds} s of int16 counts, on one core: CPU microseconds per "
        f"channel and second of recording, each step alone on the counts. {machine()}."
    )
    outcome = (
        f"The chain runs at {speed:.1f} times real time (aim: {LEAST_SPEED:g} or more). SpikeInterface's spatial "
        "high-pass is with its gain control, as it is by default."
    )
    title = "# What goes before the sorter on a Neuropixels probe"
    write(RESULTS / "probe.md", [title, measured, table(costs, args.seconds), outcome])


if __name__ == "__main__":
    main()
