"""Pre-train on spectrograms of spoken digits, where no augmentation is made by hand.

    python extra_scripts/spoken_digits.py /data/spoken-digits --output runs/spoken_digits

Log-mel spectrograms of recordings <digit>_<speaker>_<index>.wav become arrays of one channel.
mscn/mask_only_arrays is trained with crops, with masks and with both, behind the high-pass filter
and without it, and evaluated on speakers that it has not heard, beside networks that are
untrained, and supervised ones of the same size. Writes results.json and results.md; a second call
skips finished runs, and is refused with other recordings. --tuning takes the speakers of training
alone, to choose settings, and writes tuning_results.json and tuning_results.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy import signal
from scipy.io import wavfile

RATE = 8000  # samples per second
WINDOW, HOP = 256, 128  # samples: 32 and 16 ms
FFT = 512  # the lowest mel bands are narrower than the bins of 256 samples
BANDS = FRAMES = 40  # 40 bands are usual for speech; of 100 recordings 95 are over in 40 frames
FLOOR = -60  # dB below the loudest value of a recording

RECORDINGS = "recordings.json"
"""Beside the arrays: a digest of the recordings that they are made of."""

HELD_OUT = ("theo", "yweweler")
"""The speakers of validation: the last two by name, chosen before any result."""
HELD_OUT_FOR_TUNING = ("nicolas",)
"""Of the others, the one on whom settings were chosen."""

EPOCHS = 9
CROP_SCALE = [0.7, 1.0]
SIGMA = 0.9  # 5 * 40 / 224
PARAMS = "config.DATA.TRAIN.COLLATE_FUNCTION_PARAMS"
CROP = "config.DATA.TRAIN.TRANSFORMS.0"
COMMON = (
    "+config/mscn/scale=small",
    "config.MSCN.CHANNELS=1",
    *(f"{CROP}.size={FRAMES}", f"+{CROP}.scale={CROP_SCALE}".replace(" ", "")),
    *(f"config.DATA.TEST.TRANSFORMS.{place}.size={FRAMES}" for place in (0, 1)),
    # One mask for each view in all runs, so that all see as many views.
    *(f"{PARAMS}.num_masks=1", f"{PARAMS}.channelwise_probability=0", f"{PARAMS}.cell_size=[5,5]"),
)
NO_MASKS = (f"{PARAMS}.ratio=0", f"{PARAMS}.focal_probability=0")
WHOLE = (f"{CROP}.scale=[1,1]", f"+{CROP}.ratio=[1,1]")
ONLY_BANDS = (f"+{PARAMS}.band_probability=[0.7,0.5]",)  # and focal masks, as beside cells
VIEWS = {
    "crops": ("crops", NO_MASKS),
    "masks": ("masks on the whole spectrogram", WHOLE),
    "crops_masks": ("crops, masks", ()),
    "crops_bands": ("crops, masks with bands in place of cells", ONLY_BANDS),
}
FILTERS = {"": ("", SIGMA), "_no_filter": (", no filter", 0)}
ARMS = [f"{arm}{suffix}" for arm in VIEWS for suffix in FILTERS]


def mel_filters() -> np.ndarray:
    """Triangles that are equally wide in mel, float64 ``[BANDS, FFT // 2 + 1]``."""
    highest = 2595 * np.log10(1 + RATE / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, highest, BANDS + 2) / 2595) - 1)
    low, middle, high = (corners[first : first + BANDS, None] for first in range(3))
    bins = np.arange(FFT // 2 + 1) * RATE / FFT
    return np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle)).clip(0)


