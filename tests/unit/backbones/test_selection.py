import pytest

from backbench.backbones.selection import parse_backbones
from backbench.core.errors import RequestError


def names(text: str) -> list[str]:
    return ["scratch" if backbone is None else backbone.name for backbone in parse_backbones(text)]


def test_keeps_the_order_and_drops_repeats() -> None:
    assert names("Xception, VGG16,scratch,VGG16,xception") == ["Xception", "VGG16", "scratch"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("vgg16", ["VGG16"]),
        ("EFFICIENTNETB0", ["EfficientNetB0"]),
        ("Scratch", ["scratch"]),
        ("starter", ["MobileNetV2", "MobileNet", "VGG16", "Xception"]),
        ("Article", ["VGG16", "InceptionV3", "Xception", "ResNet50"]),
        ("resnet", ["ResNet50", "ResNet101", "ResNet152"]),
        ("resnet,-ResNet101", ["ResNet50", "ResNet152"]),
        ("starter,-vgg", ["MobileNetV2", "MobileNet", "Xception"]),
        ("vgg,-vgg16,vgg16", ["VGG19", "VGG16"]),
        ("MobileNetV2:alpha=0.35", ["MobileNetV2:alpha=0.35"]),
        ("mobilenetv2:ALPHA=0.350", ["MobileNetV2:alpha=0.35"]),
        ("MobileNetV2:alpha=1", ["MobileNetV2"]),
        ("MobileNet:alpha=0.25,VGG16,-mobilenet", ["VGG16"]),
    ],
)
def test_items(text: str, expected: list[str]) -> None:
    assert names(text) == expected


def test_all_is_the_forty_functions_without_widths() -> None:
    chosen = names("all")
    assert len(chosen) == len(set(chosen)) == 40
    assert not [name for name in chosen if ":" in name]
    assert len(names("all,-nasnet")) == 38


def test_case_tells_the_function_from_its_family() -> None:
    assert names("MobileNet") == ["MobileNet"]
    assert names("mobilenet") == ["MobileNet", "MobileNetV2", "MobileNetV3Small", "MobileNetV3Large"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("VGG61", "unknown backbone 'VGG61'; did you mean VGG19 or VGG16"),
        ("EficientNetB0", "EfficientNetB0"),
        ("qqqqqq", "unknown backbone 'qqqqqq'; `backbench backbones` lists all"),
        ("startr", "starter"),
        ("MobilNetV2:alpha=0.35", "did you mean MobileNetV2"),
        ("MobileNetV2:alpha=0.4", "the widths beside 1 are MobileNetV2:alpha=0.35, MobileNetV2:alpha=0.5"),
        ("MobileNetV2:alpha=wide", "no weights were published for 'MobileNetV2:alpha=wide'"),
        ("MobileNetV2:beta=1", "no weights were published"),
        ("VGG16:alpha=0.5", "VGG16 comes in one width only"),
        ("", "no backbone was named"),
        (" , ", "no backbone was named"),
        ("VGG16,-vgg", "leaves no backbone"),
        ("-nasnet", "write 'all,-nasnet'"),
        ("all,-nothing", "unknown backbone 'nothing'"),
    ],
)
def test_what_cannot_be_understood_says_why(text: str, expected: str) -> None:
    with pytest.raises(RequestError) as raised:
        parse_backbones(text)
    assert expected in str(raised.value)
    assert "\n" not in str(raised.value)
