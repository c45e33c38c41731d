"""Uploads: what is decoded, and what is refused."""

import math
import os
import pickle
import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sth_core.errors import UserError
from sth_core.video.clip_source import ClipSource
from sth_core.video.fields import read_clip
from sth_core.video.limits import VideoLimits
from sth_core.video.transforms import Preprocessing, crop
from tests.tiny import FLOW, RGB, write_moving_video
from workbench import uploads
from workbench.cli.app import app_command
from workbench.serve import serve
from workbench.uploads import UploadLimits, decode_upload, load_arrays

INDICES = np.arange(4)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_moving_video(tmp_path_factory.mktemp("video") / "video.mp4")


HARD = Preprocessing("flow", frames=8, resize=480, crop=448, mean=(0.5,), std=(0.1,), flow_bound=8.0)


def whole(content: bytes) -> bytes:
    return content


REFUSED: dict[str, tuple[Callable[[bytes], bytes], Preprocessing, UploadLimits]] = {
    "the file is too large: 1.0 MB; at most 1 are taken": (lambda _: bytes(2**20 + 1), RGB, UploadLimits(megabytes=1)),
    "cannot be used: not a video that": (lambda _: b"#EXTM3U\n/etc/passwd\n" * 9, RGB, UploadLimits()),
    "not a video that can be decoded (Inv": (lambda content: content[: len(content) // 2], RGB, UploadLimits()),
    "it is too long: 30 frames; at most 29 are taken": (whole, RGB, UploadLimits(frames=29)),
    "its frames have 128 x 96 pixels; at most 12,000 are taken": (whole, RGB, UploadLimits(pixels=12_000)),
    "needs more than 20 MB of memory": (whole, HARD, UploadLimits(memory=20 * 2**20)),
    "takes more than 1 s of computing": (whole, HARD, UploadLimits(cpu_seconds=1)),
    "was not decoded within 0.2 s": (whole, HARD, UploadLimits(seconds=0.2)),
}  # fmt: skip


@pytest.fixture(scope="module")
def decodings(video: Path) -> Iterator[dict[str, Future]]:
    """Two at a time."""
    content = video.read_bytes()
    with ThreadPoolExecutor(2) as pool:
        yield {
            sentence: pool.submit(decode_upload, spoiled(content), p, limits)
            for sentence, (spoiled, p, limits) in REFUSED.items()
        }


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_cannot_or_must_not_be_decoded_is_a_sentence(sentence, decodings):
    with pytest.raises(UserError) as refused:
        decodings[sentence].result()
    assert sentence in str(refused.value)
    assert "/tmp" not in str(refused.value) and "\n" not in str(refused.value)


def test_an_upload_is_what_the_network_would_see_of_the_file(video):
    seen = decode_upload(video.read_bytes(), RGB)
    clip, indices = read_clip(ClipSource(video), RGB)
    assert np.array_equal(seen.clip, crop(clip, RGB.crop)) and np.array_equal(seen.indices, indices)
    assert seen.frames.shape == (4, 224, 224, 3)


class Attack:
    def __reduce__(self) -> tuple:
        return os._exit, (1,)


@pytest.mark.parametrize("array", ["pickle", "objects", "shape", "type", "missing"])
def test_the_childs_arrays_are_not_trusted(array, tmp_path):
    good: dict[str, Any] = {
        "clip": np.zeros((4, 32, 32, 3), np.uint8),
        "frames": np.zeros((4, 224, 224, 3), np.uint8),
        "indices": INDICES,
    }
    for name, values in good.items():
        np.save(tmp_path / f"{name}.npy", values)
    assert load_arrays(tmp_path, RGB).clip.shape == (4, 32, 32, 3)
    clip = tmp_path / "clip.npy"
    if array == "pickle":
        clip.write_bytes(pickle.dumps(Attack()))
    elif array == "missing":
        clip.unlink()
    else:
        bad = {"objects": np.array([Attack()]), "shape": good["clip"][1:], "type": good["clip"].astype(np.int8)}
        np.save(clip, bad[array], allow_pickle=True)
    with pytest.raises(UserError, match="no usable result"):
        load_arrays(tmp_path, RGB)


def test_the_child_gets_neither_the_token_nor_credentials(video, monkeypatch):
    monkeypatch.setenv("STH_TOKEN", "secret")
    given = {}
    monkeypatch.setattr(uploads.subprocess, "run", lambda *_, env, **__: given.update(env) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        decode_upload(video.read_bytes(), FLOW)
    assert set(given) <= {*uploads.INHERITED, "XDG_CACHE_HOME", "OMP_NUM_THREADS"}


def rows_of(document: str) -> dict[str, str]:
    """{first cell: second cell} of all tables of a document."""
    text = (Path(__file__).parent.parent / "docs" / document).read_text(encoding="utf-8")
    return dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|", text, re.MULTILINE))


def test_limits_of_uploads_are_those_of_the_docs() -> None:
    rows, limits = rows_of("run-in-the-app.md"), UploadLimits()
    assert limits == UploadLimits(200, 20_000, 3840 * 2160, 2 * 2**30, 60, 120.0)
    assert rows["file"] == f"`--max-upload` ({limits.megabytes} MB)" and rows["frames"] == f"{limits.frames:,}"
    assert math.prod(map(int, rows["pixels"].split(" x "))) == limits.pixels
    assert rows["memory of the decoding process"] == f"{limits.memory / 2**30:g} GiB (Linux only)"
    assert rows["computing time"] == f"{limits.cpu_seconds} s"
    assert rows["total time"] == "two minutes" and limits.seconds == 2 * 60
    given = {option.name: option.default for option in app_command.params}
    assert given["max_upload"] == limits.megabytes == signature(serve).parameters["max_upload"].default


def test_limits_of_videos_are_those_of_the_docs() -> None:
    rows, limits = rows_of("data.md"), VideoLimits()
    [pixels] = [value for name, value in rows.items() if name.startswith("pixels of a picture")]
    assert pixels == f"{limits.pixels:,} (4096 x 4096)"
    assert rows["the long side of a picture, as a multiple of the short one"] == str(limits.elongation)
    assert rows["frames of a video"] == f"{limits.frames:,}"
    assert rows["seconds until a first frame is found in a file"] == str(limits.seconds)
