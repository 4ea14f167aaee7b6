"""What is compared: the units of a results folder, of a file of ours, or of another program."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.curation.outcome import BY_HAND
from spikelab.spikedata import SpikeData
from spikelab.system.files import tidy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from spikelab.spike_sorting.run.results import Results
    from spikelab.spike_sorting.settings.schema import SortingPipelineConfig

SUFFIXES = (".npz", ".h5", ".hdf5", ".pkl", ".pickle")
TOLD = ("amplitude", "snr", "x", "y", "channel", "imported_label", "sorter_unit_id")


@dataclass(frozen=True)
class Side:
    """Units of one sort, or of a ground truth; those that curation dropped too, as far as they are known."""

    name: str
    source: str  # path, or "in memory"
    kind: str
    ids: tuple[Any, ...]
    trains: tuple[NDArray[np.float64], ...]  # in ms, ascending
    kept: NDArray[np.bool_]
    dropped: Mapping[Any, str] = field(default_factory=dict)  # what dropped a unit, by id
    about: tuple[Mapping[str, Any], ...] = ()  # of each unit: amplitude in uV, SNR, place
    rate: float | None = None  # in Hz
    length_s: float | None = None
    config: SortingPipelineConfig | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    recording: frozenset[str] = frozenset()  # what its recording is known by: the file, and the filtered traces

    def rows(self) -> NDArray[np.int64]:
        """Return the rows of the units that are compared."""
        return np.flatnonzero(self.kept)

    def value(self, row: int, name: str) -> Any:
        """Return what is known of a unit; None for what is not."""
        return self.about[row].get(name) if self.about else None

    def until(self, end_ms: float) -> Side:
        """Leave out the spikes after a time in ms."""
        return replace(self, trains=tuple(train[train < end_ms] for train in self.trains))


def open_side(source: Any, *, units: str = "curated", trust: bool = False) -> Side:
    """Open what is to be compared; errors say what it is and what was expected."""
    if isinstance(source, SpikeData):
        return _of_spikedata(source, "in memory", "units in memory")
    from spikelab.spike_sorting.backends.imported.spikeinterface_units import is_spikeinterface

    path = tidy(Path(source))
    if (path / "run.json").is_file():
        return _of_results(path, units)
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {path}")
    if path.is_file() and path.suffix.lower() in SUFFIXES and not is_spikeinterface(path):
        return _of_spikedata(SpikeData.load(path), str(path), "a file of spikelab")
    return _of_others(path, trust=trust)


def _of_spikedata(units: SpikeData, source: str, kind: str) -> Side:
    attributes = units.neuron_attributes or [{} for _ in units.train]
    ids = tuple(values.get("unit_id", row) for row, values in enumerate(attributes))
    rate = units.metadata.get("fs_Hz")
    return Side(
        name=Path(source).stem,
        source=source,
        kind=kind,
        ids=ids if len(set(ids)) == len(ids) else tuple(range(len(ids))),
        trains=tuple(np.asarray(train, dtype=np.float64) - units.start_time for train in units.train),
        kept=np.ones(units.N, dtype=bool),
        about=tuple({name: values[name] for name in TOLD if name in values} for values in attributes),
        rate=None if rate is None else float(rate),
        length_s=units.length / 1000,
    )


def _of_results(path: Path, units: str) -> Side:
    from spikelab.spike_sorting.run.results import Results

    results = Results.open(path)
    curated, every = results.curation.sd_curated, results.units
    merged = [unit for unit in curated.unit_ids if unit not in set(every.unit_ids)]
    side = _of_spikedata(every, str(path), "results")
    kept = set(curated.unit_ids)
    if units == "curated":
        side = _with_trains_of(side, curated)
    return replace(
        side,
        name=path.name,
        kept=np.array([units != "curated" or unit in kept for unit in side.ids], dtype=bool),
        dropped=_reasons(results) if not merged else {},
        config=results.config,
        versions=dict(results.record.get("versions") or {}),
        recording=_recording_of(results),
    )


def _with_trains_of(side: Side, curated: SpikeData) -> Side:
    """Take the spikes of curated units from there: merging of duplicates gives a unit those of the others."""
    own = dict(zip(curated.unit_ids, curated.train, strict=True))
    return replace(
        side, trains=tuple(np.asarray(own.get(unit, train)) for unit, train in zip(side.ids, side.trains, strict=True))
    )


def _reasons(results: Results) -> dict[Any, str]:
    """Say of each dropped unit which criterion dropped it, with its value and the limit."""
    from spikelab.spike_sorting.curation.criteria import in_force

    limits: dict[tuple[Any, Any], str] = {
        (criterion.round, criterion.metric.name): f"{criterion.setting}: {criterion.words(threshold)}"
        for criterion, threshold in in_force(results.config.curation)
    }
    return {row["unit_id"]: _reason(row, limits) for row in results.curation.unit_metrics if not row.get("passed")}


def _reason(row: Mapping[str, Any], limits: Mapping[tuple[Any, Any], str]) -> str:
    if row.get("merged_into") is not None:
        return f"merged into unit {row['merged_into']}"
    name = row.get("failed_criterion")
    if name == BY_HAND:
        return "hand"
    value, limit = row.get(str(name)), limits.get((row.get("failed_round"), name), "")
    shown = f" {value:.3g}" if isinstance(value, int | float) and not isinstance(value, bool) else ""
    return f"{name or 'curation'}{shown}" + (f" ({limit})" if limit else "")


def _recording_of(results: Results) -> frozenset[str]:
    from spikelab.spike_sorting.stages.manifest import Manifest

    manifest = Manifest.read(results.stage("recording"))
    if manifest is None:
        return frozenset()
    return frozenset(map(str, filter(None, [manifest.settings.get("input"), manifest.info.get("content")])))


def _of_others(path: Path, *, trust: bool) -> Side:
    """Read the units of another program."""
    from spikelab.spike_sorting.backends.imported import read_units

    units = read_units(path, trust=trust)
    if units.has_segments:
        raise ValueError(
            f"{path} has spikes in several segments, whose lengths are not known here; import it with its recording "
            "(spikelab import), and compare the results"
        )
    if units.rate is None and not units.in_seconds:
        raise ValueError(f"{path} does not say its sampling rate: params.py with sample_rate is missing")
    if units.in_seconds:
        trains = tuple(1000 * np.asarray(train) for train in units.times)
    else:
        trains = tuple(1000 * np.asarray(train) / (units.rate or 1.0) for train in units.times)
    return Side(
        name=path.stem,
        source=str(path),
        kind=units.kind,
        ids=units.ids,
        trains=trains,
        kept=np.ones(len(units.ids), dtype=bool),
        about=tuple({"imported_label": label} if label else {} for label in units.labels),
        rate=units.rate,
    )
