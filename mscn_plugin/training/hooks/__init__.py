"""Hooks of the training task, one file each."""
