"""A small greyscale picture as a data URI."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


FAST = 2  # a sixth of the time of the default for a third more bytes


def grey_png(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG of `pixels`, shape (rows, columns), 255 is white."""
    rows, columns = pixels.shape
    # Every row starts with the number of its filter: none.
    lines = np.hstack([np.zeros((rows, 1), dtype=np.uint8), pixels]).tobytes()
    header = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, FAST)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def data_uri(png: bytes) -> str:
    """`png` as the source of an ``img`` element."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
