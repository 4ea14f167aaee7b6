"""Reading of the spikes and tables of a folder that Kilosort (2 to 4) or phy wrote."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.backends.imported.phy_params import PARAMS, read_params
from spikelab.spike_sorting.backends.imported.units import LABELS, PHY_LABEL, ImportedUnits, some
from spikelab.spike_sorting.data import rows_of_each
from spikelab.system.quoting import from_spreadsheet
from spikelab.system.runlog import warn
from spikelab.system.tables import Row, by_column, known_name, read_rows, typed, whole_number
from spikelab.system.texts import brief

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import IntArray

logger = logging.getLogger(__name__)

KIND = "a Kilosort or phy folder"
TIMES, CLUSTERS, TEMPLATES = "spike_times.npy", "spike_clusters.npy", "spike_templates.npy"
CLUSTER, OLD_CLUSTER = "cluster_id", "id"
ALL_COLUMNS = "cluster_info"  # phy's table of all columns, which are in tables of their own too
MARKS = (TIMES, CLUSTERS, TEMPLATES, PARAMS, "rez.mat")
WHAT = "a table with the column cluster_id, as Kilosort and phy write them"


def is_phy(path: Path) -> bool:
    """Whether a folder is one of Kilosort or phy, perhaps without some of its files."""
    return any((path / name).is_file() for name in MARKS)


def read_phy(folder: Path, *, trust: bool = False) -> ImportedUnits:  # noqa: ARG001 - nothing is run
    """Read the clusters that have spikes; FileNotFoundError and ValueError say what is missing or cannot be."""
    params, times = read_params(folder), _frames(folder)
    clusters = _clusters(folder, len(times))
    every = np.unique(clusters)
    rows = dict(zip(every.tolist(), rows_of_each(np.searchsorted(every, clusters), range(len(every))), strict=True))
    present = _real(every, clusters, folder).tolist()
    ids, tables = tuple(map(str, present)), _tables(folder)
    return ImportedUnits(
        KIND,
        folder,
        ids,
        tuple(np.sort(times[rows[cluster]]) for cluster in present),
        params.sample_rate,
        columns={name: tuple(values.get(cluster) for cluster in ids) for name, values in tables.items()},
        empty=_without_spikes(tables, ids),
        n_channels=_numbers_of_channels(folder, params.n_channels),
        label_columns=(PHY_LABEL, *LABELS),
    )


def _without_spikes(tables: Mapping[str, Mapping[str, Any]], ids: Sequence[str]) -> tuple[str, ...]:
    """Return the clusters that are in a table and have no spikes."""
    named = dict.fromkeys(cluster for values in tables.values() for cluster in values)
    return tuple(cluster for cluster in named if cluster not in set(ids) and not cluster.startswith("-"))


def _frames(folder: Path) -> IntArray:
    times = _flat(folder / TIMES, "frames of spikes; Kilosort 2 writes it with rezToPhy")
    if times.dtype.kind not in "iuf":
        raise ValueError(f"{folder / TIMES} holds {times.dtype}; expected whole numbers, the frames of spikes")
    with np.errstate(invalid="ignore"):
        frames = times.astype(np.int64)
    if times.dtype.kind == "f" and not (frames == times).all():
        fault = times[frames != times][0]
        raise ValueError(f"{folder / TIMES} holds {fault:g}; expected frames, which are whole, not seconds")
    if times.dtype.kind == "u" and len(frames) and int(times.max()) >= 2**63:
        raise ValueError(f"{folder / TIMES} holds {int(times.max())}, which is no frame: was a negative time written?")
    return frames


def _clusters(folder: Path, n_spikes: int) -> NDArray[Any]:
    """Read the cluster of each spike: as curated, else as the sorter found them."""
    name = next((name for name in (CLUSTERS, TEMPLATES) if (folder / name).is_file()), CLUSTERS)
    if name == TEMPLATES:
        logger.info("%s has no %s: units are those of %s", folder, CLUSTERS, TEMPLATES)
    clusters = _flat(folder / name, "the cluster of each spike")
    if len(clusters) != n_spikes:
        raise ValueError(f"{folder}: {TIMES} has {n_spikes} spikes and {name} {len(clusters)}; expected as many")
    if clusters.dtype.kind == "f" and (clusters == np.round(clusters)).all():
        clusters = clusters.astype(np.int64)
    if clusters.dtype.kind not in "iuU":
        raise ValueError(f"{folder / name} holds {clusters.dtype}; expected whole numbers, the clusters of spikes")
    return clusters.astype(np.int64) if clusters.dtype.kind in "iu" else clusters


def _real(present: NDArray[Any], clusters: NDArray[Any], folder: Path) -> NDArray[Any]:
    """Leave out negative clusters, which stand for spikes of no unit."""
    if present.dtype.kind != "i" or not (present < 0).any():
        return present
    warn(f"{folder}: {int((clusters < 0).sum())} spikes of cluster {some(present[present < 0])} belong to no unit")
    return np.asarray(present[present >= 0])


def _flat(path: Path, what: str) -> NDArray[Any]:
    """Read an array of shape (n,), (n, 1) or (1, n); pickles are refused."""
    if not path.is_file():
        there = sorted(entry.name for entry in path.parent.iterdir())
        raise FileNotFoundError(f"{path.parent} has no {path.name} ({what}); it holds {some(there)}")
    try:
        array = np.asarray(np.load(path, allow_pickle=False))
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path} cannot be read as an array of numpy: {error}") from error
    if array.size != max(array.shape, default=1):
        raise ValueError(f"{path} has the shape {array.shape}; expected (spikes,) or (spikes, 1): {what}")
    return array.ravel()


def _numbers_of_channels(folder: Path, n_channels: int | None) -> tuple[int, ...]:
    channels = channel_map(folder)
    return tuple(n for n in (n_channels, None if channels is None else len(channels)) if n is not None)


def channel_map(folder: Path) -> IntArray | None:
    """Read which channels of the recording were sorted; None where the folder does not say."""
    path = folder / "channel_map.npy"
    return _flat(path, "channels of the recording").astype(np.int64) if path.is_file() else None


def channel_positions(folder: Path) -> NDArray[np.float64] | None:
    """Read where the sorted channels are, in um, shape (channels, 2); None where the folder does not say."""
    path = folder / "channel_positions.npy"
    if not path.is_file():
        return None
    positions = np.asarray(np.load(path, allow_pickle=False), dtype=np.float64)
    if positions.ndim != 2 or positions.shape[1] < 2:
        raise ValueError(f"{path} has the shape {positions.shape}; expected (channels, 2), in um")
    return positions[:, :2]


def _tables(folder: Path) -> dict[str, dict[str, Any]]:
    """Read all columns of the tables of clusters, by column and cluster; a column's own table goes before the rest."""
    texts: dict[str, dict[str, str]] = {}
    for path in sorted((*folder.glob("cluster_*.tsv"), *folder.glob("cluster_*.csv")), key=_of_all_columns):
        for name, cluster, text in _cells(path):
            texts.setdefault(name, {}).setdefault(cluster, text)
    return {name: _typed(values) for name, values in texts.items()}


