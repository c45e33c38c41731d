"""Scales of round numbers that hold all values of a column: of sliders, and of histograms."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STEPS = 100  # a scale has at least so many
Ends = tuple[float, float]


@dataclass(frozen=True)
class Scale:
    """The numbers that a slider can have: from `low` to `high`, `step` apart, each of so many `decimals`."""

    low: float
    high: float
    step: float
    decimals: int

    @property
    def ends(self) -> Ends:
        return self.low, self.high

    def outward(self, chosen: Ends) -> Ends:
        """The nearest numbers of the scale that do not cut off what lies between the chosen ones."""
        low, high = math.floor(chosen[0] / self.step), math.ceil(chosen[1] / self.step)
        return max(self.low, round(low * self.step, self.decimals)), min(
            self.high, round(high * self.step, self.decimals)
        )

    def describe(self, chosen: Ends) -> str:
        """ "0.25 to 0.75", "at least 0.25", "at most 0.75"; "" for all."""
        low, high = (f"{end:.{self.decimals}f}" for end in chosen)
        if chosen[0] > self.low:
            return f"{low} to {high}" if chosen[1] < self.high else f"at least {low}"
        return f"at most {high}" if chosen[1] < self.high else ""


def scale_of(values: NDArray[np.floating]) -> Scale | None:
    """A scale that holds all finite values, with 100 to 250 steps of 1, 2 or 5 times a power of ten; None if they do
    not differ."""
    finite = np.asarray(values, float)[np.isfinite(values)]
    if not len(finite) or finite.min() == finite.max():
        return None
    low, high = float(finite.min()), float(finite.max())
    exponent = math.floor(math.log10((high - low) / STEPS))
    digit = next(digit for digit in (5, 2, 1) if digit * 10.0**exponent <= (high - low) / STEPS or digit == 1)
    step, decimals = digit * 10.0**exponent, max(0, -exponent)
    if low + step == low or high + step == high:  # the values differ by less than numbers of that size can
        return Scale(low, high, high - low, 17)
    first, last = math.floor(low / step), math.ceil(high / step)
    while round(first * step, decimals) > low:
        first -= 1
    while round(last * step, decimals) < high:
        last += 1
    return Scale(round(first * step, decimals), round(last * step, decimals), step, decimals)
