"""From an unusual layout of the data to a checked CSV."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml


def deepen(path, target):
    """A JPEG as a PNG with 12 bits in 16."""
    target.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(target), cv2.imread(str(path)).astype(np.uint16) * 16)
    path.unlink()


@pytest.mark.slow
def test_nested_12_bit_images_without_listed_classes(podium, tiny_competition):
    folder = tiny_competition.folder
    for path in sorted(folder.rglob("*.jpg")):
        nested = folder / "train" / path.parent.name / f"part{int(path.stem) % 2}"
        deepen(path, (folder / "test_upload" if path.parent.name == "test_upload" else nested) / f"{path.stem}.png")
    (folder / "train/0/Thumbs.db").write_text("system")
    text = (folder / "sample-submission.csv").read_text().replace(".jpg", "")
    (folder / "sample-submission.csv").unlink()
    (folder / "sample_submission.csv").write_text(text)
    tiny = tiny_competition.change(
        train={"images": "train/{label}/**/{id}"}, classes={}, intensity={"low": 0, "high": 4095}
    )
    ended = podium("run", tiny.ensemble([tiny.member()]), "--data", folder, "--dry-run")
    assert ended.code == 0, ended.err
    for line in (
        "24 images to train on, 8 to predict, 4 classes",
        "classes read from the data: 0, 1, 2, 3",
        "1 system files are ignored: Thumbs.db (1)",
        "24 images have more than 8 bits, scaled by intensity: 0-to-4095",
        "images test_upload/{id}: added the extension .png for 8 ids",
        "8 images have more than 8 bits, scaled by intensity: 0-to-4095",
    ):
        assert line in ended.out
    (config,) = Path("runs").glob("tiny-*/fold0/config.yaml")
    competition = yaml.safe_load(config.read_text())["competition"]
    assert competition["classes"] == {label: label for label in "0123"}
    assert competition["intensity"] == {"low": 0.0, "high": 4095.0}
    (submission,) = Path("submissions").glob("*.csv")
    checked = podium("check", submission, "--competition", tiny.config, "--data", folder)
    assert "0024" in submission.read_text()
    assert not any("label" in line for line in checked.err.splitlines()), checked.err
