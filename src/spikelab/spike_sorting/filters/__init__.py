"""Band-pass filters: of a whole recording, and of a stream."""
