"""A network of another library gets what that library gives it: pixels by torchvision's and Hugging Face's own code,
sampling and sizes by the formulas of PySlowFast, pytorchvideo, MMAction2, TSM and VideoMAE."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torchvision.models.video as published
from PIL import Image
from torchvision.transforms._presets import VideoClassification
from torchvision.transforms.functional import InterpolationMode, center_crop

from analysis.explain.overlay import input_box, seen_frames
from analysis.runs.described import preprocessing_in_words, sampling_of
from sth_core import load_checkpoint, save_checkpoint
from sth_core.adapters.hugging_face import ARCHITECTURES
from sth_core.datasets.random_clips import Augment, ClipToSample, TrainingSampler
from sth_core.errors import UserError
from sth_core.values import BadValue
from sth_core.video import read_frames
from sth_core.video.clip_source import ClipSource
from sth_core.video.encoding import write_video
from sth_core.video.fields import read_clip
from sth_core.video.other_libraries import preprocessing_of_torchvision, preprocessing_of_transformers
from sth_core.video.sampling import Protocol, evaluation_positions, slow_positions, training_positions
from sth_core.video.transforms import (
    Preprocessing,
    centre_crop,
    centre_of,
    crops,
    normalise,
    resize,
    resize_frame,
    resized_size,
)
from tests.tiny import CLASSES, tiny_network

SHAPES = [(96, 128), (128, 96), (135, 240), (240, 427), (270, 271), (300, 300)]  # of frames: small, upright, odd


@pytest.fixture(scope="module")
def decoded(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, int], np.ndarray]:
    """Two frames of a video of each of SHAPES, uint8 (2, H, W, 3): texture, edges, and what H.264 makes of them."""
    folder, rng = tmp_path_factory.mktemp("videos"), np.random.default_rng(0)
    found = {}
    for H, W in SHAPES:
        noise = cv2.GaussianBlur(rng.integers(0, 256, (H, W + 8, 3), np.uint8), (0, 0), 1.5)
        noise = cv2.normalize(noise, None, 0, 255, cv2.NORM_MINMAX)
        cv2.rectangle(noise, (W // 4, H // 4), (W // 2, H // 2), (255, 0, 0), -1)
        path = folder / f"{H}x{W}.mp4"
        write_video(path, [noise[: H // 2 * 2, t : t + W // 2 * 2] for t in (0, 8)], 24)
        even = read_frames(path, [0, 1])
        found[H, W] = np.pad(even, ((0, 0), (0, H % 2), (0, W % 2), (0, 0)), "edge")
    return found


def made(frames: np.ndarray, p: Preprocessing) -> torch.Tensor:
    """The network's input (T, C, H, W) of decoded frames (T, H, W, C)."""
    pixels = centre_crop(resize(frames, p.resize, p.interpolation), p)
    return normalise(torch.from_numpy(np.ascontiguousarray(pixels)), p)


def grey_levels(ours: torch.Tensor, theirs: torch.Tensor, p: Preprocessing) -> torch.Tensor:
    """By how many grey levels two inputs (T, C, H, W) differ."""
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype == torch.float32
    return (ours - theirs).abs() * torch.tensor(p.std).view(3, 1, 1) * 255


# torchvision

OF_TORCHVISION = {
    # network: weights, frames, size, crop
    "r3d_18": (published.R3D_18_Weights.KINETICS400_V1, 16, (128, 171), 112),
    "mc3_18": (published.MC3_18_Weights.KINETICS400_V1, 16, (128, 171), 112),
    "r2plus1d_18": (published.R2Plus1D_18_Weights.KINETICS400_V1, 16, (128, 171), 112),
    "s3d": (published.S3D_Weights.KINETICS400_V1, 128, (256, 256), 224),
    "mvit_v1_b": (published.MViT_V1_B_Weights.KINETICS400_V1, 16, 256, 224),
    "mvit_v2_s": (published.MViT_V2_S_Weights.KINETICS400_V1, 16, 256, 224),
    "swin3d_t": (published.Swin3D_T_Weights.KINETICS400_V1, 32, 256, 224),
    "swin3d_s": (published.Swin3D_S_Weights.KINETICS400_V1, 32, 256, 224),
    "swin3d_b": (published.Swin3D_B_Weights.KINETICS400_V1, 32, 256, 224),
    "swin3d_b, ImageNet-22k": (published.Swin3D_B_Weights.KINETICS400_IMAGENET22K_V1, 32, 256, 224),
}


