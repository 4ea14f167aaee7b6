"""From traces to spikes on single electrodes."""
