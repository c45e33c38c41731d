"""What the columns of tables are called on a page: words, where a file has names for programs."""

from collections.abc import Iterable

from analysis.runs.signals import ALPHA, TIME_SHARE

COLUMN_TITLES = {
    "clip_id": "clip", "prediction": "predicted", "n": "clips", "low": "95 % from", "high": "95 % to",
    "sd": "standard deviation", "alpha_spatial": "α_S", ALPHA.column: ALPHA.name, TIME_SHARE.column: TIME_SHARE.name,
    "disagreement": "views disagree",
}  # fmt: skip


def column_title(column: str) -> str:
    return COLUMN_TITLES.get(column, column.replace("_", " "))


def column_titles(columns: Iterable[str]) -> dict[str, str]:
    """For `st.dataframe`'s column_config, to which others can be added."""
    return {column: column_title(column) for column in columns}
