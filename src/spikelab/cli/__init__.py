"""The command line: parse, call, print. No logic lives here.

click starts in a few hundredths of a second, has no dependencies, and completes, documents and tests commands well.
"""

from __future__ import annotations

import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

import click

from spikelab import __version__
from spikelab.cli import _complete
from spikelab.cli._ending import end_in_order, errors_as_exit_codes, finish, one_by_one
from spikelab.cli._log import QUIET, VERBOSE
from spikelab.cli._options import (
    AGAIN,
    ALL_RECORDINGS,
    ANY_PATH,
    CONFIG,
    PRESENT_FILE,
    PRESET,
    RECORDING,
    SETTING,
    SORTER,
    TRUST,
    TRUSTING,
)

FILES = click.argument("files", nargs=-1, required=True, type=ANY_PATH)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="The shell completes commands, options, sorters, presets and settings after: "
    'eval "$(_SPIKELAB_COMPLETE=bash_source spikelab)"; of zsh and fish, zsh_source and fish_source.',
)
@click.version_option(__version__, prog_name="spikelab")
@QUIET
@VERBOSE
def cli() -> None:
    """From a raw extracellular recording to curated neurons: spikelab sort FILE."""


@cli.command()
@FILES
@SORTER
@CONFIG
@PRESET
@SETTING
@TRUST
@click.option(
    "--stream",
    "streams",
    metavar="NAME",
    multiple=True,
    help="Stream (well) to sort, by id or name; may be repeated.  [default: every one with electrodes]",
)
@ALL_RECORDINGS
@click.option("--results", type=ANY_PATH, help="Results folder; of several recordings, its parent.")
@click.option("--intermediate", type=ANY_PATH, help="Scratch folder; of several, its parent.")
@click.option("--validate", is_flag=True, help="Tell how right the sort is, as spikelab validate does.")
@AGAIN
@QUIET
@VERBOSE
def sort(
    files: tuple[Path, ...],
    sorter: str | None,
    config_file: Path | None,
    presets: tuple[str, ...],
    settings: tuple[str, ...],
    streams: tuple[str, ...],
    **where: Any,
) -> None:
    """Sort FILES: recordings, or folders of recordings to be concatenated.

    What is not set is chosen for each recording, and said: the sorter that runs here, the preset for its electrodes, a
    band-pass for its sampling rate. All that cannot be sorted is told before anything is started.
    """
    end_in_order()
    with errors_as_exit_codes():
        from spikelab.cli._settings import what_is_wanted
        from spikelab.cli._sort import sort_files

        more = {"trust_input": where.pop("trust"), "validate": where.pop("validate"), "sort_again": where.pop("again")}
        given = {name: value for name, value in more.items() if value}
        wanted = what_is_wanted(sorter, config_file, presets, settings, given)
        finish(*sort_files(files, wanted, streams, **where))


RESULTS = click.argument("results", type=ANY_PATH)


@cli.command()
@RESULTS
@click.argument("target", required=False, type=ANY_PATH)
@click.option(
    "--to",
    required=True,
    metavar="FORMAT",
    shell_complete=_complete.formats,
    help="phy, nwb, si, analyzer, mat, npz, h5, pkl or curation (what was decided by hand).",
)
@click.option(
    "--units", default="curated", show_default=True, help="curated, all, or phy: those that 'spikelab import' made."
)
@click.option("--traces/--no-traces", default=None, help="Filtered traces as well.  [default: phy and analyzer only]")
@RECORDING
@click.option("--metadata", "metadata_file", type=PRESENT_FILE, help="nwb: subject, session_start_time, ... as TOML.")
@click.option("--overwrite", is_flag=True, help="Replace what an earlier export wrote.")
@QUIET
@VERBOSE
def export(
    results: Path,
    target: Path | None,
    to: str,
    units: str,
    traces: bool | None,
    recording: Path | None,
    metadata_file: Path | None,
    overwrite: bool,
) -> None:
    """Write the units of the folder RESULTS for another tool, to TARGET or into RESULTS/export."""
    with errors_as_exit_codes():
        from spikelab.cli._exchange import export_text

        click.echo(export_text(results, to, target, units, traces, recording, metadata_file, overwrite))


