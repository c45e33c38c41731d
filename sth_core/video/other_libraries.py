"""The preprocessing that torchvision and Hugging Face state for their networks, as a `Preprocessing`.

Neither library is imported. Where the frames of a clip lie in its video is not stated there: the caller gives it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from sth_core.errors import UserError, shorten
from sth_core.values import BadValue, Between, fits, refuse_unknown_keys
from sth_core.video.transforms import Preprocessing

PIL_BILINEAR = 2  # PIL.Image.Resampling.BILINEAR, of Pillow's numbers for its filters
IMAGENET = {"image_mean": (0.485, 0.456, 0.406), "image_std": (0.229, 0.224, 0.225)}
HALVES = {"image_mean": (0.5, 0.5, 0.5), "image_std": (0.5, 0.5, 0.5)}
STEPS = {"do_resize": True, "do_center_crop": True, "do_rescale": True, "do_normalize": True, "offset": False}
COMMON: dict[str, Any] = STEPS | {"resample": PIL_BILINEAR, "rescale_factor": 1 / 255, "crop_size": 224}
# What a processor's class does where its file leaves a key out (transformers 4.27 to 5.24).
PROCESSORS: dict[str, dict[str, Any]] = {
    "VideoMAE": COMMON | HALVES | {"size": 224},
    "Timesformer": COMMON | IMAGENET | {"size": 224},
    "Vivit": COMMON | HALVES | {"size": 256, "rescale_factor": 1 / 127.5, "offset": True},
    "VJEPA2": COMMON | IMAGENET | {"size": 292, "crop_size": 256},
}
KINDS = ("ImageProcessorFast", "ImageProcessorPil", "ImageProcessor", "VideoProcessor", "FeatureExtractor")
TYPES = ("video_processor_type", "image_processor_type", "feature_extractor_type")
# Keys that change no pixel, or that choose the frames, which the caller does.
WITHOUT_PIXELS = (
    "do_convert_rgb", "do_sample_frames", "num_frames", "fps", "data_format", "input_data_format", "device", "backend",
    "return_metadata", "return_tensors", "video_metadata", "default_to_square", "processor_class", "disable_grouping",
    "_valid_processor_keys", "model_input_names", "transformers_version", "use_fast",
)  # fmt: skip


def preprocessing_of_torchvision(transforms: Any, *, frames: int, stride: int = 0) -> Preprocessing:
    """That of `weights.transforms()` of a torchvision video network (torchvision/transforms/_presets.py).

    Raises UserError: it is another transform, or one with another interpolation or a crop that is no square.
    """
    kind = type(transforms).__name__
    if kind != "VideoClassification":
        raise UserError(f"only torchvision's VideoClassification can be used as preprocessing, got {shorten(kind)}")
    if transforms.interpolation.value != "bilinear":
        given = shorten(transforms.interpolation.value)
        raise UserError(f"torchvision's VideoClassification: the interpolation must be bilinear, got {given}")
    height, width = transforms.crop_size
    refuse_oblong(height, width, "torchvision's VideoClassification: crop_size")
    size = tuple(transforms.resize_size)
    return built(
        "torchvision's VideoClassification",
        frames=frames,
        stride=stride,
        resize=size[0] if len(size) == 1 else size,
        crop=height,
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        interpolation="bilinear",
        crop_rounding="even",
    )


def preprocessing_of_transformers(
    config: Mapping[str, Any],
    *,
    frames: int,
    stride: int = 0,
    dense: str = "loop",
    model_type: str = "",
    side: int = 0,
) -> Preprocessing:
    """That of a preprocessor_config.json or video_preprocessor_config.json of a VideoMAE, TimeSformer, ViViT or
    V-JEPA 2 of Hugging Face.

    If the file names no processor, it is that of `model_type` ("videomae"); if it gives no sizes, they are those of a
    network of `side` pixels, with as much cut off as the processor's own defaults do.

    Pixels are those of the processors that resize with Pillow. Those that resize with torchvision, with the same
    antialiasing, differ by one grey level at a few pixels. ViViT's moves pixels to [-1, 1] and then applies mean and
    standard deviation again, if its file does not say otherwise; so does this.

    Raises UserError: another processor, or a value that changes pixels in a way that `Preprocessing` cannot say.
    """
    name, values = processor_values(config, model_type, side)
    where = f"{name} of Hugging Face"
    for key, wanted in (("do_resize", True), ("resample", PIL_BILINEAR)):
        if values[key] != wanted:
            raise UserError(f"{where}: {key} must be {wanted}, got {shorten(values[key])}; resize frames bilinearly")
    resize, crop = sizes_of(name, values, where)
    scaling = Scaling.of(values, where)
    return built(
        where,
        frames=frames,
        stride=stride,
        dense=dense,
        resize=resize,
        crop=crop,
        mean=scaling.mean,
        std=scaling.std,
        interpolation="pil",
    )


def processor_values(config: Mapping[str, Any], model_type: str, side: int) -> tuple[str, dict[str, Any]]:
    """The name of a processor, and the value of each of its keys, stated or usual.
    Raises UserError: it is not known, or a key is not."""
    stated = {key: value for key, value in config.items() if value is not None}
    of_model = {family.lower(): f"{family}ImageProcessor" for family in PROCESSORS}.get(model_type, "")
    name = next((stated[key] for key in TYPES if key in stated), of_model)
    usual = PROCESSORS[family_of(name)]
    keys = (*COMMON, "size", *IMAGENET, *TYPES, *WITHOUT_PIXELS)
    taken = [key for key in stated if key in keys or stated[key] is not False]  # but for steps that are not taken
    refuse_unknown_keys(taken, keys, f"{name} of Hugging Face: cannot be followed, unknown key")
    for key in STEPS:
        if not isinstance(stated.get(key, True), bool):
            raise UserError(f"{name} of Hugging Face: {key} must be true or false, got {shorten(stated[key])}")
    sizes = {"crop_size": side, "size": usual["size"] * side // usual["crop_size"]} if side else {}
    return name, usual | sizes | stated


def sizes_of(name: str, values: Mapping[str, Any], where: str) -> tuple[int | tuple[int, int], int]:
    """What a processor resizes to, and the side of its crop. V-JEPA 2's resizes to 256 of 224 of it, whatever its file
    says."""
    if not values["do_center_crop"]:
        size = size_of(values["size"], f"{where}: size")
        if isinstance(size, int):
            raise UserError(f"{where}: do_center_crop must be true where size is a short side, got false")
        return size, refuse_oblong(*size, f"{where}: size, without a crop,")
    crop = square_of(values["crop_size"], f"{where}: crop_size")
    if family_of(name) == "VJEPA2":
        return int(crop * 256 / 224), crop
    return size_of(values["size"], f"{where}: size"), crop


@dataclass(frozen=True)
class Scaling:
    """The mean and standard deviation of pixels in [0, 1] that do what a processor does in two steps."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, values: Mapping[str, Any], where: str) -> "Scaling":
        """(v * factor - offset - mean) / std of pixels v in [0, 255]."""
        factor = values["rescale_factor"] if values["do_rescale"] else 1.0
        if not fits(factor, Annotated[float, Between(0, 1, above=True)]):
            raise UserError(f"{where}: rescale_factor must be a number above 0 and at most 1, got {shorten(factor)}")
        whole, offset = 255 * factor, 1.0 if values["offset"] and values["do_rescale"] else 0.0
        means: tuple[float, ...] = (0.0,) * 3
        stds: tuple[float, ...] = (1.0,) * 3
        if values["do_normalize"]:
            means, stds = (numbers_of(values[key], f"{where}: {key}") for key in IMAGENET)
        return cls(tuple((offset + m) / whole for m in means), tuple(s / whole for s in stds))


