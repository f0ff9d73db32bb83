"""What is inferred of a job of SLURM and of ranks of ``torchrun``."""

from __future__ import annotations

import pytest
from vissl.config import AttrDict

from mscn_plugin.config.infer import infer_slurm, infer_sync_bn_group


def job(folder: str, **slurm) -> AttrDict:
    settings = {"USE_SLURM": True, "LOG_FOLDER": ".", "NAME": "vissl", "PORT_ID": 40050, **slurm}
    cfg = {"DEVICE": "gpu"}, {"DIR": folder}, settings
    cfg = AttrDict(dict(zip(("MACHINE", "CHECKPOINT", "SLURM"), cfg)))
    infer_slurm(cfg)
    return cfg.SLURM


def test_jobs_of_two_runs_have_names_logs_and_ports_of_their_own():
    first, second = job("/runs/a"), job("/runs/b")
    assert (first.NAME, first.LOG_FOLDER) == ("a", "/runs/a")
    assert first.PORT_ID != second.PORT_ID
    assert first == job("/runs/a")  # a requeued job finds what it had
    assert 20000 <= first.PORT_ID < 32000


def test_what_a_user_says_of_a_job_stays():
    slurm = job("/runs/a", NAME="mine", LOG_FOLDER="/logs", PORT_ID=12345)
    assert (slurm.NAME, slurm.LOG_FOLDER, slurm.PORT_ID) == ("mine", "/logs", 12345)


@pytest.mark.parametrize(
    ("converted", "asked", "torchrun", "group"),
    [(True, -1, True, 8), (True, -1, False, -1), (True, 4, True, 4), (False, -1, True, -1)],
)
def test_within_each_node_means_the_ranks_that_torchrun_started_there(
    monkeypatch, converted, asked, torchrun, group
):
    for name, value in (("TORCHELASTIC_RUN_ID", "a"), ("LOCAL_WORLD_SIZE", "8")):
        monkeypatch.setenv(name, value) if torchrun else monkeypatch.delenv(name, raising=False)
    settings = {"CONVERT_BN_TO_SYNC_BN": converted, "GROUP_SIZE": asked}
    cfg = AttrDict({"MODEL": {"SYNC_BN_CONFIG": settings}})
    infer_sync_bn_group(cfg)
    assert group == cfg.MODEL.SYNC_BN_CONFIG.GROUP_SIZE
