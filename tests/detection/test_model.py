import keras
import numpy as np
import pytest

from podium.detection.config import Anchors, DetectorSettings
from podium.detection.inference import BoxPredictor
from podium.detection.model import build_detector, plain_detector


def settings_of(name="SmallResNet", **changes):
    content = {
        "slug": "squares",
        "source": "yolo",
        "backbone": {"name": name, "weights": "none"},
        "head": {"layers": 1},
    }
    return DetectorSettings.model_validate(content | changes)


OTHERS = [("MobileNetV2", 96), ("ResNet50", 64), ("EfficientNetB0", 64), ("EfficientNetV2B0", 64)]
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("SmallResNet", 64),
        *(pytest.param(name, size, marks=pytest.mark.slow) for name, size in OTHERS),
    ],
)
def test_levels_have_strides_8_16_and_32(name, size):
    model = build_detector(settings_of(name), 2, size)
    shapes = [tuple(output.shape[1:3]) for output in model.features.outputs]
    assert shapes == [(size // 8,) * 2, (size // 16,) * 2, (size // 32,) * 2]


def test_every_position_has_an_anchor_per_scale_and_ratio():
    model = build_detector(settings_of(levels=5, anchors=Anchors(scales=2, ratios=[1.0])), 2, 64)
    places = 8 * 8 + 4 * 4 + 2 * 2
    answers = keras.ops.convert_to_numpy(model(np.zeros((1, 64, 64, 3), np.float32))["bbox_regression"])
    assert answers.shape == (1, 2 * places, 4)


def test_partial_batch_is_padded_and_each_image_gets_its_boxes():
    model = build_detector(settings_of(levels=5), 2, 64)
    model.classification_head.prediction_layer.bias.assign(
        np.tile(np.float32([12.0, -12.0]), model.anchor_generator.num_base_anchors)
    )
    find = BoxPredictor(model, 4, ["Red", "Blue"], "pad").predict_batch
    found = [*find(IMAGES[:4]), *find(IMAGES[4:])]
    assert len(found) == 5
    for boxes in found:
        assert boxes.shape[1] == 6
        assert (boxes[:, 4] == 0).all()  # the class whose bias says so
        assert (np.diff(boxes[:, 5]) <= 0).all()  # best first
        assert len(boxes) > 0
    alone = find(IMAGES[2:3])[0]
    np.testing.assert_allclose(alone, found[2], rtol=1e-4, atol=1e-3)


def test_weights_are_restored(tmp_path):
    one, other = (build_detector(settings_of(levels=5), 2, 64) for _ in range(2))
    plain_detector(one).save_weights(tmp_path / "w.weights.h5")
    plain_detector(other).load_weights(tmp_path / "w.weights.h5")
    mine, theirs = (keras.ops.convert_to_numpy(model(IMAGES[:1])["cls_logits"]) for model in (one, other))
    np.testing.assert_array_equal(mine, theirs)
