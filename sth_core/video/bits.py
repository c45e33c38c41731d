"""Reading the headers of coded pictures: bits, Exp-Golomb codes, NAL units."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

HEADER_BYTES = 64  # of a slice, enough for all that is read of its header


class Unproven(Exception):
    """The headers do not prove that each packet is one frame that is shown at its time; the message is the reason."""


class NoPicture(Unproven):
    """A packet has no picture, or is damaged."""


@dataclass(frozen=True)
class CodedPicture:
    """The one shown picture of a packet. Pictures are shown in the order of (`sequence`, `position`).

    `entry`: what is shown from it on can be decoded without the packets before it.
    """

    sequence: int
    position: int
    entry: bool


class Inspector(Protocol):
    """Reads the packets of a stream in the order of decoding."""

    reorder: int  # pictures at most that are decoded before a picture and shown after it

    def picture(self, data: memoryview) -> CodedPicture:
        """Raises Unproven: the packet is not one picture that is shown, or its place in the order is not known."""


class BitReader:
    def __init__(self, data: bytes | memoryview) -> None:
        self.value, self.left = int.from_bytes(data), 8 * len(data)

    def u(self, bits: int) -> int:
        """An unsigned number of this many bits."""
        self.left -= bits
        if self.left < 0:
            raise Unproven("a header of it ends too early")
        return (self.value >> self.left) & ((1 << bits) - 1)

    def ue(self) -> int:
        """An unsigned Exp-Golomb code (ITU-T H.264, 9.1)."""
        zeros = 0
        while not self.u(1):
            zeros += 1
        return (1 << zeros) - 1 + self.u(zeros)

    def se(self) -> int:
        """A signed Exp-Golomb code (ITU-T H.264, 9.1.1)."""
        code = self.ue()
        return (code + 1) // 2 if code % 2 else -(code // 2)


def nal_units(data: memoryview, length_size: int) -> Iterator[memoryview]:
    """The NAL units of a packet, each after its length in `length_size` bytes. Raises NoPicture: a length is wrong."""
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + length_size])
        at += length_size
        if not 0 < size <= len(data) - at:
            raise NoPicture("a packet of it is damaged")
        yield data[at : at + size]
        at += size


def unescaped(unit: memoryview) -> bytes:
    """The payload of a NAL unit without its emulation prevention bytes (ITU-T H.264, 7.3.1)."""
    return bytes(unit).replace(b"\0\0\3", b"\0\0")


def full_order_count(low: int, bits: int, previous: int) -> int:
    """A picture's order count, of which only the low bits are coded: the one closest to `previous`, an earlier
    picture's (ITU-T H.264, 8.2.1.1; H.265, 8.3.1)."""
    period = 1 << bits
    ahead = (low - previous) % period
    return previous + (ahead if ahead <= period // 2 else ahead - period)
