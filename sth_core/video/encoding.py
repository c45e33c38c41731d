"""Writing video that browsers play: H.264 in mp4, yuv420p."""

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType

import av
import numpy as np

from sth_core.files import temporary_beside
from sth_core.video.container import UnreadableVideo, decode_packets, opened
from sth_core.video.decoding import numbered_frames, read_frames
from sth_core.video.display import Orientation, orientation_of

# Without mbtree: with B-frames on a processor with AVX-512 it reads memory that x264 never wrote, so that the same
# frames give other bytes from call to call. As it would spend fewer bits, crf is 24 for the quality of 20 with it.
SMALL = MappingProxyType({"crf": "24", "preset": "veryfast", "x264-params": "mbtree=0"})
# For videos that a user waits for: faster, with larger files for the same quality.
FAST_PRESET = MappingProxyType({"crf": "25", "preset": "ultrafast", "x264-params": "threads=2:cabac=1:deblock=0,0"})
FRAMES_AT_ONCE = 16


def write_video(path: Path, frames: Iterable[np.ndarray], fps: float, options: Mapping[str, str] = SMALL) -> None:
    """Encode frames uint8 of even height and width, RGB (H, W, 3) or I420 (3 H / 2, W), to an mp4 file.

    On one machine, with one version of PyAV and the options of this module, the same frames give the same bytes.
    """
    with temporary_beside(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.pix_fmt = "yuv420p"
        stream.options = dict(options)
        stream.codec_context.thread_count = 1
        for i, frame in enumerate(frames):
            if i == 0:
                rows, stream.width = frame.shape[:2]
                stream.height = rows if frame.ndim == 3 else rows * 2 // 3
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24" if frame.ndim == 3 else "yuv420p")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def plays_in_browsers(path: Path) -> bool:
    """Whether browsers show the file as `read_frames` does: H.264 in mp4 or VP8, VP9 or AV1 in webm, with one video
    stream that is not to be turned or mirrored."""
    playable = {".mp4": {"h264"}, ".m4v": {"h264"}, ".webm": {"vp8", "vp9", "av1"}}
    try:
        with opened(path) as (container, stream):
            codec = stream.codec_context.codec.canonical_name
            known = codec in playable.get(path.suffix.lower(), set()) and len(container.streams.video) == 1
            if not known or (codec == "h264" and stream.codec_context.pix_fmt not in ("yuv420p", "yuvj420p")):
                return False
            first = next(decode_packets(container, stream, {}), None)
            return first is not None and orientation_of(path, first) == Orientation()
    except UnreadableVideo:
        return False


def transcode(path: Path, target: Path, part: range | None = None) -> None:
    """Write a video or folder of frames, or a part of it, as H.264, frame for frame, as players show it, cropped to an
    even size.

    A damaged frame is shown as the one before it, so that the others keep their numbers. A folder has no frame rate: it
    plays at 12 frames a second, the rate of the Something sets and Jester. Raises UnreadableVideo: no frame of it can
    be decoded, or frames differ in size.
    """
    rate = 12.0
    if not path.is_dir():
        with opened(path) as (_, stream):
            rate = float(stream.average_rate or 25)

    def frames() -> Iterable[np.ndarray]:
        written, previous = part.start if part else 0, None
        for number, pixels in _numbered(path, part):
            H, W = pixels.shape[:2]
            picture = np.ascontiguousarray(pixels[: H - H % 2, : W - W % 2])
            yield from [picture if previous is None else previous] * (number - written)
            yield picture
            previous, written = picture, number + 1

    write_video(target, frames(), rate)


def _numbered(path: Path, part: range | None) -> Iterator[tuple[int, np.ndarray]]:
    """The frames, or a part of them without those before it; few at once, as they may be large."""
    if part is None:
        yield from ((number, pixels) for number, pixels, _ in numbered_frames(path))
        return
    for start in range(part.start, part.stop, FRAMES_AT_ONCE):
        numbers = range(start, min(start + FRAMES_AT_ONCE, part.stop))
        yield from zip(numbers, read_frames(path, numbers), strict=True)
