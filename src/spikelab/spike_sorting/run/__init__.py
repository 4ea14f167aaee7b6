"""One recording through the stages: its job, lock, record and results folder."""
