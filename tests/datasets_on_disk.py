"""Small datasets that lie on disk as their owners distribute them: names, separators, headers, line ends.

Each function writes one into a folder: two classes, clips of 10 frames of 64 x 48 pixels that move to the right.
"""

import io
import json
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import cv2
import numpy as np

FRAMES, HEIGHT, WIDTH = 10, 48, 64
STEP = 2  # pixels to the right, each frame

# What each codec is in: Something-Something V2, Kinetics, and UCF-101 and HMDB-51, whose AVI files have B-frames.
CODECS = {
    ".webm": ("webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
    ".mp4": ("mp4", "libx264", {"preset": "veryfast", "bf": "2", "crf": "16"}),
    ".avi": ("avi", "mpeg4", {"bf": "2", "qmin": "2", "qmax": "4"}),
}


def pictures(frames: int = FRAMES, step: int = STEP, seed: int = 0) -> Iterator[np.ndarray]:
    """Blotches, RGB, that move to the right by `step` pixels a frame."""
    noise = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH + frames * abs(step), 3), np.uint8)
    wide = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)
    for t in range(frames):
        start = (frames - t) * step if step > 0 else -t * step
        yield np.ascontiguousarray(wide[:, start : start + WIDTH])


def encoded(suffix: str, shown: Iterator[np.ndarray], **options: str) -> bytes:
    """A video file of this suffix, its codec as in CODECS."""
    container_format, codec, of_codec = CODECS[suffix]
    content = io.BytesIO()
    with av.open(content, "w", format=container_format) as container:
        stream = container.add_stream(codec, rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt, stream.options = WIDTH, HEIGHT, "yuv420p", of_codec | options
        if suffix == ".avi":
            stream.codec_context.max_b_frames = 2
        for picture in shown:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return content.getvalue()


@cache
def video_file(suffix: str, frames: int = FRAMES) -> bytes:
    return encoded(suffix, pictures(frames))


@cache
def jpeg_files(frames: int = FRAMES) -> tuple[bytes, ...]:
    coded = (cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95]) for picture in pictures(frames))
    return tuple(content.tobytes() for _, content in coded)


def video(path: Path, frames: int = FRAMES) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(video_file(path.suffix, frames))
    return path


def frame_folder(path: Path, name: str = "{:05d}.jpg", frames: int = FRAMES) -> Path:
    """Images 1, 2, ... of a clip."""
    path.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(jpeg_files(frames), start=1):
        (path / name.format(number)).write_bytes(content)
    return path


