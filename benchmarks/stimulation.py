"""Spikes around stimulation pulses: RT-Sort after this package's removal, plain blanking, and a polynomial fit.

Writes ``results/stimulation.md`` and ``results/stimulation.json``, whose rows are not measured again::

    python -m benchmarks.stimulation [scene_seed ...]

The same culture without pulses is the ceiling. Blanking and the polynomial are given the true onsets, the package's own
removal times that are off by up to 2 ms.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.reporting import RESULTS, machine, markdown, write
from benchmarks.rt_sort_recipes import REPORTING_SEEDS
from benchmarks.rt_sort_scoring import MATCH_WINDOW_MS, VISIBLE_SNR, near
from benchmarks.stimulation_scenes import CULTURE, STIMULI, Stimulated, stimulated

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from spikeinterface import BaseRecording

    Trains = dict[Any, NDArray[np.int64]]

BLANKED_MS = (0.5, 3.0)  # before and after an onset
FITTED_FROM_MS, FITTED_TO_MS, DEGREE = 1.0, 50.0, 5
COUNTED_MS = (3.0, 50.0)  # after a pulse, until the next one
ARTEFACT_MS, ARTEFACT_SHARE = 5.0, 0.5
ENDLESS = 1000  # pulses of a train that lasts as long as the recording
CEILING, OURS = "ceiling", "spikelab"
METHODS = (CEILING, OURS, "blanking", "polynomial")


@dataclass(frozen=True)
class Row:
    """One way with one stimulated culture.

    Attributes
    ----------
    recall_after, recall_far : float
        Share of the spikes that the unit which matches their neuron has: from 3 to 50 ms after a pulse, and later.
    accuracy : float
        Mean over the neurons, all spikes counted.
    false_spikes : float
        Within 50 ms after a pulse, where no neuron has one: per pulse and 100 units.
    artefact_units : int
        Found units that match no neuron, most of whose spikes lie within 5 ms after pulses.
    onsets : float or None
        Share of the pulses that were found within a sample.
    prepare_cpu_s : float
        Of opening and writing the recording, pulses removed and filtered.
    learnt_once : bool
        Whether the sequences are those of the ceiling.
    """

    scene: str
    seed: int
    method: str
    pulses: int
    recall_after: float
    recall_far: float
    accuracy: float
    false_spikes: float
    units: int
    artefact_units: int
    onsets: float | None
    prepare_cpu_s: float
    learnt_once: bool = False


def sort(scene: Stimulated, method: str, learnt: Any = None) -> tuple[Trains, NDArray[np.int64], float, Any]:
    """Sort a scene; return the spikes, the pulses as they were found, the CPU seconds before the sort, and the RT-Sort.

    With `learnt`, an RT-Sort, its sequences are applied, and none are learnt.
    """
    from spikelab.spike_sorting.config import RecordingConfig
    from spikelab.spike_sorting.data import pulses_of
    from spikelab.spike_sorting.recording import open_recording, write_binary
    from spikelab.spike_sorting.rt_sort import detect_sequences

    raw, config = scene.recording, RecordingConfig()
    if method == CEILING:
        raw = scene.ceiling
    elif method == OURS:
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


def score(scene: Stimulated, found: Trains) -> dict[str, Any]:
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
        "recall_after": _mean(hits[True]),
        "recall_far": _mean(hits[False]),
        "accuracy": round(float(accuracy[scene.snr >= VISIBLE_SNR].mean()), 4),
        "false_spikes": round(100 * float(false.sum()) / len(scene.pulses) / max(1, len(kept)), 4),
        "units": len(kept),
        "artefact_units": len(artefacts),
    }


def _mean(parts: list[NDArray[np.bool_]]) -> float:
    every = np.concatenate(parts)
    return round(float(every.mean()), 4) if len(every) else float("nan")


def within_ms(
    frames: NDArray[np.int64], pulses: NDArray[np.int64], first_ms: float, last_ms: float, fs: float
) -> NDArray[np.bool_]:
    """Which frames lie so long after the last pulse before them."""
    index = np.searchsorted(pulses, frames, side="right") - 1
    after = (frames - pulses[np.maximum(index, 0)]) * 1000 / fs
    inside: NDArray[np.bool_] = (index >= 0) & (after >= first_ms) & (after < last_ms)
    return inside


def measured(name: str, args: argparse.Namespace, known: dict[tuple[Any, ...], Row]) -> Iterator[Row]:
    """Sort one scene in all ways."""
    kind, _, seed = name.rpartition("_")
    keys = [(kind, int(seed), method, args.learn_once) for method in args.methods.split(",")]
    if all(key in known for key in keys):
        yield from (known[key] for key in keys)
        return
    scene = stimulated(STIMULI[kind], int(seed), replace(CULTURE, seconds=args.seconds), args.templates)
    learnt = None
    for key in keys:
        if key in known and not args.learn_once:
            yield known[key]
            continue
        found, pulses, took, rt_sort = sort(scene, key[2], learnt)
        learnt = rt_sort if args.learn_once else None
        # `near` counts a pulse that was not found, and none that is too much: RT-Sort is told of those too.
        onsets = round(float(near(scene.pulses, pulses, 1).mean()), 4) if len(pulses) else None
        values = score(scene, found)
        yield Row(
            *key[:3], len(scene.pulses), **values, onsets=onsets, prepare_cpu_s=round(took, 1), learnt_once=key[3]
        )


def table(rows: Sequence[Row]) -> str:
    """Lay out means over the seeds; recall also as a share of that without pulses."""
    best = {(row.scene, row.seed, row.learnt_once): row.recall_after for row in rows if row.method == CEILING}
    lines = []
    for scene, method, once in dict.fromkeys((row.scene, row.method, row.learnt_once) for row in rows):
        own = [row for row in rows if (row.scene, row.method, row.learnt_once) == (scene, method, once)]
        shares = [row.recall_after / best[key] for row in own if (key := (row.scene, row.seed, once)) in best]
        onsets = [row.onsets for row in own if row.onsets is not None]
        counted = method != CEILING
        lines.append([
            scene, method + (", learnt without pulses" if once else ""), f"{sum(row.pulses for row in own)}",
            f"{min(onsets):.1%}" if onsets else "",
            f"{np.mean([row.recall_after for row in own]):.3f}",
            f"{np.mean(shares):.3f} ({min(shares):.3f})" if shares and counted else "",
            f"{np.mean([row.recall_far for row in own]):.3f}",
            f"{np.mean([row.false_spikes for row in own]):.3f}",
            str(sum(row.artefact_units for row in own)) if counted else "",
            f"{np.mean([row.prepare_cpu_s for row in own]):.1f}",
            ", ".join(str(row.seed) for row in own),
        ])  # fmt: skip
    return markdown(
        [
            *("pulses", "way", "number", "onset within a sample", "recall 3 to 50 ms after", "of the ceiling (lowest)"),
            *("recall far from pulses", "false spikes per pulse and 100 units", "units of artefacts"),
            *("CPU s to prepare", "seeds"),
        ],
        lines,
    )


def about() -> list[str]:
    """Say what was measured."""
    kinds = "; ".join(
        f"`{name}`: {stimulus.rate_hz:g} Hz"
        + (f" in trains of {stimulus.train}" if stimulus.train < ENDLESS else "")
        + f", {stimulus.sites} site{'s' if stimulus.sites > 1 else ''}"
        + (", a filter behind the amplifier" if stimulus.amplifier_hz else "")
        for name, stimulus in STIMULI.items()
    )
    text = (
        f"{CULTURE.columns} x {CULTURE.rows} electrodes, {CULTURE.seconds:g} s at {CULTURE.fs / 1000:g} kHz, "
        f"{CULTURE.units} neurons (real footprints, SNR of 5 to 27), a part of which answers to pulses. A biphasic "
        "pulse puts electrodes on the rail and leaves a decay of 5 to 20 ms that differs from electrode to electrode. "
        f"{kinds}. The ceiling is the same culture without pulses. `{OURS}` is given times that are off by up to 2 ms, "
        "`blanking` (a line from 0.5 ms before to 3 ms after) and `polynomial` (order 5, from 1 to 50 ms after) the "
        f"true ones; all are sorted by RT-Sort. One core. {machine()}."
    )
    return ["# Spikes around stimulation pulses", text]


def main() -> None:
    """Sort the scenes, and write the report after every row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    scenes = [f"{name}_{seed}" for seed in REPORTING_SEEDS for name in STIMULI]
    parser.add_argument("names", nargs="*", default=scenes, help="scene_seed")
    parser.add_argument("--seconds", type=float, default=CULTURE.seconds)
    parser.add_argument("--learn-once", action="store_true", help="apply what the first method's traces taught to all")
    parser.add_argument("--methods", default=",".join(METHODS), help="also: nothing (default: %(default)s)")
    parser.add_argument("--templates", type=Path, help="measured footprints (default: those of ../shared/data)")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    path = args.out / "stimulation.json"
    rows = [Row(**row) for row in json.loads(path.read_text(encoding="utf-8"))] if path.is_file() else []
    known = {(row.scene, row.seed, row.method, row.learnt_once): row for row in rows}
    for name in args.names:
        for row in measured(name, args, known):
            known[row.scene, row.seed, row.method, row.learnt_once] = row
            print(row, flush=True)
            ways = [*METHODS, "nothing"]
            rows = sorted(
                known.values(),
                key=lambda r: (r.learnt_once, list(STIMULI).index(r.scene), ways.index(r.method), r.seed),
            )
            path.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")
    write(args.out / "stimulation.md", [*about(), table(rows)])


if __name__ == "__main__":
    main()
