"""Experiments as runs of VISSL's tool, several at a time, and the rows of their results."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mscn_plugin.config.composed import composed
from mscn_plugin.config.hydra_overrides import hydra_override, named_files, slurm_overrides
from mscn_plugin.errors import ConfigError
from mscn_plugin.evaluation.evaluation_run import EvaluationRun
from mscn_plugin.evaluation.pretraining_run import PretrainingRun
from mscn_plugin.evaluation.suite_run import SuiteRun, choose, data_folders
from mscn_plugin.experiments.definitions import SUITES, Experiment
from mscn_plugin.experiments.results import comparable
from mscn_plugin.experiments.runs import ExperimentRun
from mscn_plugin.experiments.scales import SCALES, config_of
from mscn_plugin.files import file_digest
from mscn_plugin.runs.launch import RunFailedError, StoppedError, ToolRun

_DATA = "config.MSCN.DATA"
_OF_EVERY_ROW = {"suite": str, "experiment": str, "title": str, "seed": int, "given": list}
_POLL_SECONDS = 0.5
_BAR = "{percentage:3.0f}%|{bar}| {n:.1f}/{total} runs [{elapsed}<{remaining}]"


@dataclasses.dataclass(frozen=True)
class Planned:
    """One experiment of a suite with one seed, and its run, which suites may share."""

    suite: str
    experiment: Experiment
    seed: int
    run: ExperimentRun


@dataclasses.dataclass(frozen=True)
class Schedule:
    """What is common to all runs of one call.

    Attributes:
        scale: a key of :data:`SCALES`.
        folder: of all runs of the scale, and of their results.
        data: a folder of images, or None for the scale's own.
        overrides: of the user's, for VISSL.
        partition: of SLURM, or None to run here.
        evaluations: names of the quick suite's, of every finished run.
        images: digest of the images of ``data``, by which rows of other folders of its name are
            told apart.
    """

    scale: str
    folder: Path
    data: Path | None = None
    overrides: Sequence[str] = ()
    partition: str | None = None
    evaluations: Sequence[str] = ()
    images: str | None = None

    def plan(
        self, suites: Sequence[str], names: Sequence[str] | None, seeds: Sequence[int]
    ) -> list[Planned]:
        """All experiments of ``suites``, or those of ``names``, with each seed.

        Raises:
            ConfigError: there are none of these names.
        """
        chosen = [
            (suite, experiment)
            for suite in suites
            for experiment in SUITES[suite]
            if names is None or experiment.name in names
        ]
        known = {experiment.name for _, experiment in chosen}
        unknown = [name for name in names or () if name not in known]
        if unknown or not chosen:
            every = sorted({experiment.name for suite in suites for experiment in SUITES[suite]})
            raise ConfigError(
                f"--only {' '.join(unknown)}: none of {', '.join(suites)}, which has "
                f"{', '.join(every)}"
            )
        used = {config_of(experiment) for _, experiment in chosen}
        configs = {name: composed(name) for name in used}
        return [
            Planned(suite, experiment, seed, self._run(experiment, seed, configs))
            for seed in dict.fromkeys(seeds)
            for suite, experiment in chosen
        ]

    def _run(self, experiment: Experiment, seed: int, configs: dict[str, Any]) -> ExperimentRun:
        config = config_of(experiment)
        data = [hydra_override(_DATA, self.data.resolve())] if self.data else []
        overrides = SCALES[self.scale].overrides(experiment, configs[config], seed)
        return ExperimentRun(
            name=f"{experiment.config}-seed{seed}",
            folder=self.folder,
            config=config,
            overrides=(*overrides, *data, *self.overrides),
            slurm=slurm_overrides(self.partition),
            images=self.images,
            files=self._files,
        )

    @functools.cached_property
    def _files(self) -> tuple[str, ...]:
        """Digests of the files that :attr:`overrides` name, whose content decides as well."""
        return tuple(map(file_digest, named_files(self.overrides)))

    def evaluate(self, outcomes: dict[Path, dict[str, Any]], jobs: int) -> None:
        """Add :attr:`evaluations` to the outcome of every run that has a result."""
        if not self.evaluations:
            return
        digests: dict[tuple[str, int | None], str] = {}
        if self.data and self.images:  # hashed already
            digests[str(self.data.resolve()), None] = self.images
        launches = {}
        for folder, outcome in outcomes.items():
            if "metrics" not in outcome:
                continue
            try:
                launches[folder] = list(self._launches(folder, digests))
            except (ConfigError, OSError) as error:  # of one run, whose files are gone; not of all
                outcome["evaluations"] = {name: {"error": str(error)} for name in self.evaluations}
        done = run_all([launch for of_run in launches.values() for launch in of_run], jobs)
        for folder, of_run in launches.items():
            outcomes[folder]["evaluations"] = {
                launch.evaluation.config: done[launch.output]
                for launch in of_run
                if launch.output in done
            }

    def _launches(
        self, folder: Path, digests: dict[tuple[str, int | None], str]
    ) -> Iterator[EvaluationRun]:
        """The evaluations of a run, where ``mscn evaluate`` has them; ``digests`` is added to."""
        run = PretrainingRun.of(folder)
        suite = SuiteRun(
            run=run,
            suite="quick",
            evaluations=choose("quick", self.evaluations),
            folders=data_folders("quick", (), run),
            output=folder / "evaluation",
            partition=self.partition,
            digests=digests,
        )
        digest = file_digest(run.checkpoint)
        for evaluation in suite.evaluations:
            launch = suite.launch(evaluation, digest)
            if isinstance(launch, str):
                print(f"{folder.name}, {evaluation.config}: left out: {launch}", file=sys.stderr)
            else:
                yield launch

    def rows(
        self, planned: Iterable[Planned], outcomes: dict[Path, dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """The rows of ``results.json``: of each run what it is, and its outcome."""
        return [
            {
                "suite": plan.suite,
                "experiment": plan.experiment.name,
                "title": plan.experiment.title,
                "seed": plan.seed,
                "paper": plan.experiment.paper,
                "data": self.data.resolve().name if self.data else None,
                "images": self.images,
                "files": self._files,
                "given": self.overrides,
                "config": plan.run.config,
                # The place of the data means nothing elsewhere.
                "overrides": [o for o in plan.run.overrides if not o.startswith(f"{_DATA}=")],
                "folder": plan.run.output.name,
                **outcomes[plan.run.output],
            }
            for plan in planned
            if plan.run.output in outcomes
        ]

    @property
    def _results(self) -> Path:
        return self.folder / "results.json"

    def read_rows(self) -> list[dict[str, Any]]:
        """The rows that an earlier call has left, or none.

        Raises:
            ConfigError: the file holds something else.
        """
        file = self._results
        try:
            rows = json.loads(file.read_text())
        except FileNotFoundError:
            return []
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigError(f"{file} holds no results ({error})") from None
        if not isinstance(rows, list) or not all(map(_is_row, rows)):
            raise ConfigError(
                f"{file} holds no results of mscn experiments; move it away, or set --output"
            )
        return rows

    def earlier_rows(self, new: Sequence[dict[str, Any]] = ()) -> list[dict[str, Any]]:
        """:meth:`read_rows`, less those that cannot stand beside ``new``; stderr says how many."""
        rows = self.read_rows()
        known = [row for row in rows if _is_known(row)]
        same = comparable(known, list(new)) if new else known
        for kept, before, why in (
            (known, rows, "of experiments that this version does not have"),
            (same, known, "of other data or overrides; --output keeps them apart"),
        ):
            if len(kept) < len(before):
                number = len(before) - len(kept)
                print(f"{self._results}: left out: {number} rows {why}", file=sys.stderr)
        return same


def _is_row(row: Any) -> bool:
    """Whether something has what all rows have, of whatever version."""
    return (
        isinstance(row, dict)
        and all(isinstance(row.get(key), kind) for key, kind in _OF_EVERY_ROW.items())
        and {"paper", "data"} <= row.keys()
        and isinstance(row.get("metrics", {}), dict)
        and isinstance(row.get("overrides", []), list)
    )


def _is_known(row: dict[str, Any]) -> bool:
    experiments = SUITES.get(row["suite"], [])
    return any(experiment.name == row["experiment"] for experiment in experiments)


def run_all(runs: Iterable[ToolRun], jobs: int) -> dict[Path, dict[str, Any]]:
    """The outcome of every run by its folder; none of those that a signal has stopped."""
    by_folder = {run.output: run for run in runs}
    # disable=None: no bar where the output is not a terminal.
    with (
        ThreadPoolExecutor(jobs) as executor,
        tqdm(total=len(by_folder), disable=None, bar_format=_BAR) as bar,
    ):
        futures = {output: executor.submit(_outcome, run, bar) for output, run in by_folder.items()}
        outcomes = {}
        for output, future in futures.items():
            while not future.done():  # Python heeds a signal that another thread got here alone
                wait([future], timeout=_POLL_SECONDS)
            with contextlib.suppress(StoppedError):
                outcomes[output] = future.result()
    return outcomes


def _outcome(run: ToolRun, bar: Any) -> dict[str, Any]:
    """The metrics of a run, or its error; ``bar`` counts runs, begun ones by their part."""
    shown = 0.0

    def progress(done: float) -> None:
        nonlocal shown
        bar.update(done - shown)
        shown = done

    outcome: dict[str, Any]
    try:
        outcome = {"metrics": run.run(progress), **run.details()}
        said = ", ".join(f"{title} {value:.1f}" for title, value in outcome["metrics"].items())
    except (RunFailedError, OSError) as error:  # such as a folder of another owner: of one run
        progress(1.0)
        said = str(error)
        outcome = {"error": said}
    bar.write(f"{_name(run)}: {said}", file=sys.stderr)
    return outcome


def _name(run: ToolRun) -> str:
    """A run's folder; of an evaluation, which is in its run's, both."""
    own: str = run.output.name
    return f"{run.output.parents[1].name}, {own}" if isinstance(run, EvaluationRun) else own
