"""A suite of evaluations of one checkpoint, and the files of its results."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from mscn_plugin.config.composed import composed
from mscn_plugin.config.hydra_overrides import (
    hydra_override,
    named_files,
    refuse_given,
    slurm_overrides,
)
from mscn_plugin.data.box_lists import FILES as BOX_LISTS
from mscn_plugin.data.box_lists import find_boxes
from mscn_plugin.data.fingerprints import splits_digest
from mscn_plugin.data.image_folder import PHOTOGRAPHS
from mscn_plugin.data.sources import find_splits, measured_images
from mscn_plugin.errors import ConfigError
from mscn_plugin.evaluation.definitions import CURVES, SUITES, Evaluation, subset_in
from mscn_plugin.evaluation.evaluation_run import EvaluationRun
from mscn_plugin.evaluation.paper_results import paper_method
from mscn_plugin.evaluation.pretraining_run import PretrainingRun
from mscn_plugin.evaluation.table import BASELINE_SETTINGS, markdown, plot, plot_curves
from mscn_plugin.export.preprocessing import assumption, preprocessing_of
from mscn_plugin.files import alone_in, file_digest, save_json, user_path, write_text
from mscn_plugin.runs.launch import RunFailedError

FILES = ("results.json", "results.md", "results.png")
OCCLUSION_FILE = "occlusion.png"
_BATCH = 256  # of the paper's suite: A.2, A.3
_GIVEN_BY = {
    "config.MSCN.DATA": "--data",
    "config.MODEL.WEIGHTS_INIT.PARAMS_FILE": "the checkpoint's argument",
}
"""Keys that results name by the arguments that give them; an override would make them untrue."""
_SETTINGS = {
    "sha256": "another checkpoint",
    "sigma": "another sigma",
    "suite": "another suite",
    "overrides": "other overrides",
}
"""What the evaluations of one ``results.json`` have in common, and how a difference is called."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SuiteRun:
    """Evaluations of one checkpoint.

    Attributes:
        run: the pre-training run.
        suite: a key of :data:`SUITES`.
        evaluations: of the suite, those to run.
        folders: of each known data set the folder, and what names it.
        output: the folder of everything that is written.
        overrides: of the user's, for VISSL.
        partition: of SLURM, or None to run here.
        baseline: results of another checkpoint, or None.
        boxes: the list of boxes; None: the one beside the images.
        digests: of the images, by folder and channels; what several suites share is hashed once.
    """

    run: PretrainingRun
    suite: str
    evaluations: list[Evaluation]
    folders: dict[str, tuple[str, str]]
    output: Path
    overrides: Sequence[str] = ()
    partition: str | None = None
    baseline: dict[str, Any] | None = None
    boxes: Path | None = None
    digests: dict[tuple[str, int | None], str] = dataclasses.field(default_factory=dict)

    def begin(self) -> dict[str, Any]:
        """What ``results.json`` states about all evaluations; makes the output's folder.

        What an earlier call has left there stays, as far as it is what this call would measure.

        Raises:
            ConfigError: a folder of images cannot be used, or an override gives what an argument
                does.
        """
        refuse_given(self.overrides, _GIVEN_BY)
        measured_on = {
            name: measured_images(folder, key, self.run.channels)
            for name, (folder, key) in self.folders.items()
        }
        self.output.mkdir(parents=True, exist_ok=True)
        results: dict[str, Any] = {
            "checkpoint": str(self.run.checkpoint),
            "sha256": file_digest(self.run.checkpoint),
            "sigma": self.run.sigma,
            "loss": self.run.loss,
            "method": paper_method(self.run.config),
            "suite": self.suite,
            "overrides": list(self.overrides),
            "measured_on": measured_on,
            "evaluations": {},
        }
        lost = self._keep_earlier(results)
        if lost:
            print(lost, file=sys.stderr)
        return results

    def _keep_earlier(self, results: dict[str, Any]) -> str | None:
        """Add to ``results`` the entries of an earlier call that are of the same evaluations.

        Returns:
            A line on what of the earlier call is not kept, or None.
        """
        file = self.output / "results.json"
        stay = "the folders of its evaluations stay, and --output keeps both tables"
        try:
            earlier = json.loads(file.read_text())
            differing = [what for key, what in _SETTINGS.items() if earlier[key] != results[key]]
            if differing:
                of = f"{file} is of {' and '.join(differing)}, and starts over; {stay}"
                return of if earlier["evaluations"] else None
            lost = []
            for evaluation in SUITES[self.suite]:
                name, entry = evaluation.dataset, earlier["evaluations"].get(evaluation.config)
                if not entry:
                    continue
                kept = self._kept(evaluation, entry, earlier, results)
                if kept is not None:
                    results["evaluations"][evaluation.config] = kept
                    if name in earlier["measured_on"]:
                        results["measured_on"].setdefault(name, earlier["measured_on"][name])
                elif "metrics" in entry:
                    lost.append(evaluation.config)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None  # none, or not of this version
        of = f"of other images, boxes or settings, or of an earlier version, in {', '.join(lost)}"
        return f"{file} is {of}, and starts over there; {stay}" if lost else None

    def _kept(
        self,
        evaluation: Evaluation,
        entry: dict[str, Any],
        earlier: dict[str, Any],
        results: dict[str, Any],
    ) -> dict[str, Any] | None:
        """An earlier call's entry as this one keeps it, or None where it is of something else."""
        name, launch = evaluation.dataset, self.launch(evaluation, results["sha256"])
        if isinstance(launch, EvaluationRun):
            # By the name: the folders may have been moved, or copied.
            same = Path(entry.get("folder", "")).name == launch.output.name
            return {**entry, "folder": str(launch.output)} if same else None
        # Its data, or its list of boxes, are not given again.
        images = earlier["measured_on"].get(name)
        without_data = images is not None and name not in self.folders
        without_boxes = evaluation.takes_boxes and images == results["measured_on"].get(name)
        not_given = without_data or (without_boxes and "metrics" in entry)
        return entry if not_given or entry == {"skipped": launch} else None

    def evaluate(self, results: dict[str, Any]) -> None:
        """Add one evaluation after the other to ``results``, and write :data:`FILES`.

        Numbers and table are there after each evaluation, the plot at the end, whichever it is: it
        takes longer to draw than an evaluation takes that is reused.
        """
        try:
            self._evaluate(results)
        finally:
            if results["evaluations"]:
                plot(results, self.baseline, self.output / "results.png")

    def _evaluate(self, results: dict[str, Any]) -> None:
        file = self.output / "results.json"
        written, reported = _text(file), False
        bar_format = "{desc:<30}{percentage:3.0f}%|{bar}| {elapsed}"
        # disable=None: no bar where the output is not a terminal.
        with tqdm(total=len(self.evaluations), bar_format=bar_format, disable=None) as bar:
            for place, evaluation in enumerate(self.evaluations):
                bar.set_description_str(evaluation.config)
                launch = self.launch(evaluation, results["sha256"])
                if isinstance(launch, EvaluationRun):
                    bar.write(f"{evaluation.config}: {launch.output}/console.txt", file=sys.stderr)
                show = functools.partial(_show, bar, place)
                entry = _entry(launch, show)
                with alone_in(self.output):
                    if _text(file) != written:  # another running call has added to it
                        lost = self._keep_earlier(results)
                        if lost and not reported:  # once, however often both write
                            bar.write(lost, file=sys.stderr)
                            reported = True
                    before = results["evaluations"].get(evaluation.config, {})
                    if "skipped" in entry and "metrics" in before:  # of an earlier call
                        entry = before
                    done = {**results["evaluations"], evaluation.config: entry}
                    results["evaluations"] = {
                        e.config: done[e.config] for e in SUITES[self.suite] if e.config in done
                    }
                    save_json(file, results)
                    write_text(self.output / "results.md", markdown(results, self.baseline))
                    if not any(CURVES in e for e in results["evaluations"].values()):
                        # It shows what is no longer in the table.
                        (self.output / OCCLUSION_FILE).unlink(missing_ok=True)
                    written = _text(file)
                curves = results["evaluations"][evaluation.config].get(CURVES)
                if curves is not None:
                    plot_curves(curves, self.output / OCCLUSION_FILE)

    def launch(self, evaluation: Evaluation, digest: str) -> EvaluationRun | str:
        """How to run an evaluation, or why it is left out.

        Raises:
            ConfigError: its images are not there.
        """
        if evaluation.dataset not in self.folders:
            return "its data was not given"
        folder, key = self.folders[evaluation.dataset]
        data = [hydra_override("config.MSCN.DATA", folder)]
        splits = find_splits(folder, key, self.run.channels)
        place = folder, self.run.channels
        if place not in self.digests:
            self.digests[place] = splits_digest(splits)
        inputs = [self.digests[place]]
        if evaluation.takes_boxes:
            boxes = self.boxes or find_boxes(splits)
            if boxes is None:
                return f"{folder} has no list of boxes ({', '.join(BOX_LISTS)})"
            data.append(hydra_override("config.MSCN.BOXES", boxes))
            inputs.append(file_digest(boxes))
        inputs += map(file_digest, named_files(self.overrides))
        overrides = (*self.machine, *self.run.overrides(evaluation.config), *data, *self.overrides)
        slurm = slurm_overrides(self.partition)
        evaluation = evaluation.titled(subset_in(self.overrides))
        return EvaluationRun(evaluation, overrides, self.output, digest, slurm, tuple(inputs))

    @property
    def machine(self) -> list[str]:
        """Overrides that fit the paper's suite, which is made for clusters, to this machine."""
        if self.partition or self.suite != "paper":
            return []
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if not gpus:
            return ["+config/mscn/machine=cpu"]
        return [
            "+config/mscn/machine=gpu_1",
            f"config.DISTRIBUTED.NUM_PROC_PER_NODE={gpus}",
            f"config.DATA.TRAIN.BATCHSIZE_PER_REPLICA={max(2, _BATCH // gpus)}",
        ]


