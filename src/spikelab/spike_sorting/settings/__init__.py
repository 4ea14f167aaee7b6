"""Settings of a sort: their schema, their flat names, their checks, their file."""
