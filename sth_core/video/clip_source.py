"""Where the frames of a clip are: its video, the part of it that is the clip, its flow, and its direction."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sth_core.video.container import UnreadableVideo
from sth_core.video.segment import WHOLE, Segment

if TYPE_CHECKING:  # only for the annotation
    import pandas as pd


@dataclass(frozen=True)
class ClipSource:
    """A clip: `path` is its video or folder of frames, `flow` the folder of the whole video's extracted flow, if any.

    With `backward` it is played from its last frame to its first.
    """

    path: Path
    flow: str = ""
    backward: bool = False
    segment: Segment = WHOLE

    @classmethod
    def from_row(cls, row: "Mapping[Hashable, Any] | pd.Series") -> "ClipSource":
        """The clip of a row of the table of clips, or of a run's predictions; those of earlier versions lack columns.
        Raises UserError: its segment is none; UnreadableVideo: it does not say where the video is."""
        flow, segment = (text if isinstance(text := row.get(name), str) else "" for name in ("flow", "segment"))
        if not isinstance(row.get("path"), str):  # runs of early versions have none
            raise UnreadableVideo("it is not recorded where the video is")
        return cls(Path(row["path"]), flow, row.get("backward") in (True,), Segment.parse(segment))

    def frames(self) -> range:
        """Its frames, by their numbers in the whole video.
        Raises UnreadableVideo: the video cannot be read, or does not have the segment."""
        return self.segment.frames_in(self.path)
