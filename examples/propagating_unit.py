"""A unit whose spike travels along an axon, as RT-Sort finds it: footprint, latencies, and the spike on its way.

Generates a recording of 144 electrodes in which every neuron has an axon, finds the sequences, and draws the one that
reaches furthest. The picture in docs/rt_sort.md is made by this, from the root of the repository::

    python -m examples.propagating_unit docs/images/propagating_unit.png
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from benchmarks.rt_sort_footprints import generated_bank
from benchmarks.rt_sort_noise import band_pass
from benchmarks.rt_sort_recipes import RECIPES
from benchmarks.rt_sort_scenes import assembled

from spikelab.spike_sorting.rt_sort import RTSort, detect_sequences

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from spikeinterface import BaseRecording

    Floats = NDArray[np.float64]

# An electrode is part of the picture if its mean spike is this much of its noise, and at least so many microvolts.
VISIBLE_SIGMA, VISIBLE_UV = 0.5, 4.0
SNAPSHOTS_MS = (-0.08, 0.02, 0.12, 0.22, 0.32, 0.42)
CONTACT_UM = 17.5
SPEEDS = (0.3, 0.6)  # of the generated axons, in um/us
LATENCY_COLOURS = "viridis_r"  # the latest are the darkest: the small signals of an axon are seen
DPI = 110


@dataclass(frozen=True)
class Unit:
    """A sequence, in the units of the picture.

    Attributes
    ----------
    index : int
    root : numpy.ndarray, shape (2,)
        Position of the root electrode in um.
    positions : numpy.ndarray, shape (electrodes, 2)
        Of the electrodes that see the spike, in um.
    waveforms : numpy.ndarray, shape (electrodes, frames)
        In microvolts.
    times_ms : numpy.ndarray, shape (frames,)
        After the peak on the root.
    latencies_ms : numpy.ndarray, shape (electrodes,)
        Of each electrode's trough.
    """

    index: int
    root: Floats
    positions: Floats
    waveforms: Floats
    times_ms: Floats
    latencies_ms: Floats

    @property
    def distances(self) -> Floats:
        """From the root, in um."""
        return np.linalg.norm(self.positions - self.root, axis=1)


def axonal_recording(seconds: float, units: int, seed: int) -> BaseRecording:
    """Band-passed, in microvolts: neurons with axons of 120 to 250 um that conduct at 0.3 to 0.6 m/s."""
    from spikeinterface.core import NumpyRecording

    recipe = replace(RECIPES["axonal"], seconds=seconds, units=units)
    scene = assembled(recipe, seed, generated_bank())
    recording = NumpyRecording([band_pass(scene.traces[0 : recipe.frames], recipe.fs).astype(np.float32)], recipe.fs)
    recording.set_dummy_probe_from_locations(recipe.contacts)
    return recording


def describe(rt_sort: RTSort, index: int) -> Unit:
    """The electrodes of a sequence that see its spike."""
    sequences = rt_sort.sequences
    n = sequences.n_channels[index]
    channels, waveforms = sequences.channels[index, :n], sequences.waveforms[index, :n].astype(float)
    size = -waveforms.min(axis=1)
    visible = (size >= VISIBLE_UV) & (size >= VISIBLE_SIGMA * rt_sort.noise.sigma[channels])
    n_before = int(np.argmax(np.abs(waveforms[channels == sequences.root[index]][0])))
    times = (np.arange(waveforms.shape[1]) - n_before) * 1000 / rt_sort.sampling_frequency
    step = times[1] - times[0]
    return Unit(
        index,
        rt_sort.locations[sequences.root[index]],
        rt_sort.locations[channels[visible]],
        waveforms[visible],
        times,
        np.array([times[0] + step * vertex(waveform) for waveform in waveforms[visible]]),
    )


def vertex(waveform: Floats) -> float:
    """Where its trough is, between frames: the vertex of the parabola through the lowest value and its neighbours."""
    at = int(np.clip(np.argmin(waveform), 1, len(waveform) - 2))
    before, here, after = waveform[at - 1 : at + 2]
    curvature = before - 2 * here + after
    return at + (float(0.5 * (before - after) / curvature) if curvature > 0 else 0.0)


def reach(unit: Unit) -> float:
    """How far a unit is followed: the mean distance of its three furthest electrodes."""
    return float(np.sort(unit.distances)[-3:].mean())


def latest(unit: Unit) -> float:
    """The upper end of the scale of latencies, in ms."""
    return float(np.ceil(20 * unit.latencies_ms.max()) / 20)


def draw(unit: Unit, contacts: Floats) -> Figure:
    """Draw footprint, latencies and the spike on its way."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.6, 6.4), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=[3.2, 1.4])
    left, right = upper.subplots(1, 2, width_ratios=[1, 1.15])
    draw_footprint(left, unit, contacts)
    draw_latencies(right, unit)
    lower.suptitle("The same spike, moment by moment (blue: negative)", fontsize=10)
    for ax, time_ms in zip(lower.subplots(1, len(SNAPSHOTS_MS)), SNAPSHOTS_MS, strict=True):
        draw_moment(ax, unit, contacts, time_ms)
    return figure


