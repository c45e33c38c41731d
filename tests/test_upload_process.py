"""What the app's process asks of the one that decodes an upload, and what that one does; here in this process."""

import json
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from analysis.explain.overlay import seen_frames
from sth_core.errors import UserError
from sth_core.video.clip_source import ClipSource
from sth_core.video.container import BeyondLimit
from sth_core.video.fields import read_clip
from sth_core.video.limits import Excess
from sth_core.video.transforms import crop
from tests.tiny import FLOW, RGB, write_moving_video
from workbench import uploads
from workbench.uploads import UploadLimits, check_size, decode_to_files, decode_upload, load_arrays, run_child


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 frames of 128 x 96 pixels."""
    return write_moving_video(tmp_path_factory.mktemp("video") / "video.mp4")


def test_the_limits_are_these() -> None:
    assert UploadLimits() == UploadLimits(200, 20_000, 8_294_400, 2_147_483_648, 60, 120.0)
    assert (uploads.LARGEST_FILE, uploads.SHOWN_SIDE) == (67_108_864, 224)
    taken = [uploads.DECODERS.acquire(blocking=False) for _ in range(3)]
    for _ in range(sum(taken)):
        uploads.DECODERS.release()
    assert taken == [True, True, False]  # two at the same time


def test_what_the_child_is_started_with(monkeypatch: pytest.MonkeyPatch) -> None:
    inherited = {"PATH": "/bin", "PYTHONPATH": "/code", "LD_LIBRARY_PATH": "/lib", "LANG": "C.UTF-8"}
    for name, value in (inherited | {"STH_TOKEN": "secret", "AWS_SECRET_ACCESS_KEY": "secret"}).items():
        monkeypatch.setenv(name, value)
    started: list[Any] = []

    def run(command: list[str], **options: Any) -> None:
        folder, settings = Path(command[3]), json.loads(command[4])
        assert command[:3] == [sys.executable, "-m", "workbench.uploads"]
        assert [file.name for file in folder.iterdir()] == [settings["video"]]
        assert len(settings["video"]) == 32 and (folder / settings["video"]).read_bytes() == b"content"
        assert folder.name.startswith("sth-upload-")
        limits = UploadLimits(seconds=7.5)
        assert settings == {"video": settings["video"], **json.loads(json.dumps({"preprocessing": asdict(FLOW)})),
                            "limits": asdict(limits)}  # fmt: skip
        nothing = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        environment = inherited | {"XDG_CACHE_HOME": str(folder), "OMP_NUM_THREADS": "1"}
        assert options == {"env": environment, "timeout": 7.5, **nothing}
        started.append(folder)
        raise ZeroDivisionError

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(ZeroDivisionError):
        decode_upload(b"content", FLOW, UploadLimits(seconds=7.5))
    assert not started[0].exists()


def test_a_file_of_exactly_the_largest_size_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "run_child", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        decode_upload(bytes(2**20), RGB, UploadLimits(megabytes=1))
    with pytest.raises(UserError, match=r"^the file is too large: 1\.5 MB; at most 1 are taken$"):
        decode_upload(bytes(3 * 2**19), RGB, UploadLimits(megabytes=1))


FAILED = "decoding the video failed (%s): it is damaged, or needs more memory than is allowed"


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (0, None),
        (1, FAILED % "code 1"),
        (2, "ü" * 1000),
        (3, FAILED % "code 3"),
        (-signal.SIGXCPU, "the video takes more than 5 s of computing; try a shorter one"),
        (-signal.SIGHUP, FAILED % "SIGHUP"),
        (-signal.SIGKILL, FAILED % "SIGKILL"),
        (-signal.SIGSEGV, FAILED % "SIGSEGV"),
        (None, "the video was not decoded within 1.5 s; try a shorter one"),
    ],
)
def test_how_the_child_ends(code: int | None, sentence: str | None, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "refusal.txt").write_bytes("ü".encode() * 3000)

    def run(command: list[str], **_: Any) -> Any:
        if code is None:
            raise subprocess.TimeoutExpired(command, 1.5)
        return SimpleNamespace(returncode=code)

    monkeypatch.setattr(subprocess, "run", run)
    limits = UploadLimits(cpu_seconds=5, seconds=1.5)
    if sentence is None:
        run_child(tmp_path, "", limits)
        return
    with pytest.raises(UserError) as refused:
        run_child(tmp_path, "", limits)
    assert str(refused.value) == sentence


ARRAYS: dict[str, np.ndarray] = {
    "clip": np.zeros((4, 32, 32, 10), np.uint8),
    "frames": np.ones((4, 224, 224, 3), np.uint8),
    "indices": np.arange(4, dtype=np.int64),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_of_another_form_is_refused(name: str, tmp_path: Path) -> None:
    for each, array in ARRAYS.items():
        np.save(tmp_path / f"{each}.npy", array)
    loaded = load_arrays(tmp_path, FLOW)
    assert all(np.array_equal(getattr(loaded, each), array) for each, array in ARRAYS.items())
    good = ARRAYS[name]
    for bad in (good.astype(np.int16), good[:-1], good[..., None], good[:, :-1] if good.ndim > 1 else good[None]):
        np.save(tmp_path / f"{name}.npy", bad)
        with pytest.raises(UserError) as refused:
            load_arrays(tmp_path, FLOW)
        assert str(refused.value) == f"decoding the video gave no usable result ({name} is {bad.dtype} {bad.shape})"


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_the_limits_that_the_child_sets(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has used 3.7 + 2.6 = 6.3 s and 100 pages of 4096 bytes."""
    names = {name: name for name in ("RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_CORE", "RLIMIT_AS", "RUSAGE_SELF")}
    set_to: dict[str, tuple[int, int]] = {}
    used = {"RUSAGE_SELF": SimpleNamespace(ru_utime=3.7, ru_stime=2.6)}
    resource = SimpleNamespace(
        getrusage=used.get, getpagesize=lambda: 4096, setrlimit=lambda name, pair: set_to.update({name: pair}), **names
    )
    monkeypatch.setitem(sys.modules, "resource", resource)
    monkeypatch.setattr(sys, "platform", platform)
    statm = {"/proc/self/statm": SimpleNamespace(read_text=lambda: "100 7 3")}
    monkeypatch.setattr(uploads, "Path", statm.get)
    uploads.set_limits(UploadLimits(memory=1000, cpu_seconds=5))
    expected = {"RLIMIT_CPU": (11, 12), "RLIMIT_FSIZE": (67_108_864, 67_108_864), "RLIMIT_CORE": (0, 0)}
    assert set_to == expected | ({"RLIMIT_AS": (410_600, 410_600)} if platform == "linux" else {})


