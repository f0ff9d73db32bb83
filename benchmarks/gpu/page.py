"""``gpu.md``: what was seen, as a page."""

from __future__ import annotations

import statistics
from typing import Any

from tabulate import tabulate

NOT_MEASURED = """\
- more than one GPU: gradients, SyncBN statistics, gathered embeddings and BYOL's target over NCCL
  between ranks (on CPUs they are tested with gloo); nodes, and SLURM with GPUs;
- training at ImageNet's length or batch: no accuracy of the paper was reproduced here;
- detection (detectron2) on a GPU;
- other cards."""


def table(rows: list[list[str]], headers: list[str]) -> str:
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return tabulate(escaped, headers, tablefmt="github", disable_numparse=True)


def page(results: dict[str, Any]) -> str:
    """The whole page, from what ``gpu.json`` holds."""
    steps = results["steps"]
    machine = "; ".join(f"{value}" for value in results["machine"].values())
    rows = [row for step in steps.values() for row in step["rows"]]
    checks = [row for row in rows if row["kind"] == "check"]
    failed = [row for row in checks if not row["passed"]]
    broken = {name: step for name, step in steps.items() if step["state"] != "done"}
    parts = [
        "# On a GPU",
        f"Written by `python -m benchmarks.gpu --device {results['device']}` "
        f"on {results['date']}. {machine}.",
        f"**{len(checks) - len(failed)} of {len(checks)} checks hold.** Of {len(steps)} steps, "
        f"{len(steps) - len(broken)} ran to their end.",
    ]
    if broken:
        parts.append(
            "\n".join(f"- step `{n}`: {s['state']}{_because(s)}" for n, s in broken.items())
        )
    parts += [results.get("note", ""), "## Checks"]
    for step in steps.values():
        of_step = [row for row in step["rows"] if row["kind"] == "check"]
        if of_step:
            parts += [f"### {step['title']}", step.get("note", ""), _checks(of_step)]
    parts.append("## Measurements")
    for step in steps.values():
        of_step = [row for row in step["rows"] if row["kind"] == "measurement"]
        if of_step:
            parts += [f"### {step['title']}", step.get("note", ""), _measurements(of_step)]
    parts += ["## Not measured", NOT_MEASURED]
    return "\n\n".join(part for part in parts if part) + "\n"


def _because(step: dict[str, Any]) -> str:
    return f": {step['error']}" if step.get("error") else ""


def _checks(rows: list[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        result = "passed" if row["passed"] else "**failed**"
        said = row["detail"] if row["passed"] else row["error"]
        lines.append([row["name"], result, said])
    return table(lines, ["check", "", "what was seen"])


def _measurements(rows: list[dict[str, Any]]) -> str:
    """One line for each quantity; rows named ``<quantity>: images`` and so on are its columns."""
    columns: list[str] = []
    beside: dict[str, dict[str, str]] = {}
    names = {row["name"] for row in rows}
    for row in rows:
        of, _, column = row["name"].rpartition(": ")
        if of in names and "error" not in row:
            median = f"{statistics.median(row['values']):.4g} {row['unit']}"
            beside.setdefault(of, {})[column] = median
            columns += [column] if column not in columns else []
    lines = []
    for row in rows:
        if row["name"].rpartition(": ")[0] in names:
            continue
        others = [beside.get(row["name"], {}).get(column, "") for column in columns]
        if "error" in row:
            lines.append([row["name"], f"**failed**: {row['error']}", "", *others, ""])
            continue
        values = row["values"]
        median = f"{statistics.median(values):.4g} {row['unit']}"
        spread = f"{min(values):.4g} to {max(values):.4g}" if len(values) > 1 else ""
        spread += f" ({len(values)})" if spread else ""
        against = f"{row['ratio']:.3g} of {row['against']}" if "ratio" in row else ""
        lines.append([row["name"], median, spread, *others, against])
    headers = ["", "median", "range (repeats)", *columns, "times as good"]
    if not any(line[-1] for line in lines):
        headers, lines = headers[:-1], [line[:-1] for line in lines]
    return table(lines, headers)