@cli.command("import")
@click.argument("folder", type=ANY_PATH)
@click.argument("phy_folder", required=False, type=ANY_PATH)
@click.option("--to", "results", type=ANY_PATH, help="Results folder for the units of another program.")
@RECORDING
@click.option(
    "--keep",
    multiple=True,
    help="Labels of the units that are taken; may be repeated.  [default: all; with --from phy: good]",
)
@CONFIG
@PRESET
@SETTING
@TRUST
@click.option("--intermediate", type=ANY_PATH, help="Scratch folder.  [default: intermediate in RESULTS]")
@click.option("--from", "source", metavar="TOOL", shell_complete=_complete.tools, help="phy: bring a curation back.")
@click.option(
    "--duplicate-ms",
    default=0.4,
    show_default=True,
    help="With --from phy: in merged units, spikes of two sources this close are one; 0 keeps both.",
)
@QUIET
@VERBOSE
def import_(
    folder: Path,
    phy_folder: Path | None,
    results: Path | None,
    recording: Path | None,
    keep: tuple[str, ...],
    source: str | None,
    duplicate_ms: float,
    **settings: Any,
) -> None:
    """Take the units that another program found, or bring a curation back.

    With --to RESULTS, the units of FOLDER are taken: of Kilosort 2 to 4, of phy, a sorting or an analyzer of
    SpikeInterface, or an NWB file. What follows is as after any sorter: waveforms, curation, results and report, in the
    folder RESULTS. Nothing in FOLDER is changed. The recording is the one that it names, or that of --recording.

    With --from phy, the curation of PHY_FOLDER, which was exported from the results FOLDER, is brought back into them.
    """
    end_in_order()
    with errors_as_exit_codes():
        from spikelab.cli import _exchange

        _exchange.require_one_way(phy_folder, results, source, settings)
        if results is not None:
            finish(*_exchange.import_units(folder, results, recording, keep, **settings))
        if phy_folder is not None and source is not None:
            click.echo(_exchange.import_text(folder, phy_folder, source, keep or ("good",), duplicate_ms, recording))


@cli.command()
@RESULTS
@click.option(
    "--port", default=0, type=click.IntRange(0, 65535), help="Port to listen on.  [default: one that is free]"
)
@click.option("--browser/--no-browser", default=True, help="Open the page in the browser, or only say its address.")
@click.option("--gui", metavar="PROGRAM", help="Decide in another program instead: spikeinterface.")
@RECORDING
@QUIET
@VERBOSE
def view(results: Path, port: int, browser: bool, gui: str | None, recording: Path | None) -> None:
    """Look at the units of RESULTS in a browser, with traces of any moment; keep, drop, label, merge and split them.

    The page is served to this machine alone. Every decision is in RESULTS/decisions.json as it is made, and can be
    undone; "apply" runs what follows on from them.
    """
    end_in_order()
    with errors_as_exit_codes():
        from spikelab.cli import _view

        if gui is not None:
            _view.view_in_gui(results, gui, recording)
        else:
            _view.view_results(results, port, recording, browser=browser)


@cli.command()
@click.argument("results", nargs=-1, required=True, type=ANY_PATH)
@click.option(
    "--from",
    "source",
    type=ANY_PATH,
    help="decisions.json, SpikeInterface's curation JSON, or a Phy folder.  [default: RESULTS/decisions.json]",
)
@click.option("--dry-run", is_flag=True, help="Only check the decisions, and say what they do.")
@RECORDING
@QUIET
@VERBOSE
def curate(results: tuple[Path, ...], source: Path | None, dry_run: bool, recording: Path | None) -> None:
    """Apply decisions on units (keep, drop, labels, merges, splits) to the folders RESULTS.

    They are checked first; what depends on them is then computed again, as in any other run: the sorter does not run.
    """
    if source is not None and len(results) > 1:
        raise click.UsageError("--from is for one results folder: decisions are on the units of one sort")
    end_in_order()
    with errors_as_exit_codes():
        from spikelab.cli._exchange import curate_all

        sys.exit(curate_all(results, source, recording, dry_run=dry_run))