def choose(suite: str, names: Sequence[str] | None) -> list[Evaluation]:
    """The evaluations of a suite, or those that ``--only`` names."""
    configs = {evaluation.config: evaluation for evaluation in SUITES[suite]}
    for name in names or ():
        if name not in configs:
            raise ConfigError(f"--only {name}: the suite {suite} has {', '.join(configs)}")
    return [configs[name] for name in configs if not names or name in names]


def assumptions(run: PretrainingRun, evaluations: Sequence[Evaluation]) -> list[str]:
    """Warnings that images are prepared as the configs have it; none where the run's way is known.

    Without the run's configuration nothing but the filter is known of how images were processed.
    """
    if run.config is not None:
        return []
    configs = (composed(f"mscn/benchmark/{evaluation.config}") for evaluation in evaluations)
    prepared = dict.fromkeys(preprocessing_of(config, None).in_words() for config in configs)
    return [assumption(run.checkpoint, images) for images in prepared]


def data_folders(
    suite: str, named: Sequence[str], run: PretrainingRun
) -> dict[str, tuple[str, str]]:
    """The folder of each data set that is known, and what names it.

    Args:
        named: ``--data``, each a folder or ``<data set>=<folder>``.

    Raises:
        ConfigError: one of them is no folder, two are of one data set, or there is none.
    """
    datasets = dict.fromkeys(evaluation.dataset for evaluation in SUITES[suite])
    default = next(iter(datasets))
    folders = {}
    if run.data and suite == "quick" and not named:
        if run.data != PHOTOGRAPHS and not os.path.isabs(os.path.expanduser(run.data)):
            raise ConfigError(
                f"without --data the run's own config.MSCN.DATA is taken, which is {run.data!r}, "
                "seen from a folder that its version did not note: give --data"
            )
        folders[default] = run.data, "without --data the run's own config.MSCN.DATA is taken, which"
    for item in named:
        name, _, folder = item.partition("=")
        if name not in datasets:
            name, folder = default, item
            if "=" in item and not user_path(item).exists():
                raise ConfigError(
                    f"--data {item} names neither a folder nor a data set of the suite {suite}, "
                    f"which has {', '.join(datasets)}"
                )
        if folder != PHOTOGRAPHS:
            folder = str(user_path(folder).resolve())
        if folders.get(name, (folder,))[0] != folder:
            raise ConfigError(
                f"--data names two folders of {name}, {folders[name][0]!r} and {folder!r}; "
                "it must name one"
            )
        folders[name] = folder, "--data"
    if not folders:
        known = " ".join(f"{name}=<folder>" for name in datasets)
        raise ConfigError(
            "no data: give --data <folder with train/ and val/>"
            if suite == "quick"
            else f"no data: give --data with some of {known}"
        )
    return folders


