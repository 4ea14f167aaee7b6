"""From sequences and traces to spike trains."""
