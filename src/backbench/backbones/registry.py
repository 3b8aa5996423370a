"""Every backbone there is: the 40 functions of `keras.applications` and the published widths of two of them."""

from __future__ import annotations

import json
from pathlib import Path

from backbench.core.backbone import SCRATCH, Backbone, Stage

# Written by `python -m backbench.backbones.stages`; a test holds it against the graphs.
STAGES_FILE = Path(__file__).with_name("stages.json")
_STAGES = {
    name: tuple(Stage(**row | {"shapes": tuple(map(tuple, row["shapes"]))}) for row in rows)
    for name, rows in json.loads(STAGES_FILE.read_text(encoding="utf-8")).items()
}

_HOST = "https://storage.googleapis.com/tensorflow/keras-applications/"
_OLD = "https://storage.googleapis.com/keras-applications/"

# Where the ImageNet top-1 of a row was read.
_KERAS = "keras.io/api/applications"
_MOBILENET = "Howard et al. 2017, arXiv 1704.04861, table 6"
_MOBILENET_V2 = "tensorflow/models, research/slim/nets/mobilenet, table of MobileNetV2 checkpoints"
_MOBILENET_V3 = "docstring of keras.applications.MobileNetV3Small"


def _row(
    name: str, module: str, family: str, native_size: int, min_size: int, preprocessing: str, params: int, top1: float,
    url: str, digest: str | None, *, source: str = _KERAS, alpha: float | None = None, file: str | None = None,
) -> Backbone:  # fmt: skip
    return Backbone(
        name=name,
        function=name.partition(":")[0],
        module=module,
        family=family,
        native_size=native_size,
        min_size=min_size,
        preprocessing=preprocessing,
        params=params,
        weights_url=url,
        weights_hash=digest,
        imagenet_top1=top1,
        top1_source=source,
        alpha=alpha,
        weights_file=file,
        stages=_STAGES.get(name, ()),  # none while the table is being written anew
    )


