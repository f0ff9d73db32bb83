"""Filter, masks, the stage on the device and both losses: a GPU's numbers beside the CPU's.

Each is computed twice on the GPU: as PyTorch is by default, and with what a user may have around
it, TF32 products allowed and bfloat16 autocast.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.gpu.recorder import Recorder, require

SURROUNDINGS = (
    "as it is",
    "TF32 allowed, bfloat16 autocast outside",
    'set_float32_matmul_precision("high")',
)


@contextlib.contextmanager
def surroundings(name: str, device: str) -> Iterator[None]:
    """What a user may have around the package; it must be there afterwards, too."""
    if name == SURROUNDINGS[0]:
        yield
        return
    torch.set_float32_matmul_precision("high")
    try:
        with torch.autocast(device, dtype=torch.bfloat16, enabled="autocast" in name):
            yield
        require(torch.get_float32_matmul_precision() == "high", "the user's setting is lost")
    finally:
        torch.set_float32_matmul_precision("highest")


def difference(observed: Tensor, expected: Tensor) -> float:
    """The largest difference of two tensors, compared on the CPU in float64."""
    return float((observed.detach().cpu().double() - expected.detach().double()).abs().max())


def within(row: dict[str, Any], observed: Tensor, expected: Tensor, tolerance: float) -> None:
    apart = difference(observed, expected)
    row["detail"] = f"largest difference {apart:.1e}, allowed {tolerance:.0e}"
    require(apart <= tolerance, row["detail"])


def main(rec: Recorder) -> None:
    import mscn_plugin

    mscn_plugin.register()
    torch.manual_seed(0)
    for name in SURROUNDINGS:
        _filter(rec, name)
        _stage(rec, name)
        _losses(rec, name)
    _fill(rec)
    _statistics(rec)
    _repeats(rec)
    if rec.on_gpu:
        _compiled_filter(rec)
        _tf32_bites(rec)
        _never_waits(rec)
        _streams(rec)


def _filter(rec: Recorder, name: str) -> None:
    from mscn_plugin.masking import high_pass

    for size, sigma in ((224, 5.0), (56, 1.25), (37, 12.0)):
        images = torch.randn(4, 3, size, size)
        with rec.check(f"filter, {size} px, sigma {sigma:g}, {name}") as row:
            with surroundings(name, rec.device):
                observed = high_pass(images.to(rec.device), sigma)
            require(observed.dtype == torch.float32, f"dtype is {observed.dtype}")
            require(observed.device.type == rec.device, f"device is {observed.device}")
            within(row, observed, high_pass(images, sigma), 1e-5)


def _compiled_filter(rec: Recorder) -> None:
    from mscn_plugin.masking import high_pass

    images = torch.randn(4, 3, 224, 224)
    with rec.check("filter, 224 px, sigma 5, inside of torch.compile, TF32 allowed") as row:
        with surroundings(SURROUNDINGS[2], rec.device):
            filtered = torch.compile(lambda x: high_pass(2 * x, 5.0))
            observed = filtered(images.to(rec.device))
        within(row, observed, high_pass(2 * images, 5.0), 1e-5)


def _batch(images: int, size: int, noise_std: float, num_masks: Any) -> dict[str, Any]:
    """What the drawing collator sends: ``data`` uint8 ``[2, B, 3, H, W]``."""
    from mscn_plugin.masking import MaskDistribution

    masks = MaskDistribution(
        cell_size=size // 7, focal_probability=0.4, channelwise_probability=0.8, noise_std=noise_std
    )
    one = torch.ones(2, images, dtype=torch.long)
    batch: dict[str, Any] = {"label": one, "data_valid": one, "data_idx": one}
    batch["data"] = torch.randint(0, 256, (2, images, 3, size, size), dtype=torch.uint8)
    batch["masks"] = [masks.sample(count * images, (size, size)) for count in num_masks]
    return batch


def _stage_of(sigma: float) -> Any:
    from mscn_plugin.transforms.on_device import DeviceViews

    return DeviceViews((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), sigma)


def _stage(rec: Recorder, name: str) -> None:
    for size, sigma in ((224, 5.0), (56, 1.25)):
        batch, stage = _batch(4, size, 0.0, [1, 3]), _stage_of(sigma)
        with rec.check(f"device stage, {size} px, K = [1, 3], {name}") as row:
            with surroundings(name, rec.device):
                (observed,) = stage(batch, rec.device)["data"]
            within(row, observed, stage(batch, "cpu")["data"][0], 1e-5)


def _fill(rec: Recorder) -> None:
    from mscn_plugin.masking import MaskDistribution, apply_masks

    masks = MaskDistribution(focal_probability=0.4, channelwise_probability=0.8, noise_std=0.3)
    sampled = masks.sample(32, (224, 224))
    images, noise = torch.randn(8, 3, 224, 224), torch.randn(32, 3, 224, 224)
    hidden = sampled.hidden()
    with rec.check("the masks, bit for bit") as row:
        observed = sampled.to(rec.device).hidden().cpu()
        require(torch.equal(observed, hidden), "other pixels are hidden")
        row["detail"] = f"{float(hidden.float().mean()):.1%} hidden"
    with rec.check("masks with given noise") as row:
        observed = apply_masks(images.to(rec.device), sampled, noise=noise.to(rec.device))
        within(row, observed, apply_masks(images, sampled, noise=noise), 1e-6)
    with rec.check("masks with noise of its own: seen pixels bit for bit, noise standard normal"):
        observed = apply_masks(images.to(rec.device), sampled).cpu()
        repeated = images.repeat(4, 1, 1, 1)
        require(torch.equal(observed[~hidden], repeated[~hidden]), "seen pixels have changed")
        values = observed[hidden] / 0.3
        mean, std = float(values.mean()), float(values.std())
        require(abs(mean) < 0.01, f"mean {mean}")
        require(abs(std - 1) < 0.01, f"standard deviation {std}")


def _losses(rec: Recorder, name: str) -> None:
    from classy_vision.losses import build_loss

    # TF32 keeps 10 bits of a factor, and a cosine is divided by the temperature, 0.2.
    exact = name == "as it is"
    tolerances = (2e-5, 1e-6) if exact else (5e-3, 1e-4)
    for negatives in ("pair", "all"):
        loss = build_loss(
            {"name": "mscn_info_nce_loss", "num_masks": [1, 3], "negatives": negatives}
        )
        embeddings = torch.randn(4 * 64, 128)
        _value_and_gradient(rec, f"InfoNCE, {negatives}, {name}", loss, embeddings, tolerances)
    loss = build_loss({"name": "byol_loss", "num_masks": [1, 3]})
    projections, predictions = torch.randn(4 * 64, 128), torch.randn(4 * 64, 128)

    def byol(output: Tensor) -> Tensor:
        loss.projections = projections.to(output.device)
        result: Tensor = loss(output)
        return result

    _value_and_gradient(rec, f"BYOL's loss, {name}", byol, predictions, tolerances)


def _value_and_gradient(
    rec: Recorder, name: str, loss: Any, embeddings: Tensor, tolerances: Any
) -> None:
    with rec.check(f"{name}: value and gradient") as row:
        found: list[Any] = []
        for device in ("cpu", rec.device):
            leaf = embeddings.to(device, copy=True).requires_grad_()
            with (
                surroundings(name.rpartition(", ")[2], device)
                if device == rec.device
                else contextlib.nullcontext()
            ):
                value = loss(leaf)
            value.backward()
            found.append((value, leaf.grad))
        (value, gradient), (observed, its_gradient) = found
        apart = difference(observed, value), difference(its_gradient, gradient)
        row["detail"] = f"differences {apart[0]:.1e} and {apart[1]:.1e}"
        row["detail"] += f", allowed {tolerances[0]:.0e} and {tolerances[1]:.0e}"
        require(apart[0] <= tolerances[0] and apart[1] <= tolerances[1], row["detail"])


def _statistics(rec: Recorder) -> None:
    from mscn_plugin.training.hooks.embedding_statistics import embedding_statistics

    with rec.check("embedding statistics of a collapsed batch under float16 autocast"):
        collapsed = F.normalize(torch.randn(1, 256), dim=1).expand(2 * 512, 256).to(rec.device)
        with torch.autocast(rec.device, dtype=torch.float16):
            found = {k: float(v) for k, v in embedding_statistics(collapsed, [1, 1]).items()}
        require(abs(found["negative_similarity"] - 1) < 1e-4, str(found))


def _tf32_bites(rec: Recorder) -> None:
    """Without this the checks under TF32 could be checks of nothing."""
    with rec.check("control: a plain product under the same settings is not exact") as row:
        a, b = torch.randn(256, 256), torch.randn(256, 256)
        found = []
        for name in SURROUNDINGS:
            before = torch.backends.cuda.matmul.allow_tf32
            torch.backends.cuda.matmul.allow_tf32 = name != "as it is"
            found.append(difference(a.cuda() @ b.cuda(), a.double() @ b.double()))
            torch.backends.cuda.matmul.allow_tf32 = before
        row["detail"] = f"off by {found[0]:.1e} as it is and by {found[1]:.1e} with TF32"
        require(found[1] > 10 * found[0], row["detail"])


def _repeats(rec: Recorder) -> None:
    """Forward and backward passes of the quickstart's model on the same views."""
    from benchmarks.gpu.launched import narrow
    from benchmarks.gpu.speed import MSCN, _loss_of, model_of

    quickstart = [
        "config=mscn/quickstart",
        "config.DATA.TRAIN.COLLATE_FUNCTION_PARAMS.num_masks=1",
        *narrow(rec),
    ]
    model = model_of(*quickstart).to(rec.device)
    loss = _loss_of(rec, MSCN, 2, 32)
    views = torch.randn(64, 3, 56, 56, device=rec.device)
    times, often = (10, "ten times") if rec.on_gpu else (2, "twice")

    def gradients() -> dict[str, Tensor]:
        model.zero_grad()
        loss(model(views)[0], None).backward()
        return {name: weight.grad.clone() for name, weight in model.named_parameters()}

    for name, strict in (("as it is", False), ("deterministic algorithms alone", True)):
        with rec.check(f"gradients of the quickstart's model, computed {often}, {name}") as row:
            torch.use_deterministic_algorithms(strict)
            try:
                first = gradients()
                others = [gradients() for _ in range(times - 1)]
            finally:
                torch.use_deterministic_algorithms(False)
            changed = [
                n for n in first if any(not torch.equal(first[n], other[n]) for other in others)
            ]
            row["detail"] = f"{len(changed)} of {len(first)} weights' gradients vary"
            if changed:
                row["detail"] += f", the last of them by the layers {changed[-1]}"
            require(not (strict and changed), row["detail"])


