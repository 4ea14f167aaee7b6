"""Run RT-Sort in this process: its memory is bounded, and on the CPU it needs no PyTorch."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import pickle
import shutil
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from spikelab.spike_sorting._exceptions import InsufficientActivityError
from spikelab.spike_sorting.backends.base import GPU_OPTIONAL, GPU_UNUSED, StandardBackend, seed_from
from spikelab.spike_sorting.data import SpikeTrains
from spikelab.spike_sorting.data.spike_trains import MOVED_UM, SIZE_RATIO, SORTER_SIGNIFICANCE
from spikelab.spike_sorting.settings.constraints import COUNT
from spikelab.system import files
from spikelab.system.extras import install_command
from spikelab.system.json_files import plain
from spikelab.system.memory import RT_SORT_BYTES
from spikelab.system.progress import Progress, ignore
from spikelab.system.resources import available_cores
from spikelab.system.runlog import captured_warnings

if TYPE_CHECKING:
    from spikeinterface import BaseRecording, BaseSorting

    from spikelab.spike_sorting.data import BinaryRecording
    from spikelab.spike_sorting.rt_sort import RTSort

logger = logging.getLogger(__name__)

SAVED_FOLDER, SAVED_PICKLE = "rt_sort", "rt_sort.pickle"
CPU, DEFAULT_DEVICE = "cpu", "cuda"
CHUNK = "chunk_values"
FINDING = 88.0  # per cent of the time of a sort that finding the sequences takes
# Settings that no result depends on.
NOT_KEYED = ("model_path", "device", "num_processes", "save_rt_sort_pickle", "delete_inter", "verbose", "params")


class RTSortBackend(StandardBackend):
    """Run RT-Sort with the settings in ``config.rt_sort``.

    ``config.sorter.sorter_params`` are added to ``config.rt_sort.params``. Where ``model_path`` is the folder of a
    saved `RTSort`, or of those of groups of channels (``stages/sorting``), its sequences are applied, with given
    parameters in the place of the saved ones; parameters of the search for sequences have no effect. Unit ids are the
    indices of the sequences; one without spikes is not a unit.
    """

    sorter_label: ClassVar[str] = "rt_sort"
    libraries_bytes: ClassVar[int] = RT_SORT_BYTES
    batch_parameter: ClassVar[str | None] = CHUNK
    batch_default: ClassVar[int | None] = 2**19

    def sort(
        self,
        recording: BaseRecording,
        rec_path: Any,  # noqa: ARG002 - part of the interface
        recording_dat_path: Path,
        output_folder: Path,
    ) -> BaseSorting:
        """Find the sequences, or load them, and sort with them; parameters as in :meth:`SorterBackend.sort`.

        The `RTSort` is saved in `output_folder` (``save_rt_sort_pickle``).

        Raises
        ------
        InsufficientActivityError
            If there is no sequence, or none has a spike.
        ModelLoadingError
            If ``model_path`` is neither a detection model nor a saved `RTSort`.
        ValueError
            For an unknown parameter, or a saved `RTSort` of another array.
        """
        settings = self.config.rt_sort
        binary = self.ensure_binary(recording, recording_dat_path)
        saved = saved_folders(settings.model_path)
        progress = Progress("RT-Sort", 100.0, "%", watch=None if settings.verbose else ignore)
        with progress.step("RT-Sort", 0.0 if saved else FINDING):
            rt_sort = (
                self._load_sequences(saved, Path(output_folder).name, binary) if saved else self._find_sequences(binary)
            )
        if settings.save_rt_sort_pickle:
            save(rt_sort, Path(output_folder))
        with progress.step("RT-Sort: assigning spikes", 100.0 if saved else 100.0 - FINDING):
            sorting = rt_sort.sort_offline(
                binary,
                recording_window_ms=settings.recording_window_ms,
                n_jobs=self.workers,
                verbose=settings.verbose,
                **self._chunk(),
            )
        if not saved:  # found in this recording: also that nothing moved has been seen
            sorting.set_property(MOVED_UM, rt_sort.moved_um)
            sorting.set_property(SIZE_RATIO, rt_sort.size_ratio)
            sorting.set_property(SORTER_SIGNIFICANCE, rt_sort.sequences.significance)
        trains = self.clean_trains(SpikeTrains.from_spikeinterface(sorting), binary)
        logger.info("rt_sort: %d of %d sequences have spikes", trains.n_units, rt_sort.n_sequences)
        return trains.to_spikeinterface(binary.sampling_frequency)

    def finds_anew(self) -> bool:
        """Tell whether sequences are found, rather than those of a saved `RTSort` applied."""
        return not saved_folders(self.config.rt_sort.model_path)

    def _find_sequences(self, binary: BinaryRecording) -> RTSort:
        from spikelab.spike_sorting.rt_sort import detect_sequences

        settings = self.config.rt_sort
        device, why_not = usable_device(settings.device)
        if why_not:
            level = logging.INFO if settings.device == DEFAULT_DEVICE else logging.WARNING  # that was asked for
            logger.log(level, "rt_sort runs on the CPU instead of %r: %s", settings.device, why_not)
        return detect_sequences(
            binary,
            probe=settings.probe,  # type: ignore[arg-type]  # validated
            model_path=settings.model_path,
            device=device,
            num_processes=self.workers,
            recording_window_ms=settings.recording_window_ms,
            detection_window_s=settings.detection_window_s,
            seed=seed_from(None, self.config.execution.random_seed),
            verbose=settings.verbose,
            memory_bytes=self.for_work,
            **self._chunk(),
            **self.params,
        )

    def _load_sequences(self, saved: dict[str, Path], group: str, binary: BinaryRecording) -> RTSort:
        from spikelab.spike_sorting.rt_sort import RTSort
        from spikelab.spike_sorting.rt_sort.parameters import resolve

        settings = self.config.rt_sort
        folder = saved[""] if "" in saved else _of_group(saved, group, binary)
        if folder is None:
            raise InsufficientActivityError(
                f"{settings.model_path} has no saved RTSort for {group}: there were no units on its channels when "
                "the others were found",
                sorter=self.sorter_label,
            )
        loaded = RTSort.load(folder)
        logger.info("rt_sort: applies the %d sequences in %s", loaded.n_sequences, folder)
        return replace(loaded, parameters=resolve(settings.probe, {**asdict(loaded.parameters), **self.params}))

    @property
    def params(self) -> dict[str, Any]:
        """Parameters of `detect_sequences` that the configuration sets."""
        given = {**(self.config.rt_sort.params or {}), **(self.config.sorter.sorter_params or {})}
        given.pop(CHUNK, None)
        return given

    def _chunk(self) -> dict[str, Any]:
        """Get `chunk_values`; empty where not set."""
        chunk = (self.config.sorter.sorter_params or {}).get(CHUNK)
        return {} if chunk is None else {CHUNK: int(chunk)}

    @property
    def workers(self) -> int:
        """Workers that the configuration allows on this host: ``num_processes``, else ``n_jobs``."""
        wanted = self.config.rt_sort.num_processes or self.config.execution.n_jobs
        return max(1, min(int(wanted), available_cores()))

    def check_settings(self) -> None:
        """Raise ValueError for parameters that `detect_sequences` does not have, or impossible values."""
        from spikelab.spike_sorting.rt_sort.parameters import resolve

        resolve(self.config.rt_sort.probe, self.params)
        chunk = (self.config.sorter.sorter_params or {}).get(CHUNK)
        if chunk is not None and not COUNT.accepts(chunk):
            raise ValueError(f"{CHUNK!r} in sorter_params must be an integer >= 1, got {chunk!r}")

    def check_installed(self) -> None:
        """Raise ModelLoadingError where the detection model, or the saved `RTSort`, cannot be loaded."""
        from spikelab.spike_sorting.rt_sort import ModelSpikeSorter

        settings = self.config.rt_sort
        if settings.model_path is None:
            ModelSpikeSorter.load_bundled(settings.probe)  # type: ignore[arg-type]  # validated
        elif saved := saved_folders(settings.model_path):
            from spikelab.spike_sorting.rt_sort import RTSort  # imports compiled code

            for folder in saved.values():
                RTSort.load(folder)
        else:
            ModelSpikeSorter.load(settings.model_path)

    def least_bytes(self, n_samples: int, n_channels: int, sampling_frequency: float) -> int:
        """Estimate the least memory before spikes and groups are known; `detect_sequences` checks again."""
        from spikelab.spike_sorting.rt_sort.memory import least_bytes

        chunk = (self.config.sorter.sorter_params or {}).get(CHUNK)
        return least_bytes(n_samples, n_channels, sampling_frequency, chunk)

    def device(self) -> str:
        """Get the setting ``rt_sort_device``."""
        return self.config.rt_sort.device

    def gpu_use(self) -> str:
        """Tell whether a GPU can be used; without one RT-Sort runs on the CPU."""
        return GPU_OPTIONAL if self.device().startswith("cuda") and not usable_device(self.device())[1] else GPU_UNUSED

    def about(self) -> str:
        """Name the device of the detection network."""
        device, why_not = usable_device(self.config.rt_sort.device)
        return f"on the CPU; no GPU can be used: {why_not}" if why_not else f"on {device}, or on the CPU"

    def key(self) -> dict[str, Any]:
        """Get the settings that change results, with the content of ``model_path`` instead of the path."""
        settings = {name: plain(value) for name, value in asdict(self.config.rt_sort).items() if name not in NOT_KEYED}
        return {
            **settings,
            "params": plain(self.params),
            "content of rt_sort_model_path": content_key(self.config.rt_sort.model_path),
        }

    @property
    def kept(self) -> tuple[str, ...]:
        """Files of the saved `RTSort`."""
        return (SAVED_FOLDER, SAVED_PICKLE) if self.config.rt_sort.save_rt_sort_pickle else ()

    def clean_up(self, output_folder: Path) -> None:
        """Delete the saved `RTSort` in the output folder, with ``config.rt_sort.delete_inter``."""
        if self.config.rt_sort.delete_inter:
            shutil.rmtree(output_folder / SAVED_FOLDER, ignore_errors=True)
            (output_folder / SAVED_PICKLE).unlink(missing_ok=True)


def save(rt_sort: RTSort, folder: Path) -> None:
    """Write `rt_sort` as ``rt_sort/`` (npz and json, to be loaded by :meth:`RTSort.load`) and ``rt_sort.pickle``."""
    rt_sort.save(folder / SAVED_FOLDER)
    with files.replacing(folder / SAVED_PICKLE) as temporary, temporary.open("wb") as file:
        pickle.dump(rt_sort, file)


def usable_device(device: str) -> tuple[str, str]:
    """Choose the device for the network: `device` ("cpu", "cuda", "cuda:N" or "mps"), or "cpu" and the reason."""
    if device == CPU:
        return CPU, ""
    why_not = _why_no_torch() or _why_no_gpu(device)
    return (CPU, why_not) if why_not else (device, "")


def _why_no_torch() -> str:
    """Find out why PyTorch cannot use a GPU, as far as that is known without its drivers."""
    if importlib.util.find_spec("torch") is None:
        return f"PyTorch is not installed ({install_command('rt-sort')})"
    if version("torch").endswith("+cpu"):  # known without importing it
        return "the PyTorch that is installed is one for the CPU only"
    try:
        importlib.import_module("torch")
    except (ImportError, OSError) as error:
        return f"PyTorch cannot be imported ({error})"
    return ""


def _why_no_gpu(device: str) -> str:
    """Find out why PyTorch, which can be imported, cannot use `device`."""
    import torch

    with captured_warnings():  # PyTorch warns of a missing driver, which is reported here
        if device == "mps":
            return "" if torch.backends.mps.is_available() else "PyTorch finds no Apple GPU"
        n_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(device.partition(":")[2] or 0) < n_devices:
        return ""
    found = f"only {n_devices}" if n_devices else "no"
    return f"PyTorch finds {found} GPU that it can use (check nvidia-smi)"


def saved_folders(model_path: str | Path | None) -> dict[str, Path]:
    """Find the saved `RTSort` at a path, named "", or those of a sort in groups, by the folders of the groups."""
    from spikelab.spike_sorting.rt_sort.sorter import SETTINGS

    if model_path is None:
        return {}
    if (Path(model_path) / SETTINGS).is_file():
        return {"": Path(model_path)}
    return {path.parents[1].name: path.parent for path in sorted(Path(model_path).glob(f"*/{SAVED_FOLDER}/{SETTINGS}"))}


def _of_group(saved: dict[str, Path], group: str, binary: BinaryRecording) -> Path | None:
    """Choose the saved `RTSort` of a group of channels; None where there is none.

    It is that of most of its channels: groups have other numbers where all channels of one are bad. Where channels have
    other names, it is that of the number, if its electrodes are in the same places.
    """
    from spikelab.spike_sorting.rt_sort import RTSort

    loaded = {folder: RTSort.load(folder) for folder in saved.values()}
    common = {folder: len(set(each.channel_ids) & set(binary.channel_ids)) for folder, each in loaded.items()}
    best = max(common, key=lambda folder: common[folder])
    if common[best]:
        return best
    numbered = saved.get(group)
    if numbered is None or loaded[numbered].locations.shape != binary.locations.shape:
        return None
    return numbered if np.allclose(loaded[numbered].locations, binary.locations, atol=1.0) else None


def content_key(folder: str | Path | None) -> str | None:
    """Hash the files of a model or of saved `RTSort`; None without a folder, or where it holds neither."""
    from spikelab.spike_sorting.rt_sort.detection.model import INIT_FILE, STATE_FILE
    from spikelab.spike_sorting.rt_sort.sorter import ARRAYS, SETTINGS

    if folder is None:
        return None
    saved = [path / name for path in saved_folders(folder).values() for name in (ARRAYS, SETTINGS)]
    for paths in (saved, [Path(folder) / name for name in (INIT_FILE, STATE_FILE)]):
        if paths and all(path.is_file() for path in paths):
            digest = hashlib.blake2b(digest_size=8)
            for path in paths:
                digest.update(path.read_bytes())
            return digest.hexdigest()
    return None