@cli.command()
@click.argument("results", nargs=-1, required=True, type=ANY_PATH)
@click.option("--units", type=click.IntRange(min=4), help="Neurons to put in.  [default: a fifth of the units]")
@click.option("--rounds", type=click.IntRange(min=1), default=1, show_default=True, help="Times to sort again.")
@click.option("--grid", multiple=True, metavar="FIELD=[VALUES]", help="Try these values instead; may be repeated.")
@click.option("--sorters", metavar="NAMES", help="Try these sorters instead, e.g. rt_sort,spikeinterface:lupin.")
@click.option("--all-units", "every_unit", is_flag=True, help="List all units, not only the 30 least accurate.")
@RECORDING
@QUIET
@VERBOSE
def validate(
    results: tuple[Path, ...],
    units: int | None,
    rounds: int,
    grid: tuple[str, ...],
    sorters: str | None,
    every_unit: bool,
    recording: Path | None,
) -> None:
    """Tell how right the sorts in the folders RESULTS are: known neurons are put into the recording and sorted.

    Each unit gets an expected accuracy with an interval. With --grid or --sorters, settings are tried on the same
    neurons, e.g. --grid 'rt_sort_params.match_threshold=[15, 20, 25]', and the results stay as they are.
    """
    if (grid or sorters) and len(results) > 1:
        raise click.UsageError("--grid and --sorters are for one results folder")
    end_in_order()
    with errors_as_exit_codes():
        from spikelab.cli import _validate

        if grid or sorters:
            click.echo(_validate.grid_text(results[0], grid, sorters, units=units, rounds=rounds, recording=recording))
        else:
            more: dict[str, Any] = {"units": units, "rounds": rounds, "recording": recording, "every_unit": every_unit}
            sys.exit(one_by_one(results, partial(_validate.validate_text, **more)))


@cli.command()
@click.argument("sorts", nargs=-1, required=True, type=ANY_PATH)
@click.option("--truth", type=ANY_PATH, help="Ground truth, by which the others are judged.")
@click.option("--out", type=ANY_PATH, help="Write a page (HTML) as well.")
@click.option("--csv", type=ANY_PATH, help="Write the tables into this folder as well.")
@click.option("--name", "names", multiple=True, help="What they are called, one for each; may be repeated.")
@click.option("--delta-ms", default=0.4, show_default=True, help="Spikes at most this far apart are the same.")
@click.option(
    "--min-agreement", default=0.5, show_default=True, help="Units are the same from this share of common spikes on."
)
@click.option("--all-units", "every_unit", is_flag=True, help="Of results, those too that curation dropped.")
@TRUST
@QUIET
@VERBOSE
def compare(sorts: tuple[Path, ...], truth: Path | None, names: tuple[str, ...], trust: bool, **options: Any) -> None:
    """Compare SORTS of one recording unit by unit: what they agree on, what each alone has, and why.

    Each is a results folder, a file of units (npz, h5, pkl), or what spikelab import reads. Of three and more it is
    shown how many agree on each unit.
    """
    with errors_as_exit_codes():
        from spikelab.cli._compare import compare_text

        click.echo(compare_text(sorts, truth, names=names or None, trust_input=trust, **options))


@cli.command()
@click.argument("manifest", type=PRESENT_FILE)
@click.option("--scheduler", metavar="ADDRESS", help="Of a dask cluster, e.g. tcp://node1:8786.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes on this machine, besides one for each GPU.")
@click.option("--plan", "plan_folder", type=ANY_PATH, help="Write job files and scripts instead.")
@ALL_RECORDINGS
@QUIET
@VERBOSE
def batch(
    manifest: Path, scheduler: str | None, workers: int | None, plan_folder: Path | None, all_recordings: bool
) -> None:
    """Sort all recordings that MANIFEST (TOML or CSV) lists, several at a time; again to continue.

    The whole list is checked first, the recordings too: all that a sort would refuse is told at once, and nothing is
    started. What the list does not set is chosen, as by spikelab sort.
    """
    if sum(option is not None for option in (scheduler, workers, plan_folder)) > 1:
        raise click.UsageError("--scheduler, --workers and --plan exclude each other")
    end_in_order()
    with errors_as_exit_codes():
        from spikelab.cli import _batch

        if plan_folder is None:
            finish(*_batch.run_batch(manifest, scheduler, workers, all_recordings=all_recordings))
        click.echo(_batch.plan(manifest, plan_folder, all_recordings=all_recordings))


