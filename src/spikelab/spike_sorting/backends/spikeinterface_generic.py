"""Run any sorter of SpikeInterface, as ``spikeinterface:<name>``, in a supervised child process."""

from __future__ import annotations

import difflib
import logging
import math
import re
import sys
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from spikelab.spike_sorting._exceptions import SorterNotInstalledError
from spikelab.spike_sorting.backends.base import StandardBackend, check_param_names, merge_params, seed_from
from spikelab.spike_sorting.backends.isolation import start
from spikelab.spike_sorting.backends.isolation.container import (
    PARAMETERS,
    Container,
    check_container,
    container_for,
    environment_for,
    identity,
    remove_containers,
)
from spikelab.spike_sorting.data import BinaryRecording, SpikeTrains
from spikelab.spike_sorting.settings.validation import DRIFT_PARAMETERS
from spikelab.system.extras import lacking

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from spikeinterface import BaseRecording, BaseSorting

logger = logging.getLogger(__name__)

PLANAR_EXTENT_UM = 300.0
CHANNELS_FOR_COMMON_REFERENCE = 32  # SpikeInterface's own sorters use one from here on

# Parameters that switch the filter of a sorter off: the data are filtered already.
FILTER_OFF: dict[str, dict[str, Any]] = {
    "combinato": {"do_filter": False},
    "hdsort": {"filter": False},
    "ironclust": {"filter": False},
    "mountainsort4": {"filter": False},
    "mountainsort5": {"filter": False},
    "spykingcircus": {"filter": False},
    "waveclus": {"enable_detect_filter": False, "enable_sort_filter": False},
}
PASS_THROUGH = [[1.0, 0.0, 0.0, 1.0, 0.0, 0.0]]  # a filter, as second-order sections, that changes nothing
IN_SCRIPTS = re.compile(r"[\"'`$\\\x00-\x1f\x7f]")  # between double quotes of bash, or single ones of MATLAB
UNKNOWN = "unknown"  # what SpikeInterface calls a version that it cannot find
SEED_PARAMETERS = ("seed", "cluster_init_seed", "whitening_seed")


