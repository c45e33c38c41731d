"""Experiments: the results of `sth probe`, `sth intervene` and `sth trust` on a run, and their start."""

from collections.abc import Callable
from functools import partial

import streamlit as st

from analysis.experiments.found_results import (
    EXPERIMENTS,
    INTERVENE,
    NAMES,
    PROBE,
    TRUST,
    FoundResults,
    results_of,
    trust_results,
)
from analysis.runs.run_directory import Run
from workbench.components.caveats import show_caveats
from workbench.components.context import choose_one, choose_run, errors_shown
from workbench.components.experiment_views import (
    show_missing,
    show_results_facts,
    show_start,
    show_verdicts,
    verdict_or_problem,
)
from workbench.components.intervention_views import intervention_verdict, show_interventions
from workbench.components.job_list import show_jobs
from workbench.components.probe_views import probe_verdict, show_probes
from workbench.components.trust_views import choose_results, of_run, show_trust, trust_verdict
from workbench.roots import may_read, runs_folder

Show = Callable[[Run, FoundResults], None]
Verdict = Callable[[Run, FoundResults], str]
VERDICTS: dict[str, Verdict] = {PROBE: probe_verdict, INTERVENE: intervention_verdict, TRUST: trust_verdict}
VIEWS: dict[str, Show] = {PROBE: show_probes, INTERVENE: show_interventions, TRUST: show_trust}


def show_experiments_page() -> None:
    st.title("Experiments")
    st.caption("What happens when clips, attention or weights are changed: the results of probe, intervene and trust.")
    run = choose_run()
    with errors_shown():  # of damaged probes, which the other experiments do not need
        show_caveats({"": run})
    trusted: list[FoundResults] = []
    found: dict[str, FoundResults | None] = {}
    with errors_shown():
        trusted = of_run(run, [one for one in trust_results(runs_folder()) if may_read(one.folder)])
        found = {PROBE: results_of(run, PROBE), INTERVENE: results_of(run, INTERVENE)}
        found |= {TRUST: trusted[0] if trusted else None}
        sentences = {
            name: verdict_or_problem(partial(VERDICTS[name], run, one))
            for name, one in found.items() if one and one.meta
        }  # fmt: skip
        show_verdicts(run, found, sentences)
    if found:
        first = next((name for name in EXPERIMENTS if found[name]), PROBE)
        chosen = choose_one("Experiment", [*NAMES.values()], "experiment", NAMES[first])
        experiment = next(name for name in EXPERIMENTS if NAMES[name] == chosen)
        with errors_shown():
            results = choose_results(trusted) if experiment == TRUST and trusted else found[experiment]
            show_experiment(run, experiment, results)
    show_jobs()


def show_experiment(run: Run, experiment: str, results: FoundResults | None) -> None:
    if results is None:
        show_missing(run, experiment)
        return
    if results.meta:
        show_results_facts(run, experiment, results)
        VIEWS[experiment](run, results)
    else:
        show_start(run, experiment)


show_experiments_page()
