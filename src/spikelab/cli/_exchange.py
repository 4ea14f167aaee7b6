"""``spikelab export`` and ``spikelab import``: write results for other tools, read curation back, take units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from spikelab.system.files import tidy
from spikelab.system.quoting import in_shell, printable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# How to open an export, by format.
NEXT = {
    "phy": "open it with: phy template-gui {params}",
    "nwb": "read it with: pynwb.read_nwb({path!r})",
    "si": "read it with: spikeinterface.load({path!r})",
    "analyzer": "read it with: spikeinterface.load_sorting_analyzer({analyzer!r})",
    "mat": "read it with: load({matlab})",
    "npz": "read it with: spikelab.SpikeData.load({path!r})",
    "h5": "read it with: spikelab.SpikeData.load({path!r})",
    "curation": "read it with: spikeinterface.curation.load_curation({path!r})",
    "pkl": "read it with: spikelab.SpikeData.load({path!r})",
}


def export_text(
    results: Path,
    to: str,
    target: Path | None,
    units: str,
    traces: bool | None,
    recording: Path | None,
    metadata_file: Path | None,
    overwrite: bool,
) -> str:
    """Export; return how to open the export and where it is."""
    from spikelab.spike_sorting.exchange import FORMATS, UNITS, export_results

    if to not in FORMATS:
        there_are = "\n".join(f"  {name:<9} {chosen.what}" for name, chosen in FORMATS.items())
        raise click.UsageError(f"Unknown format {to!r} for --to; there are\n{there_are}")
    if units not in UNITS:
        raise click.UsageError(f"Unknown --units {units!r}; there are {', '.join(UNITS)}")
    path = export_results(
        results,
        to,
        target,
        units=units,  # type: ignore[arg-type]  # checked above
        traces=traces,
        recording=recording,
        metadata=metadata_file,
        overwrite=overwrite,
    )
    matlab = str(path).replace("'", "''")
    names = {"params": in_shell(path / "params.py"), "analyzer": str(path / "analyzer"), "matlab": f"'{matlab}'"}
    return f"{NEXT[to].format(path=str(path), **names)}\nwritten to {printable(str(path))}"


WAYS = """
  spikelab import FOLDER --to RESULTS              takes the units that another program found
  spikelab import RESULTS PHY_FOLDER --from phy    brings back what was curated in phy"""


def require_one_way(
    phy_folder: Path | None, results: Path | None, source: str | None, settings: dict[str, Any]
) -> None:
    """Raise UsageError where it is not clear which of the two imports is meant."""
    if results is None:
        _require_curation(phy_folder, source, settings)
    elif phy_folder is not None:
        raise click.UsageError(f"--to goes without a second folder, {phy_folder}. There are two imports:{WAYS}")
    elif source is not None:
        raise click.UsageError(f"--to goes without --from {source}. There are two imports:{WAYS}")


def _require_curation(phy_folder: Path | None, source: str | None, settings: dict[str, Any]) -> None:
    if source is None or phy_folder is None:
        missing = "--from" if phy_folder is not None else "a second folder" if source is not None else "--to or --from"
        raise click.UsageError(f"{missing} is missing. There are two imports:{WAYS}")
    given = [OPTIONS.get(name, f"--{name}") for name, value in settings.items() if value]
    if given:
        raise click.UsageError(f"{', '.join(given)} goes with --to only: the settings of these results are known")


OPTIONS = {"config_file": "--config", "presets": "--preset", "settings": "--set"}


def import_units(
    folder: Path,
    results: Path,
    recording: Path | None,
    keep: Sequence[str],
    *,
    trust: bool,
    intermediate: Path | None,
    **given: Any,
) -> tuple[str, int]:
    """Import the units of another program, with the options that a sort has; return the outcome and the exit code."""
    from spikelab.cli import _settings, _sort
    from spikelab.spike_sorting.backends.imported import SORTER, find_recording, sorter_params, with_probe
    from spikelab.spike_sorting.run.record import require_no_other_sort

    folder = tidy(folder)
    require_no_other_sort(results, SORTER, folder)
    found = find_recording(folder, recording, trust=trust)
    more = {"sorter_params": sorter_params(folder, keep), **({"trust_input": True} if trust else {})}
    wanted = _settings.what_is_wanted(SORTER, **given, more=more)
    wanted = wanted.take(**with_probe(found, results, wanted.given))
    return _sort.sort_found(found.source, wanted, results, intermediate)


def import_text(
    results: Path, folder: Path, source: str, keep: Sequence[str], duplicate_ms: float, recording: Path | None
) -> str:
    """Import; return the new units and where they are."""
    if source != "phy":
        raise click.UsageError(f"Unknown tool {source!r} for --from; there is phy")
    from spikelab.spike_sorting.exchange import import_curation
    from spikelab.spike_sorting.stages.outdated import PHY_UNITS

    curated = import_curation(results, folder, keep=keep, duplicate_ms=duplicate_ms, recording=recording)
    history = curated.metadata["curation_history"]
    new = history["phy"]["new_units"]
    lines = [f"{curated.N} units kept, {len(new)} of them new"]
    lines += [f"  unit {unit['unit_id']}: {_origin(unit)}" for unit in new]
    lines.append(f"written to {results.absolute() / PHY_UNITS}.npz")
    return "\n".join(lines)


def curate_all(results: Sequence[Path], source: Path | None, recording: Path | None, *, dry_run: bool) -> int:
    """Check all decisions, then apply them folder by folder, and say what they do; return the exit code."""
    from spikelab.cli._ending import one_by_one
    from spikelab.cli._progress import shown_progress
    from spikelab.spike_sorting.exchange.curate import applied, planned

    plans = {folder: planned(folder, source, recording=recording) for folder in results}

    def tell(folder: Path) -> str:
        plan, name = plans[folder], printable(str(plans[folder].results.folder))
        lines = [name, *plan.lines()]
        if not dry_run:
            with shown_progress():
                units = applied(plan, recording=recording)
            lines.append(f"{sum(sd.N for sd in units[:1])} units kept; results are in {name}")
        return "\n".join(lines)

    code = one_by_one(results, tell)
    if dry_run:
        click.echo("nothing was changed (--dry-run)")
    return code


def _origin(unit: dict[str, Any]) -> str:
    parts = [f"{count} spikes of unit {source}" for source, count in unit["spikes_from"].items()]
    text = ", ".join(parts)
    return f"{text}; {unit['duplicates_removed']} duplicates removed" if unit["duplicates_removed"] else text
