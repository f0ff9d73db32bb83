"""What detectron2 runs while it is imported, if ``DETECTRON2_ENV_MODULE`` names this module.

    DETECTRON2_ENV_MODULE=mscn_plugin.detection.environment python <VISSL's detection tool> ...

It adds the keys ``MODEL.MSCN`` and the meta-architecture before any configuration is read, in every
process that imports detectron2, so that VISSL's tool runs unmodified. Nothing of detectron2 is
imported at the top: detectron2 itself is still being imported.
"""

from __future__ import annotations

import os

from mscn_plugin.data.parallel import die_with_parent
from mscn_plugin.errors import print_errors_plainly

MODULE = __name__
RESUME_VARIABLE = "MSCN_DETECTION_RESUME"
"""Set where a run is to end as if it had not been interrupted: ``mscn detect`` does."""


def setup_environment() -> None:
    """Add everything of MSCN to detectron2; called by detectron2."""
    from detectron2.config.defaults import _C

    from mscn_plugin.detection.config import add_mscn_config
    from mscn_plugin.detection.custom_data import register_from_environment

    print_errors_plainly()
    die_with_parent()  # a rank: detectron2 starts one for each GPU
    add_mscn_config(_C)
    from mscn_plugin.detection import meta_architecture  # noqa: F401  registers

    register_from_environment()
    if os.environ.get(RESUME_VARIABLE):
        from mscn_plugin.detection.resumed_order import reset_at_checkpoints

        reset_at_checkpoints()
