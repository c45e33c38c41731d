"""The headers of H.264 pictures in mp4 and Matroska (ITU-T H.264; ISO/IEC 14496-15 for the record of parameters)."""

from dataclasses import dataclass

from sth_core.video.bits import (
    HEADER_BYTES,
    BitReader,
    CodedPicture,
    NoPicture,
    Unproven,
    full_order_count,
    nal_units,
    unescaped,
)

SLICE, IDR, SEI, SPS, PPS, DELIMITER, FILLER = 1, 5, 6, 7, 8, 9, 12
WITH_CHROMA_FORMAT = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}  # profiles


@dataclass(frozen=True)
class H264Parameters:
    """What is needed of a sequence parameter set. `reorder` pictures at most are decoded before a picture and shown
    after it; None if it does not say."""

    separate_planes: bool
    frame_number_bits: int
    order_count_type: int
    order_count_bits: int
    frames_only: bool
    reorder: int | None


class H264Inspector:
    """Reads one packet after another, in the order of decoding."""

    def __init__(self, extradata: bytes) -> None:
        """Raises Unproven: the parameters are missing, or of a kind that is not read."""
        if len(extradata) < 7 or extradata[0] != 1:
            raise Unproven("its parameters are not at its beginning")
        self.length_size = (extradata[4] & 3) + 1
        units, rest = sized_units(memoryview(extradata)[6:], extradata[5] & 31)
        pictures, _ = sized_units(rest[1:], rest[0] if rest else 0)
        self.sets = {bytes(unit).rstrip(b"\0") for unit in [*units, *pictures]}
        found = {read_h264_parameters(unescaped(unit)) for unit in units}
        if len(found) != 1:
            raise Unproven("it has several sets of parameters, or none")
        (self.parameters,) = found
        self.reorder = self.parameters.reorder or 0
        self.sequence = self.count = self.order_count = self.frame_number = 0

    def picture(self, data: memoryview) -> CodedPicture:
        """Raises Unproven: the packet is not one frame, whose place in the order is known.

        Decoding begins at IDR pictures alone: after another keyframe the decoder may still use pictures before it.
        """
        slices = []
        for unit in nal_units(data, self.length_size):
            kind = unit[0] & 31
            if kind in (SLICE, IDR):
                header = BitReader(unescaped(unit[1:HEADER_BYTES]))
                if header.ue() == 0:  # the first macroblock
                    slices.append((kind, unit[0] >> 5 & 3, header))
            elif kind in (SPS, PPS):
                if bytes(unit).rstrip(b"\0") not in self.sets:
                    raise Unproven("its parameters change")
            elif kind not in (SEI, DELIMITER, FILLER):
                raise Unproven(f"it has NAL units of type {kind}")
        if len(slices) != 1:
            raise (Unproven("a packet of it has several pictures") if slices else NoPicture("a packet has no picture"))
        kind, reference, header = slices[0]
        return self._placed(kind == IDR, bool(reference), header)

    def _placed(self, idr: bool, reference: bool, header: BitReader) -> CodedPicture:
        p = self.parameters
        header.ue(), header.ue()  # the type of the slice, its picture parameter set
        header.u(2 * p.separate_planes)
        frame_number = header.u(p.frame_number_bits)
        if not p.frames_only and header.u(1):
            raise Unproven("it is coded in fields")
        if idr:
            header.ue()
            self.sequence, self.order_count = self.sequence + 1, 0
        elif frame_number != (self.frame_number + 1) % (1 << p.frame_number_bits):
            raise Unproven("frames of it are missing, or it was joined from pieces")
        self.count += 1
        order_count = self.count
        if p.order_count_type == 0:
            order_count = full_order_count(header.u(p.order_count_bits), p.order_count_bits, self.order_count)
        if reference:
            self.frame_number, self.order_count = frame_number, order_count
        return CodedPicture(self.sequence, order_count, idr)


def sized_units(data: memoryview, count: int) -> tuple[list[memoryview], memoryview]:
    """`count` NAL units, each after its length in two bytes, and what follows them."""
    units = []
    for _ in range(count):
        if len(data) < 2:
            raise Unproven("its parameters are damaged")
        size = int.from_bytes(data[:2])
        units.append(data[2 : 2 + size])
        data = data[2 + size :]
    return units, data


def read_h264_parameters(unit: bytes) -> H264Parameters:
    """A sequence parameter set (7.3.2.1.1). Raises Unproven: its order counts are of a kind that is not read."""
    profile, r = unit[1], BitReader(unit[4:])
    r.ue()  # its number
    separate_planes = False
    if profile in WITH_CHROMA_FORMAT:
        chroma_format = r.ue()
        separate_planes = chroma_format == 3 and bool(r.u(1))
        r.ue(), r.ue(), r.u(1)
        if r.u(1):
            skip_scaling_lists(r, 8 if chroma_format != 3 else 12)
    frame_number_bits = r.ue() + 4
    order_count_type = r.ue()
    if order_count_type == 1:
        raise Unproven("its order counts are of type 1")
    order_count_bits = r.ue() + 4 if order_count_type == 0 else 0
    r.ue(), r.u(1)  # reference frames, gaps
    r.ue(), r.ue()  # width, height
    frames_only = bool(r.u(1))
    r.u(1 if frames_only else 2)
    if r.u(1):
        r.ue(), r.ue(), r.ue(), r.ue()  # cropping
    reorder = 0 if order_count_type == 2 else read_reorder(r) if r.u(1) else None
    return H264Parameters(separate_planes, frame_number_bits, order_count_type, order_count_bits, frames_only, reorder)


def skip_scaling_lists(r: BitReader, lists: int) -> None:
    for i in range(lists):
        if r.u(1):
            last = following = 8
            for _ in range(16 if i < 6 else 64):
                if following:
                    following = (last + r.se()) % 256
                last = following or last


def read_reorder(r: BitReader) -> int | None:
    """max_num_reorder_frames of the video usability information (E.1.1), if it is in it."""
    if r.u(1) and r.u(8) == 255:  # a sample aspect ratio of its own
        r.u(32)
    if r.u(1):  # overscan
        r.u(1)
    if r.u(1):  # video signal type
        r.u(4)
        if r.u(1):
            r.u(24)
    if r.u(1):  # place of chroma samples
        r.ue(), r.ue()
    if r.u(1):  # timing
        r.u(65)
    buffers = 0
    for _ in range(2):
        if r.u(1):
            buffers += 1
            skip_buffer(r)
    if buffers:
        r.u(1)
    r.u(1)
    if not r.u(1):
        return None
    r.u(1), r.ue(), r.ue(), r.ue(), r.ue()
    return r.ue()


def skip_buffer(r: BitReader) -> None:
    """Parameters of a hypothetical reference decoder (E.1.2)."""
    count = r.ue() + 1
    r.u(8)
    for _ in range(count):
        r.ue(), r.ue(), r.u(1)
    r.u(20)
