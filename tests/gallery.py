"""Draw every figure and page for the recordings that break lesser ones, to be looked at.

``python tests/gallery.py FOLDER [CASE ...]`` writes a folder per case. The cases also serve as test data.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from spikelab import SpikeData
from spikelab.spike_sorting.config import CurationConfig, SortingPipelineConfig
from spikelab.spike_sorting.curation import CurationOutcome, curate_two_rounds
from spikelab.spike_sorting.data import BinaryRecording, Epoch, Evidence, Validation
from spikelab.spike_sorting.figures import make_figures
from spikelab.spike_sorting.report import IndexRow, ReportData, summarise, write_index, write_report
from spikelab.spike_sorting.stages import as_metrics, with_plugin_metrics
from spikelab.spike_sorting.validation.curves import curve_of, smallest_found

FS = 20_000.0
N_BEFORE, N_SAMPLES = 40, 81
PAGES = 3  # unit pages that are drawn per case
LONG_ERROR = (
    "InsufficientActivityError: no spikes were found on any of the 64 channels.\n"
    "The largest deflection in 60 s is 18 uV, which is 2.2 standard deviations of the noise.\n"
    "A wrong data type or gain is more common than a silent culture:\n"
    "check gain_to_uv and the traces in the report, and see whether the medium was changed.\n"
    "recompute_sorting=True sorts the recording again."
)


@dataclass
class Case:
    """One sorted recording, as the pipeline would have it."""

    name: str
    units: SpikeData
    outcome: CurationOutcome
    recording: BinaryRecording
    validation: Validation | None = None

    @property
    def triple(self) -> tuple[str, SpikeData, CurationOutcome]:
        return self.name, self.units, self.outcome

    @property
    def shown(self) -> ReportData:
        return ReportData(self.recording, self.units, self.outcome, validation=self.validation)


def square(side: int = 8, pitch: float = 35.0) -> np.ndarray:
    y, x = np.mgrid[:side, :side]
    return np.column_stack([x.ravel(), y.ravel()]) * pitch


def column(n_channels: int = 384) -> np.ndarray:
    """Neuropixels 1.0: four staggered columns."""
    index = np.arange(n_channels)
    x = np.array([43.0, 11.0, 59.0, 27.0])[index % 4]
    return np.column_stack([x, 20.0 * (index // 2)])


def array_of_1020() -> np.ndarray:
    """Part of a high-density array: blocks of electrodes."""
    y, x = np.mgrid[:30, :34]
    return np.column_stack([x.ravel() * 17.5 + (x.ravel() // 12) * 900, y.ravel() * 17.5 + (y.ravel() // 10) * 500])


def make_case(
    name: str = "chip1",
    n_units: int = 12,
    locations: np.ndarray | None = None,
    seconds: float = 60.0,
    seed: int = 0,
    positive: float = 0.15,
    config: SortingPipelineConfig | None = None,
    epochs: int = 1,
    change: Callable[[dict[str, Any]], dict[str, Any]] = dict,
) -> Case:
    """Units of a biphasic shape that decays over the electrodes, firing at random with bursts all share."""
    rng = np.random.default_rng(seed)
    locations = square() if locations is None else locations
    units, trains = [], []
    bursts = np.sort(rng.uniform(0, seconds * 1000, max(1, int(seconds / 6))))
    for unit_id in range(n_units):
        unit = _unit(rng, unit_id, locations, positive)
        train = _train(rng, seconds, bursts)
        units.append(change({**unit, "spike_train_samples": (train * FS / 1000).astype(np.int64)}))
        trains.append(train)
    metadata: dict[str, Any] = {
        "fs_Hz": FS, "channel_locations": locations, "template_full_peak_ind": N_BEFORE,
        "source_file": f"{name}.raw.h5",
    }  # fmt: skip
    edges = np.linspace(0, seconds, epochs + 1)
    if epochs > 1:
        metadata["rec_chunks_ms"] = [[a * 1000, b * 1000] for a, b in pairwise(edges)]
        metadata["rec_chunk_names"] = [f"day{i}" for i in range(epochs)]
    sd = SpikeData(trains, length=seconds * 1000, neuron_attributes=units, metadata=metadata)
    outcome = curate_two_rounds(sd, (config or SortingPipelineConfig()).curation)
    return Case(name, sd, outcome, _binary(name, locations, seconds, edges))


def _unit(rng: np.random.Generator, unit_id: int, locations: np.ndarray, positive: float) -> dict[str, Any]:
    channel = int(rng.integers(len(locations)))
    centre = locations[channel] + rng.uniform(-8, 8, 2)
    t = (np.arange(N_SAMPLES) - N_BEFORE) / FS * 1000
    width = rng.uniform(0.12, 0.3)
    shape = -np.exp(-((t / width) ** 2)) + rng.uniform(0.1, 0.45) * np.exp(-(((t - 3 * width) / (2 * width)) ** 2))
    has_pos_peak = bool(rng.random() < positive)
    size = rng.lognormal(np.log(80), 0.7) * (-1 if has_pos_peak else 1)
    reach = np.exp(-np.linalg.norm(locations - centre, axis=1) / 30)
    template = (shape[:, None] * size * reach / reach[channel]).astype(np.float32)
    template += rng.normal(0, 0.6, template.shape).astype(np.float32)
    amplitudes = np.abs(template).max(axis=0)
    return {
        "unit_id": unit_id, "channel": channel, "channel_id": str(channel), "electrode": 1000 + channel,
        "x": float(locations[channel, 0]), "y": float(locations[channel, 1]),
        "template": template, "template_full": template, "template_windowed": template,
        "template_peak_ind": N_BEFORE, "amplitude": float(amplitudes[channel]), "amplitudes": amplitudes,
        "snr": float(amplitudes[channel] / 8), "std_norm": float(rng.lognormal(np.log(0.3), 0.6)),
        "has_pos_peak": has_pos_peak,
    }  # fmt: skip


def _train(rng: np.random.Generator, seconds: float, bursts: np.ndarray) -> np.ndarray:
    rate = rng.lognormal(np.log(2), 1)
    alone = rng.uniform(0, seconds * 1000, rng.poisson(rate * seconds))
    together = (bursts[:, None] + rng.exponential(80, (len(bursts), rng.poisson(6)))).ravel()
    train = np.sort(np.concatenate([alone, together]))
    train = train[(train > 3) & (train < seconds * 1000 - 3)]
    refractory = 0.0 if rng.random() < 0.2 else 2.5
    return train[np.diff(train, prepend=-99.0) > refractory]


def _binary(name: str, locations: np.ndarray, seconds: float, edges: np.ndarray) -> BinaryRecording:
    frames = np.rint(edges * FS).astype(int)
    return BinaryRecording(
        path=Path("not there.dat"), n_samples=int(seconds * FS), n_channels=len(locations), sampling_frequency=FS,
        gain_uv=0.1, channel_ids=tuple(map(str, range(len(locations)))), locations=locations, electrodes=None,
        epochs=tuple(Epoch(int(a), int(b)) for a, b in pairwise(frames)),
        source_file=f"/data/{name}.raw.h5", source_format="maxwell",
    )  # fmt: skip


def measured(case: Case) -> Evidence:
    """Evidence on the spikes of a case: sizes and places around those of the units."""
    rng = np.random.default_rng(5)
    units = case.units.unit_attributes
    counts = np.array([len(unit["spike_train_samples"]) for unit in units])
    mains = np.repeat([unit["channel"] for unit in units], counts)
    amplitudes = -np.repeat([unit["amplitude"] for unit in units], counts) * rng.normal(1, 0.1, counts.sum())
    locations = case.units.metadata["channel_locations"]
    return Evidence(
        unit_ids=np.array(case.units.unit_ids), counts=counts, amplitudes=amplitudes.astype(np.float32),
        places=(locations[mains] + rng.normal(0, 3, (len(mains), 2))).astype(np.float32),
        spreads=np.full((len(units), 81), 7.0, dtype=np.float32), noise=np.full(len(locations), 6.0, dtype=np.float32),
        traces=rng.normal(0, 60, (400, 4)).astype(np.int16), traces_start=20_000, traces_channels=np.arange(4),
        traces_gain_uv=0.1,
    )  # fmt: skip


def validated(case: Case, n: int = 24, least: float = 3.0) -> Case:
    """The case with known neurons, the larger the better found; of every fifth unit nothing is known."""
    rng = np.random.default_rng(3)
    channels = rng.integers(len(case.recording.locations), size=n)
    channels[-2:] = channels[-3]  # three on one electrode
    snr = np.exp(rng.uniform(1.0, 3.0, n))
    accuracy = np.clip((snr - least) / 8 + rng.normal(0, 0.08, n), 0, 1) * (snr > 4)
    found = accuracy >= 0.8
    injected = [
        {"round": i % 2, "donor": int(case.units.unit_ids[i % case.units.N]), "channel": str(channels[i]),
         "x": float(case.recording.locations[channels[i], 0]), "y": float(case.recording.locations[channels[i], 1]),
         "snr": float(snr[i]), "rate": float(rng.lognormal()), "n_spikes": 100 + i, "accuracy": float(accuracy[i]),
         "recall": float(accuracy[i] ** 0.5), "precision": float(accuracy[i] ** 0.7)}
        for i in range(n)
    ]  # fmt: skip
    mean = np.where(np.arange(case.units.N) % 5 == 4, np.nan, rng.uniform(0.4, 0.98, case.units.N))
    units = {
        int(unit): {
            "expected_accuracy": value, "expected_accuracy_low": 0.8 * value, "expected_accuracy_high": value**0.5,
            "expected_recall": value, "expected_precision": value, "stability": 0.9, "alike": float(value > 0) * 3,
        }
        for unit, value in zip(case.units.unit_ids, mean.tolist(), strict=True)
    }  # fmt: skip
    summary = {
        "rounds": 2, "n_injected": n, "n_found": int(found.sum()), "smallest_snr": smallest_found(snr, found),
        "curve": curve_of(snr, found), "expected_accuracy": float(np.nanmean(mean)), "stability": 0.9,
        "n_known": int(np.isfinite(mean).sum()), "n_new": 1.5,
    }  # fmt: skip
    told = Validation(injected, units, summary)
    sd = with_plugin_metrics(case.units, as_metrics(told))
    outcome = curate_two_rounds(sd, SortingPipelineConfig().curation)
    return replace(case, units=sd, outcome=outcome, validation=told)


def record_of(case: Case, **changes: Any) -> dict[str, Any]:
    """A ``run.json`` as a finished run leaves it."""
    costs = {"recording": 4.2, "sorting": 31.0, "waveforms": 2.8, "curation": 0.02, "compilation": 0.4, "figures": 3.1}
    stages = {
        name: {"loaded": name == "recording", "reason": "not done yet", "run_id": f"{name}-1", "wall_s": cost,
               "cpu_s": 1.7 * cost, "peak_memory_mib": 400 + 10 * cost}
        for name, cost in costs.items()
    }  # fmt: skip
    stages["recording"]["report"] = {"noise_uv": [7.9, 8.1, 8.3], "warnings": []}
    return {
        "status": "done", "name": case.name, "sorter": "kilosort4", "started": "2026-03-01T09:00:00+0000",
        "finished": "2026-03-01T09:00:42+0000", "attempts": [{"sorter_params": None, "error": None}], "stages": stages,
        "versions": {"spikelab": "0.2.0", "python": "3.11.2"}, "host": {"system": "Linux"}, "warnings": [],
        "units": {"sorted": case.units.N, "curated": case.outcome.sd_curated.N}, **changes,
    }  # fmt: skip


def _nan(unit: dict[str, Any]) -> dict[str, Any]:
    if unit["unit_id"] % 2:
        return unit
    empty = np.full_like(unit["template"], np.nan)
    return {**unit, "template": empty, "template_full": empty, "template_windowed": empty, "snr": np.nan,
            "std_norm": np.inf, "amplitude": np.nan, "amplitudes": empty[0]}  # fmt: skip


def _weak(unit: dict[str, Any]) -> dict[str, Any]:
    return {**unit, "snr": 2.0}


CASES: dict[str, Callable[[], list[Case]]] = {
    "typical": lambda: [make_case()],
    "zero_curated": lambda: [make_case(change=_weak)],
    "zero_units": lambda: [make_case(n_units=0)],
    "one_unit": lambda: [make_case(n_units=1, seed=5)],
    "200_units": lambda: [make_case("a rather long name of a recording 2026-03-01", 200, seconds=600)],
    "nan_metrics": lambda: [make_case(change=_nan)],
    "positive_peaks": lambda: [make_case(positive=1.0)],
    "neuropixels_column": lambda: [make_case("probe", 60, column(), 300)],
    "array_2d": lambda: [make_case("array", 90, array_of_1020(), 300)],
    "linear": lambda: [make_case("wires", 5, np.column_stack([np.arange(8) * 200.0, np.zeros(8)]))],
    "one_channel": lambda: [make_case("wire", 2, np.zeros((1, 2)))],
    "epochs": lambda: [make_case("days", 12, epochs=3)],
    "validated": lambda: [validated(make_case())],
    "validated_column": lambda: [validated(make_case("probe", 60, column(96), 20))],
    "seven_recordings": lambda: [make_case(f"culture_{i}_day{i}", 6 + 3 * i, seed=i) for i in range(7)],
    "plate_of_24": lambda: [make_case(f"plate7_well{i:03d}", 3 + i % 9, seed=i, seconds=20.0) for i in range(24)],
    "plate_of_96": lambda: [make_case(f"plate7_well{i:03d}", i % 9, seed=i, seconds=20.0) for i in range(96)],
}


def rows_of(cases: list[Case], folder: Path) -> list[IndexRow]:
    """Rows of the page of a batch; names such as plate7_well003 are wells of a plate with three conditions."""
    rows = []
    for number, case in enumerate(cases):
        plate, _, well = case.name.partition("_well")
        named = {"plate": plate, "well": f"well{well}"} if well else {}
        notes = {"condition": ("control", "drug A", "drug B")[number % 3], "day": 7 * (1 + number // 8)} if well else {}
        summary = summarise(case.units, case.outcome, CurationConfig())
        rows.append(IndexRow(case.name, "done", folder / case.name, "", 12.0 + number, summary, notes=notes, **named))
    return rows


def draw_case(folder: Path, cases: list[Case]) -> None:
    """All figures and the page of one recording, or those of all recordings together."""
    config = SortingPipelineConfig.from_kwargs(sorter_name="kilosort4", create_figures=True, fr_min=0.1)
    make_figures([case.triple for case in cases], config, folder / "figures" if len(cases) == 1 else folder)
    if len(cases) == 1:
        (case,) = cases
        few = case.units.subset(range(min(PAGES, case.units.N)))
        pages = config.override(create_figures=False, create_unit_figures=True)
        make_figures([(case.name, few, case.outcome)], pages, folder / "figures")
        write_report(folder, record_of(case), config, case.shown)
        return
    rows = rows_of(cases, folder)
    rows[2] = replace(rows[2], status="biological failure", error=LONG_ERROR, summary=None, wall_s=None)
    write_index(folder, "kilosort4", rows)


def main(arguments: list[str]) -> None:
    folder, names = Path(arguments[0]), arguments[1:] or list(CASES)
    for name in names:
        draw_case(folder / name, CASES[name]())
        sys.stdout.write(f"{folder / name}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