def flow_folder(
    path: Path,
    x: str = "flow_x_{:05d}.jpg",
    y: str = "flow_y_{:05d}.jpg",
    values: tuple[int, int] = (138, 120),
    fields: int = FRAMES - 1,
) -> Path:
    """Images of flow that is the same everywhere."""
    path.mkdir(parents=True, exist_ok=True)
    for name, value in zip((x, y), values, strict=True):
        gray = np.full((HEIGHT, WIDTH), value, np.uint8)
        content = cv2.imencode(".jpg", gray, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
        for number in range(1, fields + 1):
            (path / name.format(number)).write_bytes(content)
    return path


def lines(path: Path, *text: str, end: str = "\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(line + end for line in text).encode())
    return path


def id_label_files(folder: Path, prefix: str, labels: list[str], clips: dict[str, dict[str, str]]) -> Path:
    """Annotations as those of Something-Something V1 and Jester: `clips` are labels by id, for each part."""
    lines(folder / f"{prefix}-labels.csv", *labels)
    for part, of_part in clips.items():
        text = (f"{number};{label}" if label else number for number, label in of_part.items())
        lines(folder / f"{prefix}-{part}.csv", *text)
        for number in of_part:
            frame_folder(folder / f"20bn-{prefix}" / number)
    return folder


FALLS_OFF = "Pushing something so that it almost falls off but doesn't"


def something_v1(folder: Path) -> Path:
    """Its labels have no brackets; its test list has ids alone."""
    holding = "Holding something"
    clips = {
        "train": {"100218": FALLS_OFF, "24413": holding, "7": holding},
        "validation": {"1099": holding, "42326": FALLS_OFF},
        "test": {"1420": ""},
    }
    return id_label_files(folder, "something-something-v1", [holding, FALLS_OFF], clips)


def jester(folder: Path) -> Path:
    left, right = "Swiping Left", "Swiping Right"
    clips = {
        "train": {"34870": left, "56557": right},
        "validation": {"9223": right, "107090": left},
        "test": {"69136": ""},
    }
    return id_label_files(folder, "jester-v1", [left, right], clips)


SIMILAR = "similar to other things that are already on the table"
SOMETHING_V2_LABELS = {
    "Holding something next to something": "0",
    "Something falling like a rock": "1",
    f"Putting something {SIMILAR}": "2",
}
SOMETHING_V2_CLIPS: dict[str, list[dict[str, object]]] = {
    part: [dict(zip(("id", "label", "template", "placeholders"), clip, strict=True)) for clip in clips]
    for part, clips in {
        "train": [
            ("78687", "holding potato next to vicks vaporub bottle", "Holding [something] next to [something]",
             ["potato", "vicks vaporub bottle"]),
            ("42326", "a pen falling like a rock", "[Something] falling like a rock", ["a pen"]),
            ("100904", f"putting crème cup {SIMILAR}", f"Putting [something {SIMILAR}]", ["crème cup"]),
        ],
        "validation": [
            ("74225", "holding a book next to a box", "Holding [something] next to [something]", ["a book", "a box"]),
        ],
    }.items()
} | {"test": [{"id": "1420"}, {"id": "3698"}]}  # fmt: skip


def something_v2(folder: Path, prefix: str = "something-something-v2-") -> Path:
    """`prefix` is "labels/" in the distribution of today, which has the answers of the test too."""
    (folder / f"{prefix}train.json").parent.mkdir(parents=True, exist_ok=True)
    for name, content in {"labels": SOMETHING_V2_LABELS, **SOMETHING_V2_CLIPS}.items():
        (folder / f"{prefix}{name}.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    if prefix == "labels/":
        answers = ("1420;Something falling like a rock", "3698;Holding something next to something")
        lines(folder / "labels" / "test-answers.csv", *answers)
    for clips in SOMETHING_V2_CLIPS.values():
        for clip in clips:
            video(folder / "20bn-something-something-v2" / f"{clip['id']}.webm")
    return folder


def kinetics(folder: Path) -> Path:
    """Ids may begin with a dash and hold an underscore; a video is in the set once or more often."""
    header = "label,youtube_id,time_start,time_end,split"
    petting = "petting animal (not cat)"
    for part, clips in {
        "train": [("testifying", "---QUuC4vJs", 84), (petting, "_dbcJuKJQNs", 40), (petting, "_dbcJuKJQNs", 170)],
        "validate": [("testifying", "3B32lodo2M-", 59)],
        "test": [("testifying", "0wR5jVB-WPk", 417)],
    }.items():
        rows = (f"{label},{number},{start},{start + 10},{part}" for label, number, start in clips)
        lines(folder / f"{part}.csv", header, *rows)
        for label, number, start in clips:  # those of the test lie in one folder
            video(folder / part / ("" if part == "test" else label) / f"{number}_{start:06d}_{start + 10:06d}.mp4")
    return folder


UCF101_CLASSES = ["ApplyEyeMakeup", "HandstandPushups"]
UCF101_CLIPS = [
    "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi",
    "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi",
    "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c02.avi",
    "HandstandPushups/v_HandStandPushups_g01_c03.avi",  # a capital S, as in the real set
    "HandstandPushups/v_HandStandPushups_g15_c01.avi",
    "HandstandPushups/v_HandStandPushups_g22_c04.avi",
]
UCF101_TESTED = {1: ("_g01_",), 2: ("_g08_", "_g15_"), 3: ("_g08_", "_g22_")}  # groups, in each of the three splits


def ucf101(folder: Path) -> Path:
    """Windows line ends; numbers from 1 in the lists for training, none in those for testing."""
    lists = folder / "ucfTrainTestlist"
    lines(lists / "classInd.txt", *(f"{i} {name}" for i, name in enumerate(UCF101_CLASSES, start=1)), end="\r\n")
    for fold, groups in UCF101_TESTED.items():
        tested = [clip for clip in UCF101_CLIPS if any(group in clip for group in groups)]
        trained = [clip for clip in UCF101_CLIPS if clip not in tested]
        numbered = (f"{clip} {UCF101_CLASSES.index(clip.split('/')[0]) + 1}" for clip in trained)
        lines(lists / f"trainlist0{fold}.txt", *numbered, end="\r\n")
        lines(lists / f"testlist0{fold}.txt", *tested, end="\r\n")
    for clip in UCF101_CLIPS:
        video(folder / "UCF-101" / clip)
    return folder


HMDB51_USES = {  # in the three splits: 1 trains, 2 tests, 0 is left out
    "pick": {
        "#122_Cleaning_Up_The_Beach_In_Chiba__Japan_pick_f_cm_np1_fr_med_0.avi": "121",
        "Florian_Fromlowitz_(20)_&_Co_pick_u_nm_np1_ba_goo_2.avi": "212",
        "prelinger_they_grow_up_1_pick_f_nm_np1_ba_med_18.avi": "010",
    },
    "brush_hair": {
        "April_09_brush_hair_u_nm_np1_ba_goo_0.avi": "112",
        "Brushing_Her_Hair__[_NEW_AUDIO_]_UPDATED!!!!_brush_hair_h_cm_np1_fr_goo_0.avi": "221",
    },
}


def hmdb51(folder: Path) -> Path:
    """A space at the end of each line, and names with all that YouTube's titles hold."""
    for label, clips in HMDB51_USES.items():
        for fold in (1, 2, 3):
            text = (f"{name} {uses[fold - 1]} " for name, uses in clips.items())
            lines(folder / "testTrainMulti_7030_splits" / f"{label}_test_split{fold}.txt", *text)
        for name in clips:
            video(folder / "hmdb51_org" / label / name)
    return folder


def tsn_lists(folder: Path) -> Path:
    """Lists of TSN: frames and flow in one folder, by split, without the names of classes."""
    for clip in ("v_Archery_g01_c01", "v_Archery_g02_c01", "v_Biking_g01_c01"):
        frame_folder(folder / "jpg" / clip, "img_{:05d}.jpg")
        flow_folder(folder / "jpg" / clip)
    for kind, length in (("rgb", FRAMES), ("flow", FRAMES - 1)):
        for fold, tested in ((1, "v_Archery_g01_c01"), (2, "v_Archery_g02_c01")):
            trained = {"v_Archery_g01_c01": 0, "v_Archery_g02_c01": 0, "v_Biking_g01_c01": 1}
            trained.pop(tested)
            text = (f"jpg/{clip} {length} {label}" for clip, label in trained.items())
            lines(folder / f"ucf101_{kind}_train_split_{fold}.txt", *text)
            lines(folder / f"ucf101_{kind}_val_split_{fold}.txt", f"jpg/{tested} {length} 0")
    return folder


def tsm_lists(folder: Path) -> Path:
    """What TSM's tools make of Something-Something: category.txt, and lists whose last line has no end."""
    (folder / "category.txt").parent.mkdir(parents=True, exist_ok=True)
    (folder / "category.txt").write_bytes(b"Holding something\nThrowing something")
    (folder / "train_videofolder.txt").write_bytes(b"100218 10 0\n24413 10 1\n7 10 1")
    (folder / "val_videofolder.txt").write_bytes(b"1099 10 1\n42326 10 0")
    for number in ("100218", "24413", "7", "1099", "42326"):
        frame_folder(folder / "20bn-something-something-v1" / number)
    return folder


def mmaction_lists(folder: Path) -> Path:
    lines(folder / "kinetics400_train_list_videos.txt", "abseiling/-7kbO0v4hag_000107_000117.mp4 0", "zumba/x_1.mp4 1")
    lines(folder / "kinetics400_val_list_videos.txt", "zumba/_kSMiVvsALg_000003_000013.mp4 1")
    lines(folder / "label_map_k400.txt", "abseiling", "zumba")
    video(folder / "videos_train" / "abseiling" / "-7kbO0v4hag_000107_000117.mp4")
    video(folder / "videos_train" / "zumba" / "x_1.mp4")
    video(folder / "videos_val" / "zumba" / "_kSMiVvsALg_000003_000013.mp4")
    return folder


def class_folders_of_videos(folder: Path) -> Path:
    for path in ("train/hug/1.mp4", "train/high five/2.webm", "val/hug/3.avi", "test/hug/4.mp4"):
        video(folder / path)
    return folder


def class_folders_of_frames(folder: Path) -> Path:
    frame_folder(folder / "train" / "hug" / "one", "img_{:05d}.jpg")
    frame_folder(folder / "train" / "high five" / "two", "frame{:06d}.jpg")
    frame_folder(folder / "val" / "hug" / "three", "{:d}.jpg")
    return folder


def manifest(folder: Path) -> Path:
    lines(
        folder / "manifest.csv",
        "path,label,split,actor",
        'a/1.mp4,"push, then pull",train,Ann',
        "a/2.webm,lift,train,Bob",
        "b\\3.avi,lift,val,Cleo",
        "b/4,lift,test,Dan",
    )
    video(folder / "a" / "1.mp4")
    video(folder / "a" / "2.webm")
    video(folder / "b" / "3.avi")
    frame_folder(folder / "b" / "4")
    return folder


KINDS = {
    make.__name__: make
    for make in (
        something_v1, something_v2, jester, kinetics, ucf101, hmdb51, tsn_lists, tsm_lists, mmaction_lists,
        class_folders_of_videos, class_folders_of_frames, manifest,
    )
}  # fmt: skip
