"""``python -m benchmarks [names]``: run the benchmarks and rewrite ``docs/benchmarks.*``.

Each benchmark runs in a process of its own, one after the other; give the machine nothing else to
do. Benchmarks that are not named keep their rows from the last run.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tabulate import tabulate

from benchmarks import cost_model
from benchmarks.harness import machine

DOCS = Path(__file__).resolve().parent.parent / "docs"
NAMES = ("masking", "augmentations", "peers", "loader", "step", "loss", "model", "startup")


def run(name: str) -> dict[str, Any]:
    """Run one benchmark; returns its rows and the machine."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.json"
        command = [sys.executable, "-W", "ignore", "-m", f"benchmarks.{name}", str(path)]
        # One thread each, so that a row says what a core can do.
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run(command, check=True, env=env, stdout=subprocess.DEVNULL)
        rows = json.loads(path.read_text())
    print(f"{name}: {time.perf_counter() - start:.0f} s")
    return {"rows": rows, "machine": machine()}


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as markdown: median, quartiles, ratio."""
    lines, seen = [], set()
    for row in rows:
        values = sorted(row["values"])
        median = f"{statistics.median(values):.4g} {row['unit']}" if row["what"] not in seen else ""
        spread = ""
        if median and len(values) > 2:
            low, _, high = statistics.quantiles(values, n=4, method="inclusive")
            spread = f"{low:.4g} to {high:.4g}"
        ratio = f"{row['ratio']:.2f}" if row["ratio"] else ""
        asked = f"{row['target']:.2f}" if row["target"] else ""
        if row["target"] and row["ratio"] and row["ratio"] < row["target"]:
            asked += ", missed"
        what = row["what"] if row["what"] not in seen else ""
        lines.append([what, median, spread, row["against"] or "", ratio, asked])
        seen.add(row["what"])
    headers = ["", "median", "quartiles", "against", "times better", "target"]
    return tabulate(lines, headers, tablefmt="github", disable_numparse=True)


def write_markdown(results: dict[str, Any]) -> None:
    parts = [
        "# Benchmarks",
        "Written by `make benchmarks`. Medians over several repeats, the alternatives in turn; "
        '"times better" is faster, more, or smaller; "target" is what that ratio was to reach, '
        "set before it was measured. All on a CPU; [gpu.md](gpu.md) has a GPU.",
    ]
    for name in NAMES:
        if name in results:
            module = __import__(f"benchmarks.{name}", fromlist=["__doc__"])
            parts += [f"## {name}", (module.__doc__ or "").strip(), table(results[name]["rows"])]
            if name == "peers":
                parts.append("![Images per second of one core](images_per_second.png)")
            parts.append("; ".join(results[name]["machine"].values()) + ".")
    (DOCS / "benchmarks.md").write_text("\n\n".join(parts) + "\n")


def draw(results: dict[str, Any]) -> None:
    """The ratios that have a target, as bars."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = [row for name in NAMES for row in results.get(name, {}).get("rows", [])]
    rows = [row for row in rows if row["target"]][::-1]
    figure, axes = plt.subplots(figsize=(10, 0.42 * len(rows) + 1), constrained_layout=True)
    labels = [f"{row['what']}\nagainst {row['against']}" for row in rows]
    bars = axes.barh(labels, [row["ratio"] for row in rows], color="#4878a8", height=0.6)
    axes.bar_label(bars, fmt="%.3gx", padding=3, fontsize=8)
    for place, row in enumerate(rows):
        axes.plot([row["target"]] * 2, [place - 0.3, place + 0.3], color="#d95f02", linewidth=2)
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.tick_params(axis="y", labelsize=6.5)
    axes.set_xlabel("times better (orange: target)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.12)
    figure.savefig(DOCS / "benchmarks.png", dpi=120)


def draw_peers(rows: list[dict[str, Any]]) -> None:
    """Images per second of one core, the quickest at the top."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    medians = {row["what"]: statistics.median(row["values"]) for row in rows}
    names = sorted(medians, key=lambda name: medians[name])
    colors = ["#d95f02" if name.startswith("MSCN") else "#4878a8" for name in names]
    figure, axes = plt.subplots(figsize=(9, 0.4 * len(names) + 1), constrained_layout=True)
    bars = axes.barh(names, [medians[name] for name in names], color=colors, height=0.65)
    axes.bar_label(bars, fmt="%.0f", padding=3)
    axes.set_xlabel("images/s of one core")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.1)
    figure.savefig(DOCS / "images_per_second.png", dpi=120)


def main(names: list[str]) -> None:
    path = DOCS / "benchmarks.json"
    results = json.loads(path.read_text()) if path.is_file() else {}
    for name in names or NAMES:
        results[name] = run(name)
        path.write_text(json.dumps(results, indent=1) + "\n")
    write_markdown(results)
    draw(results)
    if "peers" in results:
        draw_peers(results["peers"]["rows"])
    if {"loader", "peers"} <= set(results):
        cost_model.main(results, DOCS / "cost_model.md")
    print(f"written: {path}, benchmarks.md, benchmarks.png")


if __name__ == "__main__":
    main(sys.argv[1:])
