"""Export of a pre-trained trunk to other libraries and runtimes, and a check of every file."""

import mscn_plugin.integration.quiet_warnings  # noqa: F401  before VISSL is imported
