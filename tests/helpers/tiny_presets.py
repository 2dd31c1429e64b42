"""Small presets of KerasHub, with random weights, as its `save_to_preset` writes them."""

import inspect

import keras
import keras_hub
from keras_hub.src.models.vit import vit_layers

SCALE, OFFSET = [0.01, 0.02, 0.04], [-1.0, 0.0, 2.0]
MODELS = keras_hub.models
VIT_BLOCK = "tranformer_block" if '"tranformer_block' in inspect.getsource(vit_layers) else "transformer_block"
"""How the blocks of a ViT are called; later versions of KerasHub have corrected the name."""


def resnet():
    return MODELS.ResNetBackbone(
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
    whole = MODELS.RetinaNetBackbone(resnet(), min_level=3, max_level=max_level, use_p5=True)
    whole.save_to_preset(str(folder))
    keras_hub.layers.RetinaNetImageConverter(scale=SCALE, offset=OFFSET).save_to_preset(str(folder))
    return folder


def save_text_model(folder):
    """A preset, and none of images."""
    MODELS.BertBackbone(
        vocabulary_size=8, num_layers=1, num_heads=1, hidden_dim=4, intermediate_dim=4, max_sequence_length=4
    ).save_to_preset(str(folder))
    return folder


# Of each kind that a member's backbone may have

SIDE = 32
"""The image size of the transformers."""
TRANSFORMER = {"num_layers": 3, "num_heads": 2, "hidden_dim": 8}
PATCHES = {"patch_size": 8, "image_shape": (SIDE, SIDE, 3)}
DINO = TRANSFORMER | PATCHES | {"intermediate_dim": 8}
TEXT = TRANSFORMER | {"vocabulary_size": 4, "embedding_dim": 8, "intermediate_dim": 8}


def efficientnet():
    return MODELS.EfficientNetBackbone(
        stackwise_width_coefficients=[1.0] * 2,
        stackwise_depth_coefficients=[1.0] * 2,
        stackwise_kernel_sizes=[3, 3],
        stackwise_num_repeats=[1, 2],
        stackwise_input_filters=[8, 8],
        stackwise_output_filters=[8, 16],
        stackwise_expansion_ratios=[1, 2],
        stackwise_squeeze_and_excite_ratios=[0.25, 0.25],
        stackwise_strides=[1, 2],
        stackwise_block_types=["v1", "unfused"],
        stackwise_force_input_filters=[0, 0],
        stackwise_nores_option=[False, False],
    )


def mobilenet():
    return MODELS.MobileNetBackbone(
        stackwise_expansion=[[16], [16]],
        stackwise_num_blocks=[1, 1],
        stackwise_num_filters=[[8], [8]],
        stackwise_kernel_size=[[3], [3]],
        stackwise_num_strides=[[2], [1]],
        stackwise_se_ratio=[[None], [0.25]],
        stackwise_activation=[["relu"], ["hard_swish"]],
        stackwise_padding=[[1], [1]],
        output_num_filters=24,
        depthwise_filters=8,
        depthwise_stride=2,
        depthwise_residual=False,
        last_layer_filter=16,
        squeeze_and_excite=0.5,
        input_num_filters=8,
    )


def mobilenet_v5():
    none = [[0], [0, 0]]
    return MODELS.MobileNetV5Backbone(
        stackwise_block_types=[["er"], ["uir", "uir"]],
        stackwise_num_blocks=[1, 2],
        stackwise_num_filters=[[8], [16, 16]],
        stackwise_strides=[[2], [2, 1]],
        stackwise_act_layers=[["relu"], ["relu", "relu"]],
        stackwise_exp_ratios=[[2.0], [2.0, 2.0]],
        stackwise_se_ratios=[[0.0], [0.0, 0.0]],
        stackwise_dw_kernel_sizes=[[0], [5, 5]],
        stackwise_dw_start_kernel_sizes=none,
        stackwise_dw_end_kernel_sizes=none,
        stackwise_exp_kernel_sizes=[[3], [0, 0]],
        stackwise_pw_kernel_sizes=[[1], [0, 0]],
        stackwise_num_heads=none,
        stackwise_key_dims=none,
        stackwise_value_dims=none,
        stackwise_kv_strides=none,
        stackwise_use_cpe=[[False], [False, False]],
        use_msfa=False,
    )


def hgnet_v2():
    return MODELS.HGNetV2Backbone(
        depths=[1, 2],
        embedding_size=8,
        hidden_sizes=[16, 24],
        stem_channels=[3, 8, 8],
        hidden_act="relu",
        use_learnable_affine_block=True,
        stackwise_stage_filters=[(8, 8, 16, 1, 1, 3), (16, 8, 24, 2, 1, 3)],
        apply_downsample=[False, True],
        use_lightweight_conv_block=[False, False],
    )


def mit():
    return MODELS.MiTBackbone(
        layerwise_depths=[1, 1],
        num_layers=2,
        layerwise_num_heads=[1, 2],
        layerwise_sr_ratios=[2, 1],
        max_drop_path_rate=0.1,
        layerwise_patch_sizes=[7, 3],
        layerwise_strides=[4, 2],
        hidden_dims=[8, 16],
        image_shape=(SIDE, SIDE, 3),
    )


def clip():
    vision = MODELS.CLIPVisionEncoder(**DINO)
    return MODELS.CLIPBackbone(vision, MODELS.CLIPTextEncoder(**TEXT), projection_dim=4)


def siglip():
    vision = MODELS.SigLIPVisionEncoder(**DINO)
    return MODELS.SigLIPBackbone(vision, MODELS.SigLIPTextEncoder(**TEXT, projection_dim=8))


TINY = {
    "CLIP": clip,
    "CSPNet": lambda: MODELS.CSPNetBackbone(
        stem_filters=8, stem_kernel_size=3, stem_strides=2, stackwise_depth=[1, 1], stackwise_strides=[2, 2],
        stackwise_num_filters=[8, 16], block_type="dark_block", stage_type="dark",
    ),
    "DeiT": lambda: MODELS.DeiTBackbone(
        **TRANSFORMER, patch_size=(8, 8), image_shape=(SIDE, SIDE, 3), intermediate_dim=8
    ),
    "DenseNet": lambda: MODELS.DenseNetBackbone(stackwise_num_repeats=[1, 1, 1, 1], growth_rate=4),
    "DINOV2": lambda: MODELS.DINOV2Backbone(**DINO, num_register_tokens=2, position_embedding_shape=(48, 48, 3)),
    "DINOV3": lambda: MODELS.DINOV3Backbone(**DINO),
    "EfficientNet": efficientnet,
    "HGNetV2": hgnet_v2,
    "MiT": mit,
    "MobileNet": mobilenet,
    "MobileNetV5": mobilenet_v5,
    "ResNet": resnet,
    "RetinaNet": lambda: MODELS.RetinaNetBackbone(resnet(), min_level=3, max_level=5, use_p5=True),
    "SigLIP": siglip,
    "VGG": lambda: MODELS.VGGBackbone(stackwise_num_repeats=[1, 1], stackwise_num_filters=[8, 16]),
    "ViT": lambda: MODELS.ViTBackbone(**TRANSFORMER | PATCHES, mlp_dim=8),
    "Xception": lambda: MODELS.XceptionBackbone([[8, 16], [16, 24]], [True, False]),
}  # fmt: skip


def save_tiny(kind, folder):
    """A preset of this kind."""
    keras.utils.set_random_seed(1)
    model = TINY[kind]()
    model.save_to_preset(str(folder))
    getattr(keras_hub.layers, f"{kind}ImageConverter")(scale=SCALE, offset=OFFSET).save_to_preset(str(folder))
    return folder


def image_part(model):
    """The backbone of images within one of images and text, or within a RetinaNet."""
    return getattr(model, "vision_encoder", getattr(model, "image_encoder", model))
