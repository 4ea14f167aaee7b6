"""Sinks that take the averaged windows of each unit, in time order: files and memory."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

import numpy as np

from spikelab.system import files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

    from spikelab.spike_sorting.data import FloatArray


class FolderSink:
    """Writes ``waveforms_{unit}.npy``, (n, samples, channels) float32 microvolts, without holding them.

    A context manager: the files appear in `folder` together at the end, or not at all after an error. `shapes` are
    unit id -> (n, samples, channels), in the order of the units.
    """

    def __init__(self, folder: Path, shapes: Mapping[int, tuple[int, int, int]]) -> None:
        self.folder, self._shapes, self._held = folder, shapes, ExitStack()
        self._ids = list(shapes)

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._scratch = self._held.enter_context(files.folder_beside(self.folder / "waveforms"))
        for unit, shape in self._shapes.items():
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            with self._path(unit).open("wb") as file:
                np.lib.format.write_array_header_1_0(file, header)
        return self

    def _path(self, unit: int) -> Path:
        return self._scratch / f"waveforms_{unit}.npy"

    def add(self, unit: int, windows: FloatArray) -> None:
        """Append the next windows of the unit with this index; no file stays open, as units can be very many."""
        with self._path(self._ids[unit]).open("ab") as file:
            file.write(np.ascontiguousarray(windows, dtype="<f4").data)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            for unit in self._shapes:
                self._path(unit).replace(self.folder / self._path(unit).name)
        self._held.close()


class MemorySink:
    """Fills `arrays`, unit id -> windows (n, samples, channels) float32 microvolts; `shapes` as for `FolderSink`."""

    def __init__(self, shapes: Mapping[int, tuple[int, int, int]], arrays: dict[int, FloatArray]) -> None:
        arrays.update({unit: np.empty(shape, dtype=np.float32) for unit, shape in shapes.items()})
        self._arrays = [arrays[unit] for unit in shapes]
        self._filled = [0] * len(shapes)

    def add(self, unit: int, windows: FloatArray) -> None:
        """Store the next windows of the unit with this index."""
        start = self._filled[unit]
        self._filled[unit] = start + len(windows)
        self._arrays[unit][start : start + len(windows)] = windows