def log_mel(samples: np.ndarray) -> np.ndarray:
    """The spectrogram of one recording in dB, float32 ``[BANDS, FRAMES]``, high notes first.

    Its loudest value is 0, and nothing is below FLOOR, with which short recordings are padded on
    both sides; of long ones the middle is taken.
    """
    _, _, spectrum = signal.stft(
        samples.astype(float),
        nperseg=WINDOW,
        noverlap=WINDOW - HOP,
        nfft=FFT,
        boundary=None,
        padded=False,
    )
    power = mel_filters() @ np.abs(spectrum) ** 2
    power = np.maximum(power / max(power.max(), 1e-20), 1e-20)
    decibels = np.maximum(10 * np.log10(power), FLOOR)[::-1]
    before = max(0, FRAMES - decibels.shape[1]) // 2
    padded = np.pad(decibels, [(0, 0), (before, FRAMES)], constant_values=FLOOR)
    first = max(0, decibels.shape[1] - FRAMES) // 2
    return padded[:, first : first + FRAMES].astype(np.float32)


def files_of(recordings: Path) -> list[Path]:
    """The recordings, of which there must be some."""
    files = sorted(recordings.glob("*.wav"))
    if not files:
        sys.exit(f"spoken_digits: {recordings} has no .wav files")
    return files


def digest_of(recordings: Path) -> str:
    """A short hash of the recordings' names and contents."""
    digest = hashlib.blake2b(digest_size=8)
    for file in files_of(recordings):
        digest.update(hashlib.sha256(os.fsencode(file.name)).digest())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def prepare(recordings: Path, data: Path, tuning: bool, jobs: int) -> str:
    """Write the arrays of recordings with their mean and std, if they are not there.

    Returns:
        The recordings' digest; arrays of others are refused.
    """
    from mscn_plugin.data.arrays import ArrayFormat
    from mscn_plugin.data.statistics import FILE, measure
    from mscn_plugin.files import save_json

    digest, note = digest_of(recordings), data / RECORDINGS
    known = json.loads(note.read_text()) if note.is_file() else digest
    # A call that was cut off, or an earlier version, has left arrays and no note.
    names = {file.stem for file in data.glob("*/*/*.npy")}
    if known != digest or not names <= {file.stem for file in files_of(recordings)}:
        sys.exit(
            f"spoken_digits: {data} is of other recordings than {recordings}: name another --output"
        )
    if not note.is_file():
        write_arrays(recordings, data, tuning)
        save_json(data / FILE, measure(str(data), ArrayFormat(1, "auto"), jobs))
        save_json(note, digest)
    return digest


def write_arrays(recordings: Path, folder: Path, tuning: bool) -> None:
    """Write the spectrograms below ``train/`` and ``val/``, a folder for each digit."""
    held_out = HELD_OUT_FOR_TUNING if tuning else HELD_OUT
    for file in files_of(recordings):
        if file.stem.count("_") != 2:
            sys.exit(f"spoken_digits: {file} must be called <digit>_<speaker>_<index>.wav")
        digit, speaker, _ = file.stem.split("_")
        if tuning and speaker in HELD_OUT:
            continue
        rate, samples = wavfile.read(file)
        if rate != RATE or samples.ndim != 1:
            sys.exit(f"spoken_digits: {file} must have one channel of {RATE} samples per second")
        place = folder / ("val" if speaker in held_out else "train") / digit
        place.mkdir(parents=True, exist_ok=True)
        np.save(place / f"{file.stem}.npy", log_mel(samples))


def pretraining_runs(
    data: Path, output: Path, options: argparse.Namespace, digest: str
) -> dict[Any, Any]:
    """The runs by arm, title and seed, those of a seed one after the other.

    Args:
        digest: of the recordings; a run of others has another folder.
    """
    from mscn_plugin.config.hydra_overrides import hydra_override, named_files
    from mscn_plugin.experiments.runs import ExperimentRun
    from mscn_plugin.files import file_digest

    files = tuple(map(file_digest, named_files(options.overrides)))

    def run(name: str, seed: int, overrides: tuple[str, ...], sigma: float) -> ExperimentRun:
        given = (
            *COMMON,
            f"config.OPTIMIZER.num_epochs={options.epochs}",
            f"config.DATA.TRAIN.TRANSFORMS.2.sigma={sigma}",
            f"config.DATA.TEST.TRANSFORMS.3.sigma={sigma}",
            hydra_override("config.MSCN.DATA", data),
            f"config.SEED_VALUE={seed}",
            *overrides,
            *options.overrides,
        )
        config = "mscn/mask_only_arrays"
        return ExperimentRun(
            f"{name}-seed{seed}", output, config, given, images=digest, files=files
        )

    return {
        (f"{arm}{suffix}", f"{title}{words}", seed): run(f"{arm}{suffix}", seed, overrides, sigma)
        for seed in options.seeds
        for arm, (title, overrides) in VIEWS.items()
        for suffix, (words, sigma) in FILTERS.items()
        if options.only is None or f"{arm}{suffix}" in options.only
    }


