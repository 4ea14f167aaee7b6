"""Where the averaged windows themselves go when someone wants them: files, memory, or both."""

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

    Used as a context manager: the files appear in `folder` together at the end, or not at all after an error.

    Parameters
    ----------
    folder : Path
        Is made where it does not exist.
    shapes : mapping of int to tuple
        Unit id -> (n, samples, channels).
    """

    def __init__(self, folder: Path, shapes: Mapping[int, tuple[int, int, int]]) -> None:
        self.folder, self._shapes, self._held = folder, shapes, ExitStack()

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
        """Append the next windows of `unit`; opened for the moment only, as units can outnumber open files."""
        with self._path(unit).open("ab") as file:
            file.write(np.ascontiguousarray(windows, dtype="<f4").data)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            for unit in self._shapes:
                self._path(unit).replace(self.folder / self._path(unit).name)
        self._held.close()


class MemorySink:
    """Holds the windows of every unit: fills `arrays`, unit id -> (n, samples, channels) float32 microvolts."""

    def __init__(self, shapes: Mapping[int, tuple[int, int, int]], arrays: dict[int, FloatArray]) -> None:
        self.arrays = arrays
        self.arrays.update({unit: np.empty(shape, dtype=np.float32) for unit, shape in shapes.items()})
        self._filled = dict.fromkeys(shapes, 0)

    def add(self, unit: int, windows: FloatArray) -> None:
        """Store the next windows of `unit`."""
        start = self._filled[unit]
        self._filled[unit] = start + len(windows)
        self.arrays[unit][start : start + len(windows)] = windows
