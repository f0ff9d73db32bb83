"""Differences between experiments, seed by seed."""

from __future__ import annotations

import pytest

from mscn_plugin.experiments.differences import difference_table


def row(experiment, seed, knn, probe, **evaluations):
    return {
        "suite": "s",
        "experiment": experiment,
        "title": f"arm {experiment}",
        "seed": seed,
        "metrics": {"kNN": knn, "linear probe": probe, "kNN, untrained": 1.0 + seed},
        "evaluations": {name: {"metrics": numbers} for name, numbers in evaluations.items()},
    }


def cells(table):
    lines = [[c.strip() for c in line.strip("|").split("|")] for line in table.splitlines()]
    return [lines[0], *lines[2:]]


def test_differences_are_of_the_seeds_that_both_have():
    # The seeds lie far apart, and the differences close together: 1, 1.2, 0.8.
    rows = [row("a", seed, knn, 7.0, few={"1%": 3.0}) for seed, knn in enumerate((10, 20, 30, 99))]
    rows += [
        row("b", 0, 11.0, 7.0, few={"1%": 3.0}),
        row("b", 1, 21.2, 6.0, few={"1%": 3.0}),
        row("b", 2, 30.8, 8.0, few={"1%": 3.0}),
        row("c", 3, 98.96, 7.5, few={"1%": 3.0}),
        row("d", 7, 98.0, 7.5),
    ]
    assert cells(difference_table(rows, "a")) == [
        ["difference to arm a", "arm b, seeds: 3", "arm c, seeds: 1"],
        ["kNN", "**+1.0 ± 0.5**", "0.0"],  # 4.303 * 0.2 / sqrt(3); -0.04
        ["online probe", "0.0 ± 2.5", "+0.5"],  # few, the same everywhere, is left out
    ]


def test_an_experiment_by_its_title():
    rows = [row("a", 0, 1.0, 1.0), row("b", 0, 2.0, 1.0)]
    assert difference_table(rows, "arm a") == difference_table(rows, "a")


def test_an_evaluation_that_one_run_lacks():
    rows = [row("a", 0, 1.0, 1.0, few={"1%": 3.0}), row("a", 1, 1.0, 1.0)]
    rows += [row("b", seed, 2.0, 1.0, few={"1%": 5.0}) for seed in range(2)]
    assert cells(difference_table(rows, "a"))[2:] == [["1%", "+2.0 (1 seed)"]]
    rows += [row(name, 2, 1.0, 1.0, few={"1%": 3.0}) for name in "ab"]
    table = difference_table(rows, "a")
    assert cells(table)[0] == ["difference to arm a", "arm b, seeds: 3"]
    assert cells(table)[2:] == [["1%", "+1.0 ± 12.7 (2 seeds)"]]


@pytest.mark.parametrize("against", ["b", "a"])
def test_no_table_without_a_seed_of_both(against):
    assert difference_table([row("a", 0, 1.0, 1.0)], against) is None
    failed = row("a", 0, 1.0, 1.0) | {"error": "no"}
    assert difference_table([failed, row("b", 0, 1.0, 1.0)], against) is None