@pytest.mark.parametrize("network", OF_TORCHVISION)
def test_torchvisions_networks_get_what_torchvision_gives_them(network: str, decoded: dict[Any, np.ndarray]) -> None:
    """Exactly, but for values that lie between two grey levels: at most 1 of 10,000 is rounded to the other one."""
    weights, frames, size, side = OF_TORCHVISION[network]
    transforms = weights.transforms()
    p = preprocessing_of_torchvision(transforms, frames=frames, stride=2)
    assert (p.frames, p.stride, p.resize, p.crop) == (frames, 2, size, side)
    for shape in SHAPES if network in ("r3d_18", "swin3d_t") else SHAPES[3:4]:
        clip = decoded[shape]
        theirs = transforms(torch.from_numpy(clip).movedim(-1, 1)).transpose(0, 1)
        apart = grey_levels(made(clip, p), theirs, p)
        assert apart.max() < 1.001 and (apart > 0.001).float().mean() < 1e-4


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"interpolation": InterpolationMode.BICUBIC}, "the interpolation must be bilinear, got 'bicubic'"),
        ({"crop_size": (112, 128)}, "crop_size must be a square, got 112 x 128"),
        ({"crop_size": (300, 300)}, "VideoClassification: crop .300. must not be larger than resize .128."),
        ({"mean": (123.0, 116.0, 103.0)}, "VideoClassification: mean must be"),
    ],
)
def test_a_transform_of_torchvision_that_cannot_be_said_is_refused(change: dict[str, Any], sentence: str) -> None:
    plain: dict[str, Any] = {"crop_size": (112, 112), "resize_size": (128, 171)}
    with pytest.raises(UserError, match=sentence):
        preprocessing_of_torchvision(VideoClassification(**plain | change), frames=16)
    with pytest.raises(UserError, match="as preprocessing, got 'SimpleNamespace'"):
        preprocessing_of_torchvision(SimpleNamespace(), frames=16)


# Hugging Face

SIZE_224, CROP_224 = {"shortest_edge": 224}, {"height": 224, "width": 224}
IMAGENET: dict[str, Any] = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
# Files as processors write them; the first is of the form of 2022.
OF_TRANSFORMERS: dict[str, dict[str, Any]] = {
    "VideoMAE of 2022": IMAGENET
    | {"feature_extractor_type": "VideoMAEFeatureExtractor", "do_resize": True, "size": 224, "resample": 2}
    | {"do_center_crop": True, "do_normalize": True},
    "VideoMAE": IMAGENET
    | {"image_processor_type": "VideoMAEImageProcessor", "size": SIZE_224, "crop_size": CROP_224, "resample": 2}
    | {"do_resize": True, "do_center_crop": True, "do_rescale": True, "rescale_factor": 0.00392156862745098},
    "TimeSformer": {"image_processor_type": "VideoMAEImageProcessor", "size": SIZE_224, "crop_size": CROP_224}
    | {"image_mean": [0.45] * 3, "image_std": [0.225] * 3},
    "ViViT": {"image_processor_type": "VivitImageProcessor", "size": {"shortest_edge": 256}, "crop_size": CROP_224}
    | {"offset": True, "rescale_factor": 0.00784313725490196, "image_mean": [0.5] * 3, "image_std": [0.5] * 3},
    "ViViT, [-1, 1]": {"image_processor_type": "VivitImageProcessor", "do_normalize": False},
    "V-JEPA 2": IMAGENET
    | {"video_processor_type": "VJEPA2VideoProcessor", "size": {"shortest_edge": 292}, "data_format": "channels_first"}
    | {"crop_size": {"height": 256, "width": 256}, "do_pad": None, "size_divisor": None, "do_sample_frames": False},
    "V-JEPA 2, 384": {"video_processor_type": "VJEPA2VideoProcessor", "crop_size": {"height": 384, "width": 384}},
    "no crop": {"image_processor_type": "VideoMAEImageProcessor", "size": CROP_224, "do_center_crop": False},
}
SAID = {  # short side or size, crop, mean, std
    "VideoMAE of 2022": (224, 224, 0.485, 0.229),
    "VideoMAE": (224, 224, 0.485, 0.229),
    "TimeSformer": (224, 224, 0.45, 0.225),
    "ViViT": (256, 224, 0.75, 0.25),  # pixels become -1 to 1, and then (v - 0.5) / 0.5 of them: -3 to 1
    "ViViT, [-1, 1]": (256, 224, 0.5, 0.5),
    "V-JEPA 2": (292, 256, 0.485, 0.229),
    "V-JEPA 2, 384": (438, 384, 0.485, 0.229),
    "no crop": ((224, 224), 224, 0.5, 0.5),
}