# Name, module, family, native size, smallest size, preprocessing, parameters, ImageNet top-1,
# and the second line: the file without the classifier, its published digest (MobileNet and MobileNetV2 have none).
# Sizes are sides in pixels; parameters are those of include_top=False.
# fmt: off
APPLICATIONS: tuple[Backbone, ...] = (
    _row("VGG16", "vgg16", "vgg", 224, 32, "caffe", 14_714_688, 0.713,
         f"{_HOST}vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5", "6d6bbae143d832006294945121d1f1fc"),
    _row("VGG19", "vgg19", "vgg", 224, 32, "caffe", 20_024_384, 0.713,
         f"{_HOST}vgg19/vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5", "253f8cb515780f3b799900260a226db6"),
    _row("Xception", "xception", "xception", 299, 71, "tf", 20_861_480, 0.790,
         f"{_HOST}xception/xception_weights_tf_dim_ordering_tf_kernels_notop.h5", "b0042744bf5b25fce3cb969f33bebb97"),
    _row("ResNet50", "resnet", "resnet", 224, 32, "caffe", 23_587_712, 0.749,
         f"{_HOST}resnet/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5", "4d473c1dd8becc155b73f8504c6f6626"),
    _row("ResNet101", "resnet", "resnet", 224, 32, "caffe", 42_658_176, 0.764,
         f"{_HOST}resnet/resnet101_weights_tf_dim_ordering_tf_kernels_notop.h5", "88cf7a10940856eca736dc7b7e228a21"),
    _row("ResNet152", "resnet", "resnet", 224, 32, "caffe", 58_370_944, 0.766,
         f"{_HOST}resnet/resnet152_weights_tf_dim_ordering_tf_kernels_notop.h5", "ee4c566cf9a93f14d82f913c2dc6dd0c"),
    _row("ResNet50V2", "resnet_v2", "resnetv2", 224, 32, "tf", 23_564_800, 0.760,
         f"{_HOST}resnet/resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5", "fac2f116257151a9d068a22e544a4917"),
    _row("ResNet101V2", "resnet_v2", "resnetv2", 224, 32, "tf", 42_626_560, 0.772,
         f"{_HOST}resnet/resnet101v2_weights_tf_dim_ordering_tf_kernels_notop.h5", "c0ed64b8031c3730f411d2eb4eea35b5"),
    _row("ResNet152V2", "resnet_v2", "resnetv2", 224, 32, "tf", 58_331_648, 0.780,
         f"{_HOST}resnet/resnet152v2_weights_tf_dim_ordering_tf_kernels_notop.h5", "ed17cf2e0169df9d443503ef94b23b33"),
    _row("InceptionV3", "inception_v3", "inception", 299, 75, "tf", 21_802_784, 0.779,
         f"{_HOST}inception_v3/inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
         "bcbd6486424b2319ff4ef7d526e38f63"),
    _row("InceptionResNetV2", "inception_resnet_v2", "inception", 299, 75, "tf", 54_336_736, 0.803,
         f"{_HOST}inception_resnet_v2/inception_resnet_v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
         "d19885ff4a710c122648d3b5c3b684e4"),
    _row("MobileNet", "mobilenet", "mobilenet", 224, 32, "tf", 3_228_864, 0.704,
         f"{_HOST}mobilenet/mobilenet_1_0_224_tf_no_top.h5", None),
    _row("MobileNetV2", "mobilenet_v2", "mobilenet", 224, 32, "tf", 2_257_984, 0.713,
         f"{_HOST}mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5", None),
    _row("MobileNetV3Small", "mobilenet_v3", "mobilenet", 224, 32, "identity", 939_120, 0.681,
         f"{_HOST}mobilenet_v3/weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5",
         "d3e8ec802a04aa4fc771ee12a9a9b836", source=_MOBILENET_V3),
    _row("MobileNetV3Large", "mobilenet_v3", "mobilenet", 224, 32, "identity", 2_996_352, 0.756,
         f"{_HOST}mobilenet_v3/weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5",
         "07fb09a5933dd0c8eaafa16978110389", source=_MOBILENET_V3),
    _row("DenseNet121", "densenet", "densenet", 224, 32, "torch", 7_037_504, 0.750,
         f"{_HOST}densenet/densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5",
         "30ee3e1110167f948a6b9946edeeb738"),
    _row("DenseNet169", "densenet", "densenet", 224, 32, "torch", 12_642_880, 0.762,
         f"{_HOST}densenet/densenet169_weights_tf_dim_ordering_tf_kernels_notop.h5",
         "b8c4d4c20dd625c148057b9ff1c1176b"),
    _row("DenseNet201", "densenet", "densenet", 224, 32, "torch", 18_321_984, 0.773,
         f"{_HOST}densenet/densenet201_weights_tf_dim_ordering_tf_kernels_notop.h5",
         "c13680b51ded0fb44dff2d8f86ac8bb1"),
    _row("NASNetMobile", "nasnet", "nasnet", 224, 32, "tf", 4_269_716, 0.744,
         f"{_HOST}nasnet/NASNet-mobile-no-top.h5", "1ed92395b5b598bdda52abe5c0dbfd63", file="nasnet_mobile_no_top.h5"),
    _row("NASNetLarge", "nasnet", "nasnet", 331, 32, "tf", 84_916_818, 0.825,
         f"{_HOST}nasnet/NASNet-large-no-top.h5", "d81d89dc07e6e56530c4e77faddd61b5", file="nasnet_large_no_top.h5"),
    _row("EfficientNetB0", "efficientnet", "efficientnet", 224, 32, "identity", 4_049_571, 0.771,
         f"{_OLD}efficientnetb0_notop.h5", "50bc09e76180e00e4465e1a485ddc09d"),
    _row("EfficientNetB1", "efficientnet", "efficientnet", 240, 32, "identity", 6_575_239, 0.791,
         f"{_OLD}efficientnetb1_notop.h5", "74c4e6b3e1f6a1eea24c589628592432"),
    _row("EfficientNetB2", "efficientnet", "efficientnet", 260, 32, "identity", 7_768_569, 0.801,
         f"{_OLD}efficientnetb2_notop.h5", "111f8e2ac8aa800a7a99e3239f7bfb39"),
    _row("EfficientNetB3", "efficientnet", "efficientnet", 300, 32, "identity", 10_783_535, 0.816,
         f"{_OLD}efficientnetb3_notop.h5", "af6d107764bb5b1abb91932881670226"),
    _row("EfficientNetB4", "efficientnet", "efficientnet", 380, 32, "identity", 17_673_823, 0.829,
         f"{_OLD}efficientnetb4_notop.h5", "ebc24e6d6c33eaebbd558eafbeedf1ba"),
    _row("EfficientNetB5", "efficientnet", "efficientnet", 456, 32, "identity", 28_513_527, 0.836,
         f"{_OLD}efficientnetb5_notop.h5", "38879255a25d3c92d5e44e04ae6cec6f"),
    _row("EfficientNetB6", "efficientnet", "efficientnet", 528, 32, "identity", 40_960_143, 0.840,
         f"{_OLD}efficientnetb6_notop.h5", "9ecce42647a20130c1f39a5d4cb75743"),
    _row("EfficientNetB7", "efficientnet", "efficientnet", 600, 32, "identity", 64_097_687, 0.843,
         f"{_OLD}efficientnetb7_notop.h5", "cbcfe4450ddf6f3ad90b1b398090fe4a"),
    _row("EfficientNetV2B0", "efficientnet_v2", "efficientnetv2", 224, 32, "identity", 5_919_312, 0.787,
         f"{_HOST}efficientnet_v2/efficientnetv2-b0_notop.h5", "893217f2bb855e2983157299931e43ff"),
    _row("EfficientNetV2B1", "efficientnet_v2", "efficientnetv2", 240, 32, "identity", 6_931_124, 0.798,
         f"{_HOST}efficientnet_v2/efficientnetv2-b1_notop.h5", "0e80663031ca32d657f9caa404b6ec37"),
    _row("EfficientNetV2B2", "efficientnet_v2", "efficientnetv2", 260, 32, "identity", 8_769_374, 0.805,
         f"{_HOST}efficientnet_v2/efficientnetv2-b2_notop.h5", "1dfe2e7a5d45b6632553a8961ea609eb"),
    _row("EfficientNetV2B3", "efficientnet_v2", "efficientnetv2", 300, 32, "identity", 12_930_622, 0.820,
         f"{_HOST}efficientnet_v2/efficientnetv2-b3_notop.h5", "f6abf7b5849ac99a89b50dd3fd532856"),
    _row("EfficientNetV2S", "efficientnet_v2", "efficientnetv2", 384, 32, "identity", 20_331_360, 0.839,
         f"{_HOST}efficientnet_v2/efficientnetv2-s_notop.h5", "af0682fb74e8c54910f2d4393339c070"),
    _row("EfficientNetV2M", "efficientnet_v2", "efficientnetv2", 480, 32, "identity", 53_150_388, 0.853,
         f"{_HOST}efficientnet_v2/efficientnetv2-m_notop.h5", "1b8dc055df72dde80d614482840fe342"),
    _row("EfficientNetV2L", "efficientnet_v2", "efficientnetv2", 480, 32, "identity", 117_746_848, 0.857,
         f"{_HOST}efficientnet_v2/efficientnetv2-l_notop.h5", "b0b66b5c863aef5b46e8608fe1711615"),
    _row("ConvNeXtTiny", "convnext", "convnext", 224, 32, "identity", 27_820_128, 0.813,
         f"{_HOST}convnext/convnext_tiny_notop.h5", "d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1"),
    _row("ConvNeXtSmall", "convnext", "convnext", 224, 32, "identity", 49_454_688, 0.823,
         f"{_HOST}convnext/convnext_small_notop.h5",
         "6fc8009faa2f00c1c1dfce59feea9b0745eb260a7dd11bee65c8e20843da6eab"),
    _row("ConvNeXtBase", "convnext", "convnext", 224, 32, "identity", 87_566_464, 0.853,
         f"{_HOST}convnext/convnext_base_notop.h5", "40a20c5548a5e9202f69735ecc06c990e6b7c9d2de39f0361e27baeb24cb7c45"),
    _row("ConvNeXtLarge", "convnext", "convnext", 224, 32, "identity", 196_230_336, 0.863,
         f"{_HOST}convnext/convnext_large_notop.h5",
         "96f02b6f0753d4f543261bc9d09bed650f24dd6bc02ddde3066135b63d23a1cd"),
    _row("ConvNeXtXLarge", "convnext", "convnext", 224, 32, "identity", 348_147_968, 0.867,
         f"{_HOST}convnext/convnext_xlarge_notop.h5",
         "de3f8a54174130e0cecdc71583354753d557fcf1f4487331558e2a16ba0cfe05"),
)

