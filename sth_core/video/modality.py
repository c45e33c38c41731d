"""A frame of each modality: three colours, or a stack of consecutive flow fields."""

FLOW_STACK = 5  # consecutive flow fields in one flow "frame", as in TSN
CHANNELS = {"rgb": 3, "flow": 2 * FLOW_STACK}  # each field has x and y
