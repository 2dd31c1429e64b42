"""The rows that a member trains on beside those of the competition: where they come from, and how they are labelled."""

import shutil

import numpy as np
import pandas as pd
import pytest
from target_kinds import KINDS, draw_images, write_competition

from podium.config.extra import Extra
from podium.config.loading import load_competition
from podium.data.catalogue import read_catalogue
from podium.data.extra import check_images, read_extra
from podium.data.labelled import as_labels, join
from podium.data.targets import target_of
from podium.errors import ConfigError, DataError

ROWS = 5


@pytest.fixture
def drawn(tmp_path):
    """`drawn(kind)`: a competition of this kind, its data, and the names and colours of images in data/more."""

    def draw(kind):
        competition = load_competition(write_competition(tmp_path, kind, train=8, test=2))
        return competition, tmp_path / "data", *draw_images(tmp_path / "data" / "more", ROWS, seed=3)

    return draw


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_a_table_have_the_labels_of_its_columns(kind, drawn):
    competition, data, names, colours = drawn(kind)
    table = pd.DataFrame({"id": names, **KINDS[kind].columns(colours)})
    table.to_csv(data / "more.csv", index=False)
    images = read_extra(Extra(table="more.csv", images="more/{id}"), competition, data)
    target = target_of(competition)
    expected = target.truth(target.parse(table.astype(str), competition.train, data))
    np.testing.assert_array_equal(images.truth, expected)
    assert (images.labels, images.weights) == (None, None)
    assert [path.name for path in images.paths] == names


@pytest.mark.parametrize("kind", KINDS)
def test_columns_of_predictions_are_soft_labels(kind, drawn):
    competition, data, names, _ = drawn(kind)
    target = target_of(competition)
    labels = target.normalize(np.random.default_rng(0).random((ROWS, len(target.outputs))))
    table = pd.DataFrame(labels, columns=[f"p_{name}" for name in target.outputs])
    table.assign(id=names).to_csv(data / "soft.csv", index=False)
    images = read_extra(Extra(table="soft.csv", images="more/{id}", weight=0.5), competition, data)
    np.testing.assert_allclose(as_labels(target, images), labels, rtol=1e-6)
    assert images.weights.tolist() == [0.5] * ROWS
    if target.truth_is_class:
        nearest = labels.argmax(axis=1) if labels.shape[1] > 1 else labels[:, 0] > 0.5
        assert images.truth.tolist() == nearest.tolist()


def test_images_of_a_pattern_get_its_label(drawn):
    competition, data, names, _ = drawn("single_label")
    (data / "more" / "notes.txt").write_text("not an image")
    images = read_extra(Extra(images="more/*", label="green"), competition, data)
    assert [path.name for path in images.paths] == names
    assert images.truth.tolist() == [1] * ROWS
    words, data, *_ = drawn("words")
    assert read_extra(Extra(images="more/*", label="red blue"), words, data).truth.tolist() == [[1, 0, 1]] * ROWS
    one_hot, data, *_ = drawn("one_hot")
    assert read_extra(Extra(images="more/*", label="blue"), one_hot, data).truth.tolist() == [[0, 0, 1]] * ROWS


def test_joined_rows_keep_their_order_and_hard_labels_become_shares(drawn):
    competition, data, names, _ = drawn("single_label")
    target = target_of(competition)
    hard = read_extra(Extra(images=f"more/{names[0]}", label="blue"), competition, data)
    table = pd.DataFrame({"id": names[1:2], "p_red": 0.5, "p_green": 0.25, "p_blue": 0.25})
    table.to_csv(data / "soft.csv", index=False)
    soft = read_extra(Extra(table="soft.csv", images="more/{id}", weight=2.0), competition, data)
    assert join([hard, hard], target).labels is None  # no matrix of shares without need
    joined = join([hard, soft], target)
    assert [path.name for path in joined.paths] == names[:2]
    assert joined.labels.tolist() == [[0, 0, 1], [0.5, 0.25, 0.25]]
    assert joined.weights.tolist() == [1, 2]
    assert joined.take(np.array([1, 0, 1])).truth.tolist() == [0, 2, 0]


def test_extra_image_that_is_also_a_labelled_image_of_the_competition_is_refused(drawn):
    competition, data, names, _ = drawn("single_label")
    own = sorted((data / "train").iterdir())
    shutil.copyfile(own[3], data / "more" / names[2])
    images = read_extra(Extra(images="more/*", label="red"), competition, data)
    with pytest.raises(DataError, match=rf"1 images are also labelled images.*{names[2]}; remove them"):
        check_images(images, read_catalogue(own).digests, competition)


@pytest.mark.parametrize(
    ("settings", "content", "message"),
    [
        ({"table": "t.csv"}, "id,answer\n{0},mauve\n", r"not classes of the competition file: 'mauve' in line 2"),
        ({"table": "t.csv"}, "id,p_red,p_green,p_blue\n{0},1.5,0,0\n", r"p_red: '1.5' in line 2; expected a probab"),
        ({"table": "t.csv"}, "id,p_red,p_green\n{0},1,0\n", "has no column p_blue"),
        ({"table": "t.csv"}, "id,answer\nabsent.png,red\n", r"1 images listed in .*t\.csv do not exist"),
        ({"table": "u.csv"}, "", r"the table .*u\.csv does not exist"),
        ({"label": "red", "images": "none/*.jpg"}, "", r"no image matches .*none/\*\.jpg"),
        ({"label": "red", "images": "kaggle-dataset:ada/cars/*.jpg"}, "", "is not mounted: looked for"),
    ],
)
def test_a_source_that_cannot_be_read_is_one_line(settings, content, message, drawn):
    competition, data, names, _ = drawn("single_label")
    (data / "t.csv").write_text(content.format(*names))
    with pytest.raises(DataError, match=message) as error:
        read_extra(Extra(**{"images": "more/{id}", **settings}), competition, data)
    assert "\n" not in str(error.value)


def test_keys_that_do_not_fit_together_are_problems_of_the_config(drawn):
    with pytest.raises(ConfigError, match=r"(?s)one of the keys pseudo, table and label.*images: missing required key"):
        Extra(weight=2.0)
    with pytest.raises(ConfigError, match=r"expected a pattern with \{id\}"):
        Extra(table="more.csv", images="more/*.jpg")
    with pytest.raises(ConfigError, match="kaggle-dataset:<owner>/<slug>/<path>"):
        Extra(table="kaggle-dataset:more.csv", images="more/{id}")
    assert "did you mean 'green'" in Extra(images="*.jpg", label="gren").problems_with(drawn("single_label")[0])[0][1]
    assert "use a table" in Extra(images="*.jpg", label="3").problems_with(drawn("numbers")[0])[0][1]
