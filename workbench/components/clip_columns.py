"""The columns of a run's clips (`analysis.report.clip_columns`), found once for all sessions."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.attention.alpha_matrix import has_signal
from analysis.attention.clip_profiles import LAYER, clip_numbers
from analysis.report.clip_columns import number_columns, varying_layers
from analysis.runs.run_directory import Run
from workbench.components.cached import cached_alpha, cached_result


def numbers_of_run(run: Run, table: pd.DataFrame) -> dict[str, str]:
    """The `number_columns` of a run's clips."""
    alpha = cached_alpha(run) if has_signal(run) else None
    return dict(cached_result("number columns", [run], lambda: number_columns(table, alpha)))


def layers_that_vary(run: Run) -> list[str]:
    return list(cached_result("varying layers", [run], lambda: varying_layers(cached_alpha(run))))


def column_numbers(run: Run, table: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """(N,): a column of `number_columns`, nan where a clip has no such number."""
    return clip_numbers(table, column, cached_alpha(run) if column.startswith(LAYER) else None)
