"""How long parameters stay frozen: epochs become iterations, once the images are counted."""

from __future__ import annotations

import logging
import re
import shlex
from typing import Any

from mscn_plugin.config.hydra_overrides import hydra_override
from mscn_plugin.errors import ConfigError
from mscn_plugin.schema import num_processes
from mscn_plugin.types import Config, is_whole

KEY = "config.MODEL.TEMP_FROZEN_PARAMS_ITER_MAP"
WANTED = "a list of a parameter's name and a number of iterations, or of epochs as in '1 epoch'"
_EPOCHS = re.compile(r"(\d+\.?\d*|\.\d+) epochs?")


def is_time(value: Any) -> bool:
    """Whether a value says how long: a whole number of iterations, or ``0.8 epochs``."""
    return is_whole(value) or (isinstance(value, str) and bool(_EPOCHS.fullmatch(value)))


def infer_and_check(cfg: Config, images: int | None) -> None:
    """Put iterations in the place of epochs, and refuse to freeze a parameter for all of the run.

    What would last as long as the run becomes a tenth of it, as a warm-up does.

    Args:
        images: number of training images; None: VISSL alone knows it.

    Raises:
        ConfigError: iterations that the user has given are no fewer than the run's; or there are
            epochs, and the number of images is not known.
    """
    train = cfg.DATA.TRAIN
    images = train.DATA_LIMIT if train.DATA_LIMIT > 0 else images
    for entry in cfg.MODEL.TEMP_FROZEN_PARAMS_ITER_MAP:
        name, time = entry
        if images is None:
            if is_whole(time):
                continue
            raise ConfigError(
                f"{KEY} has {time!r} for {name}, and config.DATA.TRAIN.DATA_SOURCES is "
                f"{list(train.DATA_SOURCES)}, whose images are not counted before the start: it "
                "must be a number of iterations"
            )
        processes = num_processes(cfg)
        batches, rest = divmod(-(-images // processes), train.BATCHSIZE_PER_REPLICA)
        iterations = cfg.OPTIMIZER.num_epochs * (batches + bool(rest and not train.DROP_LAST))
        if is_whole(time):
            if time >= iterations and not cfg.TEST_ONLY:
                override = hydra_override(KEY, [[name, "1 epoch"]])
                raise ConfigError(
                    f"{KEY} has {time} iterations for {name}, which would never be trained in a "
                    f"run of {iterations}: it must be below that, or a number of epochs: "
                    f"{shlex.quote(override)}"
                )
            continue
        # The nearest number: an epoch of ImageNet is 2502 batches of 512 to DINO, 313 of 4096 to
        # SwAV.
        epochs = float(time.split()[0])
        entry[1] = round(epochs * images / (processes * train.BATCHSIZE_PER_REPLICA))
        if entry[1] >= iterations:
            entry[1] = iterations // 10
            logging.warning(
                f"{KEY} has {time!r} for {name}, and the run has {iterations} iterations: it is "
                f"frozen in a tenth of them, {entry[1]}"
            )
