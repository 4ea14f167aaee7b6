"""Results in the formats of other tools."""

from __future__ import annotations

import json
import logging
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from spikelab.spike_sorting.exchange.formats import Handoff
from spikelab.spike_sorting.exchange.formats.nwb_metadata import read_metadata
from spikelab.spike_sorting.run.results import Results, TracesUnavailableError
from spikelab.spike_sorting.stages.context import stage_seed
from spikelab.spike_sorting.stages.outdated import EXPORT_FOLDER, PHY_UNITS
from spikelab.spikedata import SpikeData
from spikelab.system import files
from spikelab.system.resources import available_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

logger = logging.getLogger(__name__)

AnyPath: TypeAlias = str | Path
Units: TypeAlias = Literal["curated", "all", "phy"]
UNITS = ("curated", "all", "phy")
TRACES = "traces.dat"
# File in every folder that an export wrote: no other folder is ever replaced.
MARK = ".spikelab-export"


@dataclass(frozen=True)
class Order:
    """One export: its results and units, its target, and the choices of the user."""

    results: Results
    handoff: Handoff
    target: Path
    units: str
    metadata: Mapping[str, Any] | None


@dataclass(frozen=True)
class Format:
    """Format of an export."""

    name: str  # default name of the file or folder
    is_folder: bool
    write: Callable[[Order], None]  # writes `order.target`
    # When the filtered traces are part of the export: never, on demand, if they can be had, always.
    traces: Literal["no", "optional", "wanted", "needed"]
    what: str  # description in the list of formats

    def has_traces(self, asked: bool | None) -> bool:
        """Whether an export has traces, given the user's choice; None leaves the choice to the format."""
        return self.traces in ("wanted", "needed") if asked is None else asked


