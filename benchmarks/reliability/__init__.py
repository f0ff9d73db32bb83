"""Faults, injected on purpose: what becomes of runs that are killed, misled, or fed with rubbish.

    python -m benchmarks.reliability      # writes docs/reliability.json and docs/reliability.md

Every run goes through VISSL's own launching tool, in a process of its own.
"""
