"""``spikelab view --gui spikeinterface``: the units in spikeinterface-gui, and its curation brought back."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting import decisions as deciding
from spikelab.spike_sorting._exceptions import EnvironmentSortFailure
from spikelab.spike_sorting.exchange.curate import planned
from spikelab.spike_sorting.exchange.export import export_results
from spikelab.spike_sorting.run.results import Results
from spikelab.spike_sorting.view.claim import claimed, require_no_sort
from spikelab.system.extras import install_command

if TYPE_CHECKING:
    from spikelab.spike_sorting.exchange.curate import Plan

logger = logging.getLogger(__name__)

CURATION = Path("spikeinterface_gui") / "curation_data.json"  # in an analyzer, written by "save in analyzer"
# What a desktop window needs, and what a page in the browser needs.
WINDOWS = (("desktop", ("PySide6", "PyQt5", "PyQt6")), ("web", ("panel",)))


def curate_in_gui(results: str | Path, recording: str | Path | None = None) -> Plan | None:
    """Open all units of a sort in spikeinterface-gui, wait until it is closed, and read what was decided there.

    Parameters
    ----------
    results : path
        Results folder of one recording, of a finished sort.
    recording : path, optional
        Where the recording is now, should its traces have to be filtered again.

    Returns
    -------
    Plan or None
        Decisions, ready to be applied; None where nothing was saved in the window.

    Raises
    ------
    EnvironmentSortFailure
        If spikeinterface-gui is not installed; the message says how it is.
    ValueError
        If there are decisions that are not applied yet: they would be lost.
    """
    mode = _window()
    folder = Path(results).absolute()
    require_no_sort(folder)
    _require_applied(Results.open(folder))
    with claimed(folder) as own:
        made = export_results(folder, "analyzer", own / "gui", units="all", traces=True, recording=recording)
        curation = made / "analyzer" / CURATION
        _show(made / "analyzer", mode)
        return planned(folder, curation, recording=recording) if curation.is_file() else None


def _window() -> str:
    """Choose between a window and a page in the browser, by what is installed."""
    if find_spec("spikeinterface_gui") is None:
        raise EnvironmentSortFailure(f"spikeinterface-gui is not installed: {install_command('gui')}")
    for mode, packages in WINDOWS:
        if any(find_spec(package) is not None for package in packages):
            return mode
    raise EnvironmentSortFailure(f"spikeinterface-gui has no window to open: {install_command('gui')}")


def _require_applied(results: Results) -> None:
    try:
        waiting = deciding.read(results.folder / deciding.FILE)
    except FileNotFoundError:
        return
    if waiting.counted != results.decisions.counted:
        raise ValueError(
            f"{results.folder / deciding.FILE} has decisions that are not applied yet, which spikeinterface-gui would "
            "not see: apply them first (spikelab curate), or move the file away"
        )


def _show(analyzer: Path, mode: str) -> Any:
    """Open the window, until it is closed."""
    from spikeinterface import load_sorting_analyzer
    from spikeinterface_gui import run_mainwindow

    logger.info("decide in spikeinterface-gui, press 'save in analyzer' there, and close it")
    return run_mainwindow(load_sorting_analyzer(analyzer), mode=mode, curation=True)
