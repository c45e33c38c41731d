"""Opening a video file: its container, and the stream that is its video."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import av
from av.stream import Disposition

from sth_core.errors import UserError
from sth_core.stopping import raise_if_stopping
from sth_core.video.limits import VARIABLE, Excess, pixels_in_memory, video_limits
from sth_core.video.turns import a_turn

# Without this list FFmpeg reads an image as a video of one frame, and follows a playlist to other files.
CONTAINERS = "mov,matroska,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,flv,asf,ogg,gif,dv"
# Old AVI files carry metadata in unknown encodings, which must not stop the decoding. PyAV 19 always allows for them.
ANY_METADATA: dict[str, Any] = {"metadata_errors": "ignore"} if int(av.__version__.split(".")[0]) < 19 else {}


class UnreadableVideo(UserError):
    """A file without readable frames; the message names the file and the reason."""


class BeyondLimit(UnreadableVideo):
    """A file is larger than the limits allow; `found` says so without the way to raise them."""

    def __init__(self, path: Path, excess: Excess) -> None:
        super().__init__(f"{path}: {excess.found}; {excess.way}")
        self.found = excess.found


def check_limit(path: Path, excess: Excess | None) -> None:
    """Raises BeyondLimit: there is an excess."""
    if excess:
        raise BeyondLimit(path, excess)


def size_and_mtime(path: Path) -> tuple[int, int]:
    """A file's bytes and its time of change in nanoseconds: a cache keyed by them knows a file that has changed.
    Raises UnreadableVideo: it is not there, or may not be read."""
    try:
        stat = path.stat()
    except OSError as error:
        raise UnreadableVideo(f"{path}: {error.strerror}") from error
    return stat.st_size, stat.st_mtime_ns


@contextmanager
def opened(path: Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """The file and its video stream (`main_stream`), decoded by one thread (clips are read in parallel).

    Raises UnreadableVideo: it cannot be opened, has no video, is beyond a limit, or its decoding fails in the block."""
    limits = video_limits()
    # The decoder refuses a larger picture before it takes memory for it, also where the size changes later. It counts
    # whole blocks and its margins too.
    largest = {"max_pixels": str(limits.pixels * 9 // 8 + 2**18)}
    with suppress(OSError):  # av.open below raises for such a file
        if path.stat().st_size == 0:
            raise UnreadableVideo(f"{path}: not a video that can be decoded (empty)")
    try:
        # Absolute, as FFmpeg reads "a:b.mp4" as the file b.mp4 of a protocol named a.
        options = {"format_whitelist": CONTAINERS, **largest}
        with av.open(str(path.absolute()), options=options, timeout=limits.seconds, **ANY_METADATA) as container:
            stream = main_stream(container)
            if stream is None:
                raise UnreadableVideo(f"{path}: has no video stream")
            if stream.codec_context is None:
                raise UnreadableVideo(f"{path}: FFmpeg has no decoder for its video")
            context = stream.codec_context
            bits = context.format.padded_bits_per_pixel if context.format else 0
            size = picture_size(path, context)
            check_limit(path, limits.of_picture(*size, bits))
            stream.codec_context.thread_count = 1
            stream.codec_context.options = largest
            with a_turn(pixels_in_memory(*size, bits), limits.pixels):
                yield container, stream
    except av.error.ExitError as error:
        raise BeyondLimit(path, limits.of_search()) from error
    except av.FFmpegError as error:
        raise UnreadableVideo(f"{path}: not a video that can be decoded ({describe_error(error)})") from error


def picture_size(path: Path, context: av.VideoCodecContext) -> tuple[int, int]:
    """Width and height that a file states; 0 and 0 where they are not known yet. FFmpeg learns those of a GIF from its
    first frame, for which it takes memory; they are in the file's first bytes (GIF89a specification, section 18)."""
    if context.name == "gif":
        with path.open("rb") as file:
            return struct.unpack("<6xHH", file.read(10))
    return context.width, context.height


def main_stream(container: av.container.InputContainer) -> av.VideoStream | None:
    """The video stream that the file marks as its default, else the largest; never a cover picture."""

    def rank(stream: av.VideoStream) -> tuple[bool, int]:
        context = stream.codec_context
        return bool(stream.disposition & Disposition.default), context.width * context.height if context else 0

    videos = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    return max(videos, key=rank, default=None)


def describe_error(error: av.FFmpegError) -> str:
    if isinstance(error, av.EOFError):
        return "it ends too early"
    if isinstance(error, av.ArgumentError):  # not among CONTAINERS
        return "of a format that holds no video"
    return error.strerror or str(error)


def decode_packets(
    container: av.container.InputContainer, stream: av.VideoStream, damaged: dict[int | None, str]
) -> Iterator[av.VideoFrame]:
    """Every frame that can be decoded, first to last, as ffmpeg does it: a packet that cannot be decoded is left out
    (`damaged` gets its time and the error), and so is an empty one, which would end the decoding."""
    failure = None
    try:
        for packet in container.demux(stream):
            raise_if_stopping()
            if packet.size:
                yield from decode_packet(packet, damaged)
    except av.FFmpegError as error:  # the file cannot be read further; the decoder still holds frames
        failure = error
    yield from stream.decode(None)
    if failure:
        raise failure


def decode_packet(packet: av.Packet, damaged: dict[int | None, str]) -> list[av.VideoFrame]:
    try:
        return packet.decode()
    except av.FFmpegError as error:
        too_large = f"invalid, or a picture of more than {video_limits().pixels:,} pixels, the limit of {VARIABLE}"
        damaged[packet.pts] = too_large if isinstance(error, av.ArgumentError) else describe_error(error)
        return []
