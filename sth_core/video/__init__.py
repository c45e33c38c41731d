from sth_core.video.decoding import UnreadableVideo, count_frames, read_frames

__all__ = ["UnreadableVideo", "count_frames", "read_frames"]
