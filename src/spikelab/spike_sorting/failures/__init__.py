"""What a failure means, and which failures are remembered."""
