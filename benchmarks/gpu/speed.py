"""Times and memory: the training step of ResNet-50, the stage, the filter, the loss, the loader.

A step is the stage on the device, forward, loss, backward and SGD with VISSL's model and loss, on a
batch that is on the device. Peak memory is PyTorch's, weights and optimizer included.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch.nn import functional as F

from benchmarks.gpu.launched import narrow
from benchmarks.gpu.recorder import Recorder, milliseconds
from benchmarks.harness import photographs_as_jpegs, quiet

MODES = {
    "float32, TF32 off": (False, False, False),
    "float32, TF32 convolutions (PyTorch's default)": (True, False, False),
    "mixed precision": (True, True, False),
    "mixed precision, channels_last": (True, True, True),
}
"""TF32 in convolutions, autocast to float16 with a scaler, ``MSCN.CHANNELS_LAST``."""
PLAIN = "float32, TF32 convolutions (PyTorch's default)"
BEST = "mixed precision, channels_last"
MSCN, VISSLS = "MSCN", "VISSL's SimCLR"


def _sizes(rec: Recorder) -> tuple[int, int, int]:
    """Images of a batch, their side in pixels, and repeats."""
    return (128, 224, 5) if rec.on_gpu else (2, 64, 1)


def _dimensions(rec: Recorder) -> int:
    """Of an embedding, by the last of the heads."""
    return 256 if rec.on_gpu else 64


def _prepare(rec: Recorder) -> None:
    from classy_vision.generic.distributed_util import set_cpu_device, set_cuda_device_index

    import mscn_plugin

    mscn_plugin.register()
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = rec.on_gpu  # as VISSL's trainer sets it
    set_cuda_device_index(0) if rec.on_gpu else set_cpu_device()


def _batch(rec: Recorder, num_masks: int) -> tuple[Any, dict[str, Any]]:
    """The stage, and a batch of the drawing collator on the device."""
    from classy_vision.generic.util import recursive_copy_to_device

    from benchmarks.gpu.tensors import _batch as batch_of
    from benchmarks.gpu.tensors import _stage_of

    images, size, _ = _sizes(rec)
    batch = batch_of(images, size, 0.3, [num_masks, num_masks])
    device = torch.device(rec.device)
    return _stage_of(5.0 * size / 224), recursive_copy_to_device(batch, False, device)


def model_of(*overrides: str) -> Any:
    """VISSL's model of a configuration, ``mscn/simclr`` unless the overrides name another."""
    from benchmarks.model import task_of

    with quiet(), tempfile.TemporaryDirectory() as place:
        return task_of(list(overrides), Path(place))._build_model()


def _model(rec: Recorder, *overrides: str) -> Any:
    """ResNet-50 with its projector; on a CPU a small one."""
    return model_of(*([] if rec.on_gpu else ["config=mscn/quickstart"]), *narrow(rec), *overrides)


