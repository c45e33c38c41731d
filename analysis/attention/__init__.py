"""Tables of recorded alpha, the paper's hypotheses, and comparisons of runs. Imports `statistics` and `runs`."""
