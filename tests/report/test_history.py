from __future__ import annotations

from run_folders import write_lines


def test_lines_that_a_resumed_run_wrote_again_count_once(tmp_path):
    from mscn_plugin.report.history import History

    write_lines(
        tmp_path / "stdout.json",
        {"ep": 0, "iter": 0, "max_iterations": 9},
        {"iter": 0, "loss": 3.0, "lr": 0.1},
        {"iter": 5, "loss": 2.0, "lr": 0.1},
        {"iter": 0, "loss": 3.0, "lr": 0.2},
        {"iter": 5, "loss": 1.0, "lr": 0.2},
    )
    with (tmp_path / "stdout.json").open("a") as stream:
        stream.write('{"iter": 9, "lo')
    history = History.of(tmp_path)
    assert [(line["iter"], line["loss"]) for line in history.steps] == [(0, 3.0), (5, 1.0)]
    assert history.evaluations == history.statistics == []
