"""One self-contained page about a pre-training run: settings, curves, kernels, neighbours."""

import mscn_plugin.integration.quiet_warnings  # noqa: F401  before VISSL is imported
