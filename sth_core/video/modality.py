"""A frame of each modality: three colours, or a stack of consecutive flow fields; and how many a clip may have."""

from typing import Annotated

from sth_core.values import Between

FLOW_STACK = 5  # consecutive flow fields in one flow "frame", as in TSN
CHANNELS = {"rgb": 3, "flow": 2 * FLOW_STACK}  # each field has x and y
Frames = Annotated[int, Between(1, 1024)]  # T, the frames of a clip
