"""Run Kilosort 2 through SpikeInterface: with a MATLAB of this host, or compiled, without MATLAB, in its container."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from spikelab.spike_sorting._exceptions import EnvironmentSortFailure, SorterNotInstalledError
from spikelab.spike_sorting.backends.isolation.error import SorterProcessError
from spikelab.spike_sorting.backends.spikeinterface_generic import SpikeInterfaceBackend, is_planar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from spikeinterface import BaseRecording, BaseSorting

    from spikelab.spike_sorting.data import BinaryRecording
    from spikelab.spike_sorting.settings.schema import SortingPipelineConfig

logger = logging.getLogger(__name__)

PATH_VARIABLE = "KILOSORT_PATH"
MAIN_SCRIPTS = ("master_kilosort.m", "main_kilosort.m")
NOT_IN_VERSION_2 = "datashift2.m"  # came with 2.5
COMPILED = "mex*.mex*"  # mexThSpkPC.mexa64 and its like, in the folder of their sources
COMPILED_COMMAND = "ks2_compiled"  # SpikeInterface prefers it to MATLAB; its container images have it
OR_CONTAINER = (
    "Or run its compiled version in a container, without MATLAB: use_docker=True. Or take another sorter: "
    "sorter='rt_sort' runs on any machine."
)
BEFORE_AN_ERROR = "-" * 40  # SpikeInterface's script prints these, and MATLAB's error behind them on the same line
LAST_CHARACTERS = 2000
OPTIONAL_NUMBERS = ("NT", "scaleproc")  # parameters
LARGEST_WAVE_LENGTH = 81  # samples; what fits into the shared memory of a GPU
OLD_IMAGE_CAPABILITY = 9.0  # CUDA compute capability of GPUs that are newer than Kilosort 2's last release


class Kilosort2Backend(SpikeInterfaceBackend):
    """Kilosort 2; ``sorter_params`` are those of SpikeInterface's wrapper."""

    sorter_label: ClassVar[str] = "kilosort2"
    takes_seed: ClassVar[bool] = False
    spikeinterface_name: ClassVar[str] = "kilosort2"
    batch_parameter: ClassVar[str | None] = "NT"
    batch_default: ClassVar[int | None] = 64 * 1024 + 64

    @classmethod
    def needs_gpu(cls, config: SortingPipelineConfig) -> bool:  # noqa: ARG003 - always
        """Return True: Kilosort 2 has no CPU version."""
        return True

    def check_settings(self) -> None:
        """ValueError for ``sorter_params`` that Kilosort 2 does not have, or of the wrong kind."""
        super().check_settings()
        given = self.config.sorter.sorter_params or {}
        problems = list(_wrong_values(given, self.default_params()))
        if problems:
            raise ValueError("sorter_params of kilosort2: " + "; ".join(problems))

    def check_installed(self) -> None:
        """EnvironmentSortFailure, with what to install or set; a warning where the image is older than the GPU."""
        super().check_installed()
        if self.container() is not None:
            _warn_of_new_gpu()

    def sort(
        self, recording: BaseRecording, rec_path: Any, recording_dat_path: Path, output_folder: Path
    ) -> BaseSorting:
        """Run Kilosort 2 as :meth:`SpikeInterfaceBackend.sort` does, with MATLAB's last lines in the error."""
        try:
            return super().sort(recording, rec_path, recording_dat_path, output_folder)
        except SorterProcessError as error:
            words = _last_words(Path(output_folder))
            if words is None:
                raise
            message = f"{error.message}\nKilosort2's last words: {words}"
            raise SorterProcessError(message, error.exit_code, error.error_type, error.log_path) from error

    def check_host(self) -> None:
        """EnvironmentSortFailure, with what to install or set, without MATLAB or Kilosort 2's compiled code."""
        if shutil.which(COMPILED_COMMAND) is not None:
            return
        if shutil.which("matlab") is None:
            raise SorterNotInstalledError(
                "Kilosort2 needs MATLAB, and there is no 'matlab' on PATH. Install MATLAB with the Parallel Computing "
                f"and Signal Processing toolboxes and put its bin folder on PATH. {OR_CONTAINER}",
                sorter="kilosort2",
            )
        self.source_folder()

    def about(self) -> str:
        """Name the MATLAB and the code, or the image, that would run."""
        container = self.container()
        if container is not None:
            return f"{container.image} with {container.engine}"
        return shutil.which(COMPILED_COMMAND) or f"{shutil.which('matlab')}, {self.source_folder()}"

    def version_here(self) -> dict[str, str]:
        """Describe the source folder by git; Kilosort 2 does not know its own version."""
        if shutil.which(COMPILED_COMMAND) is not None:
            return {}
        folder = self.source_folder()
        if not (folder / ".git").exists():
            return {}
        version = _output_of("git", "-C", str(folder), "describe", "--tags", "--always", "--dirty")
        return {} if version is None else {"kilosort2": version.strip()}

    def source_folder(self) -> Path:
        """Find the folder of Kilosort 2's MATLAB code, from ``sorter_path`` or the variable ``KILOSORT_PATH``.

        EnvironmentSortFailure if neither is set, the folder holds no Kilosort 2, or its CUDA code was not compiled.
        """
        given = self.config.sorter.sorter_path or os.environ.get(PATH_VARIABLE)
        if not given:
            raise EnvironmentSortFailure(
                "Kilosort2 needs its MATLAB code: git clone https://github.com/MouseLand/Kilosort, check out v2.0, "
                f"compile its CUDA code, and set sorter_path (kilosort_path=...) or {PATH_VARIABLE} to the folder. "
                f"{OR_CONTAINER}"
            )
        folder = Path(given).expanduser().absolute()
        if not any((folder / name).is_file() for name in MAIN_SCRIPTS):
            raise EnvironmentSortFailure(
                f"{folder} is not a folder of Kilosort2: there is no {' or '.join(MAIN_SCRIPTS)} in it. Correct "
                f"sorter_path (kilosort_path=...) or {PATH_VARIABLE}. {OR_CONTAINER}"
            )
        cuda = folder / "CUDA"
        if any(cuda.glob("*.cu")) and not any(cuda.glob(COMPILED)):
            raise SorterNotInstalledError(
                f"Kilosort2's CUDA code in {cuda} is not compiled: run mexGPUall in MATLAB in that folder, on this "
                f"kind of machine. {OR_CONTAINER}",
                sorter="kilosort2",
            )
        if next(folder.rglob(NOT_IN_VERSION_2), None) is not None:
            logger.warning("%s looks like Kilosort 2.5 or later: kilosort2 needs version 2.0", folder)
        return folder

    def environment(self) -> dict[str, str]:
        """Set ``KILOSORT2_PATH``, where SpikeInterface looks for the source folder."""
        if self.container() is not None or shutil.which(COMPILED_COMMAND) is not None:
            return {}
        return {"KILOSORT2_PATH": str(self.source_folder())}

    def own_params(self, binary: BinaryRecording, defaults: Mapping[str, Any]) -> dict[str, Any]:
        """Set no second reference, and no copy of the data left behind; log what cannot be set."""
        params = super().own_params(binary, defaults) | {"delete_tmp_files": True}
        if self.config.recording.removes_common:
            params["car"] = False
        if is_planar(binary.locations):
            logger.info("kilosort2: its sorting of batches by drift cannot be switched off on a planar array")
        if (binary.motion or {}).get("corrected"):
            logger.info("kilosort2: its sorting of batches by drift cannot be switched off on corrected traces")
        logger.info("kilosort2: it takes no seed, so that random_seed does not reach it")
        return params

    def _filter_params(self, binary: BinaryRecording, defaults: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Keep Kilosort's high-pass, which comes with its whitening and cannot be switched off, below the band."""
        cutoff = min(float(defaults["freq_min"]), self.config.recording.freq_min / 2)
        logger.info("kilosort2: its own high-pass cannot be switched off; it stays below the band, at %g Hz", cutoff)
        return {"freq_min": cutoff}


def _last_words(output_folder: Path) -> str | None:
    """Read MATLAB's last lines from Kilosort 2's own log; SpikeInterface's error has none of them."""
    log = next(output_folder.rglob("kilosort2.log"), None)
    if log is None:
        return None
    text = log.read_text(encoding="utf-8", errors="replace")[-LAST_CHARACTERS:]
    return text.rpartition(BEFORE_AN_ERROR)[2].strip() or None


def _wrong_values(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> Iterator[str]:
    """Find values of another type than the default's, and values that Kilosort 2's code cannot use."""
    for name, value in given.items():
        expected = _broken_type(name, value, defaults.get(name))
        if expected is not None:
            yield f"{name} must be {expected}, got {value!r}"
    if given.get("skip_kilosort_preprocessing") and given.get("scaleproc") is None:
        yield "skip_kilosort_preprocessing needs scaleproc, the scale of data that are whitened already"
    length: Any = given.get("wave_length")
    if _is_number(length) and not (length % 2 == 1 and 0 < length <= LARGEST_WAVE_LENGTH):
        yield f"wave_length must be an odd number up to {LARGEST_WAVE_LENGTH} samples, got {length!r}"


def _broken_type(name: str, value: Any, default: Any) -> str | None:
    """Name the type that `value` must have, by that of the default, and has not; None where it has."""
    if name in OPTIONAL_NUMBERS:
        return None if value is None or (_is_number(value) and value > 0) else "None or a number above 0"
    kind = _kind(default)
    return None if kind is None or _kind(value) == kind else kind


def _kind(value: Any) -> str | None:
    """Name the type of a value as in messages; None for a type that is not checked."""
    if isinstance(value, bool):
        return "True or False"
    if _is_number(value):
        return "a number"
    is_pair = isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_number, value))
    return "two numbers" if is_pair else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _warn_of_new_gpu() -> None:
    """Warn where the GPU is newer than the CUDA code in the image, if ``nvidia-smi`` tells."""
    command = shutil.which("nvidia-smi")
    listing = command and _output_of(command, "--query-gpu=name,compute_cap", "--format=csv,noheader")
    try:
        gpus = [line.rsplit(",", 1) for line in (listing or "").splitlines()]
        capabilities = [(name, float(capability)) for name, capability in gpus]
    except ValueError:
        return
    for name, capability in capabilities:
        if capability >= OLD_IMAGE_CAPABILITY:
            logger.warning(
                "%s (compute capability %g) is newer than the CUDA code in Kilosort 2's images: it may fail, even "
                "after hours. Sort a minute first (first_n_mins=1), or use kilosort4.",
                name,
                capability,
            )


def _output_of(*command: str) -> str | None:
    """Run a short command; None where it fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=15, check=True).stdout
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