def _of_all_columns(path: Path) -> tuple[bool, str]:
    return path.stem == ALL_COLUMNS, path.name


def _cells(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield column, cluster and text of each cell that is not empty."""
    rows = read_rows(path, WHAT)
    if not rows:
        return
    header = [known_name(name, (CLUSTER, "group")) for name in rows[0].cells]
    key = next((name for name in (CLUSTER, OLD_CLUSTER) if name in header), None)
    if key is None:
        warn(f"{path} is left out: its columns are {brief(rows[0].cells)}; expected {WHAT}")
        return
    for row in rows[1:]:
        cells = _by_column(path, header, row)
        cluster = _cluster(cells.pop(key))
        yield from ((name, cluster, from_spreadsheet(text)) for name, text in cells.items() if text)


def _cluster(cell: str) -> str:
    """Return the id in a cell: a whole number as spreadsheets write it, or a name."""
    number = whole_number(cell)
    return cell if number is None else str(number)


def _by_column(path: Path, header: Sequence[str], row: Row) -> dict[str, str]:
    try:
        return by_column(header, row)
    except ValueError as error:
        raise ValueError(f"{path}, {error}; expected {WHAT}") from error


def _typed(values: Mapping[str, str]) -> dict[str, Any]:
    return dict(zip(values, typed(list(values.values())), strict=True))
