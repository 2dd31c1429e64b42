"""Where a model looks."""

import numpy as np
import pytest
from tiny_presets import SIDE, save_tiny

from podium.config.member import MemberSettings
from podium.data.targets import SingleLabelTarget
from podium.inference.explain import Explainer
from podium.models.classifier import build_classifier


@pytest.mark.parametrize("pooling", ["token", "avg"])
def test_heat_of_a_preset_of_patches(pooling, tmp_path):
    content = {
        "competition": "-",
        "backbone": {"preset": str(save_tiny("DINOV2", tmp_path / "preset"))},
        "head": {"pooling": pooling},
        "stages": [{"name": "all", "unfreeze": "all", "epochs": 1, "batch_size": 4, "image_size": SIDE,
                    "learning_rate": 1e-3}],
    }  # fmt: skip
    model = build_classifier(MemberSettings.model_validate(content), SingleLabelTarget(list("abc")), SIDE)
    images = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)
    heat = Explainer(model).heat(images, [0, 2])
    assert heat.shape == (2, SIDE, SIDE)
    assert heat.min() >= 0
    assert heat.max() == 1