@pytest.mark.parametrize("name", OF_TRANSFORMERS)
def test_what_a_file_of_hugging_face_says(name: str) -> None:
    p = preprocessing_of_transformers(json.loads(json.dumps(OF_TRANSFORMERS[name])), frames=64, stride=2)
    assert (p.frames, p.stride, p.interpolation, p.crop_rounding) == (64, 2, "pil", "down")
    assert (p.resize, p.crop) == SAID[name][:2]
    assert (p.mean[0], p.std[0]) == pytest.approx(SAID[name][2:], abs=1e-12)


def test_a_file_that_leaves_sizes_and_the_processor_out_is_of_the_network_s() -> None:
    sizes = {"videomae": (32, 32), "timesformer": (32, 32), "vivit": (36, 32), "vjepa2": (36, 32)}
    for kind, (resized, side) in sizes.items():
        p = preprocessing_of_transformers({}, frames=8, stride=4, dense="hold", model_type=kind, side=32)
        assert (p.resize, p.crop, p.stride, p.dense) == (resized, side, 4, "hold")
    p = preprocessing_of_transformers({"size": {"shortest_edge": 40}}, frames=8, model_type="videomae", side=32)
    assert (p.resize, p.crop) == (40, 32)
    p = preprocessing_of_transformers(OF_TRANSFORMERS["ViViT"], frames=32, model_type="vivit", side=32)
    assert (p.resize, p.crop) == (256, 224)  # what the file says goes before


@pytest.mark.parametrize(
    ("kind", "frames", "classes", "expected"),
    [
        ("videomae", 16, 400, {"stride": 4, "dense": "hold"}),
        ("videomae", 16, 174, {}),  # Something-Something: segments
        ("videomae", 4, 400, {}),
        ("timesformer", 8, 600, {"stride": 32, "dense": "spread"}),
        ("timesformer", 96, 400, {"stride": 4, "dense": "spread"}),
        ("vivit", 32, 700, {"stride": 2, "dense": "loop"}),
        ("vjepa2", 64, 400, {}),
    ],
)
def test_hugging_faces_networks_of_kinetics_sample_as_in_their_training(
    kind: str, frames: int, classes: int, expected: dict[str, Any]
) -> None:
    config = SimpleNamespace(num_frames=frames, frames_per_clip=frames, num_labels=classes)
    assert ARCHITECTURES[kind].sampling(config) == expected


