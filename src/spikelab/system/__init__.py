"""What this machine and its files are: no science, no settings."""
