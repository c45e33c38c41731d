"""`sth notes`: the tags and notes of a run, as files, and the manifest that they correct."""

from pathlib import Path

import click

from sth_core.datasets.media import counted
from workbench.cli.kinds import FILE, RUNS
from workbench.cli.terminal import notify, print_table, say


@click.command("notes")
@click.argument("run", type=RUNS)
@click.option("--csv", type=FILE, help="Write a row for each clip with a tag or a note.")
@click.option("--fiftyone", type=FILE, help="Write them as JSON for fiftyone.Dataset.from_json.")
@click.option(
    "--manifest", type=FILE, help="Write the dataset's manifest with the right classes, without excluded clips."
)
def notes_command(run: Path, csv: Path | None, fiftyone: Path | None, manifest: Path | None) -> None:
    """Print the tags of RUN, and write its tags and notes to files.

    Clips tagged "wrong label" get their right class in the manifest, or are left out if nobody gave it; clips tagged
    "exclude" are left out. Tag clips in the app.
    """
    from analysis.runs.corrected_manifest import correct_manifest
    from analysis.runs.notes import notes_table, tag_counts
    from analysis.runs.notes_export import to_csv, to_fiftyone
    from analysis.runs.run_directory import open_run
    from sth_core.errors import UserError
    from sth_core.files import write_atomically, write_csv
    from sth_core.outputs import refuse_replacing, writing_file
    from workbench.cli.fetched import on_this_machine

    run = on_this_machine(run)
    opened = open_run(run)
    if not opened.meta:
        raise UserError(f"{run}: {opened.problem}")
    data = Path(opened.meta.get("data") or "")
    listed = data.glob("manifest.*") if opened.meta.get("data") else ()
    tables = [("--csv", csv, ".csv"), ("--fiftyone", fiftyone, ".json")]
    refuse_replacing(tables, listed)
    refuse_replacing([*tables, ("--manifest", manifest, ".csv")])
    corrected = correct_manifest(opened) if manifest else None
    source = Path(corrected.source).resolve() if corrected else None
    if manifest and manifest.exists() and manifest.resolve() == source:
        raise UserError(f"{manifest} is the manifest that is corrected; write another file, then replace it")
    say(f"{counted(len(notes_table(opened)), 'clip')} with tags or a note")
    if counts := tag_counts(opened):
        print_table(("tag", "clips"), [*counts.items()], title="")
    for file, content in ((csv, to_csv), (fiftyone, to_fiftyone)):
        if file:
            with writing_file(file), write_atomically(file) as opened_file:
                opened_file.write(content(opened))
            say(f"notes: {file}")
    if manifest and corrected:
        with writing_file(manifest):
            write_csv(manifest, corrected.table)
        for sentence in corrected.sentences:
            notify(sentence)
        say(f"manifest: {manifest}")
