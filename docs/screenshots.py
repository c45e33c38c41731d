"""Pictures of the app's pages, as a browser shows them: python -m docs.screenshots RUNS -o docs/images

RUNS is a folder of runs (`sth demo --no-app` makes demo/runs). Needs a Chromium, see benchmarks/browser.py. With
--every-size: also what is seen at first on a small laptop, a laptop and a phone, light and dark, in OUT/SIZE-THEME/.
"""

import sys
from itertools import product
from pathlib import Path
from typing import Literal

import click
from playwright.sync_api import Page

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.browser import chromium, serving, settle

WIDTH, TALLEST = 1440, 4000
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
SCREENS = ((1280, 720), (1440, 900), (390, 844))


def open_page(page: Page, address: str, width: int = WIDTH, height: int = 900) -> None:
    page.set_viewport_size({"width": width, "height": height})
    page.goto(address)
    page.wait_for_selector("[data-testid=stMainBlockContainer] h1", timeout=60_000)
    settle(page)
    page.wait_for_timeout(1000)


def shoot(page: Page, address: str, picture: Path) -> None:
    """One page, as tall as its contents."""
    open_page(page, address)
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
        "predictions-plot": f"predictions?run={run}&view=Plot",
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
@click.option("--every-size", is_flag=True, help="Also what is seen at first on three screens, light and dark.")
def main(runs: Path, out: Path, run: str, other: str, clip: str, every_size: bool) -> None:
    out.mkdir(parents=True, exist_ok=True)
    shown = pages(run, other, clip)
    with serving(runs) as (address, _), chromium() as browser:
        page = browser.new_page()
        for name, query in shown.items():
            shoot(page, f"{address}/{query}", out / f"{name}.png")
        for (width, height), theme in product(SCREENS, THEMES) if every_size else ():
            folder = out / f"{width}x{height}-{theme}"
            page = browser.new_page(color_scheme=theme)
            for name, query in shown.items():
                open_page(page, f"{address}/{query}", width, height)
                page.screenshot(path=folder / f"{name}.png")
                print(folder / f"{name}.png")
            page.close()


if __name__ == "__main__":
    main()
