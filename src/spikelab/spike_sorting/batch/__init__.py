"""Many recordings: the list, who sorts which, what stops a batch, its overview."""