def test_a_video_of_exactly_the_largest_size_is_taken(video: Path) -> None:
    check_size(video, UploadLimits(frames=30, pixels=128 * 96))
    for limits, sentence in (
        (UploadLimits(frames=29), "it is too long: 30 frames; at most 29 are taken"),
        (UploadLimits(pixels=12_287), "its frames have 128 x 96 pixels; at most 12,287 are taken"),
    ):
        with pytest.raises(UserError) as refused:
            check_size(video, limits)
        assert str(refused.value) == sentence


def settings_of(p: Any, limits: UploadLimits) -> dict[str, Any]:
    """As they arrive: JSON has no tuples."""
    values = {"video": "video.mp4", "preprocessing": asdict(p), "limits": asdict(limits)}
    return dict(json.loads(json.dumps(values)))


@pytest.mark.parametrize("p", [RGB, FLOW], ids=["rgb", "flow"])
def test_the_child_writes_what_the_network_and_the_user_see(p: Any, video: Path, tmp_path: Path, monkeypatch) -> None:
    asked: list[UploadLimits] = []
    monkeypatch.setattr(uploads, "set_limits", asked.append)
    (tmp_path / "video.mp4").write_bytes(video.read_bytes())
    limits = UploadLimits(megabytes=3, cpu_seconds=8)
    assert decode_to_files(tmp_path, settings_of(p, limits)) == 0 and asked == [limits]
    found = load_arrays(tmp_path, p)
    clip, indices = read_clip(ClipSource(video), p)
    assert np.array_equal(found.clip, crop(clip, 32)) and np.array_equal(found.indices, indices)
    assert np.array_equal(found.frames, seen_frames(video, indices, p, 224))


EXCESS = Excess("it has too much of it", "a larger limit helps")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (lambda file: BeyondLimit(file, EXCESS), "the video cannot be used: it has too much of it"),
        (lambda file: UserError(f"{file}: it is odd, ü"), "the video cannot be used: it is odd, ü"),
        (lambda file: MemoryError(), "decoding the video needs more than 1,536 MB of memory"),
    ],
    ids=["beyond a limit", "refused", "memory"],
)
def test_the_child_says_why_it_refuses(error: Any, sentence: str, tmp_path: Path, monkeypatch) -> None:
    def refuse(video: Path, _: UploadLimits) -> None:
        raise error(video)

    monkeypatch.setattr(uploads, "set_limits", lambda _: None)
    monkeypatch.setattr(uploads, "check_size", refuse)
    assert decode_to_files(tmp_path, settings_of(RGB, UploadLimits(memory=1536 * 2**20))) == 2
    assert (tmp_path / "refusal.txt").read_bytes().decode() == sentence
    assert not list(tmp_path.glob("*.npy"))
