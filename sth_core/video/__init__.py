from sth_core.video.decoding import count_frames, read_frames
from sth_core.video.timeline import UnreadableVideo

__all__ = ["UnreadableVideo", "count_frames", "read_frames"]