def family_of(name: Any) -> str:
    """Raises UserError: it is not the name of a processor of PROCESSORS."""
    for kind in KINDS:
        if isinstance(name, str) and name.endswith(kind) and (family := name.removesuffix(kind)) in PROCESSORS:
            return family
    given = shorten(name) if name else "processor without a type"
    known = ", ".join(f"{family}ImageProcessor" for family in PROCESSORS)
    raise UserError(
        f"the preprocessing of Hugging Face's {given} is not known; known are those of {known} and the like; give a "
        "Preprocessing instead"
    )


def size_of(size: Any, where: str) -> int | tuple[int, int]:
    """The short side, or height and width, of a processor's `size`."""
    if isinstance(size, int):
        return whole_number(size, where)
    if isinstance(size, Mapping) and set(size) == {"shortest_edge"}:
        return whole_number(size["shortest_edge"], where)
    if isinstance(size, Mapping) and set(size) == {"height", "width"}:
        return whole_number(size["height"], where), whole_number(size["width"], where)
    raise UserError(f"{where} must have a shortest_edge, or height and width, got {shorten(size)}")


def square_of(size: Any, where: str) -> int:
    if isinstance(size, int):
        return whole_number(size, where)
    if isinstance(size, Mapping) and set(size) == {"height", "width"}:
        return refuse_oblong(whole_number(size["height"], where), whole_number(size["width"], where), where)
    raise UserError(f"{where} must have height and width, got {shorten(size)}")


def whole_number(value: Any, where: str) -> int:
    if not fits(value, int):
        raise UserError(f"{where} must be of whole numbers, got {shorten(value)}")
    return int(value)


def numbers_of(value: Any, where: str) -> tuple[float, ...]:
    """One number for each of three channels."""
    numbers = value if isinstance(value, Sequence) else (value,) * 3
    if not fits(numbers, tuple[float, float, float]):
        raise UserError(f"{where} must be three numbers, got {shorten(value)}")
    return tuple(map(float, numbers))


def refuse_oblong(height: int, width: int, where: str) -> int:
    """The side of a square. Raises UserError: it is none; the networks here take squares."""
    if height != width:
        raise UserError(f"{where} must be a square, got {height} x {width}")
    return height


def built(where: str, **values: Any) -> Preprocessing:
    try:
        return Preprocessing(**values)
    except BadValue as error:
        raise UserError(f"{where}: {error}") from error
