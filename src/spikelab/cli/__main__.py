"""Entry point of ``python -m spikelab.cli``."""

from spikelab.cli import main

main()