def _never_waits(rec: Recorder) -> None:
    """After a first call, which copies what is cached."""
    with rec.check("device stage: the host never waits for the GPU"):
        from classy_vision.generic.util import recursive_copy_to_device

        stage = _stage_of(5.0)
        batch = recursive_copy_to_device(_batch(16, 224, 0.3, [2, 2]), True, torch.device("cuda"))
        stage(batch, "cuda")
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            stage(batch, "cuda")
        finally:
            torch.cuda.set_sync_debug_mode("default")


def _streams(rec: Recorder) -> None:
    """A slow consumer of VISSL's asynchronous loader, with and without our part around it."""
    from classy_vision.dataset import DataloaderAsyncGPUWrapper
    from torch.utils.data import DataLoader

    from mscn_plugin.training.resumable_loader import ResumableLoader

    count, size = 12, 1 << 20

    def wrong(wrapped: Any) -> int:
        """The batches whose values had changed when the training stream came to read them."""
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        sums = []
        for batch in iter(wrapped):
            torch.cuda._sleep(200_000_000)  # some 0.1 s: this stream falls behind the host
            sums.append(batch[0].double().mean())
            del batch
        return sum(float(value) != number for number, value in enumerate(sums))

    def loader() -> Any:
        data: Any = [torch.full((size,), float(number)) for number in range(count)]
        return DataloaderAsyncGPUWrapper(DataLoader(data, batch_size=1, pin_memory=True))

    with rec.check(
        "batches of VISSL's asynchronous loader stay as they are until they are read"
    ) as row:
        theirs, ours = wrong(loader()), wrong(ResumableLoader(loader(), 0, 0))
        row["detail"] = f"overwritten: {ours} of {count}; by VISSL's loader alone {theirs}"
        require(ours == 0, row["detail"])
