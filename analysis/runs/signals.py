"""What the table `attention` of a run holds: α of an STH network, or attention across time of a transformer.

The two are different things. No view, table or test pools them; each has its own name and definition.
"""

from dataclasses import dataclass

from analysis.runs.run_directory import Run


@dataclass(frozen=True)
class Signal:
    """How much a layer uses time in a clip, from 0 to 1: `key` in run.json, `column` of the table, `name` on axes and
    in sentences, and `high` for what a high value means."""

    key: str
    column: str
    name: str
    high: str
    definition: str


ALPHA = Signal(
    "alpha", "alpha_temporal", "α_T", "weighs time more",
    "α_T is the weight that a layer of an STH network gives its temporal branch, mean over its channels; its spatial "
    "branch has α_S = 1 - α_T.",
)  # fmt: skip
TIME_SHARE = Signal(
    "time_share", "time_share", "attention across time", "looks more at other time steps",
    "Attention across time is the share of a transformer's attention, among the tokens of places, that goes to another "
    "time step than the token's own, mean over the heads: Σ a_qk over t(q) ≠ t(k), divided by Σ a_qk. Class tokens are "
    "left out. Uniform attention has the share (T' - 1) / T' for T' time steps. In divided attention (TimeSformer) it "
    "is that of the block's temporal attention. It is not the α of STH networks.",
)  # fmt: skip
SIGNALS = {signal.key: signal for signal in (ALPHA, TIME_SHARE)}


def signal_of(run: Run) -> Signal:
    """What the run's attention is; runs of earlier versions hold α."""
    return SIGNALS[run.meta.get("signal", ALPHA.key)]
