"""Checks of a configuration before anything starts, one module a subject."""
