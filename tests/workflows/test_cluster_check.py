"""Measurements of images that were made on a cluster."""

import numpy as np
import pytest

from podium.cluster.storage import Storage
from podium.data.quality import MEASUREMENT
from podium.errors import RunError
from podium.workflows.cluster_check import FILE, fetch_measurements


def stored(tmp_path, write):
    made = tmp_path / "made"
    made.mkdir()
    with (made / FILE).open("wb") as file:
        write(file)
    storage = Storage(str(tmp_path / "storage"))
    storage.push(made, "check-1")
    return storage


def test_measurements_are_fetched(tmp_path):
    measured = np.zeros(3, MEASUREMENT)
    measured["width"] = 7
    storage = stored(tmp_path, lambda file: np.save(file, measured))
    np.testing.assert_array_equal(fetch_measurements(storage, "check-1", 3, tmp_path / "here"), measured)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda file: file.write(b"garbage"), "not a complete array"),
        (lambda file: np.save(file, np.zeros(3)), "no measurements of this version of podium, but float64"),
        (lambda file: np.save(file, np.zeros(2, MEASUREMENT)), "2 images instead of 3"),
        (lambda file: np.savez(file, np.zeros(3, MEASUREMENT)), "a zip of arrays"),
    ],
)
def test_damaged_measurements_are_an_error_and_measured_again_next_time(write, message, tmp_path):
    storage = stored(tmp_path, write)
    with pytest.raises(RunError, match=rf"damaged measurements \(.*{message}.*run the same command again"):
        fetch_measurements(storage, "check-1", 3, tmp_path / "here")
    assert not (tmp_path / "storage" / "check-1").exists()
