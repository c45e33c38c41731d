"""Pictures of the app's pages, as a browser shows them: python -m docs.screenshots RUNS -o docs/images

RUNS is a folder of runs (`sth demo --no-app` makes demo/runs). Needs a Chromium, see benchmarks/browser.py.
"""

import sys
from pathlib import Path

import click
from playwright.sync_api import Page

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.browser import chromium, serving, settle

WIDTH, TALLEST = 1440, 4000


def shoot(page: Page, address: str, picture: Path) -> None:
    """One page, as tall as its contents."""
    page.set_viewport_size({"width": WIDTH, "height": 900})
    page.goto(address)
    page.wait_for_selector("[data-testid=stMainBlockContainer] h1", timeout=60_000)
    settle(page)
    page.wait_for_timeout(1000)
    height = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
    page.set_viewport_size({"width": WIDTH, "height": min(height, TALLEST)})
    page.wait_for_timeout(2500)
    settle(page)
    page.screenshot(path=picture)
    print(picture)


def pages(run: str, other: str, clip: str) -> dict[str, str]:
    """{picture: address} of every page and of its views."""
    return {
        "runs": "",
        "attention": "attention",
        "attention-hypotheses": "attention?show=Hypotheses",
        "attention-classes": f"attention?show=By+class&of={run}",
        "predictions": f"predictions?run={run}",
        "predictions-confusion": f"predictions?run={run}&view=Confusion&label=wavy+heart&said=wavy+bar",
        "predictions-clips": f"predictions?run={run}&view=All+clips",
        "clip": f"clip?run={run}&occlusion=true" + (f"&clip={clip}" if clip else ""),
        "compare": f"compare?a={run}&b={other}",
        "compare-many": f"compare?a={run}&b={other}&more=appearance-rgb-p2&more=appearance-rgb-p8",
        "experiments": f"experiments?run={run}",
        "experiments-trust": f"experiments?run={run}&experiment=Trust",
        "predictions-report": f"predictions?run={run}&view=Precision+and+recall",
        "figures": "figures",
        "views": "views",
        "own": "own",
        "notes": f"notes?run={run}",
    }


@click.command(help=__doc__)
@click.argument("runs", type=click.Path(path_type=Path, exists=True))
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("docs/images"), show_default=True)
@click.option("--run", default="appearance-rgb-p4", show_default=True, help="The run of the pages that show one.")
@click.option("--other", default="appearance-flow-p4", show_default=True, help="The run that it is compared with.")
@click.option("--clip", default="", help="The clip of the clip page; by default the most confident mistake.")
def main(runs: Path, out: Path, run: str, other: str, clip: str) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with serving(runs) as (address, _), chromium() as browser:
        page = browser.new_page()
        for name, query in pages(run, other, clip).items():
            shoot(page, f"{address}/{query}", out / f"{name}.png")


if __name__ == "__main__":
    main()
