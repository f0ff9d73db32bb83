"""Spectrograms of recordings, and the table of all arms, on a few tones in place of digits."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "extra_scripts" / "spoken_digits.py"


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(SCRIPT))


def tone(frequency, seconds):
    samples = 8000 * np.sin(2 * np.pi * frequency * np.arange(int(8000 * seconds)) / 8000)
    return samples.astype(np.int16)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Two speakers of training, one of tuning and two held-out ones, who whistle."""
    folder = tmp_path_factory.mktemp("recordings")
    for speaker in ("anna", "bert", "nicolas", "theo", "yweweler"):
        for digit in range(10):
            for index in range(2):
                samples = tone(300 * (digit + 1), 0.3 + 0.1 * index)
                wavfile.write(folder / f"{digit}_{speaker}_{index}.wav", 8000, samples)
    return folder


def test_a_tone_is_a_line_in_its_band_between_silence(script):
    spectrogram = script["log_mel"](tone(1000, 0.3))
    assert spectrogram.shape == (40, 40)
    assert spectrogram.dtype == np.float32
    # 0.3 s are 17 windows of 32 ms, 16 ms apart, in the middle of 40.
    assert (spectrogram[:, :11] == -60).all()
    assert (spectrogram[:, 28:] == -60).all()
    loudest = spectrogram[:, 11:28].argmax(axis=0)
    mel = 2595 * np.log10(1 + np.array([1000, 4000]) / 700)
    assert set(loudest) == {39 - round(41 * mel[0] / mel[1] - 1)}
    assert spectrogram.max() == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("seconds", [0.04, 0.655, 2.0])