def processor_of(config: dict[str, Any]) -> Callable[[Any], torch.Tensor]:
    """Hugging Face's own: frames (T, H, W, 3) -> (T, 3, h, w). Where there are several, the one that uses Pillow."""
    pytest.importorskip("transformers", reason="transformers is not installed: Hugging Face's own code is not compared")
    kinds = {
        "Vid": ("videomae.image_processing_pil_videomae", "VideoMAEImageProcessorPil"),
        "Viv": ("vivit.image_processing_vivit", "VivitImageProcessor"),
        "VJE": ("vjepa2.video_processing_vjepa2", "VJEPA2VideoProcessor"),
    }
    name = next(value for key, value in config.items() if key.endswith("_type"))
    module, kind = kinds[name[:3]]
    values = {key: value for key, value in config.items() if not key.endswith("_type")}
    processor = getattr(import_module(f"transformers.models.{module}"), kind)(**values)
    if name.startswith("VJE"):
        return lambda frames: processor(torch.from_numpy(frames).movedim(-1, 1), return_tensors="pt")[
            "pixel_values_videos"
        ][0]
    return lambda frames: torch.as_tensor(
        np.asarray(processor(list(frames), return_tensors="np")["pixel_values"])[0], dtype=torch.float32
    )


@pytest.mark.parametrize("name", OF_TRANSFORMERS)
def test_hugging_faces_networks_get_what_hugging_face_gives_them(name: str, decoded: dict[Any, np.ndarray]) -> None:
    """Exactly where its processor uses Pillow; where it uses torchvision, 1 % of the pixels differ, by one."""
    config = OF_TRANSFORMERS[name]
    processor, p = processor_of(config), preprocessing_of_transformers(config, frames=16)
    for shape in SHAPES if name == "VideoMAE" else SHAPES[3:5]:
        apart = grey_levels(made(decoded[shape], p), processor(decoded[shape]), p)
        if name.startswith("V-JEPA"):
            assert apart.max() < 1.001 and (apart > 0.001).float().mean() < 0.01
        else:
            assert apart.max() < 0.001


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"resample": 3}, "resample must be 2, got 3"),
        ({"do_resize": False}, "do_resize must be True, got False"),
        ({"do_rescale": "false"}, "do_rescale must be true or false, got 'false'"),
        ({"do_pad": True}, "cannot be followed, unknown key 'do_pad'"),
        ({"do_flip_channel_order": True}, "unknown key 'do_flip_channel_order'"),
        ({"size": {"shortest_edge": 224, "longest_edge": 500}}, "size must have a shortest_edge, or height and width"),
        ({"size": {"shortest_edge": "large"}}, "size must be of whole numbers, got 'large'"),
        ({"crop_size": {"height": 224, "width": 112}}, "crop_size must be a square, got 224 x 112"),
        ({"do_center_crop": False}, "do_center_crop must be true where size is a short side"),
        ({"crop_size": 300}, "VideoMAEImageProcessor of Hugging Face: crop .300. must not be larger than resize .224."),
        ({"image_mean": [0.5, 0.5]}, "image_mean must be three numbers"),
        ({"image_std": [0.0] * 3}, "std must be"),
        ({"rescale_factor": 0}, "rescale_factor must be a number above 0 and at most 1, got 0"),
        ({"rescale_factor": "1/255"}, "rescale_factor must be a number above 0 and at most 1, got '1/255'"),
        ({"rescale_factor": math.nan}, "rescale_factor must be"),
        ({"image_mean": "grey"}, "image_mean must be three numbers, got 'grey'"),
        ({"size": True}, "size must be of whole numbers, got True"),
        ({"size": [224, 224]}, "size must have a shortest_edge"),
        ({"crop_size": 0}, "crop must be a whole number from 1"),
        ({"image_processor_type": ["VideoMAEImageProcessor"]}, "is not known"),
        ({"offset": True}, "mean must be"),  # pixels of -1 to 0
        ({"image_processor_type": "CLIPImageProcessor"}, "Hugging Face's 'CLIPImageProcessor' is not known; known are"),
        ({"image_processor_type": None}, "processor without a type is not known"),
        ({"auto_map": {"AutoImageProcessor": "code.Processor"}}, "unknown key 'auto_map'"),
    ],
)
def test_a_file_of_hugging_face_that_cannot_be_followed_is_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as refused:
        preprocessing_of_transformers(OF_TRANSFORMERS["VideoMAE"] | change, frames=16)
    assert "\n" not in str(refused.value)