class SpikeInterfaceBackend(StandardBackend):
    """Run ``spikeinterface_name`` through ``run_sorter``; one subclass per sorter, see :func:`backend_class_for`."""

    spikeinterface_name: ClassVar[str] = ""

    def sort(
        self,
        recording: BaseRecording,
        rec_path: Any,  # noqa: ARG002 - part of the interface
        recording_dat_path: Path,
        output_folder: Path,
    ) -> BaseSorting:
        """Run the sorter on the binary recording; parameters as in :meth:`SorterBackend.sort`.

        ``output_folder`` gets ``sorter.log`` with all output of the sorter, and ``run/`` with its files.

        Raises
        ------
        ValueError
            For an unknown name in ``sorter_params``, or a folder whose name the sorter's shell script would run.
        EnvironmentSortFailure
            If the sorter or its container cannot run on this host.
        SorterProcessError, SorterTimeoutError, InsufficientActivityError
            If the sorter failed, hung, or found nothing.
        """
        self.check_installed()
        require_harmless_folder(self.spikeinterface_name, Path(output_folder))
        binary = self.ensure_binary(recording, recording_dat_path)
        container = self.container()
        if container is not None:  # left by a machine that went down
            remove_containers(container.engine, start.run_folder_of(output_folder))
        folder = start.run_folder(output_folder)
        job = {
            "sorter": self.spikeinterface_name,
            "target": "spikelab.spike_sorting.backends.isolation.child_main:run_spikeinterface",
            "recording_path": str(binary.path.absolute()),
            "recording": binary.to_dict(),
            "params": self.sorter_params(binary),
            "seed": seed_from(None, self.config.execution.random_seed),
            "container": None if container is None else asdict(container),
        }
        try:
            start.run_in_child(
                job,
                folder,
                Path(output_folder) / start.LOG_FILE,
                self.config.execution.sorter_timeout_s,
                n_threads=self.workers,
                environment={**self.environment(), **environment_for(container, folder)},
            )
        finally:
            if container is not None:
                remove_containers(container.engine, folder)
        trains = self.clean_trains(SpikeTrains.load(folder / start.RESULT_FILE), binary)
        return trains.to_spikeinterface(binary.sampling_frequency)

    def environment(self) -> dict[str, str]:
        """Get further environment variables of the sorter's process."""
        return {}

    def container(self) -> Container | None:
        """Get the container that ``use_docker`` asks for; None where the sorter runs on this host."""
        return container_for(self.spikeinterface_name, self.config.sorter.use_docker)

    def check_settings(self) -> None:
        """Raise ValueError for unknown names in ``sorter_params``, and for an image that does not exist."""
        self.container()
        given = self.config.sorter.sorter_params
        if not given:
            return
        try:
            defaults = self.default_params()
        except ImportError:  # the sorter, which knows its names, is not installed: check_installed reports that
            return
        name = self.spikeinterface_name
        listed = f"spikeinterface.sorters.get_sorter_params_description({name!r}) has them all"
        check_param_names(name, self._known_params(defaults), given, listed)

    def made_by(self) -> dict[str, str]:
        """Get the image of the container, with its id where docker knows it, or the version of the sorter."""
        container = self.container()
        return self.version_here() if container is None else identity(container)

    def version_here(self) -> dict[str, str]:
        """Get the version of the sorter on this host."""
        try:
            version = str(self._sorter().get_sorter_version())
        except Exception as error:  # noqa: BLE001 - the sorter's own code; the spikes are there
            logger.info("the version of %s could not be found out: %s", self.spikeinterface_name, error)
            return {}
        return {self.spikeinterface_name: version} if version != UNKNOWN else {}

    def check_installed(self) -> None:
        """Raise an EnvironmentSortFailure where sorter or container cannot run on this host."""
        container = self.container()
        if container is None:
            self.check_host()
        else:
            check_container(container, self.spikeinterface_name, gpu=self._sorter().gpu_capability != "not-supported")

    def check_host(self) -> None:
        """Raise a SorterNotInstalledError where the sorter cannot run without a container."""
        sorter = self._sorter()
        missing = lacking() if _is_own(sorter) else ""
        if missing:
            raise SorterNotInstalledError(
                f"The sorter {self.spikeinterface_name!r} needs {missing}, or run it in its container "
                "(use_docker=True).",
                sorter=self.spikeinterface_name,
            )
        if sorter.is_installed():
            return
        advice = (
            " ".join(sorter.installation_mesg.split()) or "See SpikeInterface's documentation for how to install it."
        )
        raise SorterNotInstalledError(
            f"The sorter {self.spikeinterface_name!r} is not installed. {advice} Or run it in its container "
            "(use_docker=True).",
            sorter=self.spikeinterface_name,
        )

    def _sorter(self) -> Any:
        """Get SpikeInterface's class of the sorter."""
        from spikeinterface.sorters.sorterlist import sorter_dict

        return sorter_dict[self.spikeinterface_name]

    def scratch_bytes(self, n_samples: int, n_channels: int) -> int:
        """Estimate one copy of the traces: most sorters filter or whiten them into a file of their own."""
        return 2 * n_samples * n_channels

    def default_params(self) -> dict[str, Any]:
        """Get the parameters of the installed version with their defaults."""
        from spikeinterface.sorters import get_default_sorter_params

        return dict(get_default_sorter_params(self.spikeinterface_name))

    def sorter_params(self, binary: BinaryRecording) -> dict[str, Any]:
        """Gather parameters that differ from the sorter's defaults: the user's, and else those of :meth:`own_params`.

        ValueError for a name in ``config.sorter.sorter_params`` that the installed version does not have.
        """
        defaults = self.default_params()
        given = self.config.sorter.sorter_params or {}
        params = merge_params(self.spikeinterface_name, self._known_params(defaults), given)
        return self.own_params(binary, defaults) | {name: params[name] for name in given}

    def _known_params(self, defaults: Mapping[str, Any]) -> Mapping[str, Any]:
        """Add parameters of the container, where the sorter runs in one."""
        return defaults if self.container() is None else {**dict.fromkeys(PARAMETERS), **defaults}

    def own_params(self, binary: BinaryRecording, defaults: Mapping[str, Any]) -> dict[str, Any]:
        """Get the values that differ from the sorter's defaults: filter, drift, seed, workers."""
        params: dict[str, Any] = self._filter_params(binary, defaults)
        if is_planar(binary.locations) or (binary.motion or {}).get("corrected"):
            params |= {name: False for name in DRIFT_PARAMETERS if defaults.get(name)}
        seed = seed_from(None, self.config.execution.random_seed)
        params |= {name: seed for name in SEED_PARAMETERS if name in defaults}
        return params | self._worker_params(defaults)

    def _worker_params(self, defaults: Mapping[str, Any]) -> dict[str, Any]:
        workers = {"n_jobs": self.workers, "progress_bar": False}
        if "job_kwargs" in defaults:
            return {"job_kwargs": {**workers, "pool_engine": "thread", "chunk_duration": "1s"}}
        return {name: value for name, value in workers.items() if name in defaults} if "n_jobs" in defaults else {}

    def _filter_params(self, binary: BinaryRecording, defaults: Mapping[str, Any]) -> dict[str, Any]:
        """Switch the sorter's own filter off; warn where that is not possible."""
        if "preprocessing_dict" in defaults:  # replaces filter and reference, keeps the whitening
            reference = binary.n_channels >= CHANNELS_FOR_COMMON_REFERENCE
            return {"preprocessing_dict": {"common_reference": {"dtype": "float32"}} if reference else {}}
        if "filtering" in defaults:  # without its preprocessing spykingcircus2 would lose its reference as well
            return {"filtering": {**defaults["filtering"], "coeff": PASS_THROUGH}}
        if "apply_preprocessing" in defaults:
            return {"apply_preprocessing": False}
        off = FILTER_OFF.get(self.spikeinterface_name)
        if off is not None:
            return {key: value for key, value in off.items() if key in defaults}
        return self._second_filter(binary.sampling_frequency / 2, defaults)

    def _second_filter(self, nyquist: float, defaults: Mapping[str, Any]) -> dict[str, Any]:
        """Warn of a filter that cannot be switched off, and keep its cutoff below the Nyquist frequency."""
        if any("freq_min" in key for key in defaults):
            logger.warning(
                "%s filters the traces a second time: its own filter cannot be switched off", self.spikeinterface_name
            )
        freq_max = defaults.get("freq_max")
        too_high = isinstance(freq_max, int | float) and freq_max >= nyquist
        return {"freq_max": math.floor(0.9 * nyquist)} if too_high else {}


