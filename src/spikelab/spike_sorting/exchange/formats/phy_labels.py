"""Reading of the tables of a Phy folder: the groups of its clusters, and the labels that a person gave them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spikelab.system.quoting import from_spreadsheet
from spikelab.system.runlog import warn
from spikelab.system.tables import Row, by_column, known_name, read_rows, whole_number
from spikelab.system.tables import typed as typed_cells
from spikelab.system.texts import brief

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

CLUSTER, GROUP = "cluster_id", "group"
ALL_COLUMNS = "cluster_info"  # Phy's table of all columns, which are in tables of their own too
WHAT = "a table of Phy: the columns cluster_id and that of a label, apart by a tab"


@dataclass(frozen=True)
class _Cell:
    text: str
    where: str  # file and line


def read_labels(folder: Path, own: Collection[str] | None) -> dict[str, dict[int, str]]:
    """Read the columns of every ``cluster_*.tsv`` and ``.csv``: text by cluster, without empty cells.

    Columns of `own`, which the export wrote, are left out; without `own`, all but the group are. A ValueError names
    file and line of what is no table of clusters, or contradicts another one.
    """
    columns: dict[str, dict[int, _Cell]] = {}
    for path in _tables(folder, own):
        for name, cluster, cell in _cells(path):
            first = columns.setdefault(name, {}).setdefault(cluster, cell)
            if first.text != cell.text:
                raise ValueError(
                    f"{cell.where}: cluster {cluster} has {name} {brief(cell.text)}, but {brief(first.text)} in "
                    f"{first.where}; leave one of them"
                )
    persons = [name for name in columns if name == GROUP or name not in (own or ())]
    return {name: {cluster: cell.text for cluster, cell in columns[name].items()} for name in persons}


def _tables(folder: Path, own: Collection[str] | None) -> Iterator[Path]:
    """Yield the tables that a person may have written in."""
    for path in (*sorted(folder.glob("cluster_*.tsv")), *sorted(folder.glob("cluster_*.csv"))):
        title = path.stem.removeprefix("cluster_")
        if title == GROUP or not (own is None or title in own or path.stem == ALL_COLUMNS):
            yield path


def _cells(path: Path) -> Iterator[tuple[str, int, _Cell]]:
    """Yield column, cluster and cell of each value in a table."""
    rows = read_rows(path, WHAT)
    if not rows:
        return
    header = [known_name(name, (CLUSTER, GROUP)) for name in rows[0].cells]
    named = [name for name in header if name]
    if CLUSTER not in named or len(set(named)) < len(named):
        raise ValueError(f"{path}, line {rows[0].line}: the columns are {brief(rows[0].cells)}; expected {WHAT}")
    for row in rows[1:]:
        cluster, cells = _cluster(path, header, row)
        for name, text in cells.items():
            if text:
                yield name, cluster, _Cell(from_spreadsheet(text), f"{path}, line {row.line}")


def _cluster(path: Path, header: Sequence[str], row: Row) -> tuple[int, dict[str, str]]:
    """Return the cluster of a row, and its other cells by column."""
    try:
        cells = by_column(header, row)
    except ValueError as error:
        raise ValueError(f"{path}, {error}; expected {WHAT}") from error
    cluster = whole_number(cells.pop(CLUSTER))
    if cluster is None or cluster < 0:
        raise ValueError(f"{path}, line {row.line}: {brief(row.cells)}; expected {WHAT}")
    return cluster, cells


def typed(values: Mapping[int, str]) -> dict[int, Any]:
    """Convert the labels of a column to numbers, where all of them are; 007 is none."""
    return dict(zip(values, typed_cells(list(values.values())), strict=True))


def label_of(name: str, values: Mapping[int, Any], cluster: int, sources: Sequence[int]) -> Any:
    """Return the label of a cluster: its own, else that of the clusters it was made of; None where there is none.

    Parameters
    ----------
    name : str
        Of the column.
    values : mapping of int to object
        Labels by cluster.
    cluster : int
    sources : sequence of int
        Clusters of the export that the spikes came from, that of the most spikes first.

    Warns
    -----
    UserWarning
        If the sources have different labels, and nobody gave the cluster another one.
    """
    inherited = {source: values[source] for source in sources if source in values}
    label = values.get(cluster, next(iter(inherited.values()), None))
    if len(set(inherited.values())) > 1 and label in inherited.values():
        listed = ", ".join(f"{value!r} (cluster {source})" for source, value in inherited.items())
        warn(f"cluster {cluster} was merged of clusters with different {name}: {listed}; its {name} is {label!r}")
    return label


def attribute_names(labels: Collection[str], taken: Collection[str]) -> dict[str, str]:
    """Return the unit attribute of each label: its name, with ``phy_`` in front where units have such an attribute."""
    names = {label: f"phy_{label}" if label in taken else label for label in labels}
    changed = [f"{label} is {name}" for label, name in names.items() if label != name]
    if changed:
        warn(f"units have attributes of the names of labels in Phy: there {', '.join(changed)}")
    return names
