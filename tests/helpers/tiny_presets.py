"""Small presets of KerasHub, with random weights, as its `save_to_preset` writes them."""

import keras
import keras_hub

SCALE, OFFSET = [0.01, 0.02, 0.04], [-1.0, 0.0, 2.0]


def resnet():
    return keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 64, 64, 64],
        stackwise_num_blocks=[1, 1, 1, 1],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="basic_block",
    )


def save_resnet(folder, **converter):
    """With an image converter that also says a size, as those of ImageNet do."""
    keras.utils.set_random_seed(1)
    resnet().save_to_preset(str(folder))
    asked = {"scale": SCALE, "offset": OFFSET, "image_size": (224, 224)} | converter
    keras_hub.layers.ResNetImageConverter(**asked).save_to_preset(str(folder))
    return folder


def save_retinanet(folder, max_level=6):
    """A whole one, with its pyramid of levels 3 to `max_level`."""
    keras.utils.set_random_seed(1)
    whole = keras_hub.models.RetinaNetBackbone(resnet(), min_level=3, max_level=max_level, use_p5=True)
    whole.save_to_preset(str(folder))
    keras_hub.layers.RetinaNetImageConverter(scale=SCALE, offset=OFFSET).save_to_preset(str(folder))
    return folder


def save_text_model(folder):
    """A preset, and none of images."""
    keras_hub.models.BertBackbone(
        vocabulary_size=8, num_layers=1, num_heads=1, hidden_dim=4, intermediate_dim=4, max_sequence_length=4
    ).save_to_preset(str(folder))
    return folder