def _is_own(sorter: Any) -> bool:
    """Whether SpikeInterface itself implements the sorter, from packages that it does not require."""
    from spikeinterface.sorters.internal.si_based import ComponentsBasedSorter

    return issubclass(sorter, ComponentsBasedSorter)


def require_harmless_folder(sorter: str, folder: Path) -> None:
    """Refuse (ValueError) a folder that SpikeInterface writes unquoted into a script, which runs part of its name."""
    from spikeinterface.sorters import BaseSorter, sorter_dict

    own = [base for base in sorter_dict[sorter].__mro__ if base not in BaseSorter.__mro__]
    modules = [sys.modules[base.__module__] for base in own]
    found = IN_SCRIPTS.search(str(folder.absolute()))
    if found is not None and any(hasattr(module, "ShellScript") for module in modules):
        raise ValueError(
            f"{sorter} is started by a shell script in which a folder must not have the character {found[0]!r}, got "
            f"{str(folder.absolute())!r}; give intermediate_folders (--intermediate) without it"
        )


@cache
def backend_class_for(name: str) -> type[SpikeInterfaceBackend]:
    """Make the backend class of one of SpikeInterface's sorters; ValueError if it has no such sorter."""
    from spikeinterface.sorters.sorterlist import archived_sorters, available_sorters

    known = sorted(set(available_sorters()) - set(archived_sorters()))
    if name not in known:
        near = difflib.get_close_matches(name, known, n=2)
        hint = f" Did you mean {' or '.join(repr('spikeinterface:' + n) for n in near)}?" if near else ""
        raise ValueError(f"Unknown sorter {'spikeinterface:' + name!r}. SpikeInterface has: {', '.join(known)}.{hint}")
    about = {"__module__": __name__, "__doc__": f"SpikeInterface's sorter {name!r}."}
    members = {"spikeinterface_name": name, "sorter_label": name, **about}
    return type("SpikeInterfaceBackend_" + name, (SpikeInterfaceBackend,), members)


def is_planar(locations: NDArray[np.float64]) -> bool:
    """Tell whether contacts, (channels, 2) in micrometres, form a plane more than 300 um wide rather than shanks.

    Drift correction along one axis makes no sense there. Shanks are groups of at least eight contacts, at most 100 um
    wide each, and at least 100 um and four contact distances apart.
    """
    from scipy.spatial import cKDTree

    x = np.sort(locations[:, 0])
    if len(x) < 2 or x[-1] - x[0] <= PLANAR_EXTENT_UM:
        return False
    distances = np.asarray(cKDTree(locations).query(locations, k=[2])[0])
    gap = max(100.0, 4 * float(np.median(distances)))
    columns = np.split(x, np.nonzero(np.diff(x) >= gap)[0] + 1)
    are_shanks = len(columns) > 1 and all(len(c) >= 8 and c[-1] - c[0] <= 100.0 for c in columns)
    return not are_shanks