def test_every_recording_has_one_size_and_of_long_ones_the_middle_is_taken(script, seconds):
    samples = tone(500, seconds)
    samples[: len(samples) // 3] = 0
    spectrogram = script["log_mel"](samples)
    assert spectrogram.shape == (40, 40)
    if seconds == 2.0:
        assert spectrogram[:, 0].max() > -1  # silence is the first third
    assert np.isfinite(script["log_mel"](np.zeros(4000))).all()


def test_no_speaker_is_in_both_splits(script, recordings, tmp_path):
    def speakers(folder):
        return {
            split: {file.stem.split("_")[1] for file in (folder / split).glob("*/*.npy")}
            for split in ("train", "val")
        }

    script["write_arrays"](recordings, tmp_path / "all", tuning=False)
    assert speakers(tmp_path / "all") == {
        "train": {"anna", "bert", "nicolas"},
        "val": {"theo", "yweweler"},
    }
    assert len(list((tmp_path / "all" / "train" / "7").iterdir())) == 6
    script["write_arrays"](recordings, tmp_path / "tuning", tuning=True)
    assert speakers(tmp_path / "tuning") == {"train": {"anna", "bert"}, "val": {"nicolas"}}


def test_what_is_no_recording_is_refused(script, tmp_path):
    with pytest.raises(SystemExit, match="has no .wav files"):
        script["write_arrays"](tmp_path, tmp_path, tuning=False)
    wavfile.write(tmp_path / "3_anna_0.wav", 16000, tone(500, 0.3))
    with pytest.raises(SystemExit, match="must have one channel of 8000 samples per second"):
        script["write_arrays"](tmp_path, tmp_path / "arrays", tuning=False)


def test_arms_differ_in_crops_masks_and_filter(script, compose, recordings, tmp_path):
    import argparse

    from mscn_plugin.data.arrays import ArrayFormat
    from mscn_plugin.data.statistics import FILE, measure
    from mscn_plugin.files import save_json

    data = tmp_path / "arrays"
    script["write_arrays"](recordings, data, tuning=False)
    save_json(data / FILE, measure(str(data), ArrayFormat(1, "auto")))
    options = argparse.Namespace(epochs=3, seeds=[0], only=None, overrides=[])
    runs = script["pretraining_runs"](data, tmp_path, options, "digest")
    others = script["pretraining_runs"](data, tmp_path, options, "another digest")
    assert not {run.output for run in runs.values()} & {run.output for run in others.values()}
    few = "config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=8"
    seen = {}
    for (arm, _, _), run in runs.items():
        train = compose(f"config={run.config}", *run.overrides, few).DATA.TRAIN
        masks, crop = train.COLLATE_FUNCTION_PARAMS, train.TRANSFORMS[0]
        hides = bool(masks.ratio or masks.focal_probability)
        whole = crop["scale"] == [1, 1]
        seen[arm] = (not whole, hides, "band_probability" in masks, train.TRANSFORMS[2]["sigma"])
    assert seen == {
        f"{arm}{suffix}": (*what, sigma)
        for arm, what in {
            "crops": (True, False, False),
            "masks": (False, True, False),
            "crops_masks": (True, True, False),
            "crops_bands": (True, True, True),
        }.items()
        for suffix, sigma in (("", 0.9), ("_no_filter", 0))
    }


def test_other_recordings_and_tuning_are_no_earlier_calls_results(
    script, recordings, tmp_path, monkeypatch, script_signals
):
    """An output gave its first recordings' results for any others, and tuning replaced them."""
    main, planned, output = script["main"], [], tmp_path / "output"
    for name, fake in (("baselines", lambda *_: []), ("table", lambda _: "table")):
        monkeypatch.setitem(main.__globals__, name, fake)
    monkeypatch.setattr(
        "mscn_plugin.experiments.schedule.run_all",
        lambda runs, _: planned.append({run.output.name for run in runs}) or {},
    )

    def call(folder, *more):
        arguments = ["spoken_digits.py", folder, "--output", output, "--jobs", "1", *more]
        monkeypatch.setattr("sys.argv", list(map(str, arguments)))
        main()
        return {file.name for file in output.glob("*.json")}

    few = tmp_path / "few"
    few.mkdir()
    for file in recordings.glob("[01]_*_0.wav"):
        (few / file.name).write_bytes(file.read_bytes())
    assert call(few) == {"results.json"}
    assert call(few) == {"results.json"}
    assert planned[0] == planned[1]
    assert call(few, "--tuning") == {"results.json", "tuning_results.json"}
    refused = r"arrays is of other recordings than .*: name another --output"
    with pytest.raises(SystemExit, match=refused):
        call(recordings)
    changed = next(few.iterdir())
    changed.write_bytes(changed.with_name(f"0{changed.name[1:]}").read_bytes()[:-2] + b"xy")
    with pytest.raises(SystemExit, match=refused):
        call(few)
    assert len(planned) == 3
    output = tmp_path / "another"
    call(few)
    assert not planned[0] & planned[3]
    (output / "arrays" / "recordings.json").unlink()  # an earlier version's have none
    call(few)
    assert planned[3] == planned[4]
    (output / "arrays" / "recordings.json").unlink()
    changed.unlink()
    with pytest.raises(SystemExit, match=refused):
        call(few)


@pytest.mark.process
def test_one_call_writes_the_results_of_all_kinds(run_script, recordings, tmp_path, capsys):
    options = ["--output", tmp_path, "--seeds", 0, "--epochs", 1, "--jobs", 1]
    small = ["config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=8", "config.MODEL.TRUNK.SMALL_RESNET.WIDTH=4"]
    arms = ["--only", "crops_masks_no_filter"]
    run_script("spoken_digits.py", recordings, *options, *arms, "--overrides", *small)
    assert not (tmp_path / "results.json").exists()
    untrained, trained = json.loads((tmp_path / "results_of_some.json").read_text())
    assert untrained["experiment"] == "untrained_no_filter"
    assert untrained["metrics"]["kNN"] == trained["metrics"]["kNN, untrained"]
    assert "| crops, masks, no filter |" in capsys.readouterr().out


def test_unknown_arms_and_recordings_of_other_names_are_refused(
    run_script, recordings, tmp_path, capsys
):
    with pytest.raises(SystemExit):
        run_script("spoken_digits.py", recordings, "--output", tmp_path, "--only", "crops, masks")
    assert "choose from" in capsys.readouterr().err
    (tmp_path / "take two.wav").touch()
    with pytest.raises(SystemExit, match=r"take two.wav must be called <digit>_<speaker>_<index>"):
        run_script("spoken_digits.py", tmp_path, "--output", tmp_path)


def test_the_page_has_the_table_of_the_results(script):
    rows = json.loads((ROOT / "docs" / "results_spoken_digits.json").read_text())
    assert script["table"](rows) in (ROOT / "docs" / "beyond_photographs.md").read_text()


def test_a_supervised_network_has_the_same_size_and_accuracies(script):
    import torch

    torch.manual_seed(0)
    images, digits = torch.randn(64, 1, 40, 40), torch.arange(64) % 10
    metrics = script["supervised"]((images, digits), (images[:20], digits[:20]), seed=0, epochs=1)
    assert set(metrics) == {"kNN", "linear probe", "classifier"}
    rows = [
        {"experiment": "x", "title": "x", "seed": s, "paper": None, "metrics": metrics}
        for s in (0, 1)
    ]
    assert "x, by its own classifier: " in script["table"](rows)
