"""``python -m benchmarks.reliability [names]``: inject the faults, rewrite ``docs/reliability.*``.

Parts that are not named keep their rows from the last run. All of them take about 40 minutes on
two cores.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tabulate import tabulate

from benchmarks.harness import machine
from benchmarks.reliability import configs, fuzz, kills, processes, scripts, zoo
from benchmarks.reliability.runs import SETTINGS, write_images

PAGE = Path(__file__).with_name("page.md")
DOCS = Path(__file__).resolve().parents[2] / "docs"
AT_RANDOM = 16
IN_WRITES = 20
SCRIPT_RUNS = 2
SCRIPT_KILLS = 3
JOBS = 2


def random_kills(folder: Path, data: Path) -> list[dict[str, Any]]:
    def one(number: int) -> list[kills.Outcome]:
        setting = SETTINGS[number]
        place = folder / str(number)
        expected, length = kills.unbroken(setting, place / "unbroken", data)
        share = AT_RANDOM // len(SETTINGS) + (number < AT_RANDOM % len(SETTINGS))
        return kills.kill_at_random(setting, place, data, expected, length, share, seed=number)

    return _rows(one, range(len(SETTINGS)))


def write_kills(folder: Path, data: Path) -> list[dict[str, Any]]:
    chosen = [SETTINGS[1], SETTINGS[6]]

    def one(number: int) -> list[kills.Outcome]:
        setting, place = chosen[number], folder / str(number)
        expected, _ = kills.unbroken(setting, place / "unbroken", data)
        count = IN_WRITES // len(chosen)
        return kills.kill_in_writes(setting, place, data, expected, count, seed=number)

    return _rows(one, range(len(chosen)))


def evaluation_kills(folder: Path, data: Path) -> list[dict[str, Any]]:
    chosen = [SETTINGS[0], SETTINGS[7]]

    def one(number: int) -> list[kills.Outcome]:
        setting, place = chosen[number], folder / str(number)
        expected, _ = kills.unbroken(setting, place / "unbroken", data)
        return kills.kill_in_evaluations(setting, place, data, expected)

    return _rows(one, range(len(chosen)))


def script_kills(folder: Path, _: Path) -> list[dict[str, Any]]:
    images = folder / "images"
    write_images(images / "train")
    write_images(images / "val", 16)
    chosen = scripts.scripts(folder, images)

    def one(number: int) -> list[kills.Outcome]:
        place = folder / str(number)
        return scripts.kill_script(chosen[number], place, SCRIPT_RUNS, SCRIPT_KILLS, seed=number)

    return _rows(one, range(len(chosen)))


def damaged_files(folder: Path, data: Path) -> list[dict[str, Any]]:
    chosen = [SETTINGS[0], SETTINGS[7]]

    def one(number: int) -> list[kills.Outcome]:
        setting, place = chosen[number], folder / str(number)
        whole = place / "unbroken"
        expected, _ = kills.unbroken(setting, whole, data)
        return [
            kills.damage_newest(setting, place / str(i), data, whole, expected, how)
            for i, how in enumerate(kills.DAMAGES)
        ]

    return _rows(one, range(len(chosen)))


def _rows(one: Callable[[int], list[kills.Outcome]], numbers: Any) -> list[dict[str, Any]]:
    with ThreadPoolExecutor(JOBS) as jobs:
        return [outcome.row() for outcomes in jobs.map(one, numbers) for outcome in outcomes]


def bad_configurations(folder: Path, _: Path) -> list[dict[str, Any]]:
    return configs.check_all(folder / "run", write_images(folder / "images", 160))


def fuzzed_configurations(folder: Path, _: Path) -> list[dict[str, Any]]:
    """One row for each kind of change, and all those that went wrong."""
    rows = fuzz.run_all(write_images(folder / "images", 160))
    kinds = dict.fromkeys(row["what"].partition(":")[0] for row in rows)
    counted = []
    for kind in kinds:
        of_kind = [row for row in rows if row["what"].partition(":")[0] == kind]
        missed = [row for row in of_kind if not row["right"]]
        right = len(of_kind) - len(missed)
        counted.append({"what": kind, "tried": len(of_kind), "right": right, "wrong": missed})
    return counted


def bad_images(folder: Path, _: Path) -> list[dict[str, Any]]:
    cases = ((0, None), (2, None), (0, 0.1), (2, 0.1))
    return [zoo.train_on_zoo(folder / str(i), *case) for i, case in enumerate(cases)]


def agreement(folder: Path, data: Path) -> list[dict[str, Any]]:
    methods = ("simclr", "byol")
    return [processes.agreement(method, folder, data, (1, 2, 4)) for method in methods]


def interferences(folder: Path, data: Path) -> list[dict[str, Any]]:
    return processes.interferences(folder, data)


def full_disk(folder: Path, data: Path) -> list[dict[str, Any]]:
    return [processes.fill_disk(folder, data)]


PARTS = {
    part.__name__: part
    for part in (
        random_kills,
        write_kills,
        evaluation_kills,
        script_kills,
        damaged_files,
        bad_configurations,
        fuzzed_configurations,
        bad_images,
        agreement,
        interferences,
        full_disk,
    )
}


NAMES = {"fuzz": "fuzzed_configurations"}
SINCE = {
    "2026-11-26": {
        "crossing: another's key": "is counted as right: a change of the optimizer's name alone "
        "leaves such a key behind",
        "crossing: steps without values": "is refused: the values are VISSL's default",
        "crossing: a cosine from 0": "is refused by a message that names the key",
    }
}
"""What became of the changed configurations that the measurement of a day found not as promised."""


def summary(results: dict[str, Any]) -> str:
    """The page ``docs/reliability.md``."""
    rows = {name: result["rows"] for name, result in results.items()}
    lines: list[list[Any]] = []

    def add(what: str, done: Any, right: int, all_of: int) -> None:
        lines.append([what, done, f"{right} of {all_of}"])

    for name, what in (
        ("random_kills", "SIGKILL at a random moment between the first and the last checkpoint"),
        ("write_kills", "SIGKILL while a checkpoint is written"),
        ("evaluation_kills", "SIGKILL in an online evaluation, and in the writing of its line"),
        ("script_kills", "SIGKILL at a random moment behind the script's imports"),
        ("damaged_files", "newest file truncated, empty, a bit flipped, NaN, half a header"),
    ):
        for setting in dict.fromkeys(row["setting"] for row in rows.get(name, ())):
            runs = [row for row in rows[name] if row["setting"] == setting]
            met = sum(len(row["kills"]) for row in runs)
            survived = sum(row["survived"] for row in runs)
            add(what, f"{met} in {len(runs)} runs; {setting}", survived, len(runs))
    for name, what in (
        ("bad_configurations", "configuration that cannot run, or not as meant"),
        ("bad_images", "unreadable images, read on or stopped as configured"),
        ("agreement", "1, 2 and 4 processes train the same"),
        ("interferences", "signals, killed ranks, killed tool"),
        ("full_disk", "no room for a checkpoint"),
    ):
        if name in rows:
            right = sum(bool(row["right"]) for row in rows[name])
            add(what, f"{len(rows[name])}", right, len(rows[name]))
    for row in rows.get("fuzzed_configurations", ()):
        add(
            f"configuration changed by rule: {row['what']}",
            row["tried"],
            row["right"],
            row["tried"],
        )
    table = tabulate(lines, ["fault", "how often, where", "as promised"], tablefmt="github")
    ends = [
        [row["what"], row["code"], f"{row['seconds']:.1f} s", len(row["differing"])]
        for row in rows.get("interferences", ())
    ]
    agreements = [
        [
            row["method"],
            number,
            row["steps"],
            f"{apart['loss']:.1e}",
            f"{apart['weights'][0]:.1e}",
            f"{apart['weights'][-1]:.1e}",
        ]
        for row in rows.get("agreement", ())
        for number, apart in row["differences"].items()
    ]
    refused = [
        [row["what"], "`" + " ".join(row["overrides"]) + "`", row["said"]]
        for row in rows.get("bad_configurations", ())
    ]
    measured = results.get("fuzzed_configurations", {}).get("machine", {}).get("date")

    def since(row: dict[str, Any]) -> str:
        return SINCE.get(measured, {}).get(row["what"], "is open")

    missed = [
        [row["what"], f"`{' '.join(row['overrides'])}`", row["said"] or "nothing", since(row)]
        for kind in rows.get("fuzzed_configurations", ())
        for row in kind["wrong"]
    ]
    return PAGE.read_text().format(
        machines=_machines(results),
        table=table,
        missed=_missed(missed),
        ends=tabulate(
            ends,
            [
                "what was done",
                "exit code",
                "until nothing ran",
                "values that differ after a restart",
            ],
            tablefmt="github",
        ),
        agreements=tabulate(
            agreements,
            [
                "method",
                "processes",
                "steps",
                "loss, relative, worst step",
                "weights after the first step",
                "weights at the end",
            ],
            tablefmt="github",
        ),
        refused=tabulate(
            refused, ["what is wrong", "overrides", "what is said"], tablefmt="github"
        ),
    )


def _machines(results: dict[str, Any]) -> str:
    """A line for each machine and day, with the parts that were measured there."""
    parts: dict[str, list[str]] = {}
    for name, result in results.items():
        stated = ", ".join(f"{key} {value}" for key, value in result["machine"].items())
        parts.setdefault(stated, []).append(name)
    return "\n".join(f"- {', '.join(names)}: {stated}" for stated, names in parts.items())


def _missed(rows: list[list[str]]) -> str:
    """The changed configurations that were not as promised, and what became of them."""
    if not rows:
        return "All changed configurations were as promised."
    headers = ["changed configuration", "overrides", "what was said", "since then it"]
    return (
        "Changed configurations that were not as promised when this was measured:\n\n"
        + tabulate(rows, headers, tablefmt="github")
    )


def main() -> None:
    names = [NAMES.get(name, name) for name in sys.argv[1:]] or list(PARTS)
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        sys.exit(f"unknown: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    file = DOCS / "reliability.json"
    results = json.loads(file.read_text()) if file.is_file() else {}
    for name in names:
        start = time.monotonic()
        folder = Path(tempfile.mkdtemp(prefix="reliability-"))
        rows = PARTS[name](folder, write_images(folder / "data"))
        shutil.rmtree(folder, ignore_errors=True)
        # Places of this machine are nobody's business.
        rows = json.loads(
            json.dumps(rows).replace(str(folder), "...").replace(str(DOCS.parent), "...")
        )
        results[name] = {"rows": rows, "machine": machine()}
        results = {key: results[key] for key in PARTS if key in results}
        file.write_text(json.dumps(results, indent=1) + "\n")
        (DOCS / "reliability.md").write_text(summary(results))
        wrong = sum(
            len(row["wrong"]) if "wrong" in row else not row.get("right", row.get("survived"))
            for row in rows
        )
        print(f"{name}: {time.monotonic() - start:.0f} s, {wrong} not as promised", flush=True)


if __name__ == "__main__":
    main()
