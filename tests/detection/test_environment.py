"""What reaches the processes that detectron2 starts."""

from __future__ import annotations

import pytest
import torch
from conftest import run_python

from mscn_plugin.config.folder import config_folder
from mscn_plugin.detection.environment import MODULE
from mscn_plugin.masking import high_pass

TWO_PROCESSES = """
import sys
import threading
import torch
from detectron2.engine.launch import _distributed_worker, launch


def step(output):
    import torch.distributed as dist
    from detectron2.config import get_cfg
    from detectron2.modeling import META_ARCH_REGISTRY
    from detectron2.structures import Boxes, Instances
    from detectron2.utils.events import EventStorage
    from torch.nn.parallel import DistributedDataParallel

    cfg = get_cfg()  # knows MODEL.MSCN
    cfg.merge_from_file(sys.argv[1])
    cfg.merge_from_list(sys.argv[3:])
    torch.manual_seed(0)
    model = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)(cfg)
    seen = []
    inner = model.preprocess_image
    model.preprocess_image = lambda batch: seen.append(inner(batch)) or seen[-1]
    generator = torch.Generator().manual_seed(dist.get_rank())
    image = torch.randint(0, 256, (3, 64, 64), generator=generator, dtype=torch.uint8)
    instances = Instances((64, 64))
    instances.gt_boxes = Boxes(torch.tensor([[8.0, 8.0, 40.0, 40.0]]))
    instances.gt_classes = torch.tensor([3])
    parallel = DistributedDataParallel(model)
    with EventStorage():
        losses = parallel([{"image": image, "instances": instances}])
    sum(losses.values()).backward()
    torch.save(
        {
            "image": image,
            "seen": seen[0].tensor,
            "world_size": dist.get_world_size(),
            "gradient": model.backbone.stem.conv1.weight.grad,
        },
        f"{output}/{dist.get_rank()}.pt",
    )


if __name__ == "__main__":  # the one process of the first of two machines
    url, output = f"file://{sys.argv[2]}/rendezvous", (sys.argv[2],)
    second = threading.Thread(target=launch, args=(step, 1, 2, 1, url, output))
    second.start()
    _distributed_worker(0, step, 2, 1, 0, url, output)
    second.join()
"""


@pytest.mark.process
@pytest.mark.detectron2
def test_two_processes_train_behind_the_filter(detectron2, tmp_path):
    """detectron2's launch with Gloo: both processes know the keys, filter, and share gradients.

    The second is a new interpreter: detectron2 spawns it. So it would the first, at the same cost.

    VISSL's tool itself cannot have two processes on the CPU: its trainer gives
    ``DistributedDataParallel`` the index of a GPU.
    """
    (tmp_path / "step.py").write_text(TWO_PROCESSES)
    page = config_folder() / "detection" / "voc0712_faster_rcnn_c4_24k.yaml"
    options = (
        *("MODEL.DEVICE", "cpu", "MODEL.RESNETS.NORM", "BN"),
        *("MODEL.ROI_HEADS.NAME", "Res5ROIHeads", "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", "4"),
        *("MODEL.RPN.POST_NMS_TOPK_TRAIN", "8", "MODEL.RESNETS.STEM_OUT_CHANNELS", "8"),
        *("MODEL.RESNETS.RES2_OUT_CHANNELS", "16", "MODEL.RESNETS.WIDTH_PER_GROUP", "4"),
    )
    environment = {"DETECTRON2_ENV_MODULE": MODULE, "CUDA_VISIBLE_DEVICES": ""}
    run_python(tmp_path / "step.py", page, tmp_path, *options, cwd=tmp_path, env=environment)
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    assert not torch.equal(ranks[0]["image"], ranks[1]["image"])
    mean = torch.tensor([123.675, 116.280, 103.530]).view(3, 1, 1)
    std = torch.tensor([58.395, 57.120, 57.375]).view(3, 1, 1)
    for rank in ranks:
        assert rank["world_size"] == 2
        expected = high_pass((rank["image"] - mean) / std, 5.0)
        torch.testing.assert_close(rank["seen"][0], expected, rtol=0, atol=1e-6)
        assert torch.equal(rank["gradient"], ranks[0]["gradient"])
        assert rank["gradient"].abs().max() > 0
