"""Losses over masked views."""
