"""The headers of VP9 and AV1 frames, which are shown in the order of decoding.

Sources: VP9 Bitstream & Decoding Process Specification, 7.2 and annex B; AV1 Bitstream & Decoding Process
Specification, 5.3 and 5.9.
"""

from sth_core.video.bits import BitReader, CodedPicture, Unproven

SEQUENCE_HEADER, FRAME_HEADER, FRAME = 1, 3, 6


class Vp9Inspector:
    """Reads one packet after another, in the order of decoding."""

    reorder = 0

    def __init__(self, extradata: bytes) -> None:
        self.count = 0

    def picture(self, data: memoryview) -> CodedPicture:
        """Raises Unproven: the packet does not show one frame."""
        frames = [read_vp9_frame(frame) for frame in superframe(data)]
        if sum(shown for _, shown in frames) != 1:
            raise Unproven("a packet of it shows several frames, or none")
        self.count += 1
        return CodedPicture(0, self.count, frames[0][0])


def superframe(data: memoryview) -> list[memoryview]:
    """The frames of a packet (annex B)."""
    last = data[-1]
    count, bytes_each = (last & 7) + 1, (last >> 3 & 3) + 1
    index = 2 + count * bytes_each
    if last & 0xE0 != 0xC0 or len(data) < index or data[-index] != last:
        return [data]
    frames, at = [], 0
    for i in range(count):
        start = len(data) - index + 1 + i * bytes_each
        size = int.from_bytes(data[start : start + bytes_each], "little")
        if size:
            frames.append(data[at : at + size])
        at += size
    return frames


def read_vp9_frame(data: memoryview) -> tuple[bool, bool]:
    """Whether a frame is a keyframe, and whether it is shown."""
    r = BitReader(data[:2])
    if r.u(2) != 2:
        raise Unproven("a frame of it is damaged")
    if r.u(1) + 2 * r.u(1) == 3:
        r.u(1)
    if r.u(1):  # shows a frame that was decoded before
        return False, True
    return not r.u(1), bool(r.u(1))


class Av1Inspector:
    """Reads one packet after another, in the order of decoding."""

    reorder = 0

    def __init__(self, extradata: bytes) -> None:
        self.count, self.sequence_headers = 0, set[bytes]()

    def picture(self, data: memoryview) -> CodedPicture:
        """Raises Unproven: the packet does not show one frame, or the parameters change."""
        frames = []
        for kind, unit in open_bitstream_units(data):
            if kind == SEQUENCE_HEADER:
                self.sequence_headers.add(bytes(unit))
            elif kind in (FRAME_HEADER, FRAME):
                frames.append(read_av1_frame(unit))
        if sum(shown for _, shown in frames) != 1:
            raise Unproven("a packet of it shows several frames, or none")
        if len(self.sequence_headers) > 1:
            raise Unproven("its parameters change")
        self.count += 1
        return CodedPicture(0, self.count, frames[0] == (True, True))


def open_bitstream_units(data: memoryview) -> list[tuple[int, memoryview]]:
    """The type and the content of each unit of a packet (5.3)."""
    units, at = [], 0
    while at < len(data):
        header, at = data[at], at + 1
        if header & 4:
            if at < len(data) and data[at] >> 3 & 3:
                raise Unproven("it has several layers")
            at += 1
        size = len(data) - at
        if header & 2:
            size, at = leb128(data, at)
        if size > len(data) - at:
            raise Unproven("a packet of it is damaged")
        units.append((header >> 3 & 15, data[at : at + size]))
        at += size
    return units


def leb128(data: memoryview, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first (4.10.5), and where it ends."""
    number = 0
    for i, byte in enumerate(data[at : at + 8]):
        number |= (byte & 127) << 7 * i
        if byte < 128:
            return number, at + i + 1
    raise Unproven("a packet of it is damaged")


def read_av1_frame(data: memoryview) -> tuple[bool, bool]:
    """Whether a frame is a keyframe, and whether it is shown (5.9.2; still pictures have another header)."""
    r = BitReader(data[:1])
    if r.u(1):  # shows a frame that was decoded before
        return False, True
    return r.u(2) == 0, bool(r.u(1))
