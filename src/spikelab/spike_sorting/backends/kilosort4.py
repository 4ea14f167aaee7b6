"""Run Kilosort 4 through SpikeInterface, in a supervised child process (Kilosort is GPL-3 and never imported here)."""

from __future__ import annotations

import ast
import importlib.util
import logging
import shutil
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from spikelab.spike_sorting._exceptions import SorterNotInstalledError
from spikelab.spike_sorting.backends.base import GPU_OPTIONAL, GPU_REQUIRED, GPU_UNUSED
from spikelab.spike_sorting.backends.spikeinterface_generic import SpikeInterfaceBackend, is_planar
from spikelab.system.extras import install_command

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spikelab.spike_sorting.data import BinaryRecording
    from spikelab.spike_sorting.settings.schema import SortingPipelineConfig

logger = logging.getLogger(__name__)

X_CENTRE_DISTANCE_UM = 250.0
SPIKE_LENGTH = 61  # samples, Kilosort's parameter nt
SPIKES_IN_RECORDING = 5  # shorter than this many spikes, it cannot be cut into two batches
LOWEST_CUTOFF_HZ = 10.0  # below, the filter would be longer than a batch
OWN_PARAMETERS = ("highpass_cutoff", "cluster_init_seed", "x_centers")  # those that the backend sets
FROM_RECORDING = ("fs", "n_chan_bin", "tmin", "tmax")
PARAMETER_TABLES = ("MAIN_PARAMETERS", "EXTRA_PARAMETERS")


class Kilosort4Backend(SpikeInterfaceBackend):
    """Kilosort 4; ``sorter_params`` are those of the installed version and SpikeInterface's own."""

    sorter_label: ClassVar[str] = "kilosort4"
    spikeinterface_name: ClassVar[str] = "kilosort4"
    batch_parameter: ClassVar[str | None] = "batch_size"
    batch_default: ClassVar[int] = 60_000

    @classmethod
    def needs_gpu(cls, config: SortingPipelineConfig) -> bool:
        """Tell whether ``torch_device`` asks for a GPU; "auto" falls back to the CPU."""
        return str((config.sorter.sorter_params or {}).get("torch_device", "auto")).startswith("cuda")

    def check_host(self) -> None:
        """Raise SorterNotInstalledError without the packages kilosort and torch; warn without a GPU."""
        for package in ("kilosort", "torch"):
            try:
                version(package)
            except PackageNotFoundError:
                raise SorterNotInstalledError(
                    f"Kilosort 4 needs the package {package!r}, which is not installed: "
                    f"{install_command('kilosort4')}, or run it in its container (use_docker=True). "
                    "Or take another sorter: sorter='rt_sort' runs on any machine.",
                    sorter="kilosort4",
                ) from None
        if not self.needs_gpu(self.config) and not may_have_gpu():
            logger.warning("kilosort4 runs on the CPU, because there is no CUDA GPU: expect it to be slow")

    def device(self) -> str:
        """Get ``torch_device``; "auto" is a GPU where there is one."""
        return str((self.config.sorter.sorter_params or {}).get("torch_device", "auto"))

    def gpu_use(self) -> str:
        """Tell from :meth:`device` whether a GPU is required, optional or unused."""
        return {"auto": GPU_OPTIONAL, "cuda": GPU_REQUIRED}.get(self.device().partition(":")[0], GPU_UNUSED)

    def scratch_bytes(self, n_samples: int, n_channels: int) -> int:  # noqa: ARG002 - no size matters
        """Return 0: Kilosort 4 writes no copy of the traces."""
        return 0

    def default_params(self) -> dict[str, Any]:
        """Get the names that the installed version takes, with the defaults that SpikeInterface sets."""
        from spikeinterface.sorters import Kilosort4Sorter

        names = parameter_names()
        if not names:
            logger.info("kilosort4 is not installed here: its container checks the parameters")
            names = [*OWN_PARAMETERS, *(self.config.sorter.sorter_params or {})]
        return {**dict.fromkeys(names), **Kilosort4Sorter._si_default_params}

    def own_params(self, binary: BinaryRecording, defaults: Mapping[str, Any]) -> dict[str, Any]:
        """Set seed and reference; on planar arrays no drift correction, and evenly spread template centres."""
        params = super().own_params(binary, defaults)
        if self.config.recording.removes_common:
            params["do_CAR"] = False
        if is_planar(binary.locations) and "x_centers" in defaults:
            width = float(np.ptp(binary.locations[:, 0]))
            params["x_centers"] = max(1, round(width / X_CENTRE_DISTANCE_UM))
        if "cluster_init_seed" in params:
            params["cluster_init_seed"] = max(1, params["cluster_init_seed"])  # Kilosort refuses 0
        return params

    def sorter_params(self, binary: BinaryRecording) -> dict[str, Any]:
        """Gather parameters as for any sorter; a short recording gets a batch so small that Kilosort sees two of them.

        Kilosort's whitening leaves the last batch out, and a last batch shorter than a spike is dropped: of a recording
        of one batch nothing would be left. The first of the two is the larger, for Kilosort learns from that one.
        ValueError if the recording is shorter than a few spikes.
        """
        params = super().sorter_params(binary)
        batch = int(params.get("batch_size") or self.batch_default)
        spike = int(params.get("nt") or SPIKE_LENGTH)
        if binary.n_samples >= batch + spike:
            return params
        if binary.n_samples < SPIKES_IN_RECORDING * spike:
            raise ValueError(
                f"the recording has {binary.n_samples} samples, too few for kilosort4, which needs "
                f"{SPIKES_IN_RECORDING * spike}; check first_n_mins, start_time_s and end_time_s"
            )
        smaller = binary.n_samples * 4 // 5
        logger.warning(
            "kilosort4: the recording (%.3g s) is not longer than a batch; batch_size is lowered from %d to %d samples",
            binary.duration_s,
            batch,
            smaller,
        )
        return {**params, "batch_size": smaller}

    def _filter_params(self, binary: BinaryRecording, defaults: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Lower the cutoff of Kilosort's high-pass, which comes with its whitening and cannot be switched off."""
        low = self.config.recording.freq_min
        cutoff = min(low, max(low / 10, LOWEST_CUTOFF_HZ))
        logger.info("kilosort4: its own high-pass cannot be switched off; moved to %g Hz, it changes nothing", cutoff)
        return {"highpass_cutoff": cutoff}


@cache
def parameter_names() -> list[str]:
    """List the parameters of the installed Kilosort 4, if any, from its source: importing it takes seconds."""
    spec = importlib.util.find_spec("kilosort")
    if spec is None or not spec.submodule_search_locations:
        return []
    source = Path(next(iter(spec.submodule_search_locations))) / "parameters.py"
    names = []
    for statement in ast.parse(source.read_text(encoding="utf-8")).body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=table)], value=ast.Dict(keys=keys)) if table in PARAMETER_TABLES:
                names += [key.value for key in keys if isinstance(key, ast.Constant)]
    return [str(name) for name in names if name not in FROM_RECORDING]


def may_have_gpu() -> bool:
    """Tell, without importing torch, whether torch could find a CUDA GPU; True may be wrong."""
    return shutil.which("nvidia-smi") is not None and not version("torch").endswith("+cpu")
