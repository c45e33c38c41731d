"""How a clip is stored: by what a network could tell the classes apart without looking at it."""

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from sth_core.datasets.media import counted
from sth_core.video.container import opened
from sth_core.video.images import NUMBERED, frame_names


@dataclass(frozen=True)
class MediaFacts:
    """`rate` is in frames a second, nan for images. `container` is "mp4", "avi", ... or "images"."""

    rate: float
    codec: str
    container: str
    pixel_format: str = ""
    missing: int = 0
    warning: str = ""


def facts_of(path: Path) -> MediaFacts:
    """Raises UnreadableVideo: the file cannot be opened, or the folder has no frames."""
    return images_facts(path) if path.is_dir() else video_facts(path)


def video_facts(path: Path) -> MediaFacts:
    with opened(path) as (container, stream):
        formats, suffix = container.format.name.split(","), path.suffix.lower().removeprefix(".")
        rate = float(stream.average_rate or 0) or math.nan
        context = stream.codec_context
        kind = suffix if suffix in formats else formats[0]
        return MediaFacts(rate, context.codec.canonical_name, kind, context.pix_fmt or "")


def images_facts(folder: Path) -> MediaFacts:
    suffixes = Counter(Path(name).suffix.lower() for name in frame_names(folder)).most_common()
    missing = missing_numbers(folder)
    warnings = [f"{counted(missing, 'number')} missing between its images"] if missing else []
    if len(suffixes) > 1:
        warnings.append(f"its frames are of several kinds: {', '.join(f'{n} {suffix}' for suffix, n in suffixes)}")
    codec = ", ".join(sorted(suffix.removeprefix(".") for suffix, _ in suffixes))
    return MediaFacts(math.nan, codec, "images", warning="; ".join(warnings))


def missing_numbers(folder: Path) -> int:
    """How many numbers are missing between a folder's images."""
    numbers = [int(match["number"]) for match in map(NUMBERED.fullmatch, frame_names(folder)) if match]
    return numbers[-1] - numbers[0] + 1 - len(numbers)
