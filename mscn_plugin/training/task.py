"""``TRAINER.TASK_NAME: mscn_task``: VISSL's task with MSCN's hooks and dataset."""

from __future__ import annotations

from typing import Any, Dict, List, Tuple

from classy_vision.hooks import ClassyHook
from classy_vision.tasks import register_task
from vissl.data import DATA_SOURCES_WITH_SUBSET_SUPPORT, DATASET_SOURCE_MAP
from vissl.trainer.train_task import SelfSupervisionTask

from mscn_plugin.training.embedding_statistics import EmbeddingStatisticsHook
from mscn_plugin.training.masked_views_picture import MaskedViewsPictureHook
from mscn_plugin.training.online_evaluation import OnlineEvaluationHook
from mscn_plugin.training.progress_bar import ProgressBarHook
from mscn_plugin.training.readable_images import ReadableImagesDataset
from mscn_plugin.training.settings import complete_settings


@register_task("mscn_task")
class MSCNTask(SelfSupervisionTask):
    """VISSL's self-supervision task, extended from outside.

    It works with every VISSL loss and collator. Beside VISSL's own hooks it runs the online
    evaluation, the embedding statistics, the picture of masked views and the progress bar, as the
    ``MSCN`` section of the configuration says (:mod:`mscn_plugin.training.settings`).
    """

    def __init__(self, config: Any) -> None:
        complete_settings(config)
        super().__init__(config)

    def set_hooks(self, hooks: List[ClassyHook]) -> MSCNTask:
        """Add MSCN's hooks behind VISSL's, so that they see what VISSL's have done."""
        mine = (
            EmbeddingStatisticsHook,
            OnlineEvaluationHook,
            MaskedViewsPictureHook,
            ProgressBarHook,
        )
        return super().set_hooks([*hooks, *(hook() for hook in mine)])

    def build_datasets(self, current_train_phase_idx: int = 0) -> Tuple[Dict[str, Any], Any]:
        """VISSL's datasets of all splits, with unreadable images skipped."""
        _, keys = super().build_datasets(current_train_phase_idx)
        return {s.lower(): build_readable(self.config, s) for s in self.available_splits}, keys


def build_readable(config: Any, split: str) -> ReadableImagesDataset:
    """The dataset of ``config.DATA[split]``; ``split`` is ``"TRAIN"`` or ``"TEST"``."""
    return ReadableImagesDataset(
        cfg=config,
        split=split,
        dataset_source_map=DATASET_SOURCE_MAP,
        data_sources_with_subset=DATA_SOURCES_WITH_SUBSET_SUPPORT,
    )
