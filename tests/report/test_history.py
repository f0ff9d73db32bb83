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


def test_an_accuracy_is_named_after_its_own_epoch(tmp_path):
    """Of the epochs behind a checkpoint none is taken, and a missing one is said."""
    from mscn_plugin.report.history import History
    from mscn_plugin.report.page import _accuracies

    write_lines(
        tmp_path / "metrics.json",
        *(
            {"train_phase_idx": epoch, "online_evaluation": {"knn": 10.0 + epoch}}
            for epoch in (-1, 0, 1, 3)
        ),
    )
    history = History.of(tmp_path)

    def title(epochs):
        return _accuracies({"MSCN": {}}, history, epochs)["accuracies"][0]["title"]

    assert title(4) == "pre-trained trunk, 4 epochs"
    assert title(3) == "pre-trained trunk, 2 epochs (this checkpoint, after 3, has none)"
    assert title(0) == "trunk before training, same input"
    assert title(None) == title(4)
