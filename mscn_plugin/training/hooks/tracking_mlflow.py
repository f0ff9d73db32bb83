"""MLflow."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from mscn_plugin.checkpoints.fingerprint import flat
from mscn_plugin.training.hooks.tracking import (
    End,
    TrackingHook,
    plain_config,
    run_name,
    tracking_folder,
)
from mscn_plugin.types import Task

STORE = "mlflow.db"
_STATUS: dict[End, str] = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}
_PARAMS_AT_ONCE = 100  # as many as MLflow takes
_PARAM_LENGTH = 500
# MLflow's own defaults hold the training up for ten minutes where its server is gone.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}


class MLflowHook(TrackingHook):
    """Writes to the server or store that ``MLFLOW_TRACKING_URI`` names, or else to SQLite's file.

    The file is ``mlflow.db`` in ``MSCN.TRACKING_DIR``, by default in the run's folder, with
    pictures beside it; a ``TRACKING_DIR`` goes before the variable.
    """

    service = "mlflow"
    client: Any
    run_id: str

    def begin(self, task: Task, run_id: str | None) -> str:
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient

        uri, pictures = _store(task)
        self.client = MlflowClient(uri)
        if run_id is not None:
            try:
                self.client.update_run(run_id, status="RUNNING")
            except MlflowException:  # the store is another one than before
                run_id = None
        if run_id is None:
            project = task.config.MSCN.TRACKING_PROJECT
            experiment = self.client.get_experiment_by_name(project)
            if experiment is None:
                experiment_id = self.client.create_experiment(project, artifact_location=pictures)
            else:
                experiment_id = experiment.experiment_id
            run_id = self.client.create_run(experiment_id, run_name=run_name(task)).info.run_id
            self._write_config(run_id, plain_config(task))
        self.run_id = run_id
        return run_id

    def write(self, values: dict[str, float], axis: str, at: int) -> None:
        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000
        metrics = [Metric(name, value, now, at) for name, value in values.items()]
        self.client.log_batch(self.run_id, metrics=metrics)

    def write_picture(self, name: str, pixels: np.ndarray, iteration: int) -> None:
        self.client.log_image(self.run_id, pixels, artifact_file=f"{name}.png")

    def finish(self, end: End) -> None:
        self.client.set_terminated(self.run_id, status=_STATUS[end])

    def _write_config(self, run_id: str, config: dict[str, Any]) -> None:
        from mlflow.entities import Param

        params = [Param(name, str(value)[:_PARAM_LENGTH]) for name, value in flat(config)]
        for start in range(0, len(params), _PARAMS_AT_ONCE):
            self.client.log_batch(run_id, params=params[start : start + _PARAMS_AT_ONCE])
        self.client.log_dict(run_id, config, "train_config.yaml")


def _store(task: Task) -> tuple[str | None, str | None]:
    """Where runs are written, and where their pictures; None: as the environment says."""
    if "MLFLOW_TRACKING_URI" in os.environ and not task.config.MSCN.TRACKING_DIR:
        return None, None
    folder = tracking_folder(task)
    folder.mkdir(parents=True, exist_ok=True)
    path = str(folder / STORE).replace("%", "%25").replace("?", "%3F")  # of a URL
    return f"sqlite:///{path}", Path(folder / "mlflow_files").as_uri()