def load_baseline(path: Path | None) -> dict[str, Any] | None:
    """What ``results.json`` of another checkpoint states about its evaluations and their images."""
    if path is None:
        return None
    file = path / "results.json" if path.is_dir() else path
    try:
        content = json.loads(file.read_text())
        evaluations = dict(content["evaluations"])
        settings = {key: content[key] for key in BASELINE_SETTINGS if key in content}
        return {"evaluations": evaluations, **settings}
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigError(f"--baseline {path}: not the results.json of an evaluation") from None


def _text(file: Path) -> str:
    return file.read_text() if file.is_file() else ""


def _show(bar: Any, before: int, done: float) -> None:
    if not bar.disable:
        bar.n = before + done
        bar.refresh()


def _entry(launch: EvaluationRun | str, progress: Callable[[float], None]) -> dict[str, Any]:
    """The entry of one evaluation in ``results.json``: its metrics or its error."""
    if isinstance(launch, str):
        progress(1.0)
        return {"skipped": launch}
    start = time.monotonic()
    entry: dict[str, Any] = {"folder": str(launch.output), "reused": False}
    try:
        entry["reused"] = launch.metrics() is not None
        entry["metrics"] = launch.run(progress)
        entry.update(launch.details())
    except (RunFailedError, OSError) as error:  # such as a folder of another owner: of this one
        entry["error"] = str(error)
        progress(1.0)
    entry["seconds"] = round(time.monotonic() - start, 1)
    return entry
