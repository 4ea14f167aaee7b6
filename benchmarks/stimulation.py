"""Spikes around stimulation pulses: RT-Sort after this package's removal, plain blanking, and a polynomial fit.

    python -m benchmarks.stimulation [scene_seed ...]

The same culture without pulses is the ceiling. Blanking and the polynomial are given the true onsets, the package's own
removal times that are off by up to 2 ms.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.rt_sort_scoring import MATCH_WINDOW_MS, VISIBLE_SNR, near
from benchmarks.stimulation_scenes import CULTURE, STIMULI, Stimulated, stimulated

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from spikeinterface import BaseRecording

    Trains = dict[Any, NDArray[np.int64]]

BLANKED_MS = (0.5, 3.0)  # before and after an onset
FITTED_FROM_MS, FITTED_TO_MS, DEGREE = 1.0, 50.0, 5
COUNTED_MS = (3.0, 50.0)  # after a pulse, until the next one
ARTEFACT_MS, ARTEFACT_SHARE = 5.0, 0.5
METHODS = ("ceiling", "spikelab", "blanking", "polynomial", "nothing")


def sort(scene: Stimulated, method: str, learnt: Any = None) -> tuple[Trains, NDArray[np.int64], float, Any]:
    """Sort a scene; return the spikes, the pulses as they were found, the CPU seconds before the sort, and the RT-Sort.

    With `learnt`, an RT-Sort, its sequences are applied, and none are learnt.
    """
    from spikelab.spike_sorting.config import RecordingConfig
    from spikelab.spike_sorting.data import pulses_of
    from spikelab.spike_sorting.recording import open_recording, write_binary
    from spikelab.spike_sorting.rt_sort import detect_sequences

    raw, config = scene.recording, RecordingConfig()
    if method == "ceiling":
        raw = scene.ceiling
    elif method == "spikelab":
        named = {f"site {site}": scene.given_s[scene.sites == site].tolist() for site in np.unique(scene.sites)}
        config = replace(config, stim_times_s=named)
    elif method in ("blanking", "polynomial"):
        raw = cleaned(scene, method)
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        opened = open_recording(raw, config)
        binary, _ = write_binary(opened, Path(folder) / "traces.dat", n_jobs=1, total_memory="2G", seed=0)
        took = time.process_time() - started
        rt_sort = detect_sequences(binary, num_processes=1) if learnt is None else learnt
        found = rt_sort.sort_offline(binary, n_jobs=1)
        trains = {unit: np.sort(found.get_unit_spike_train(unit)).astype(np.int64) for unit in found.unit_ids}
    return trains, pulses_of(opened).frames, took, rt_sort


def cleaned(scene: Stimulated, method: str) -> BaseRecording:
    """Remove the pulses as simple programs do: a straight line over them, or a polynomial that follows the decay."""
    from spikeinterface.core import NumpyRecording

    raw, fs = scene.recording, scene.recording.get_sampling_frequency()
    traces = raw.get_traces().astype(np.float32)
    for index, onset in enumerate(scene.pulses.tolist()):
        following = scene.pulses[index + 1] if index + 1 < len(scene.pulses) else len(traces)
        before, after = (round(ms * fs / 1000) for ms in BLANKED_MS)
        if method == "polynomial":
            after = round(FITTED_FROM_MS * fs / 1000)
            end = min(onset + round(FITTED_TO_MS * fs / 1000), int(following) - before)
            frames = np.linspace(-1, 1, end - onset - after)
            fit = np.polynomial.polynomial.polyfit(frames, traces[onset + after : end], DEGREE)
            traces[onset + after : end] -= np.polynomial.polynomial.polyval(frames, fit).T
        line = np.linspace(0, 1, before + after)[:, None]
        traces[onset - before : onset + after] = (1 - line) * traces[onset - before - 1] + line * traces[onset + after]
    copy = NumpyRecording([traces], fs)
    copy.set_channel_gains(raw.get_channel_gains())
    copy.set_channel_offsets(raw.get_channel_offsets())
    copy.set_dummy_probe_from_locations(raw.get_channel_locations())
    return copy


def score(scene: Stimulated, found: Trains) -> dict[str, float]:
    """Recall and false spikes after pulses, and units of artefacts."""
    from spikeinterface.comparison import compare_sorter_to_ground_truth
    from spikeinterface.core import NumpySorting

    fs = scene.recording.get_sampling_frequency()
    truth = dict(enumerate(scene.trains))
    kept = {unit: train for unit, train in found.items() if len(train)}
    comparison = compare_sorter_to_ground_truth(
        NumpySorting.from_unit_dict(truth, fs),
        NumpySorting.from_unit_dict(kept, fs),
        delta_time=MATCH_WINDOW_MS,
        exhaustive_gt=True,
    )
    reach, matches = MATCH_WINDOW_MS * fs / 1000, comparison.hungarian_match_12
    hits: dict[bool, list[NDArray[np.bool_]]] = {True: [], False: []}
    for unit, train in truth.items():
        if scene.snr[unit] >= VISIBLE_SNR:
            after = within_ms(train, scene.pulses, *COUNTED_MS, fs)
            hit = near(train, kept.get(matches[unit], np.zeros(0, dtype=np.int64)), reach)
            hits[True].append(hit[after])
            hits[False].append(hit[~within_ms(train, scene.pulses, 0, COUNTED_MS[1], fs)])
    every = np.sort(np.concatenate(scene.trains))
    spikes = np.concatenate([*kept.values(), np.zeros(0, dtype=np.int64)])
    false = within_ms(spikes, scene.pulses, 0, COUNTED_MS[1], fs) & ~near(spikes, every, reach)
    accuracy = comparison.get_performance(method="by_unit")["accuracy"].to_numpy(float)
    matched = set(matches[accuracy >= 0.2].to_numpy().tolist())
    artefacts = [
        unit
        for unit, train in kept.items()
        if unit not in matched and within_ms(train, scene.pulses, 0, ARTEFACT_MS, fs).mean() > ARTEFACT_SHARE
    ]
    return {
        "recall after": _mean(hits[True]),
        "recall far": _mean(hits[False]),
        "accuracy": float(accuracy[scene.snr >= VISIBLE_SNR].mean()),
        "false per pulse and 100 units": 100 * false.sum() / len(scene.pulses) / max(1, len(kept)),
        "units": len(kept),
        "units of artefacts": len(artefacts),
    }


def _mean(parts: list[NDArray[np.bool_]]) -> float:
    every = np.concatenate(parts)
    return float(every.mean()) if len(every) else float("nan")


def within_ms(
    frames: NDArray[np.int64], pulses: NDArray[np.int64], first_ms: float, last_ms: float, fs: float
) -> NDArray[np.bool_]:
    """Which frames lie so long after the last pulse before them."""
    index = np.searchsorted(pulses, frames, side="right") - 1
    after = (frames - pulses[np.maximum(index, 0)]) * 1000 / fs
    inside: NDArray[np.bool_] = (index >= 0) & (after >= first_ms) & (after < last_ms)
    return inside


def main() -> None:
    """Sort the scenes and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=[f"{name}_101" for name in STIMULI], help="scene_seed")
    parser.add_argument("--seconds", type=float, default=CULTURE.seconds)
    parser.add_argument("--learn-once", action="store_true", help="apply what the first method's traces taught to all")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--templates", type=Path, help="measured footprints (default: those of ../shared/data)")
    args = parser.parse_args()
    for name in args.names:
        kind, _, seed = name.rpartition("_")
        scene = stimulated(STIMULI[kind], int(seed), replace(CULTURE, seconds=args.seconds), args.templates)
        learnt = None
        for method in args.methods.split(","):
            found, pulses, took, rt_sort = sort(scene, method, learnt)
            learnt = rt_sort if args.learn_once else None
            values = score(scene, found)
            if len(pulses):
                off = np.abs(pulses - scene.pulses)
                values["onsets within a sample"] = float((off <= 1).mean())
            told = ", ".join(f"{key} {value:.3g}" for key, value in values.items())
            print(f"{name} {method}: {told}; {took:.1f} CPU s to prepare", flush=True)


if __name__ == "__main__":
    main()