# The other libraries


@pytest.mark.parametrize("rounding", ["up", "even"])
@pytest.mark.parametrize("shape", SHAPES)
def test_pyslowfast_and_pytorchvideo_within_half_a_grey_level(
    shape: tuple[int, int], rounding: str, decoded: dict[Any, np.ndarray]
) -> None:
    """They normalise before they resize, without rounding to grey levels; PySlowFast crops at the ceiling of the
    half, pytorchvideo with torchvision's function."""
    p = Preprocessing(frames=2, interpolation="bilinear", crop_rounding=rounding, mean=(0.45,) * 3, std=(0.225,) * 3)
    pixels = torch.from_numpy(decoded[shape]).movedim(-1, 1).float().div(255).sub(0.45).div(0.225)
    H, W = shape
    size = (math.floor(H / W * 256), 256) if W < H else (256, math.floor(W / H * 256))
    scaled = torch.nn.functional.interpolate(pixels, size, mode="bilinear", align_corners=False)
    y, x = (math.ceil((side - 224) / 2) for side in size)
    theirs = scaled[..., y : y + 224, x : x + 224] if rounding == "up" else center_crop(scaled, [224, 224])
    assert grey_levels(made(decoded[shape], p), theirs, p).max() < 0.501


@pytest.mark.parametrize("shape", SHAPES)
def test_mmaction2_exactly(shape: tuple[int, int], decoded: dict[Any, np.ndarray]) -> None:
    """OpenCV's linear resize of bytes to the nearest size; the crop begins at the half, rounded down."""
    mean, std = np.float32([123.675, 116.28, 103.53]), np.float32([58.395, 57.12, 57.375])
    p = Preprocessing(frames=2, interpolation="opencv_linear", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    H, W = (int(side * (256 / min(shape)) + 0.5) for side in shape)
    scaled = np.stack([cv2.resize(frame, (W, H), interpolation=cv2.INTER_LINEAR) for frame in decoded[shape]])
    y, x = (H - 224) // 2, (W - 224) // 2
    theirs = (scaled[:, y : y + 224, x : x + 224].astype(np.float32) - mean) / std
    assert grey_levels(made(decoded[shape], p), torch.from_numpy(theirs).movedim(-1, 1), p).max() < 0.001


@pytest.mark.parametrize("shape", SHAPES)
def test_tsm_and_tsn_scale_and_crop_with_pillow(shape: tuple[int, int], decoded: dict[Any, np.ndarray]) -> None:
    from torchvision.transforms import CenterCrop, Compose, Resize

    scale = Compose([Resize(256), CenterCrop(224)])  # of Pillow's pictures: GroupScale, GroupCenterCrop
    theirs = np.stack([np.asarray(scale(Image.fromarray(frame))) for frame in decoded[shape]])
    p = Preprocessing(frames=2, interpolation="pil", crop_rounding="even")
    assert np.array_equal(centre_crop(resize(decoded[shape], 256, "pil"), p), theirs)


@pytest.mark.parametrize("channels", [1, 2, 3, 10])
@pytest.mark.parametrize("interpolation", ["opencv", "opencv_linear", "bilinear", "pil"])
def test_every_channel_is_resized_alike(interpolation: str, channels: int) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (40, 60, channels), np.uint8)
    resized = resize_frame(frame, (30, 50), interpolation)
    assert resized.shape == (30, 50, channels) and resized.dtype == np.uint8
    for c in range(channels):
        assert np.array_equal(resize_frame(frame[..., c : c + 1], (30, 50), interpolation)[..., 0], resized[..., c])
    assert resize_frame(frame, (40, 60), interpolation) is frame