def draw_footprint(ax: Axes, unit: Unit, contacts: Floats) -> None:
    """Mean spike at the place of each electrode, coloured by latency; small signals are drawn larger than they are."""
    from matplotlib import colormaps

    colours = colormaps[LATENCY_COLOURS](np.clip(unit.latencies_ms / latest(unit), 0, 1))
    shown = (unit.times_ms >= -0.5) & (unit.times_ms <= 1.2)
    x = (unit.times_ms[shown] - 0.35) / 1.7 * 0.95 * CONTACT_UM
    ax.plot(*contacts.T, ".", color="0.85", markersize=2)
    largest = np.abs(unit.waveforms).max()
    for position, waveform, colour in zip(unit.positions, unit.waveforms, colours, strict=True):
        gain = CONTACT_UM * (np.ptp(waveform) / largest) ** -0.5 / largest
        ax.plot(position[0] + x, position[1] + gain * waveform[shown], color=colour, linewidth=1.1)
    ax.plot(*unit.root, "o", markerfacecolor="none", markeredgecolor="#d55e00", markersize=18)
    ax.annotate("root", unit.root, (0, 11), textcoords="offset points", color="#d55e00", fontsize=8, ha="center")
    ax.set(title="Footprint", xlabel="x (um)", ylabel="y (um)", aspect="equal")
    ax.margins(y=0.1)


def draw_latencies(ax: Axes, unit: Unit) -> None:
    """When the trough reaches each electrode, by its distance from the root."""
    sizes = np.abs(unit.waveforms).max(axis=1)
    points = ax.scatter(
        unit.distances, unit.latencies_ms, s=12 + 120 * sizes / sizes.max(), c=unit.latencies_ms, cmap=LATENCY_COLOURS,
        vmin=0, vmax=latest(unit), edgecolor="0.3", linewidth=0.5,
    )  # fmt: skip
    for speed in SPEEDS:
        end = min(unit.distances.max(), 1000 * speed * latest(unit))
        ax.plot((0, end), (0, end / 1000 / speed), "--", color="0.6", linewidth=0.8, zorder=0)
        ax.annotate(f"{speed:g} m/s", (end, end / 1000 / speed), color="0.45", fontsize=8, ha="right", va="bottom")
    ax.set(title="Latency of each electrode", xlabel="distance from the root (um)", ylabel="time after the root (ms)")
    ax.figure.colorbar(points, ax=ax, label="latency (ms)")


def draw_moment(ax: Axes, unit: Unit, contacts: Floats, time_ms: float) -> None:
    """Voltage at every electrode at one time; the square root of its size, so that the axon is seen beside the soma."""
    values = np.array([np.interp(time_ms, unit.times_ms, waveform) for waveform in unit.waveforms])
    limit = np.sqrt(np.abs(unit.waveforms).max() * 0.3)
    ax.plot(*contacts.T, ".", color="0.88", markersize=1, zorder=0)
    ax.scatter(
        *unit.positions.T, c=np.sign(values) * np.sqrt(np.abs(values)), cmap="RdBu_r", vmin=-limit, vmax=limit, s=26,
        marker="s",
    )  # fmt: skip
    ax.set(aspect="equal", xticks=[], yticks=[])
    ax.set_title(f"{time_ms:+.2f} ms", fontsize=9)


def save_small(figure: Figure, picture: Path) -> None:
    """Write a PNG with 256 colours, a third of the size."""
    from PIL import Image

    picture.parent.mkdir(parents=True, exist_ok=True)
    drawn = BytesIO()
    figure.savefig(drawn, dpi=DPI)
    Image.open(drawn).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE).save(picture, optimize=True)


def main() -> None:
    """Make the recording, sort it, draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path, help="PNG to write")
    parser.add_argument("--seconds", type=float, default=40.0, help="(default: %(default)s)")
    parser.add_argument("--units", type=int, default=10, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="(default: %(default)s)")
    args = parser.parse_args()
    recording = axonal_recording(args.seconds, args.units, args.seed)
    rt_sort = detect_sequences(recording, num_processes=1)
    unit = max((describe(rt_sort, index) for index in range(rt_sort.n_sequences)), key=reach)
    figure = draw(unit, recording.get_channel_locations())
    save_small(figure, args.picture)
    print(
        f"{rt_sort.n_sequences} sequences; unit {unit.index} reaches {len(unit.positions)} electrodes, "
        f"the last ones {unit.latencies_ms.max():.2f} ms after the root; {args.picture}"
    )


if __name__ == "__main__":
    main()
