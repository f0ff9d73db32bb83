"""Speed and memory beside named alternatives; ``python -m benchmarks`` runs all of them.

Not tests: nothing here passes or fails a build.
"""
