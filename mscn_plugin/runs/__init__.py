"""Runs of VISSL's launching tool: here or on SLURM, one at a time in a folder."""
