"""Everything that touches VISSL's insides: registration, launching, checks, compatibility."""

import mscn_plugin.integration.quiet_warnings  # noqa: F401  before VISSL is imported
