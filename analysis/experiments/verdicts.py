"""The verdict of each experiment in a sentence or two, with its interval and what that is over."""

import pandas as pd

from analysis.experiments.trust_tables import BELIEVED, NOT_BELIEVED, UNDECIDED
from analysis.statistics.clusters import SIGNIFICANCE_LEVEL, describe_interval
from analysis.statistics.correlations import FEW_VIDEOS
from sth_core.datasets.media import counted
from sth_core.video.reorder import FROZEN, REVERSED, SHUFFLED


def frame_order_sentence(probes: pd.DataFrame) -> str:
    """Of `probe_table`: does the network use the frame order, does it use several pictures?"""
    rows = probes.set_index("probe")
    costs = {name: rows.loc[name] for name in (REVERSED, SHUFFLED, FROZEN)}
    falls = {name: row["p_holm"] < SIGNIFICANCE_LEVEL and row["change"] < 0 for name, row in costs.items()}
    if falls[REVERSED] or falls[SHUFFLED]:
        finding = "It uses the frame order."
    elif falls[FROZEN]:
        finding = "It uses several pictures of a clip; that it uses their order is not shown."
    else:
        finding = "That it uses the frame order is not shown, nor that it uses several pictures."
    changes = ", ".join(
        f"{name} {100 * row['change']:+.1f} ({describe_interval(100 * row['low'], 100 * row['high'], '+.1f')})"
        for name, row in costs.items()
    )
    return f"{finding} Change of accuracy in points (95 %): {changes}."


def trust_sentence(ranking: pd.DataFrame, clips: int) -> str:
    """Of `ranking_table`: which explanations to believe, and how the best one compares with the controls."""
    groups = {belief: list(rows["explanation"]) for belief, rows in ranking.groupby("belief", sort=False)}
    believed, refused, rest = (groups.get(belief, []) for belief in (BELIEVED, NOT_BELIEVED, UNDECIDED))
    finding = f"Believe {'; '.join(believed)}." if believed else "No explanation can be believed yet."
    counts = [f"{len(refused)} fail a test" if len(refused) != 1 else "1 fails a test"] * bool(refused)
    counts += [f"{len(rest)} {'are' if len(rest) > 1 else 'is'} undecided"] * bool(rest)
    others = f" Of {counted(len(ranking), 'explanation')} {' and '.join(counts)}." if counts else ""
    best = ranking.iloc[0]
    interval = describe_interval(best["low"], best["high"], "+.3f", FEW_VIDEOS)
    return (
        f"{finding}{others} First is {best['explanation']}: its areas are {best['value']:+.3f} better than those of "
        f"a random map and a centre prior (95 %: {interval}, on {counted(clips, 'clip')})."
    )
