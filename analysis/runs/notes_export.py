"""Notes and tags for other programs: CSV, and JSON for FiftyOne."""

import json
from typing import Any

import pandas as pd

from analysis.runs.notes import notes_table
from analysis.runs.run_directory import Run, clips_of
from sth_core.files import inert

CLASSIFICATION = "fiftyone.core.fields.EmbeddedDocumentField(fiftyone.core.labels.Classification)"
STRING = "fiftyone.core.fields.StringField"
FIELDS = {
    "clip_id": STRING, "ground_truth": CLASSIFICATION, "right_label": CLASSIFICATION, "prediction": CLASSIFICATION,
    "note": STRING,
}  # fmt: skip


def noted_clips(run: Run, clips: pd.DataFrame | None = None) -> pd.DataFrame:
    """`notes_table` with label, prediction and path of each clip, from `clips` (`clips_of`) if they are given; of clips
    that the run no longer has they are missing."""
    known = clips_of(run, ("path",)) if clips is None else clips
    facts = known[["clip_id", "label", "prediction", "path"]].astype({"label": str, "prediction": str})
    return notes_table(run).merge(facts, on="clip_id", how="left")


def to_csv(run: Run) -> str:
    """`noted_clips` as CSV, the tags of a clip one a line in their cell.

    No cell is a formula to a spreadsheet (`sth_core.files.inert`).
    """
    table = noted_clips(run)
    cells = table.assign(tags=table["tags"].str.join("\n"))
    return cells.map(inert).to_csv(index=False, lineterminator="\r\n")


def to_fiftyone(run: Run, annotated_only: bool = True) -> str:
    """JSON for FiftyOne's `Dataset.from_json`: a sample per clip, with its tags, note, labels and prediction.

    With `annotated_only` of the clips in `notes_table`, else of all that the run has.
    """
    noted = {row.clip_id: row for row in notes_table(run).itertuples(index=False)}
    samples = []
    for clip in clips_of(run, ("path",)).itertuples(index=False):
        row = noted.get(clip.clip_id)
        if row is None and annotated_only:
            continue
        samples.append(
            {
                "filepath": clip.path if isinstance(clip.path, str) else None,
                "tags": row.tags if row else [],
                "clip_id": clip.clip_id,
                "ground_truth": classification(clip.label),
                "right_label": classification(row.right_label if row else ""),
                "prediction": {"_cls": "Classification", "label": clip.prediction}
                | {"confidence": float(clip.confidence)},
                "note": row.note or None if row else None,
            }
        )
    # FiftyOne refuses samples with fields that are not declared.
    dataset = {"name": run.name, "media_type": "video", "sample_fields": FIELDS, "samples": samples}
    return json.dumps(dataset, indent=1, ensure_ascii=False)


def classification(label: str) -> dict[str, Any] | None:
    return {"_cls": "Classification", "label": label} if label else None
