"""The headers of HEVC pictures in mp4 and Matroska (ITU-T H.265; ISO/IEC 14496-15 for the record of parameters)."""

from collections.abc import Sequence
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
from sth_core.video.h264 import sized_units

# Pictures that a picture or those after it refer to: how much later each is shown, and whether it refers to it itself.
ReferenceSet = tuple[tuple[int, bool], ...]
RADL_N, RASL_N, RASL_R = 6, 8, 9
FIRST_BLA, LAST_BLA, FIRST_IDR, LAST_IDR, CRA, LAST_IRAP = 16, 18, 19, 20, 21, 23
VIDEO_SET, SEQUENCE_SET, PICTURE_SET = 32, 33, 34
SLICES, ENDS = {*range(10), *range(FIRST_BLA, CRA + 1)}, (36, 37)


@dataclass(frozen=True)
class HevcParameters:
    """What is needed of a sequence parameter set. `reorder` pictures at most are decoded before a picture and shown
    after it."""

    separate_planes: bool
    order_count_bits: int
    reorder: int
    reference_sets: tuple[ReferenceSet, ...]


class HevcInspector:
    """Reads one packet after another, in the order of decoding."""

    def __init__(self, extradata: bytes) -> None:
        """Raises Unproven: the parameters are missing, or of a kind that is not read."""
        if len(extradata) < 23 or extradata[0] != 1:
            raise Unproven("its parameters are not at its beginning")
        self.length_size = (extradata[21] & 3) + 1
        units, rest = [], memoryview(extradata)[23:]
        for _ in range(extradata[22]):
            found, rest = sized_units(rest[3:], int.from_bytes(rest[1:3]))
            units += found
        self.sets = {bytes(unit).rstrip(b"\0") for unit in units}
        sequences = {read_hevc_parameters(unescaped(unit)) for unit in units if unit[0] >> 1 == SEQUENCE_SET}
        extra_bits = {read_extra_bits(unescaped(unit)) for unit in units if unit[0] >> 1 == PICTURE_SET}
        if len(sequences) != 1 or len(extra_bits) != 1:
            raise Unproven("it has several sets of parameters, or none")
        (self.parameters,), (self.extra_bits,) = sequences, extra_bits
        self.reorder = self.parameters.reorder
        self.sequence = self.order_count = self.count = self.keyframe = 0
        self.kept = set[int]()  # order counts of the pictures that can be referred to
        self.leading_decodable = False  # the pictures that are shown before a keyframe and refer to those before it

    def picture(self, data: memoryview) -> CodedPicture:
        """Raises Unproven: the packet is not one picture that is shown, whose place in the order is known."""
        slices = []
        for unit in nal_units(data, self.length_size):
            kind, layer = unit[0] >> 1 & 63, (unit[0] & 1) << 5 | unit[1] >> 3
            if layer:
                raise Unproven("it has several layers")
            if kind in SLICES:
                if unit[2] & 0x80:  # the first slice of a picture
                    slices.append((kind, unit[1] & 7, BitReader(unescaped(unit[2:HEADER_BYTES]))))
            elif kind in (VIDEO_SET, SEQUENCE_SET, PICTURE_SET):
                if bytes(unit).rstrip(b"\0") not in self.sets:
                    raise Unproven("its parameters change")
            elif kind < VIDEO_SET or kind in ENDS:
                raise Unproven(f"it has NAL units of type {kind}")
        if len(slices) != 1:
            raise (Unproven("a packet of it has several pictures") if slices else NoPicture("a packet has no picture"))
        return self._placed(*slices[0])

    def _placed(self, kind: int, temporal_id: int, header: BitReader) -> CodedPicture:
        p, idr, starts = self.parameters, FIRST_IDR <= kind <= LAST_IDR, FIRST_BLA <= kind <= LAST_IDR
        header.u(1)
        if FIRST_BLA <= kind <= LAST_IRAP and header.u(1):
            raise Unproven("it drops pictures before a keyframe")
        header.ue()  # its picture parameter set
        header.u(self.extra_bits)
        header.ue()  # the type of the slice
        header.u(2 * p.separate_planes)
        if kind in (RASL_N, RASL_R) and not self.leading_decodable:
            raise Unproven("pictures before a keyframe are not decoded")
        if starts:
            self.sequence, self.order_count = self.sequence + 1, 0
        if FIRST_BLA <= kind <= LAST_IRAP:
            self.leading_decodable = kind == CRA and self.count > 0
        self.count += 1
        low = 0 if idr else header.u(p.order_count_bits)
        order_count = low if starts else full_order_count(low, p.order_count_bits, self.order_count)
        if temporal_id == 1 and not RADL_N <= kind <= RASL_R and not (kind < FIRST_BLA and kind % 2 == 0):
            self.order_count = order_count
        self._refer(kind, order_count, () if idr else read_picture_references(header, p.reference_sets))
        return CodedPicture(self.sequence, order_count, FIRST_BLA <= kind <= CRA)

    def _refer(self, kind: int, order_count: int, references: ReferenceSet) -> None:
        """Keep what a picture and those after it refer to. Raises Unproven: some of it is missing, or lies before a
        keyframe after which the picture is shown."""
        needed = {order_count + later for later, _ in references}
        if FIRST_BLA <= kind <= LAST_IDR or (kind == CRA and self.count == 1):
            needed, self.kept = set(), set()
        if not needed <= self.kept:
            raise Unproven("frames of it are missing, or it was joined from pieces")
        if FIRST_BLA <= kind <= CRA:
            self.keyframe = order_count
        elif not RADL_N <= kind <= RASL_R and any(
            used and order_count + later < self.keyframe for later, used in references
        ):
            raise Unproven("frames after a keyframe refer to those before it")
        self.kept = needed | {order_count}