def rows_of(runs: dict[Any, Any], outcomes: dict[Path, dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each run that has ended, and one for each untrained trunk behind each filter."""
    from mscn_plugin.experiments.runs import METRICS

    rows, untrained = [], {}
    for (arm, title, seed), run in runs.items():
        if run.output not in outcomes:
            continue
        row = {"experiment": arm, "title": title, "seed": seed, "paper": None}
        # The place of the data means nothing elsewhere.
        given = [o for o in run.overrides if not o.startswith("config.MSCN.DATA=")]
        outcome = {
            k: v for k, v in outcomes[run.output].items() if k not in ("measured_on", "epochs")
        }
        rows.append({**row, "overrides": given, **outcome})
        suffix = next(s for s in reversed(FILTERS) if arm.endswith(s))
        before = {m: rows[-1].get("metrics", {}).get(f"{m}, untrained") for m in METRICS}
        if None not in before.values():
            title = f"untrained{FILTERS[suffix][0]}"
            row = {"experiment": f"untrained{suffix}", "title": title, "seed": seed, "paper": None}
            untrained[suffix, seed] = {**row, "metrics": before}
    return [*untrained.values(), *rows]


def load(folder: Path, mean: float, std: float, sigma: float) -> tuple[Any, Any]:
    """Normalized and filtered spectrograms ``[N, 1, BANDS, FRAMES]`` and digits ``[N]``."""
    import torch

    from mscn_plugin.masking import high_pass

    files = sorted(folder.glob("*/*.npy"))
    images = torch.from_numpy(np.stack([np.load(file) for file in files]))[:, None]
    digits = torch.tensor([int(file.parent.name) for file in files])
    return high_pass((images - mean) / std, sigma), digits


def baselines(data: Path, statistics: dict[str, Any], options: Any) -> list[dict[str, Any]]:
    """Rows of supervised networks and of the spectrograms themselves, with each filter."""
    rows = []
    for suffix, (words, sigma) in FILTERS.items():
        normalized = statistics["mean"][0], statistics["std"][0], sigma
        train, val = (load(data / split, *normalized) for split in ("train", "val"))
        values = [(images.flatten(1).numpy(), digits.numpy()) for images, digits in (train, val)]
        named = {"title": f"the spectrogram's own values{words}", "seed": None, "paper": None}
        rows.append({"experiment": f"values{suffix}", **named, "metrics": accuracies_of(*values)})
        for seed in options.seeds:
            named = {"title": f"supervised, crops{words}", "seed": seed, "paper": None}
            metrics = supervised(train, val, seed, options.epochs)
            rows.append({"experiment": f"supervised{suffix}", **named, "metrics": metrics})
    return rows


def supervised(train: Any, val: Any, seed: int, epochs: int) -> dict[str, float]:
    """Train a network of the same size on crops with the labels; accuracies of its features.

    ``classifier`` is the accuracy of its own last layer.
    """
    import torch
    from omegaconf import OmegaConf
    from torch import nn
    from torchvision.transforms import RandomResizedCrop
    from vissl.config import AttrDict
    from vissl.models.trunks import get_model_trunk

    from mscn_plugin.config.composed import compose

    torch.manual_seed(seed)
    composed = compose(["config=mscn/mask_only_arrays", "+config/mscn/scale=small"])
    model = AttrDict(OmegaConf.to_container(composed.config.MODEL))
    model.TRUNK["INPUT"] = {"CHANNELS": 1}
    trunk = get_model_trunk("small_resnet")(model, "small_resnet")
    features = trunk(train[0][:2])[-1].flatten(1).shape[1]
    classifier = nn.Linear(features, 10)
    parameters = [*trunk.parameters(), *classifier.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=1e-4)
    images, digits = train
    batches = len(images) // 64
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * batches)
    crop = RandomResizedCrop(FRAMES, scale=CROP_SCALE, antialias=True)
    for _ in range(epochs):
        for batch in torch.randperm(len(images))[: batches * 64].split(64):
            crops = torch.stack([crop(image) for image in images[batch]])
            logits = classifier(trunk(crops)[-1].flatten(1))
            loss = nn.functional.cross_entropy(logits, digits[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    trunk.eval()
    with torch.no_grad():
        labeled = [
            (torch.cat([trunk(part)[-1].flatten(1) for part in images.split(256)]), digits)
            for images, digits in (train, val)
        ]
        right = classifier(labeled[1][0]).argmax(dim=1) == labeled[1][1]
    metrics = accuracies_of(*((found.numpy(), digits.numpy()) for found, digits in labeled))
    return {**metrics, "classifier": 100 * float(right.float().mean())}


def accuracies_of(train: Any, val: Any) -> dict[str, float]:
    """kNN and linear probe in percent, as the online evaluation has them."""
    from mscn_plugin.models.classifiers import knn_accuracy, probe_accuracy

    knn = knn_accuracy(train, val, num_neighbors=20, temperature=0.07)[1]
    return {"kNN": knn, "linear probe": probe_accuracy(train, val)}


def table(rows: list[dict[str, Any]]) -> str:
    """Means over the seeds with their 95% intervals (Student's t), as Markdown."""
    from tabulate import tabulate

    from mscn_plugin.experiments.means import mean_and_interval
    from mscn_plugin.experiments.results import summary

    lines = [line[:4] for line in summary(rows)]
    text = str(tabulate(lines, ["", "seeds", "kNN", "linear probe"], "github", missingval="-"))
    own: dict[str, list[float]] = {}
    for row in rows:
        if "classifier" in row.get("metrics", ()):
            own.setdefault(row["title"], []).append(row["metrics"]["classifier"])
    for title, values in own.items():
        mean, half = mean_and_interval(values)
        text += f"\n\n{title}, by its own classifier: {mean:.1f} ± {half:.1f}"
    return text


def main() -> None:
    from mscn_plugin.cli.arguments import add_overrides
    from mscn_plugin.config.hydra_overrides import refuse_given

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recordings", type=Path, help="folder of <digit>_<speaker>_<index>.wav")
    parser.add_argument("--output", type=Path, default=Path("runs/spoken_digits"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=ARMS,
        metavar="ARM",
        help=f"some of {', '.join(ARMS)}; their results go to results_of_some.json",
    )
    parser.add_argument("--tuning", action="store_true", help="without the held-out speakers")
    add_overrides(parser)
    options = parser.parse_args()
    given_by = {"config.SEED_VALUE": "--seeds", "config.MSCN.DATA": "the recordings' argument"}
    refuse_given(options.overrides, given_by)

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from mscn_plugin.data.statistics import FILE
    from mscn_plugin.experiments.schedule import run_all
    from mscn_plugin.files import save_json, write_text
    from mscn_plugin.runs.launch import check_stopped, stopped_by_signals

    output = options.output.resolve()
    kind = "tuning_" if options.tuning else ""
    data = output / f"{kind}arrays"
    digest = prepare(options.recordings, data, options.tuning, options.jobs)
    runs = pretraining_runs(data, output, options, digest)
    with stopped_by_signals("spoken_digits"):
        rows = rows_of(runs, run_all(runs.values(), options.jobs))
        check_stopped()
    if options.only is None:
        rows = [*rows, *baselines(data, json.loads((data / FILE).read_text()), options)]
    name = kind + ("results" if options.only is None else "results_of_some")
    save_json(output / f"{name}.json", rows)
    write_text(output / f"{name}.md", table(rows) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
