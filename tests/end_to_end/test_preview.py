"""`podium data preview` shows the very images that a model is trained on."""

from pathlib import Path

import numpy as np
import pytest

from podium.reports import sheet
from podium.workflows import preview


@pytest.fixture
def drawn(monkeypatch):
    """The images and titles of every sheet."""
    sheets = []

    def remember(images, titles, columns=6):
        sheets.append((images, titles))
        return sheet.image_figure(images, titles, columns)

    monkeypatch.setattr(preview, "image_figure", remember)
    return sheets


def test_batch_draws_and_views_are_shown(podium, tiny_competition, drawn):
    member = tiny_competition.member(
        augmentation=["HorizontalFlip", {"Rotate": {"limit": 20, "p": 1}}], tta=["identity", {"scale": 1.2}]
    )
    ended = podium("data", "preview", member, "--data", tiny_competition.folder)
    assert (ended.code, ended.err) == (0, "")
    (batch, labels), (draws, _), (views, names) = drawn
    assert len(batch) == 8
    assert {image.shape for image in batch} == {(32, 32, 3)}
    assert set(labels) <= set(tiny_competition.competition.classes.values())
    assert len({image.tobytes() for image in draws}) > 5
    assert names == ["identity", "scale 1.2"]
    assert not np.array_equal(views[0], views[1])
    for name in ("batch.png", "augmentation.png", "views.png"):
        assert (Path("runs/preview/tiny") / name).read_bytes()[:4] == b"\x89PNG"


def test_mixed_images_have_the_shares_of_their_labels(podium, tiny_competition, drawn):
    stage = {
        "name": "all",
        "unfreeze": "all",
        "epochs": 2,
        "batch_size": 8,
        "image_size": 32,
        "learning_rate": 0.01,
        "mixup": 1.0,
    }
    assert (
        podium("data", "preview", tiny_competition.member(stages=[stage]), "--data", tiny_competition.folder).code == 0
    )
    titles = drawn[0][1]
    assert any("\n" in title and " 0." in title for title in titles)


def test_unknown_stage_is_one_line(podium, tiny_competition):
    ended = podium("data", "preview", tiny_competition.member(), "--stage", "head", "--data", tiny_competition.folder)
    assert (ended.code, ended.err) == (1, "podium: tiny has no stage head; expected one of all, or its number from 0\n")
