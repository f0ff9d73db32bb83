"""Evaluation of a pre-trained trunk: checkpoints, frozen features, suites of benchmarks."""

import mscn_plugin.integration.quiet_warnings  # noqa: F401  before VISSL is imported
