"""Recordings with known neurons for the sorters, on disk. Everything follows from a recipe and a seed.

``make(RECIPES["hard"], seed=1, folder=scratch)`` writes, or finds again, a folder with

- ``recording/``: a SpikeInterface binary folder, counts as the recipe's amplifier gives them (mostly int16 at
  0.195 uV), unfiltered; ``spikeinterface.load`` opens it,
- ``truth.npz``: the true spikes, see :func:`load_truth`; a spike's frame is at the trough of its main channel,
- ``small.npz``: the same of units that are too small for anybody to ask for, if there are any,
- ``facts.json``: what is known of each unit, network bursts and pulses, the recipe and a digest of the traces, see
  :func:`load_facts`,
- ``course.npz``: where the tissue is, see :meth:`benchmarks.rt_sort_movement.Drift.course`, where it may move,
- ``templates.npz``: ``templates`` (units, samples, channels), mean waveforms in microvolts before any filter, whose
  sample ``n_before`` is at the spike's frame.

From the shell: ``python -m benchmarks.rt_sort_recordings FOLDER hard_1 grid_101 ...``
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.rt_sort_converter import sample_shifts
from benchmarks.rt_sort_disturbances import Disturbed
from benchmarks.rt_sort_footprints import load_bank
from benchmarks.rt_sort_noise import band_pass, band_pass_templates
from benchmarks.rt_sort_recipes import RECIPES, Recipe
from benchmarks.rt_sort_scenes import CANVAS, Scene, assembled, generated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from spikeinterface import BaseRecording, BaseSorting

VERSION = 1  # of the generators: a change makes all recordings anew
FACTS_FILE = "facts.json"
CHUNK_FRAMES = 30_000  # SpikeInterface draws its noise in blocks of as many


def make(recipe: Recipe, seed: int, folder: Path, templates: Path | None = None) -> Path:
    """Write the recording below `folder`, unless it is there already; return its folder.

    Parameters
    ----------
    recipe : Recipe
    seed : int
    folder : Path
        Where all recordings are.
    templates : Path, optional
        Measured footprints; by default those of ``../shared/data``.
    """
    target = folder / f"{recipe.name}_{seed}"
    bank, source = load_bank(templates) if recipe.snr else ([], "none")
    key = json.loads(json.dumps({"recipe": recipe.key(), "seed": seed, "version": VERSION, "templates": source}))
    if (target / FACTS_FILE).is_file() and load_facts(target)["key"] == key:
        return target
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    scene = assembled(recipe, seed, bank, target) if recipe.snr else generated(recipe, seed)
    digest = _write_traces(target, recipe, scene.traces)
    (target / CANVAS).unlink(missing_ok=True)
    _write_trains(target / "truth.npz", scene.trains, recipe.fs)
    if scene.small:
        _write_trains(target / "small.npz", scene.small, recipe.fs)
    if scene.course:
        np.savez(target / "course.npz", **scene.course)
    np.savez(target / "templates.npz", templates=scene.templates, n_before=scene.n_before)
    units = _facts(scene, recipe, load_recording(target))
    facts = {"key": key, "digest": digest, "units": units, "periods": scene.periods}
    (target / FACTS_FILE).write_text(json.dumps(facts, indent=1), encoding="utf-8")
    return target


@contextmanager
def made(recipe: Recipe, seed: int, scratch: Path | None) -> Iterator[Path]:
    """Make a recording for as long as it is used: below `scratch`, where it stays, or where it is removed again."""
    if scratch:
        yield make(recipe, seed, scratch)
        return
    with tempfile.TemporaryDirectory() as temporary:  # all of them would be a hundred gigabytes
        yield make(recipe, seed, Path(temporary))


def load_recording(folder: Path) -> BaseRecording:
    """Open the unfiltered recording that :func:`make` has written."""
    from spikeinterface import load

    return load(folder / "recording")


def load_truth(folder: Path, name: str = "truth.npz") -> BaseSorting:
    """Load the true spikes of a recording that :func:`make` has written."""
    from spikeinterface.core import NpzSortingExtractor, NumpySorting

    return NumpySorting.from_sorting(NpzSortingExtractor(folder / name))


def load_small(folder: Path) -> BaseSorting | None:
    """Load the spikes of the units that nobody asks for, if there are any."""
    return load_truth(folder, "small.npz") if (folder / "small.npz").is_file() else None


def load_facts(folder: Path) -> dict[str, Any]:
    """``{"key", "digest", "units", "periods"}``; the units in the order of the truth, the periods in frames."""
    facts: dict[str, Any] = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
    return facts


def _write_traces(target: Path, recipe: Recipe, traces: Disturbed) -> str:
    """Write the counts; return a digest of them."""
    from spikeinterface.core import BinaryRecordingExtractor

    raw, digest, amplifier = target / "counts.raw", hashlib.sha256(), recipe.amplifier
    kind = np.dtype(amplifier.dtype).newbyteorder("<")
    with raw.open("wb") as file:
        for start in range(0, recipe.frames, CHUNK_FRAMES):
            chunk = traces[start : min(start + CHUNK_FRAMES, recipe.frames)]
            counts = np.rint(chunk / amplifier.gain_uv) + amplifier.middle
            counts = counts.clip(amplifier.low, amplifier.high).astype(kind)
            digest.update(counts.tobytes())
            counts.tofile(file)
    recording = BinaryRecordingExtractor(
        raw,
        recipe.fs,
        amplifier.dtype,
        num_channels=len(recipe.contacts),
        gain_to_uV=amplifier.gain_uv,
        offset_to_uV=-amplifier.middle * amplifier.gain_uv,
    )
    recording.set_dummy_probe_from_locations(recipe.contacts)
    if recipe.converter.in_turn:
        recording.set_property("inter_sample_shift", sample_shifts(len(recipe.contacts)))
    first = recording.frame_slice(0, 1).save(folder=target / "recording", verbose=False, progress_bar=False, n_jobs=1)
    del recording
    raw.replace(first.get_binary_description()["file_paths"][0])  # saving all of it would take the disk twice
    return digest.hexdigest()[:16]


def _write_trains(path: Path, trains: list[NDArray[np.int64]], fs: float) -> None:
    from spikeinterface.core import NpzSortingExtractor, NumpySorting

    NpzSortingExtractor.write_sorting(NumpySorting.from_unit_dict(dict(enumerate(trains)), fs), path)


def _facts(scene: Scene, recipe: Recipe, recording: BaseRecording) -> list[dict[str, Any]]:
    """Of each unit; SNR is the filtered template's peak over the MAD of the filtered traces, on the main channel."""
    second = round(recipe.fs)
    starts = np.linspace(0, recipe.frames - second, 10).astype(int)
    gain, middle = recipe.amplifier.gain_uv, recipe.amplifier.middle
    counts = [recording.get_traces(0, start, start + second).astype(np.int32) - middle for start in starts]
    pieces = [band_pass(piece * gain, recipe.fs) for piece in counts]
    noise = np.median(np.abs(np.concatenate(pieces)), axis=0) / 0.6745
    amplitudes = np.abs(band_pass_templates(scene.templates, recipe.fs)).max(axis=1)
    main = amplitudes.argmax(axis=1)
    return [
        {
            "unit": unit,
            "snr": round(float(amplitudes[unit, main[unit]] / noise[main[unit]]), 2),
            "amplitude_uv": round(float(amplitudes[unit, main[unit]]), 1),
            "noise_uv": round(float(noise[main[unit]]), 2),
            "main_channel": int(main[unit]),
            "spikes": len(scene.trains[unit]),
            **known,
        }
        for unit, known in enumerate(scene.facts)
    ]


def main() -> None:
    """Make some recordings and show their units."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where they go")
    parser.add_argument("names", nargs="+", help=f"recipe_seed, with a recipe of {', '.join(RECIPES)}")
    parser.add_argument("--templates", type=Path, help="measured footprints (default: those of ../shared/data)")
    args = parser.parse_args()
    for name in args.names:
        recipe, _, seed = name.rpartition("_")
        path = make(RECIPES[recipe], int(seed), args.folder, args.templates)
        snr = [unit["snr"] for unit in load_facts(path)["units"]]
        print(f"{path}: SNR {', '.join(f'{value:.1f}' for value in sorted(snr))}")


if __name__ == "__main__":
    main()
