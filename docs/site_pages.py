"""MkDocs' hooks: the project's own pages become pages of the site, and links lead to them.

In the repository a page of docs/ links to ../CONTRIBUTING.md, and CONTRIBUTING.md to docs/data.md. On the site both lie
in one folder. What is no page, such as a folder of code, is named there without a link.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
OTHER_PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "workbench/networks/README.md")
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!https?://|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)")
FENCE = re.compile(r"(^```.*?^```$)", re.M | re.S)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that lie outside of docs/."""
    from mkdocs.structure.files import File

    for name in OTHER_PAGES:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Links as they are on the site."""
    own = page.file.src_uri
    folder = posixpath.dirname(own if own in OTHER_PAGES else f"docs/{own}")  # in the repository
    pages = {file.src_uri for file in files}

    def replaced(link: re.Match[str]) -> str:
        text, target, anchor = link[1], link[2], link[3] or ""
        there = posixpath.normpath(posixpath.join(folder, target))
        place = there.removeprefix("docs/")
        if place in pages:
            return f"[{text}]({posixpath.relpath(place, posixpath.dirname(own) or '.')}{anchor})"
        if not (ROOT / there).exists():
            return link[0]  # which MkDocs refuses
        return text if there in text or "`" in text else f"{text} (`{there}`)"

    parts = FENCE.split(markdown)  # every second one is code
    parts[::2] = [LINK.sub(replaced, part) for part in parts[::2]]
    return "".join(parts)
