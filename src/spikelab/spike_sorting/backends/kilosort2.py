"""Kilosort 2 through SpikeInterface: with a local MATLAB, or compiled in its container."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from spikelab.spike_sorting._exceptions import EnvironmentSortFailure, SorterNotInstalledError
from spikelab.spike_sorting.backends.spikeinterface_generic import SpikeInterfaceBackend

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spikelab.spike_sorting._types import BinaryRecording
    from spikelab.spike_sorting.config import SortingPipelineConfig

logger = logging.getLogger(__name__)

PATH_VARIABLE = "KILOSORT_PATH"
MAIN_SCRIPTS = ("master_kilosort.m", "main_kilosort.m")
OR_DOCKER = "Or run its compiled version in a container, without MATLAB: use_docker=True."


class Kilosort2Backend(SpikeInterfaceBackend):
    """Kilosort 2; ``sorter_params`` are those of SpikeInterface's wrapper."""

    sorter_label: ClassVar[str] = "kilosort2"
    spikeinterface_name: ClassVar[str] = "kilosort2"
    batch_parameter: ClassVar[str | None] = "NT"
    batch_default: ClassVar[int | None] = 64 * 1024 + 64

    @classmethod
    def needs_gpu(cls, config: SortingPipelineConfig) -> bool:  # noqa: ARG003 - always
        """Return True: Kilosort 2 has no CPU version."""
        return True

    def check_installed(self) -> None:
        """EnvironmentSortFailure, with what to install or set, without MATLAB or Kilosort 2's source folder."""
        if self.config.sorter.use_docker:
            return
        if shutil.which("matlab") is None:
            raise SorterNotInstalledError(
                "Kilosort2 needs MATLAB, and there is no 'matlab' on PATH. Install MATLAB with the Parallel Computing "
                f"and Signal Processing toolboxes and put its bin folder on PATH. {OR_DOCKER}",
                sorter="kilosort2",
            )
        self.source_folder()

    def source_folder(self) -> Path:
        """Folder of Kilosort 2's MATLAB code, from ``sorter_path`` or the variable ``KILOSORT_PATH``.

        Raises
        ------
        EnvironmentSortFailure
            If neither is set, or the folder holds no Kilosort 2.
        """
        given = self.config.sorter.sorter_path or os.environ.get(PATH_VARIABLE)
        if not given:
            raise EnvironmentSortFailure(
                "Kilosort2 needs its MATLAB code: git clone https://github.com/MouseLand/Kilosort, check out v2.0, "
                f"compile its CUDA code, and set sorter_path (kilosort_path=...) or {PATH_VARIABLE} to the folder. "
                f"{OR_DOCKER}"
            )
        folder = Path(given).expanduser().absolute()
        if not any((folder / name).is_file() for name in MAIN_SCRIPTS):
            raise EnvironmentSortFailure(
                f"{folder} is not a folder of Kilosort2: there is no {' or '.join(MAIN_SCRIPTS)} in it. Correct "
                f"sorter_path (kilosort_path=...) or {PATH_VARIABLE}. {OR_DOCKER}"
            )
        return folder

    def environment(self) -> dict[str, str]:
        """SpikeInterface looks for the source folder in ``KILOSORT2_PATH``."""
        return {} if self.config.sorter.use_docker else {"KILOSORT2_PATH": str(self.source_folder())}

    def _filter_params(self, binary: BinaryRecording, defaults: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Kilosort's high-pass comes with its whitening and cannot be switched off, only kept below our band."""
        cutoff = min(float(defaults["freq_min"]), self.config.recording.freq_min / 2)
        logger.info("kilosort2: its own high-pass cannot be switched off; it stays below the band, at %g Hz", cutoff)
        return {"freq_min": cutoff}
