"""Types of arrays that the package's signatures name."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
"""Voltages and what is derived from them: microvolts and ratios."""
IntArray = NDArray[np.int64]
"""Frames, indices and unit ids."""
