"""Entry point of ``python -m spikelab``."""

from spikelab.cli import main

if __name__ == "__main__":
    main()
