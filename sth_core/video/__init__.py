from sth_core.video.container import UnreadableVideo
from sth_core.video.decoding import count_frames, read_frames

__all__ = ["UnreadableVideo", "count_frames", "read_frames"]
