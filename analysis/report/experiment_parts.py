"""The page Experiments in a report: what `sth probe`, `sth intervene` or `sth trust` found out about a run."""

from pathlib import Path

from analysis.experiments import trust_tables
from analysis.experiments.found_results import (
    EXPERIMENTS,
    INTERVENE,
    NAMES,
    PROBE,
    QUESTIONS,
    TRUST,
    FoundResults,
    reading_results,
    results_of,
    trust_results,
)
from analysis.experiments.trust_tables import TrustResults
from analysis.report.intervention_page import intervention_sections, intervention_tables
from analysis.report.page import Section
from analysis.report.probe_page import probe_page_tables, probe_sections
from analysis.report.report_parts import ReportPart
from analysis.report.report_sources import ReportSources, first_value
from analysis.report.trust_page import evidence_sections, ranking_section, trust_page_tables, verdict_table
from analysis.runs.run_directory import Run
from analysis.runs.saved_views import SavedView
from sth_core.errors import UserError


def experiments_part(view: SavedView, sources: ReportSources) -> ReportPart:
    """Raises UserError: the run or its results cannot be shown."""
    run = sources.named(view)
    found = {name: found_results(run, name, sources) for name in EXPERIMENTS}
    first = next((name for name in EXPERIMENTS if found[name]), PROBE)
    title = first_value(view.query, "experiment", NAMES[first])
    experiment = next((name for name in EXPERIMENTS if NAMES[name] == title), "")
    if not experiment:
        raise UserError(f"There is no experiment {title}; there are {', '.join(NAMES.values())}.")
    results = found[experiment]
    if results is None or not results.meta:
        raise UserError(results.problem if results else f"There are no results of `sth {experiment}` on {run.name}.")
    with reading_results(results.folder, experiment):
        sections = SECTIONS[experiment](run, results)
    command = (f"these results of `sth {experiment}`", str(results.meta["command"]))
    problems = [f"{results.problem}."] if results.problem else []
    return ReportPart(
        "", facts=[f"{QUESTIONS[experiment]} {run.name}: {run.title}."], problems=problems, sections=sections,
        recipes=[command],
    )  # fmt: skip


def found_results(run: Run, experiment: str, sources: ReportSources) -> FoundResults | None:
    """Those in the run's folder; of `sth trust` else others of the same network below the folder of runs."""
    if (own := results_of(run, experiment)) or experiment != TRUST or not isinstance(sources.folder, Path):
        return own
    others = [one for one in trust_results(sources.folder) if not sources.why_not_readable(one.folder)]
    return next((one for one in others if one.meta.get("checkpoint_sha256") == run.meta["checkpoint_sha256"]), None)


def sections_of_probes(run: Run, results: FoundResults) -> list[Section]:
    tables = probe_page_tables(run)
    return probe_sections(tables, int(tables["probes"]["n"].max()), int(results.meta.get("shuffles", 1)))


def sections_of_interventions(run: Run, results: FoundResults) -> list[Section]:
    return intervention_sections(*intervention_tables(run))


def sections_of_trust(run: Run, results: FoundResults) -> list[Section]:
    found = TrustResults(results.folder)
    if found.clips.empty:
        raise UserError(f"{results.folder} holds no clip yet; the same `sth trust` command tests them")
    tables = trust_page_tables(found)
    ranking = trust_tables.ranking_table(found, tables["verdicts"])
    each = Section("Each test", table=verdict_table(tables["verdicts"]), data={"ranking": ranking} | tables)
    return [ranking_section(ranking, len(found.clips)), each, *evidence_sections(found, tables)]


SECTIONS = {PROBE: sections_of_probes, INTERVENE: sections_of_interventions, TRUST: sections_of_trust}
