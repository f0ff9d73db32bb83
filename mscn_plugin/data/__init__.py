"""Images: the quickstart's photographs, and folders that may hold damaged files."""

import mscn_plugin.integration.quiet_warnings  # noqa: F401  before VISSL is imported
