"""What is measured of images of unusual shapes."""

import numpy as np
import pytest

from podium.data import quality


@pytest.mark.parametrize("shape", [(600, 1, 3), (1, 2000, 3), (1, 1, 3), (700, 500, 8), (700, 500), (700, 500, 1)])
def test_images_of_any_shape_are_measured(shape):
    entry = np.zeros(1, quality.MEASUREMENT)[0]
    quality._measure_pixels(np.full(shape, 77, np.uint8), entry)
    assert entry["brightness"] == pytest.approx(77 / 255, abs=0.01)