# Widths other than 1.0 with published weights. They are chosen by name, and are no part of `all`.
VARIANTS: tuple[Backbone, ...] = (
    _row("MobileNet:alpha=0.25", "mobilenet", "mobilenet", 224, 32, "tf", 218_544, 0.506,
         f"{_HOST}mobilenet/mobilenet_2_5_224_tf_no_top.h5", None, source=_MOBILENET, alpha=0.25),
    _row("MobileNet:alpha=0.5", "mobilenet", "mobilenet", 224, 32, "tf", 829_536, 0.637,
         f"{_HOST}mobilenet/mobilenet_5_0_224_tf_no_top.h5", None, source=_MOBILENET, alpha=0.5),
    _row("MobileNet:alpha=0.75", "mobilenet", "mobilenet", 224, 32, "tf", 1_832_976, 0.684,
         f"{_HOST}mobilenet/mobilenet_7_5_224_tf_no_top.h5", None, source=_MOBILENET, alpha=0.75),
    _row("MobileNetV2:alpha=0.35", "mobilenet_v2", "mobilenet", 224, 32, "tf", 410_208, 0.603,
         f"{_HOST}mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5",
         None, source=_MOBILENET_V2, alpha=0.35),
    _row("MobileNetV2:alpha=0.5", "mobilenet_v2", "mobilenet", 224, 32, "tf", 706_224, 0.654,
         f"{_HOST}mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.5_224_no_top.h5",
         None, source=_MOBILENET_V2, alpha=0.5),
    _row("MobileNetV2:alpha=0.75", "mobilenet_v2", "mobilenet", 224, 32, "tf", 1_382_064, 0.698,
         f"{_HOST}mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.75_224_no_top.h5",
         None, source=_MOBILENET_V2, alpha=0.75),
    _row("MobileNetV2:alpha=1.3", "mobilenet_v2", "mobilenet", 224, 32, "tf", 3_766_048, 0.744,
         f"{_HOST}mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.3_224_no_top.h5",
         None, source=_MOBILENET_V2, alpha=1.3),
    _row("MobileNetV2:alpha=1.4", "mobilenet_v2", "mobilenet", 224, 32, "tf", 4_363_712, 0.750,
         f"{_HOST}mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.4_224_no_top.h5",
         None, source=_MOBILENET_V2, alpha=1.4),
)
# fmt: on

BACKBONES: tuple[Backbone, ...] = APPLICATIONS + VARIANTS

# The hand-made CNN: it is built for a size and a number of classes (`scratch_cnn.build`), and always starts at random.
SCRATCH_CNN = Backbone(
    name=SCRATCH,
    function=SCRATCH,
    module="scratch_cnn",
    family=SCRATCH,
    native_size=128,
    min_size=16,
    preprocessing="tf",
    params=sum(stage.params for stage in _STAGES.get(SCRATCH, ())),
    weights_url="",
    weights_hash=None,
    imagenet_top1=None,
    top1_source="",
    stages=_STAGES.get(SCRATCH, ()),
)

BY_NAME = {backbone.name: backbone for backbone in (*BACKBONES, SCRATCH_CNN)}

FAMILIES: tuple[str, ...] = tuple(dict.fromkeys(backbone.family for backbone in APPLICATIONS))
