"""Kilosort 4 through SpikeInterface, in a supervised child process (Kilosort is GPL-3 and never imported here)."""

from __future__ import annotations

import importlib.util
import json
import logging
import shutil
import subprocess
import sys
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
OWN_PARAMETERS = ("highpass_cutoff", "cluster_init_seed", "x_centers")  # those we set
FROM_RECORDING = ("fs", "n_chan_bin", "tmin", "tmax")
LIST_PARAMETERS = """
import json, runpy, sys
table = runpy.run_path(sys.argv[1])
print(json.dumps([*table["MAIN_PARAMETERS"], *table["EXTRA_PARAMETERS"]]))
"""


class Kilosort4Backend(SpikeInterfaceBackend):
    """Kilosort 4; ``sorter_params`` are those of the installed version and SpikeInterface's own."""

    sorter_label: ClassVar[str] = "kilosort4"
    spikeinterface_name: ClassVar[str] = "kilosort4"
    batch_parameter: ClassVar[str | None] = "batch_size"
    batch_default: ClassVar[int] = 60_000

    @classmethod
    def needs_gpu(cls, config: SortingPipelineConfig) -> bool:
        """Only where ``torch_device`` asks for one; "auto" falls back to the CPU."""
        return str((config.sorter.sorter_params or {}).get("torch_device", "auto")).startswith("cuda")

    def check_host(self) -> None:
        """SorterNotInstalledError without the packages kilosort and torch; a warning without a GPU."""
        for package in ("kilosort", "torch"):
            try:
                version(package)
            except PackageNotFoundError:
                raise SorterNotInstalledError(
                    f"Kilosort 4 needs the package {package!r}, which is not installed: "
                    f"{install_command('kilosort4')}, or run it in its container (use_docker=True).",
                    sorter="kilosort4",
                ) from None
        if not self.needs_gpu(self.config) and not may_have_gpu():
            logger.warning("kilosort4 runs on the CPU, because there is no CUDA GPU: expect it to be slow")

    def device(self) -> str:
        """``torch_device``; "auto" is a GPU where there is one."""
        return str((self.config.sorter.sorter_params or {}).get("torch_device", "auto"))

    def gpu_use(self) -> str:
        """Required, optional or unused, as :meth:`device` says."""
        return {"auto": GPU_OPTIONAL, "cuda": GPU_REQUIRED}.get(self.device().partition(":")[0], GPU_UNUSED)

    def scratch_bytes(self, n_samples: int, n_channels: int) -> int:  # noqa: ARG002 - it reads our binary file
        """Next to nothing: Kilosort 4 writes no copy of the traces."""
        return 0

    def default_params(self) -> dict[str, Any]:
        """Names that the installed version takes; a value only where SpikeInterface, not Kilosort, sets the default."""
        from spikeinterface.sorters import Kilosort4Sorter

        names = parameter_names()
        if not names:
            logger.info("kilosort4 is not installed here: its container checks the parameters")
            names = [*OWN_PARAMETERS, *(self.config.sorter.sorter_params or {})]
        return {**dict.fromkeys(names), **Kilosort4Sorter._si_default_params}

    def own_params(self, binary: BinaryRecording, defaults: Mapping[str, Any]) -> dict[str, Any]:
        """Seed, no drift correction and evenly spread template centres on planar arrays, no second reference."""
        params = super().own_params(binary, defaults)
        if self.config.recording.common_reference is not None:
            params["do_CAR"] = False
        if is_planar(binary.locations) and "x_centers" in defaults:
            width = float(np.ptp(binary.locations[:, 0]))
            params["x_centers"] = max(1, round(width / X_CENTRE_DISTANCE_UM))
        if "cluster_init_seed" in params:
            params["cluster_init_seed"] = max(1, params["cluster_init_seed"])  # Kilosort refuses 0
        return params

    def sorter_params(self, binary: BinaryRecording) -> dict[str, Any]:
        """As for any sorter; the batch is made small enough for Kilosort to see two of them.

        Its whitening leaves the last batch out, and a last batch shorter than a spike is dropped: of a recording of one
        batch nothing would be left. The first of the two is the larger, for Kilosort learns from that one.

        Raises
        ------
        ValueError
            If the recording is shorter than a few spikes, or `sorter_params` has an unknown name.
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
        """Kilosort's high-pass comes with its whitening: it cannot be dropped, but moved out of the way."""
        low = self.config.recording.freq_min
        cutoff = min(low, max(low / 10, LOWEST_CUTOFF_HZ))
        logger.info("kilosort4: its own high-pass cannot be switched off; moved to %g Hz, it changes nothing", cutoff)
        return {"highpass_cutoff": cutoff}


@cache
def parameter_names() -> list[str]:
    """List the parameters of the installed Kilosort 4; empty where it is not installed.

    The package itself takes seconds to import and is GPL-3, so its table of parameters is read in another process.
    """
    spec = importlib.util.find_spec("kilosort")
    if spec is None or not spec.submodule_search_locations:
        return []
    table = Path(next(iter(spec.submodule_search_locations))) / "parameters.py"
    listing = subprocess.run(
        [sys.executable, "-c", LIST_PARAMETERS, str(table)], capture_output=True, text=True, check=True
    )
    return [name for name in json.loads(listing.stdout) if name not in FROM_RECORDING]


def may_have_gpu() -> bool:
    """Whether torch could find a CUDA GPU; cheap (torch is not imported), so it may be wrong in the hopeful way."""
    return shutil.which("nvidia-smi") is not None and not version("torch").endswith("+cpu")
