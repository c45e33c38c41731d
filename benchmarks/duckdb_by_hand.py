"""The numbers of the figures by DuckDB queries over a run's Parquet files, as someone would write them who has no other
tool. `sth benchmark statistics` runs them in a process that imports DuckDB alone:

    python -m benchmarks.duckdb_by_hand RUN ROUNDS NAME [NAME ...]
"""

import sys
from functools import partial
from pathlib import Path

import duckdb

from benchmarks.measuring import costs

# With the cluster-robust standard error CR2 of `analysis.statistics.clusters`, without the degrees of freedom.
QUERIES = {
    "layers": """
        WITH videos AS (
            SELECT layer_index, "group", sum(alpha_temporal) AS s, count(*) AS c, sum(alpha_temporal ** 2) AS squares
            FROM {attention} JOIN (SELECT clip_id, "group" FROM {predictions}) USING (clip_id) GROUP BY ALL),
        layers AS (SELECT layer_index, sum(s) / sum(c) AS mean, sum(c) AS n, sum(squares) AS total
                   FROM videos GROUP BY ALL)
        SELECT layer_index, n, mean, sqrt(sum((s - c * mean) ** 2 / (1 - c / n))) / n AS error,
               sqrt((total - n * mean ** 2) / (n - 1)) AS sd
        FROM videos JOIN layers USING (layer_index) GROUP BY layer_index, n, mean, total ORDER BY layer_index""",
    "classes": """
        WITH clips AS (SELECT clip_id, avg(alpha_temporal) AS alpha FROM {attention} GROUP BY ALL),
        videos AS (
            SELECT label, "group", sum(alpha) AS s, count(*) AS c, sum(correct::INT) AS correct
            FROM clips JOIN (SELECT clip_id, label, "group", correct FROM {predictions}) USING (clip_id) GROUP BY ALL),
        labels AS (SELECT label, sum(s) / sum(c) AS mean, sum(c) AS n, sum(correct) / sum(c) AS accuracy
                   FROM videos GROUP BY ALL)
        SELECT label, n, accuracy, mean, sqrt(sum((s - c * mean) ** 2 / (1 - c / n))) / n AS error
        FROM videos JOIN labels USING (label) GROUP BY label, n, accuracy, mean ORDER BY label""",
    "map": """
        SELECT label, layer_index, count(*) AS n, avg(alpha_temporal) AS mean
        FROM {attention} JOIN (SELECT clip_id, label FROM {predictions}) USING (clip_id)
        GROUP BY ALL ORDER BY label, layer_index""",
}


def by_hand(run: Path, name: str) -> duckdb.DuckDBPyConnection:
    """The answer to one of `QUERIES`, in one thread, as ours are computed."""
    files = {kind: f"read_parquet('{run}/{kind}/*.parquet')" for kind in ("attention", "predictions")}
    return duckdb.connect(config={"threads": 1}).execute(QUERIES[name].format(**files))


def fetch_all(run: Path, names: list[str]) -> list[list[tuple]]:
    return [by_hand(run, name).fetchall() for name in names]


if __name__ == "__main__":
    folder, rounds, *chosen = sys.argv[1:]
    print(*costs(partial(fetch_all, Path(folder), chosen), int(rounds)))
