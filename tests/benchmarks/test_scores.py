"""`make scores`: the split, podium's side on drawn images, the table, and the conversion of weights for fastai."""

import csv
import json

import numpy as np
import pytest
import yaml
from command_line import run_podium

from benchmarks import score_candidates, scores
from benchmarks.held_out import hold_out
from benchmarks.images import Source
from benchmarks.peers.fastai_fine_tune import timm_order

MEMBER = {
    "competition": "competition.yaml",
    "backbone": {"name": "SmallResNet", "weights": "none", "alpha": 0.25, "freeze_batchnorm": False},
    "stages": [
        {"name": "all", "unfreeze": "all", "epochs": 2, "batch_size": 16, "image_size": 32, "learning_rate": 0.005}
    ],
}


@pytest.fixture(scope="module")
def sixty(make_tiny_competition, tmp_path_factory):
    return make_tiny_competition(tmp_path_factory.mktemp("sixty"), train=60)


def test_a_stratified_tenth_is_no_training_image_of_anybody(sixty, tmp_path):
    held_out = hold_out(Source("cars", sixty.folder, sixty.competition), tmp_path)
    images = held_out.images
    with (images.folder / "train.csv").open(newline="") as file:
        rows = {row["Id"]: row["Category"] for row in csv.DictReader(file)}
    training, validation = (
        {path.name for path in part.rglob("*.jpg")} for part in (images.training, images.validation)
    )
    assert {path.name for path in held_out.test.iterdir()} == set(held_out.answers)
    assert not set(rows) & set(held_out.answers)
    assert (training | validation, training & validation) == (set(rows), set())
    assert (len(training), len(validation), len(held_out.answers)) == (43, 11, 6)
    assert set(held_out.answers.values()) == set("0123")
    assert hold_out(Source("cars", sixty.folder, sixty.competition), tmp_path) == held_out


def test_a_peer_has_a_row_for_each_way_of_predicting(sixty, tmp_path):
    held_out = hold_out(Source("cars", sixty.folder, sixty.competition), tmp_path)
    for name, wrong in (("plain", 3), ("flip", 0)):
        labels = [
            (id_, "none" if place < wrong else label) for place, (id_, label) in enumerate(held_out.answers.items())
        ]
        (tmp_path / f"{name}.csv").write_text("Id,Category\n" + "".join(f"{id_},{label}\n" for id_, label in labels))
    lines = [
        (30, "epoch 1/3 val_accuracy 0.5"),
        (60, "epoch 2/3 val_accuracy 0.92"),
        (90, "epoch 3/3 val_accuracy 0.91"),
    ]
    lines += [(90, "trained"), (96, "predicted plain"), (108, "predicted flip")]
    plain, flip = score_candidates.Process(lines, 110).rows("guide", tmp_path, held_out)
    assert (plain.held_out, plain.minutes, plain.minutes_to_target) == (0.5, 1.6, pytest.approx(1.1))
    assert (flip.held_out, flip.minutes, flip.validation) == (1.0, 1.7, 0.91)


@pytest.mark.slow
def test_podium_is_measured_once_and_written_with_its_estimates(sixty, tmp_path, capsys):
    for folder in ("configs", "weights"):
        (tmp_path / folder).mkdir()
    (tmp_path / "weights" / "mobilenet_v2_notop.h5").touch()
    members = {"a": MEMBER, "b": MEMBER | {"seed": 7}}
    for name, content in (members | {"two": {"members": ["a.yaml", "b.yaml"], "folds": [0]}}).items():
        (tmp_path / "configs" / f"{name}.yaml").write_text(yaml.safe_dump(content))
    places = {
        "data": sixty.folder,
        "competition": sixty.config,
        "weights": tmp_path / "weights",
        "work": tmp_path / "work",
    }
    options = [word for name, place in places.items() for word in (f"--{name}", str(place))]
    options += ["--configs", str(tmp_path / "configs"), "--out", str(tmp_path), "--only", "two"]
    scores.main(options)
    rows = json.loads((tmp_path / "scores.json").read_text())["rows"]
    assert [row["candidate"] for row in rows] == ["podium, two", "podium, two: a", "podium, two: b"]
    assert all(0 <= row["held_out"] <= 1 for row in rows)
    assert [row["nested"] is None for row in rows] == [False, True, True]
    page = (tmp_path / "scores.md").read_text()
    assert "| podium, two: b |" in page
    data = ["--competition", str(sixty.config), "--data", str(sixty.folder)]
    assert run_podium(tmp_path, "check", str(tmp_path / "answers" / "two.csv"), *data).code == 0
    scores.main(options)
    assert capsys.readouterr().out.count("running, output in") == 1
    assert json.loads((tmp_path / "scores.json").read_text())["rows"] == rows


def test_configs_of_podiums_candidates_are_valid_and_the_table_has_errors():
    assert score_candidates.ensembles(scores.ROOT / "benchmarks" / "members") == ["hour", "one"]
    row = {"candidate": "x", "held_out": 0.9, "minutes": 3.04, "validation": 0.8, "nested": [0.85, 0.01]}
    line = scores.table([row | {"minutes_to_target": None}], 100).splitlines()[-1]
    assert line == "| x | 0.9000 ± 0.0300 | 3.0 | 0.8000 | 0.8500 ± 0.0100 | – |"


def test_weights_for_fastai_are_in_the_order_of_the_network_with_channels_first():
    names = [*(f"mb_conv_block{end}" for end in ("_10", "", "_2")), "batch_normalization"]
    weights = {}
    kernels = {
        "conv2d": (3, 3, 3, 8),
        "depthwise_conv2d": (3, 3, 8, 1),
        "conv2d_1": (1, 1, 8, 4),
        "conv2d_2": (1, 1, 4, 16),
    }
    for block in names[:3]:
        of_block = {"conv1": (1, 1, 4, 24), "depthwise": (5, 5, 24, 1), "output_conv": (1, 1, 24, 4)}
        kernels |= {f"{block}/{name}": shape for name, shape in of_block.items()}
        names += [f"{block}/bn{number}" for number in (1, 2, 3)]
    names += [f"batch_normalization_{number}" for number in (1, 2, 3)]
    for layer in names[3:]:
        weights |= {f"layers/{layer}/vars/{number}": np.full(4, number) for number in range(4)}
    weights |= {f"layers/{layer}/vars/0": np.zeros(shape) for layer, shape in kernels.items()}
    weights["layers/mb_conv_block_2/conv1/vars/0"] += 2
    shapes = [array.shape for array in timm_order(weights)]
    assert shapes[:6] == [(8, 3, 3, 3), (4,), (4,), (4,), (4,), (8, 1, 3, 3)]
    assert shapes[-5:] == [(16, 4, 1, 1), (4,), (4,), (4,), (4,)]
    expanding = [array for array in timm_order(weights) if array.shape == (24, 4, 1, 1)]
    assert [array.max() for array in expanding] == [0, 2, 0]  # blocks 0, 2, 10