def test_where_pictures_lie_between_pixels_by_hand() -> None:
    """Four pixels become two: bilinear ones lie between the inner two, antialiased ones weigh 3, 3, 1 (of 7)."""
    frame = np.uint8([0, 70, 140, 210])[None, :, None].repeat(4, 0)
    found = {name: resize_frame(frame, (4, 2), name)[0, :, 0].tolist() for name in ("bilinear", "opencv", "pil")}
    assert found == {"bilinear": [35, 175], "opencv": [35, 175], "pil": [50, 160]}
    frame = np.uint8([0, 0, 0, 200, 0, 0])[None, :, None].repeat(2, 0)
    found = {name: resize_frame(frame, (2, 2), name)[0, :, 0].tolist() for name in ("bilinear", "opencv")}
    assert found == {"bilinear": [0, 0], "opencv": [0, 67]}  # the middle of each three, the mean of them


@pytest.mark.parametrize(
    ("rounding", "expected"), [("down", [0, 0, 1, 1, 2, 2]), ("even", [0, 0, 1, 2, 2, 2]), ("up", [0, 1, 1, 2, 2, 3])]
)
def test_where_the_centre_begins(rounding: str, expected: list[int]) -> None:
    assert [centre_of(rest, rounding) for rest in range(6)] == expected
    clip = np.arange(7 * 8, dtype=np.uint8).reshape(1, 7, 8, 1)
    p = Preprocessing(frames=1, resize=7, crop=4, crop_rounding=rounding)
    corner = expected[3] * 8 + expected[4]
    assert centre_crop(clip, p)[0, 0, 0, 0] == corner
    assert crops(clip, 4, 1, "rgb", rounding)[0, 0, 0, 0, 0] == corner
    assert crops(clip, 4, 3, "rgb", rounding)[:, 0, 0, 0, 0].tolist() == [expected[3] * 8 + x for x in (0, 2, 4)]


def test_the_box_and_the_frames_that_are_shown_are_what_the_network_sees(tmp_path: Path) -> None:
    """Where r3d_18 sees 112 of 171 columns, they begin at 30 (29.5 rounded to even)."""
    rng, path = np.random.default_rng(0), tmp_path / "clip.mp4"
    write_video(path, list(rng.integers(0, 256, (4, 128, 172, 3), np.uint8)), 24)
    p = preprocessing_of_torchvision(VideoClassification(crop_size=(112, 112), resize_size=(128, 171)), frames=4)
    assert input_box(128, 171, p) == (8, 30, 120, 142)
    clip, indices = read_clip(ClipSource(path), p)
    assert np.array_equal(seen_frames(path, indices, p, side=112), centre_crop(clip, p))
    tall = Preprocessing(frames=4, resize=96, crop=80, interpolation="pil", crop_rounding="up")
    assert np.array_equal(
        seen_frames(path, indices, tall, side=80), centre_crop(read_clip(ClipSource(path), tall)[0], tall)
    )


# What networks of this project get


@pytest.mark.parametrize("to", [48, 150, 256, (60, 90), (256, 340)])
@pytest.mark.parametrize("shape", SHAPES)
def test_by_default_the_input_is_what_it_was(
    shape: tuple[int, int], to: int | tuple[int, int], decoded: dict[Any, np.ndarray]
) -> None:
    """As versions before these options made it: areas or linear, the nearest size, the half rounded down."""
    H, W = shape
    h, w = (round(H * to / min(H, W)), round(W * to / min(H, W))) if isinstance(to, int) else to
    how = cv2.INTER_AREA if h * w < H * W else cv2.INTER_LINEAR
    scaled = np.stack([cv2.resize(frame, (w, h), interpolation=how) for frame in decoded[shape]])
    y, x = (h - 48) // 2, (w - 48) // 2
    p = Preprocessing(frames=2, resize=to, crop=48)
    assert np.array_equal(
        centre_crop(resize(decoded[shape], p.resize, p.interpolation), p), scaled[:, y : y + 48, x : x + 48]
    )


