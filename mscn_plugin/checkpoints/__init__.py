"""Files of a run: checkpoints, whether they are complete, whose they are, and its logs."""
