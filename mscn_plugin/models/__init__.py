"""Trunks, the model of two branches, and classifiers on frozen features."""
