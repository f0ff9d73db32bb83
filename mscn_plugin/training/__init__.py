"""The training task with its hooks, and the learning-rate schedule."""

import mscn_plugin.integration.quiet_warnings  # noqa: F401  before VISSL is imported