def export_results(
    results: AnyPath,
    to: str,
    target: AnyPath | None = None,
    *,
    units: Units = "curated",
    traces: bool | None = None,
    recording: AnyPath | None = None,
    metadata: Mapping[str, Any] | AnyPath | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the units of a finished sort in another format.

    Parameters
    ----------
    results : path
        Results folder of one recording.
    to : str
        One of `FORMATS`: phy, nwb, si, analyzer, mat, npz, h5, pkl, curation.
    target : path, optional
        File or folder to write; by default in ``<results>/export``.
    units : {"curated", "all", "phy"}
        Units that were kept, all of the sort, or those that :func:`import_curation` made.
    traces : bool, optional
        Whether the filtered traces go along. By default they do where the format shows them (phy, analyzer). They are
        a second name of the file in the intermediate folder, which costs no space and stays when that is deleted; a
        copy on another disk; and where the file was deleted, they are filtered again.
    recording : path, optional
        Where the recording is now, should the traces have to be filtered again and it was moved.
    metadata : mapping or path, optional
        nwb only: what the recording does not tell, or a TOML file with it; see
        :func:`spikelab.spike_sorting.exchange.formats.nwb.write_nwb`.
    overwrite : bool
        Replace what is at `target`, if an export wrote it.

    Returns
    -------
    Path
        What was written.

    Raises
    ------
    ValueError
        For an unknown format or choice, nothing to export, or traces that cannot be had.
    FileNotFoundError
        If `results` is no folder of a finished sort.
    FileExistsError
        If there is something at `target`.
    EnvironmentSortFailure
        If a package is missing; the message names the extra.

    Examples
    --------
    >>> from spikelab.spike_sorting import export_results
    >>> export_results("sorted_rt_sort_culture", "mat", "units.mat").name
    'units.mat'
    >>> export_results("sorted_rt_sort_culture", "si").parts[-3:]
    ('sorted_rt_sort_culture', 'export', 'spikeinterface')
    """
    chosen = _format(to, traces=traces, has_metadata=metadata is not None)
    about = None if metadata is None else read_metadata(metadata)
    opened = Results.open(results)
    path = opened.folder / EXPORT_FOLDER / chosen.name if target is None else Path(target).absolute()
    _require_free(path, overwrite)
    handoff = handoff_of(opened, units)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that what is complete can be renamed, and traces can be linked.
    with files.folder_beside(path) as scratch:
        made = scratch / path.name
        if chosen.is_folder:
            made.mkdir()
        if chosen.has_traces(traces):
            place = (made if chosen.is_folder else scratch) / TRACES
            handoff = _with_traces(opened, handoff, place, recording, traces is None and chosen.traces == "wanted")
        if chosen.traces == "needed" and not handoff.has_traces:
            raise ValueError(f"{to} cannot be without traces")
        chosen.write(Order(opened, handoff, made, units, about))
        _publish(made, path)
    return path


def _format(to: str, *, traces: bool | None, has_metadata: bool) -> Format:
    """Look up a format, and check that it takes the traces and the metadata."""
    if to not in FORMATS:
        raise ValueError(f"Unknown format {to!r}; there are {', '.join(FORMATS)}")
    if has_metadata and to != "nwb":
        raise ValueError(f"metadata is for nwb; {to} has no place for it")
    if traces and FORMATS[to].traces == "no":
        raise ValueError(f"{to} holds no traces; nwb, phy and analyzer do")
    return FORMATS[to]


def _require_free(path: Path, overwrite: bool) -> None:
    if not path.exists():
        return
    if not overwrite:
        raise FileExistsError(f"{path} exists; give another target, or overwrite it (--overwrite)")
    if path.is_dir() and not (path / MARK).is_file():
        raise FileExistsError(f"{path} is a folder that no export wrote; it is not overwritten")


def _publish(made: Path, path: Path) -> None:
    if not made.is_dir():
        made.replace(path)
        return
    (made / MARK).touch()
    # The old folder is moved into the scratch folder, and deleted with it: `path` is missing for a moment only.
    if path.exists():
        path.replace(made.with_name("replaced"))
    made.replace(path)


def handoff_of(results: Results, units: str) -> Handoff:
    """Gather from results what the writers of all formats need."""
    waveforms = results.waveforms
    return Handoff(
        units=units_of(results, units),
        recording=results.recording,
        template_stds={int(unit): waveforms.template_stds[row] for row, unit in enumerate(waveforms.unit_ids)},
        metrics={row["unit_id"]: row for row in results.curation.unit_metrics},
    )


def units_of(results: Results, units: str) -> SpikeData:
    """Return the curated units, all units, or those imported from Phy; ValueError where there are none."""
    if units not in UNITS:
        raise ValueError(f"'units' must be one of {{{', '.join(map(repr, UNITS))}}}, got {units!r}")
    if units == "all":
        return results.units
    if units == "curated":
        return results.curation.sd_curated
    path = results.folder / f"{PHY_UNITS}.npz"
    if not path.is_file():
        raise ValueError(f"there is no {path.name} in {results.folder}; 'spikelab import' makes it from a Phy folder")
    return SpikeData.load(path)


def _with_traces(results: Results, handoff: Handoff, path: Path, recording: AnyPath | None, optional: bool) -> Handoff:
    """Write the traces to `path`, and return the handoff with them."""
    try:
        if results.traces is not None:
            _link_or_copy(results.traces, path)
        else:
            results.write_traces(path, recording)
    except TracesUnavailableError as error:
        if not optional:
            raise
        logger.warning("%s; the export has no traces. Give their place with --recording to have them", error)
        return handoff
    return replace(handoff, has_traces=True, recording=replace(handoff.recording, path=path))


def _link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name, which costs no space and outlives the first; on another disk copy the file."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


# ---- formats ---------------------------------------------------------------------------------------------------------


def _write_phy(order: Order) -> None:
    from spikelab.spike_sorting.exchange.formats.phy import write_phy

    write_phy(order.handoff, order.target, units=order.units, traces=TRACES if order.handoff.has_traces else None)


def _write_nwb(order: Order) -> None:
    from spikelab.spike_sorting.exchange.formats.nwb import write_nwb

    write_nwb(order.handoff, order.target, metadata=order.metadata, traces=order.handoff.has_traces)


def _write_si(order: Order) -> None:
    from spikelab.spike_sorting.exchange.formats.spikeinterface import write_sorting

    order.target.rmdir()  # SpikeInterface makes its folders itself
    write_sorting(order.handoff, order.target)


def _write_analyzer(order: Order) -> None:
    from spikelab.spike_sorting.exchange.formats.spikeinterface import write_analyzer

    seed, n_jobs = stage_seed(order.results.config.execution.random_seed, "analyzer", ""), workers(order.results)
    write_analyzer(order.handoff, order.target / "analyzer", order.target / TRACES, seed=seed, n_jobs=n_jobs)


def _write_mat(order: Order) -> None:
    from spikelab.spike_sorting.compilation.results import write_mat

    write_mat(order.target, order.handoff.units, order.handoff.recording.epochs)


def _write_curation(order: Order) -> None:
    from spikelab.spike_sorting.exchange.curate import curation_content

    files.write_text(order.target, json.dumps(curation_content(order.results), indent=1))


def _write_spikedata(order: Order) -> None:
    order.handoff.units.save(order.target)


def workers(results: Results) -> int:
    """Return the number of workers that the settings and this host allow."""
    return min(results.config.execution.n_jobs, available_cores())


FORMATS: dict[str, Format] = {
    "phy": Format("phy", True, _write_phy, "wanted", "folder for Phy (phy template-gui params.py)"),
    "nwb": Format("units.nwb", False, _write_nwb, "optional", "NWB file: units, electrodes, epochs"),
    "si": Format("spikeinterface", True, _write_si, "no", "SpikeInterface sorting (spikeinterface.load)"),
    "analyzer": Format("analyzer", True, _write_analyzer, "needed", "SpikeInterface SortingAnalyzer, with traces"),
    "mat": Format("units.mat", False, _write_mat, "no", "MATLAB file: struct array of units"),
    "npz": Format("units.npz", False, _write_spikedata, "no", "SpikeData, without pickled objects"),
    "h5": Format("units.h5", False, _write_spikedata, "no", "SpikeData as HDF5"),
    "pkl": Format("units.pkl", False, _write_spikedata, "no", "SpikeData as a pickle"),
    "curation": Format("curation.json", False, _write_curation, "no", "SpikeInterface curation JSON (version 2)"),
}
