"""``spikelab inspect``: what is in a file, as a table."""

from __future__ import annotations