def read_hevc_parameters(unit: bytes) -> HevcParameters:
    """A sequence parameter set (7.3.2.2.1)."""
    r = BitReader(unit[2:])
    r.u(4)
    layers = r.u(3)  # besides the first
    r.u(1)
    r.u(96)  # profile, tier and level
    present = [(r.u(1), r.u(1)) for _ in range(layers)]
    if layers:
        r.u(2 * (8 - layers))
    for profile, level in present:
        r.u(88 * profile + 8 * level)
    r.ue()  # its number
    separate_planes = r.ue() == 3 and bool(r.u(1))
    r.ue(), r.ue()  # width, height
    if r.u(1):
        r.ue(), r.ue(), r.ue(), r.ue()  # conformance window
    r.ue(), r.ue()  # bit depths
    order_count_bits = r.ue() + 4
    for _ in range(layers + 1 if r.u(1) else 1):
        r.ue()
        reorder = r.ue()
        r.ue()
    return HevcParameters(separate_planes, order_count_bits, reorder, read_reference_sets(r))


def read_reference_sets(r: BitReader) -> tuple[ReferenceSet, ...]:
    """The short-term reference picture sets of a sequence parameter set, and what lies before them.
    Raises Unproven: there are long-term references."""
    for _ in range(6):
        r.ue()  # sizes and depths of blocks
    if r.u(1) and r.u(1):
        skip_hevc_scaling_lists(r)
    r.u(2)
    if r.u(1):  # samples without prediction
        r.u(8)
        r.ue(), r.ue(), r.u(1)
    sets: list[ReferenceSet] = []
    count = r.ue()
    for _ in range(count):
        sets.append(read_reference_set(r, sets, False))
    if r.u(1):
        raise Unproven("it has long-term references")
    return tuple(sets)


def skip_hevc_scaling_lists(r: BitReader) -> None:
    """Scaling list data (7.3.4)."""
    for size in range(4):
        for _ in range(2 if size == 3 else 6):
            if not r.u(1):
                r.ue()
                continue
            for _ in range(min(64, 1 << (4 + 2 * size)) + (size > 1)):
                r.se()


def read_picture_references(r: BitReader, sets: tuple[ReferenceSet, ...]) -> ReferenceSet:
    """The reference picture set in the header of a slice."""
    if not r.u(1):
        return read_reference_set(r, sets, True)
    return sets[r.u((len(sets) - 1).bit_length())]


def read_reference_set(r: BitReader, sets: Sequence[ReferenceSet], in_slice: bool) -> ReferenceSet:
    """A short-term reference picture set (7.3.7 and 7.4.8): those shown before the picture, the closest first, then
    those after it. It may be coded by its difference from one of the `sets` before it."""
    found: list[tuple[int, bool]] = []
    if sets and r.u(1):
        other = sets[-1 - (r.ue() if in_slice else 0)]
        sign = -1 if r.u(1) else 1
        shift = sign * (r.ue() + 1)
        for later in [*(later for later, _ in other), 0]:
            used = bool(r.u(1))
            if (used or r.u(1)) and later + shift:
                found.append((later + shift, used))
    else:
        before, after = r.ue(), r.ue()
        for count, direction in ((before, -1), (after, 1)):
            later = 0
            for _ in range(count):
                later += direction * (r.ue() + 1)
                found.append((later, bool(r.u(1))))
    return tuple(sorted(found, key=lambda reference: (reference[0] > 0, abs(reference[0]))))


def read_extra_bits(unit: bytes) -> int:
    """num_extra_slice_header_bits of a picture parameter set (7.3.2.3.1).
    Raises Unproven: its pictures may be hidden."""
    r = BitReader(unit[2:])
    r.ue(), r.ue(), r.u(1)
    if r.u(1):
        raise Unproven("pictures of it may be hidden")
    return r.u(3)
