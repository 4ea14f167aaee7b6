"""``spikelab doctor``: check what works on this machine, and advise on the rest."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import subprocess
from functools import partial
from importlib import metadata
from typing import TYPE_CHECKING

from spikelab import __version__
from spikelab.cli._output import table
from spikelab.spike_sorting.stages.checks import (
    ABSENT,
    BROKEN,
    OK,
    Check,
    Needs,
    check_disk,
    check_gpu,
    check_memory,
    check_plugins,
    check_sorter,
)
from spikelab.system.extras import DISTRIBUTION, install_command
from spikelab.system.resources import available_cores

if TYPE_CHECKING:
    from collections.abc import Callable

Row = tuple[str, str, str]  # name, state, details or advice
TIMEOUT_S = 10
ONLY_DOCKER = "only the docker presets need it"


def report() -> str:
    """Tabulate all checks."""
    rows = [row for rows_of in ROWS for row in rows_of()]
    return f"spikelab {__version__}\n\n" + table(("what", "state", "details"), rows)


def _checked(check: Check) -> list[Row]:
    """Return the rows of a check that is also made before every sort."""
    return [(finding.what, finding.state, finding.details) for finding in check(Needs())]


def _host() -> list[Row]:
    return [
        ("python", OK, f"{platform.python_version()} on {platform.platform()}"),
        ("processor", OK, f"{available_cores()} cores"),
    ]


def _packages() -> list[Row]:
    return [(name, OK, metadata.version(name)) for name in ("spikeinterface", "numpy", "numba", "h5py")]


def _namesake() -> list[Row]:
    """Warn of the distribution ``spikelab``, another program whose files lie in the same folder as ours."""
    try:
        found = metadata.version("spikelab")
    except metadata.PackageNotFoundError:
        return []
    what_to_do = (
        f"{found} is installed as well; this program is {DISTRIBUTION}, and both are imported as spikelab: pip "
        f"uninstall spikelab {DISTRIBUTION}, then install this one again (pip install . in its clone)"
    )
    return [("distribution spikelab", BROKEN, what_to_do)]


def _torch() -> list[Row]:
    if importlib.util.find_spec("torch") is None:
        sorters = f"Kilosort 4: {install_command('kilosort4')}; RT-Sort on a GPU: {install_command('rt-sort')}"
        return [("torch", ABSENT, f"for {sorters}")]
    return [("torch", OK, metadata.version("torch"))]


def _sorters() -> list[Row]:
    from spikeinterface.sorters import available_sorters, installed_sorters

    from spikelab.spike_sorting.backends import list_sorters
    from spikelab.spike_sorting.backends.registry import SPIKEINTERFACE_PREFIX
    from spikelab.spike_sorting.run.choices import best_sorter

    here = set(installed_sorters())
    others = [SPIKEINTERFACE_PREFIX + name for name in here if name not in list_sorters()]
    best, why = best_sorter()
    states = [(name, *_sorter_state(name)) for name in (*list_sorters(), *sorted(others))]
    missing = ", ".join(name for name in available_sorters() if name not in here and name not in list_sorters())
    return [
        ("sorter that is chosen", OK, f"{best}: {why}"),
        *states,
        (f"{SPIKEINTERFACE_PREFIX}...", ABSENT, f"not installed here; some run with use_docker: {missing}"),
    ]


def _sorter_state(name: str) -> tuple[str, str]:
    """Return whether and how a sorter can run here, or the advice that a sort would give."""
    from spikelab.spike_sorting.backends import get_backend_class
    from spikelab.spike_sorting.backends.registry import package_of
    from spikelab.spike_sorting.settings.presets import preset_for

    try:
        backend = get_backend_class(name)(preset_for(name))
    except Exception as error:  # noqa: BLE001 - what another package brings along may fail in any way
        return BROKEN, str(error)
    (finding,) = check_sorter(Needs(backend))
    package = package_of(name)
    about = finding.details if finding.failure is not None else backend.about()
    of = "" if package in (None, DISTRIBUTION) else f"of the package {package}"
    return finding.state, "; ".join(filter(None, [about, of]))


def _metrics() -> list[Row]:
    """List the metrics of other packages, with the package, or why one cannot be loaded."""
    from spikelab.spike_sorting.metrics import get_metric, list_metrics
    from spikelab.spike_sorting.metrics.registry import package_of

    rows = []
    for name in list_metrics():
        try:
            row = (f"metric {name}", OK, f"{get_metric(name).description} Of the package {package_of(name)}")
        except ValueError as error:
            row = (f"metric {name}", BROKEN, str(error))
        rows.append(row)
    return rows


def _docker() -> list[Row]:
    command = shutil.which("docker")
    if command is None:
        return [("docker", ABSENT, f"not installed; {ONLY_DOCKER}")]
    state, text = _run([command, "info", "--format", "{{.ServerVersion}}"])
    if state != OK:  # nobody may have asked for docker: nothing is broken
        return [("docker", ABSENT, f"{command} is here, but no daemon answers ({text}); {ONLY_DOCKER}")]
    client = importlib.util.find_spec("docker") is not None
    found = (OK, "") if client else (ABSENT, install_command("docker"))
    return [("docker daemon", state, text), ("docker client", *found)]


def _run(command: list[str]) -> tuple[str, str]:
    """Run a command; return its state and the first line of its output."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return BROKEN, str(error)
    lines = (done.stdout if done.returncode == 0 else done.stderr or done.stdout).strip().splitlines()
    return (OK if done.returncode == 0 else BROKEN), (lines[0] if lines else f"exit code {done.returncode}")


ROWS: tuple[Callable[[], list[Row]], ...] = (
    _host,
    partial(_checked, check_memory),
    partial(_checked, check_disk),
    _packages,
    _namesake,
    partial(_checked, check_gpu),
    _torch,
    _sorters,
    _metrics,
    _docker,
    partial(_checked, check_plugins),
)
