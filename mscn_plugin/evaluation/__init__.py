"""Evaluation of a pre-trained trunk: suites of benchmarks, frozen features, their table."""