def test_a_checkpoint_keeps_the_options_and_an_earlier_one_has_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "tiny.safetensors"
    options = {"dense": "hold", "interpolation": "pil", "crop_rounding": "even"}
    p = Preprocessing(frames=4, stride=4, **options)
    save_checkpoint(path, tiny_network(), CLASSES, p)
    assert load_checkpoint(path).preprocessing == p
    content = path.read_bytes()
    for name, value in options.items():
        written = f', \\"{name}\\": \\"{value}\\"'.encode()
        assert written in content
        content = content.replace(written, b" " * len(written))
    path.write_bytes(content)
    assert load_checkpoint(path).preprocessing == Preprocessing(frames=4, stride=4)
    assert set(asdict(p)) - set(options) == {
        "modality", "frames", "resize", "crop", "mean", "std", "flow_bound", "stride"
    }  # fmt: skip


def test_training_crops_with_the_same_interpolation(tmp_path: Path) -> None:
    """A random square of the whole short side of a square frame is the frame itself: the resize alone is left."""
    path = tmp_path / "clip.mp4"
    write_video(path, list(np.random.default_rng(0).integers(0, 256, (2, 60, 60, 3), np.uint8)), 24)
    row = {"clip_id": "a", "path": str(path), "label": "a", "flow": "", "backward": False, "segment": ""}
    seen = []
    for interpolation in ("opencv", "opencv_linear", "bilinear", "pil"):
        p = Preprocessing(frames=2, resize=60, crop=32, interpolation=interpolation)
        found = TrainingSampler(p, Augment(crop_scales=(1.0,)), {"a": 0}, {}).read(ClipToSample(row, [0]))
        assert not isinstance(found, str), found
        clip = found[0]
        assert np.array_equal(clip, resize(read_frames(path, [0, 1]), 32, interpolation))
        seen.append(clip.tobytes())
    assert len(set(seen)) == 4


# Sampling


def slowfast(frames: int, T: int, stride: int, start: float) -> list[int]:
    """PySlowFast's temporal_sampling and pytorchvideo's UniformTemporalSubsample: between the ends, in float32."""
    index = torch.linspace(start, start + T * stride - 1, T)
    return torch.clamp(index, 0, frames - 1).long().tolist()


def videomae(frames: int, T: int, stride: int, chunk: int, chunks: int) -> list[int]:
    """VideoMAE's dense test clips: of every `stride`-th frame, the last of them repeated if there are too few."""
    every = list(range(0, frames, stride))
    every += [every[-1]] * (T - len(every))
    start = int(chunk * max((len(every) - T) / max(chunks - 1, 1), 0))
    return every[start : start + T]


@pytest.mark.parametrize(("T", "stride"), [(8, 8), (16, 4), (32, 2), (16, 5), (4, 16), (32, 3), (8, 32), (13, 6)])
def test_spread_clips_are_those_of_slowfast_and_pytorchvideo(T: int, stride: int) -> None:
    for frames in range(1, 301):
        middle = max(frames - T * stride, 0) // 2
        assert evaluation_positions(frames, T, 1, stride, "spread").tolist() == [slowfast(frames, T, stride, middle)]
        ends = [slowfast(frames, T, stride, start) for start in (0, max(frames - T * stride, 0))]
        assert evaluation_positions(frames, T, 2, stride, "spread").tolist() == ends


@pytest.mark.parametrize(("T", "stride"), [(16, 4), (16, 2), (8, 3)])
def test_held_clips_repeat_the_last_frame_as_videomae(T: int, stride: int) -> None:
    """VideoMAE counts every `stride`-th frame: its last is the last of those, ours that of the video; its clips start
    at multiples of the stride."""
    for frames in range(1, 301):
        first, last = evaluation_positions(frames, T, 2, stride, "hold").tolist()
        theirs = videomae(frames, T, stride, 0, 2)
        assert all(a == b or (a == frames - 1 and a - b < stride) for a, b in zip(first, theirs, strict=True))
        assert 0 <= videomae(frames, T, stride, 1, 2)[0] - last[0] < stride