@cli.command("sort-one")
@click.argument("job", type=PRESENT_FILE)
@QUIET
@VERBOSE
def sort_one(job: Path) -> None:
    """Sort what the file JOB says, which `spikelab batch --plan` wrote."""
    end_in_order()
    with errors_as_exit_codes():
        from spikelab.cli import _batch

        finish(*_batch.sort_job_in_turn(job))


@cli.command()
@click.argument("folder", default=".", type=click.Path(exists=True, file_okay=False, path_type=Path))
def status(folder: Path) -> None:
    """Show how far the sorts in FOLDER are: of a batch, of a plan, or all below it."""
    with errors_as_exit_codes():
        from spikelab.cli import _batch

        click.echo(_batch.status(folder))


@cli.command()
@click.option("--folder", default="demo", show_default=True, type=ANY_PATH, help="Where to work.")
@click.option(
    "--sorter",
    metavar="NAME",
    shell_complete=_complete.sorters,
    help="Sorter to run.  [default: rt_sort, on the CPU]",
)
@click.option(
    "--duration", default=60.0, type=click.FloatRange(min=10.0), show_default=True, help="Seconds to simulate."
)
@QUIET
@VERBOSE
def demo(folder: Path, sorter: str | None, duration: float) -> None:
    """Simulate a recording with known neurons, sort it, and compare."""
    end_in_order()
    with errors_as_exit_codes():
        from spikelab.cli._progress import shown_progress
        from spikelab.demo import DEFAULT_SORTER, run_demo

        with shown_progress():
            text = run_demo(folder, sorter or DEFAULT_SORTER, duration)
        click.echo(text)


@cli.command()
@FILES
@SORTER
@CONFIG
@PRESET
@SETTING
@TRUST
@click.option("--probe", type=PRESENT_FILE, help="Probe file (setting probe_path), to see how its contacts lie.")
@click.option("--picture", type=ANY_PATH, help="Draw the electrodes into this file too (png, svg, pdf).")
def inspect(
    files: tuple[Path, ...],
    sorter: str | None,
    config_file: Path | None,
    presets: tuple[str, ...],
    settings: tuple[str, ...],
    trust: bool,
    probe: Path | None,
    picture: Path | None,
) -> None:
    """Show what is in FILES: streams (wells), recordings, channels, rate, duration, and where the electrodes are.

    Below: what spikelab sort, with the same options, would choose, and what it would refuse. The exit code is 3 where
    something cannot be read or would be refused.
    """
    if picture is not None and len(files) > 1:
        raise click.UsageError("--picture draws one file or folder; give one")
    with errors_as_exit_codes():
        from spikelab.cli._inspect import inspect_files
        from spikelab.cli._settings import what_is_wanted

        more = (*settings, *(TRUSTING if trust else ()), *([] if probe is None else [f"probe_path={probe}"]))
        finish(*inspect_files(files, what_is_wanted(sorter, config_file, presets, more), picture))


@cli.command()
def doctor() -> None:
    """Show what works on this machine: sorters, GPU, docker, MATLAB, plugins."""
    from spikelab.cli._doctor import report

    click.echo(report())


@cli.command("show-config")
@SORTER
@CONFIG
@PRESET
@SETTING
@click.option("--describe", is_flag=True, help="What each setting means, its unit and range, instead of TOML.")
def show_config(
    sorter: str | None, config_file: Path | None, presets: tuple[str, ...], settings: tuple[str, ...], describe: bool
) -> None:
    """Print the complete configuration as TOML, ready for --config.

    What is chosen for each recording, where it is not set, has a # before it.
    """
    with errors_as_exit_codes():
        from spikelab.cli import _settings

        wanted = _settings.what_is_wanted(sorter, config_file, presets, settings)
        if describe:
            from spikelab.spike_sorting.settings.reference import render_text

            click.echo(render_text(min(shutil.get_terminal_size().columns, 100)))
        else:
            click.echo(_settings.config_text(wanted))


def main() -> None:
    """Entry point of the ``spikelab`` command."""
    cli()
