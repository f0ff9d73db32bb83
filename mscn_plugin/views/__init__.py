"""The masking as VISSL parts: transforms for single views and the multimask collator."""

import mscn_plugin.integration.quiet_warnings  # noqa: F401  before VISSL is imported