def test_dense_clips_that_end_after_the_video_by_hand() -> None:
    found = {dense: evaluation_positions(5, 4, 1, 3, dense).tolist() for dense in ("loop", "hold", "spread")}
    assert found == {"loop": [[0, 3, 1, 4]], "hold": [[0, 3, 4, 4]], "spread": [[0, 3, 4, 4]]}
    found = {dense: evaluation_positions(20, 4, 1, 3, dense).tolist() for dense in ("loop", "hold", "spread")}
    assert found == {"loop": [[4, 7, 10, 13]], "hold": [[4, 7, 10, 13]], "spread": [[4, 7, 11, 15]]}
    assert slow_positions(20, 4, 3, "spread").tolist() == [7, 8, 10, 12]  # 4 + 3, and half of 0, 3, 7, 11
    assert slow_positions(9, 4, 3, "hold").tolist() == [3, 4, 6, 7]
    for dense in ("loop", "hold", "spread"):
        drawn = training_positions(20, 4, np.random.default_rng(0), 3, dense)
        assert (drawn - drawn[0]).tolist() == ([0, 3, 7, 11] if dense == "spread" else [0, 3, 6, 9])
        assert training_positions(5, 4, np.random.default_rng(0), 3, dense).max() == 4


def mmaction2(frames: int, T: int, stride: int) -> list[int]:
    """SampleFrames in test mode with one clip: from half of what is left of the frames that it spans."""
    start = max(frames - ((T - 1) * stride + 1), 0) // 2
    return [(start + i * stride) % frames for i in range(T)]


@pytest.mark.parametrize(("T", "stride"), [(8, 8), (32, 2), (16, 4)])
def test_mmaction2s_middle_clip_begins_at_most_half_a_stride_later(T: int, stride: int) -> None:
    for frames in range(T * stride, 301):
        [ours] = evaluation_positions(frames, T, 1, stride).tolist()
        later = {b - a for a, b in zip(ours, mmaction2(frames, T, stride), strict=True)}
        assert len(later) == 1 and 0 <= later.pop() <= stride // 2
    short = evaluation_positions(T, T, 1, stride).tolist()
    assert short == [mmaction2(T, T, stride)]  # both begin again


def test_a_run_says_sampling_and_preprocessing_in_words() -> None:
    assert sampling_of(Preprocessing(stride=4, dense="hold"), Protocol()) == (
        "dense, stride 4, the last frame held, the middle clip"
    )
    p = preprocessing_of_torchvision(published.R3D_18_Weights.DEFAULT.transforms(), frames=16, stride=2)
    assert preprocessing_in_words(p) == (
        "128 x 171 by PyTorch's bilinear interpolation, not antialiased; crop 112 (rounded to even); "
        "mean 0.4322, 0.3947, 0.3765; std 0.228, 0.2215, 0.217"
    )
    assert preprocessing_in_words(Preprocessing()).startswith(
        "short side 256 by OpenCV's means over areas, linear where it enlarges; crop 224; mean 0.485"
    )


def test_dense_without_a_stride_is_refused() -> None:
    with pytest.raises(BadValue, match="dense must not be given without a stride, got 'spread' and stride 0"):
        Preprocessing(dense="spread")


@pytest.mark.parametrize(
    ("interpolation", "expected"),
    [("opencv", (256, 455)), ("opencv_linear", (256, 455)), ("bilinear", (256, 455)), ("pil", (256, 455))],
)
def test_sizes_of_a_wide_video(interpolation: str, expected: tuple[int, int]) -> None:
    assert resized_size(720, 1280, 256, interpolation) == expected  # 455.1
    assert resized_size(1280, 720, 256, interpolation) == expected[::-1]
    nearest = 427 if interpolation.startswith("opencv") else 426
    assert resized_size(240, 400, 256, interpolation) == (256, nearest)  # 426.7