def _loss_of(rec: Recorder, whose: str, num_views: int, images: int, ranks: int = 1) -> Any:
    """MSCN's loss, or VISSL's for SimCLR: its multicrop loss where there are more than two views.

    ``effective_batch_size`` counts images in the one of VISSL's losses, and views in the other.
    """
    from classy_vision.losses import build_loss
    from vissl.config import AttrDict

    if whose == MSCN:
        settings: dict[str, Any] = {"name": "mscn_info_nce_loss", "num_masks": num_views // 2}
    else:
        two = num_views == 2
        settings = {"name": "simclr_info_nce_loss"}
        if not two:
            settings = {"name": "multicrop_simclr_info_nce_loss", "num_crops": num_views}
        settings["buffer_params"] = {
            "embedding_dim": _dimensions(rec),
            "effective_batch_size": ranks * images * (2 if two else 1),
            "world_size": ranks,
        }
    with quiet():
        return build_loss(AttrDict({"temperature": 0.2, **settings})).to(rec.device)


class Step:
    """One training step: call it."""

    def __init__(
        self, rec: Recorder, model: Any, loss: Any, views: Callable[[], Any], amp: bool
    ) -> None:
        self.model = model.to(rec.device)
        self.loss = loss.to(rec.device)
        self.views = views
        self.device = rec.device
        self.amp = amp
        self.optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
        self.scaler = torch.amp.GradScaler(rec.device, enabled=amp and rec.on_gpu)
        self.dtype = torch.float16 if rec.on_gpu else torch.bfloat16

    def __call__(self) -> None:
        views = self.views()
        with torch.autocast(self.device, dtype=self.dtype, enabled=self.amp):
            (output,) = self.model(views)
            loss = self.loss(output, None)
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()


def _timed(rec: Recorder, name: str, num_views: int, step: Any) -> float:
    """Measure one kind of step; returns its median in ms, or 0 where it failed."""
    images, _, repeats = _sizes(rec)
    with quiet():
        milliseconds(step, rec.device, 1, warm_up=1)  # cuDNN tries its algorithms
        _reset_memory(rec)
        times = milliseconds(step, rec.device, repeats, warm_up=1)
    median = rec.measure(name, times, "ms per step")
    rec.measure(f"{name}: images", [images / time * 1e3 for time in times], "images/s")
    rec.measure(f"{name}: views", [num_views * images / time * 1e3 for time in times], "views/s")
    if rec.on_gpu:
        rec.measure(f"{name}: peak", [torch.cuda.max_memory_allocated() / 2**30], "GiB")
    return median


def step(rec: Recorder) -> None:
    """MSCN's step at K = 1, 2, 4 in four precisions, its stage, and VISSL's SimCLR step."""
    _prepare(rec)
    model = _model(rec)
    for num_masks in (1, 2, 4) if rec.on_gpu else (1, 2):
        _steps(rec, model, num_masks)
        gc.collect()
    del model
    stage, batch = _batch(rec, 2)
    model = _model(rec, "+config/mscn/memory=activation_checkpointing")
    loss = _loss_of(rec, MSCN, 4, _sizes(rec)[0])
    for mode in (PLAIN, BEST):
        _, amp, channels_last = MODES[mode]
        model.to(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
        run = Step(rec, model, loss, lambda: stage(batch, rec.device)["data"][0], amp)
        _timed(rec, f"MSCN, {mode}, activation checkpointing, K = 2", 4, run)


def _steps(rec: Recorder, model: Any, num_masks: int) -> None:
    images, size, _ = _sizes(rec)
    num_views = 2 * num_masks
    stage, batch = _batch(rec, num_masks)

    def masked_views() -> torch.Tensor:
        (views,) = stage(batch, rec.device)["data"]
        return views

    times = milliseconds(masked_views, rec.device, 9, calls=5)
    of_stage = rec.measure(f"stage, K = {num_masks}", times, "ms")
    given = torch.randn(num_views * images, 3, size, size, device=rec.device)
    sources: dict[str, Callable[[], torch.Tensor]] = {MSCN: masked_views, VISSLS: lambda: given}
    for mode, (tf32, amp, channels_last) in MODES.items():
        if not tf32 and num_masks > 1:
            continue  # slow, and no more than K = 1 says
        torch.backends.cudnn.allow_tf32 = tf32
        memory_format = torch.channels_last if channels_last else torch.contiguous_format
        model.to(memory_format=memory_format)
        medians = {}
        for whose in (MSCN, VISSLS) if mode in (PLAIN, BEST) else (MSCN,):
            label = (
                f"{whose}, {mode}, {f'K = {num_masks}' if whose == MSCN else f'{num_views} views'}"
            )
            run: Any = None
            try:
                loss = _loss_of(rec, whose, num_views, images)
                run = Step(rec, model, loss, sources[whose], amp)
                medians[whose] = _timed(rec, label, num_views, run)
            except Exception as error:  # out of memory, most of all
                rec.fail(label, error)
            model.zero_grad(set_to_none=True)
            del run
        if MSCN in medians:
            share = [100 * of_stage / medians[MSCN]]
            rec.measure(f"share of the stage, {mode}, K = {num_masks}", share, "%")
        if len(medians) == 2:
            ratio = [medians[VISSLS] / medians[MSCN]]
            what = f"MSCN's step beside VISSL's SimCLR step, {mode}, {num_views} views"
            rec.measure(what, ratio, "times as fast")
    torch.backends.cudnn.allow_tf32 = True


def compiled(rec: Recorder) -> None:
    """The compiled trunk, K = 2."""
    _prepare(rec)
    stage, batch = _batch(rec, 2)
    model = _model(rec, "+config/mscn/speed=compiled")
    loss = _loss_of(rec, MSCN, 4, _sizes(rec)[0])
    if not rec.on_gpu:  # the graph alone: code for a CPU takes longer to generate than all else
        model.trunk.compile(backend="eager")
    run = Step(rec, model, loss, lambda: stage(batch, rec.device)["data"][0], True)
    start = time.perf_counter()
    with quiet():
        run()
    if rec.on_gpu:
        torch.cuda.synchronize()
    rec.measure("compiling, with the first step", [time.perf_counter() - start], "s")
    _timed(rec, f"MSCN, {BEST}, compiled, K = 2", 4, run)


def parts(rec: Recorder) -> None:
    """The filter beside other libraries' blurs and the memory's bandwidth; the loss."""
    _prepare(rec)
    _filter(rec)
    _loss(rec)


def _filter(rec: Recorder) -> None:
    from torchvision.transforms.functional import gaussian_blur

    from mscn_plugin.masking import high_pass

    images, size, _ = _sizes(rec)
    sigma = 5.0 * size / 224
    views = torch.randn(2 * images, 3, size, size, device=rec.device)
    taps = 2 * int(4 * sigma + 0.5) + 1
    out = torch.empty_like(views)
    copying = milliseconds(lambda: out.copy_(views), rec.device, 15, calls=5)
    limit = rec.measure(
        f"copy of {len(views)} views of {size} px (every byte read and written once)", copying, "ms"
    )
    moved = 2 * views.numel() * views.element_size()
    rec.measure("bandwidth of that copy", [moved / t / 1e6 for t in copying], "GB/s")
    functions: dict[str, Callable[[], Any]] = {
        "high_pass": lambda: high_pass(views, sigma),
        f"torchvision gaussian_blur, {taps} taps": lambda: (
            views - gaussian_blur(views, [taps, taps], [sigma, sigma])
        ),
    }
    try:
        from kornia.filters import gaussian_blur2d

        functions[f"kornia gaussian_blur2d, {taps} taps"] = lambda: (
            views - gaussian_blur2d(views, (taps, taps), (sigma, sigma))
        )
    except ImportError as error:
        rec.fail("kornia gaussian_blur2d", error)
    mine = 0.0
    for name, function in functions.items():
        try:
            times = milliseconds(function, rec.device, 9, calls=3 if mine else 5)
            median = statistics.median(times)
            if mine:
                rec.measure(name, times, "ms", "high_pass", mine / median)
            else:
                mine = rec.measure(name, times, "ms", "the copy", limit / median)
        except Exception as error:
            rec.fail(name, error)


RANKS = 32


def _loss(rec: Recorder) -> None:
    """K = 4, one rank of 32 with 128 images and 256 dimensions; other ranks' embeddings made up."""
    images, _, repeats = _sizes(rec)
    ranks = RANKS if rec.on_gpu else 4
    others = F.normalize(
        torch.randn((ranks - 1) * 8 * images, _dimensions(rec), device=rec.device), dim=1
    )
    output = torch.randn(8 * images, _dimensions(rec), device=rec.device, requires_grad=True)
    gathering = {
        MSCN: "mscn_plugin.losses.branches.gather_from_all",
        VISSLS: "vissl.losses.simclr_info_nce_loss.SimclrInfoNCECriterion.gather_embeddings",
    }

    def gather(mine: torch.Tensor) -> torch.Tensor:
        return torch.cat([mine, others])

    seen: dict[str, tuple[float, float]] = {}
    for whose, place in gathering.items():
        label = f"{whose} loss, K = 4 or 8 views, one of {ranks} ranks"
        before = _reset_memory(rec)
        try:
            loss = _loss_of(rec, whose, 8, images, ranks)

            def run(loss: Any = loss) -> None:
                output.grad = None
                loss(F.normalize(output, dim=1), None).backward()

            with mock.patch(place, staticmethod(gather)), quiet():
                times = milliseconds(run, rec.device, 2 * repeats)
        except Exception as error:
            rec.fail(label, error)
            continue
        peak = (torch.cuda.max_memory_allocated() - before) / 2**20 if rec.on_gpu else 0.0
        seen[whose] = statistics.median(times), peak
        mine = seen.get(MSCN) if whose != MSCN else None
        rec.measure(label, times, "ms", MSCN, mine[0] / seen[whose][0] if mine else None)
        if rec.on_gpu:
            ratio = mine[1] / peak if mine else None
            rec.measure(f"{label}: memory", [peak], "MiB", MSCN, ratio)


def _reset_memory(rec: Recorder) -> int:
    """Begin a new peak; returns the bytes that are in use."""
    if not rec.on_gpu:
        return 0
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


def loader(rec: Recorder) -> None:
    """Images per second of the loader's workers, JPEGs of 500 x 375, crops of 224."""
    from vissl.trainer.trainer_main import build_task

    import mscn_plugin
    from benchmarks import pipelines
    from benchmarks.gpu.launched import jpegs

    mscn_plugin.register()  # and no CUDA: the workers are forks
    batch_size, workers = (128, 16) if rec.on_gpu else (2, 1)
    rounds = {"MSCN, any K": (pipelines.masked(2), 6), f"{VISSLS}, no masks": (pipelines.VISSLS, 4)}
    images = jpegs(rec.folder, batch_size * workers * 6, photographs_as_jpegs)
    loaders: dict[str, Any] = {}
    rates: dict[str, float] = {}
    for name, (overrides, _) in rounds.items():
        with quiet():
            fork = "config.MULTI_PROCESSING_METHOD=fork"
            config = pipelines.compose([*overrides, fork], images, workers, batch_size, rec.folder)
            task = build_task(config)
            task.available_splits = ["TRAIN"]
            task.datasets, _ = task.build_datasets()
            built = task.build_dataloaders(pin_memory=False)["train"]
            loaders[name] = getattr(built, "dataloader", built)  # the stage is the GPU's
    for name, (_, count) in rounds.items():
        values = []
        for _ in range(2):
            iterator = iter(loaders[name])
            # When the clock starts every worker has made a batch, on average, and none waits in
            # the queue, since each is taken as soon as it is there.
            for _ in range(workers):
                next(iterator)
            begin = time.perf_counter()
            for _ in range((count - 1) * workers):
                next(iterator)
            values.append((count - 1) * workers * batch_size / (time.perf_counter() - begin))
            del iterator
        label = f"loader, {name}, {workers} workers"
        first = next(iter(rates), None)
        ratio = statistics.median(values) / rates[first] if first else None
        rates[label] = rec.measure(label, values, "images/s", first, ratio)
