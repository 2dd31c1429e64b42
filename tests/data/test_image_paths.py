import pickle
from pathlib import Path

import numpy as np
import pytest

from podium.data.image_paths import ImagePaths

ROOT = Path("/data/train")
NAMES = ["Audi/1.jpg", "Audi/2.jpg", "BMW/1.jpg", "film/BMW/ä.jpg", "7.jpg"]
PATHS = [ROOT / name for name in NAMES]


def test_image_paths_are_a_sequence_of_paths():
    paths = ImagePaths.of(NAMES, ROOT)
    assert list(paths) == PATHS
    assert [paths[row] for row in range(-5, 5)] == PATHS + PATHS
    assert [paths.text(row) for row in range(5)] == list(map(str, PATHS))
    with pytest.raises(IndexError):
        paths[5]
    assert list(ImagePaths.of([])) == []


def test_slices_and_selections_are_image_paths():
    paths = ImagePaths.of(PATHS)
    assert isinstance(paths[1:3], ImagePaths)
    assert list(paths[1:3]) == PATHS[1:3]
    assert list(paths.take(np.array([4, -1, 0]))) == [PATHS[4], None, PATHS[0]]
    assert list(paths[np.array([True, False, False, False, True])]) == [PATHS[0], PATHS[4]]
    assert list(pickle.loads(pickle.dumps(paths[1:]))) == PATHS[1:]


def test_image_paths_can_be_joined():
    other = [Path("/more/1.jpg"), ROOT / "Audi/1.jpg"]
    assert list(ImagePaths.join([ImagePaths.of(other), ImagePaths.of(PATHS), ImagePaths.of([])])) == other + PATHS


@pytest.mark.parametrize("name", ["a//b.jpg", "./a.jpg", "a/./b.jpg", "a/", "a/.", "a/b/"])
def test_image_paths_are_normalised_as_pathlib_does(name):
    assert list(ImagePaths.of([name], ROOT)) == [ROOT / name]
    assert ImagePaths.of([name], ROOT).text(0) == str(ROOT / name)


def test_a_file_name_may_be_invalid_unicode():
    odd = ROOT / b"\xff.jpg".decode("utf-8", "surrogateescape")
    assert list(ImagePaths.of([odd])) == [odd]


def test_images_are_grouped_by_folder():
    paths = ImagePaths.of([PATHS[2], PATHS[0], PATHS[3], PATHS[1]])
    found = {folder: positions.tolist() for folder, positions in paths.by_folder()}
    assert found == {str(ROOT / "Audi"): [1, 3], str(ROOT / "BMW"): [0], str(ROOT / "film/BMW"): [2]}
