"""fastai's fine_tune, as its course teaches it, with the weights of a KerasHub preset of EfficientNet-Lite0.

It runs in a virtual environment of its own: python -m venv VENV; VENV/bin/pip install fastai timm h5py. Images are
squashed as in the first lesson, and scaled as the preset says: (pixel - 127) / 128.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.progress import print_epoch, print_trained, write_answers

BATCH_SIZE = 32
ARCHITECTURE = "tf_efficientnet_lite0"
MEAN, DEVIATION = [127 / 255] * 3, [128 / 255] * 3
STEM = ("conv2d", "batch_normalization")
FIRST_BLOCK = ("depthwise_conv2d", "batch_normalization_1", "conv2d_1", "batch_normalization_2")
BLOCK = ("conv1", "bn1", "depthwise", "bn2", "output_conv", "bn3")
LAST = ("conv2d_2", "batch_normalization_3")


def timm_order(weights: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The arrays of a preset's model.weights.h5, by path, in the order and layout of timm's state_dict.

    Both have the layers in the order of the network. BatchNormalization has gamma, beta, mean and variance in both.
    """
    names = {match[1] for path in weights if (match := re.match(r"layers/(mb_conv_block\w*)/", path))}
    blocks = sorted(names, key=lambda name: int(name.removeprefix("mb_conv_block").lstrip("_") or 0))
    layers = [*STEM, *FIRST_BLOCK, *(f"{block}/{layer}" for block in blocks for layer in BLOCK), *LAST]
    arrays = []
    for layer in layers:
        for path in (f"layers/{layer}/vars/{number}" for number in range(4)):
            if path in weights:
                array = weights[path]
                if array.ndim == 4:  # height, width, input, output; of a depthwise kernel height, width, channels, 1
                    array = array.transpose((2, 3, 0, 1) if "depthwise" in layer else (3, 2, 0, 1))
                arrays.append(array)
    return arrays


def load_preset(model: Any, preset: Path) -> None:
    """Into a model of timm without its last layer."""
    import h5py
    import torch

    weights: dict[str, np.ndarray] = {}
    with h5py.File(preset / "model.weights.h5") as file:
        file.visititems(lambda path, item: weights.update({path: item[()]}) if hasattr(item, "shape") else None)
    names = [name for name in model.state_dict() if not name.endswith("num_batches_tracked")]
    arrays = (torch.from_numpy(np.ascontiguousarray(array)) for array in timm_order(weights))
    model.load_state_dict(dict(zip(names, arrays, strict=True)), strict=False)


def fine_tune(split: str, test: str, size: int, preset: str, epochs: int, seed: int) -> None:
    """`epochs` with all layers after one with a frozen body; predictions with and without test-time augmentation."""
    from fastai.vision import all as fastai

    fastai.set_seed(seed)
    dls = fastai.ImageDataLoaders.from_folder(
        split,
        train="training",
        valid="validation",
        item_tfms=fastai.Resize(size, method="squash"),
        batch_tfms=[*fastai.aug_transforms(), fastai.Normalize.from_stats(MEAN, DEVIATION, cuda=False)],
        bs=BATCH_SIZE,
    )
    learn = fastai.vision_learner(dls, ARCHITECTURE, pretrained=False, normalize=False, metrics=fastai.accuracy)
    load_preset(learn.model[0].model, Path(preset))

    class Report(fastai.Callback):
        order = fastai.Recorder.order + 1

        def after_epoch(self) -> None:
            print_epoch(self.epoch + 1, self.n_epoch, self.recorder.values[-1][-1])

    with learn.no_bar(), learn.no_logging():
        learn.fine_tune(epochs, cbs=[Report()])
        print_trained()
        images = sorted(Path(test).iterdir())
        test_dl = dls.test_dl(images)
        for name, predict in (("plain", learn.get_preds), ("tta", learn.tta)):
            columns = predict(dl=test_dl)[0].argmax(dim=1).tolist()
            write_answers(name, images, [dls.vocab[column] for column in columns])


def write_features(preset: str, images: list[str], size: int, file: str) -> None:
    """Keras's features of some images, for `compare_features`, which runs in another environment."""
    import keras
    import keras_hub

    pixels = np.stack([np.asarray(keras.utils.load_img(path, target_size=(size, size))) for path in images])
    backbone = keras_hub.models.Backbone.from_preset(preset)
    np.savez(file, pixels=pixels, features=backbone.predict((pixels - 127.0) / 128, verbose=0))


def compare_features(preset: str, file: str) -> dict[str, float]:
    """The largest difference from timm's features with the converted weights."""
    import timm
    import torch

    model = timm.create_model(ARCHITECTURE, num_classes=0).eval()
    load_preset(model, Path(preset))
    saved = np.load(file)
    scaled = (saved["pixels"].astype(np.float32) - 127) / 128
    with torch.no_grad():
        features = model.forward_features(torch.from_numpy(scaled.transpose(0, 3, 1, 2).copy())).numpy()
    difference = float(np.abs(features.transpose(0, 2, 3, 1) - saved["features"]).max())
    print(f"largest difference of features: {difference:.2g}, largest feature: {saved['features'].max():.3g}")
    return {"difference": difference, "largest": float(saved["features"].max())}
