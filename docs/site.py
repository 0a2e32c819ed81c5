"""Hooks of mkdocs: README.md is the first page, results/ a part of the site.

Files keep the links by which they find each other in the repository; here these become links of the
site, in which docs/ is the root. What is no page (code, data) is named without a link.
"""

import re
from pathlib import Path
from posixpath import dirname, join, normpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
SHOWN = (".md", ".png", ".svg")
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and pictures of results/ and README.md."""
    files.append(File.generated(config, "index.md", abs_src_path=str(ROOT / "README.md")))
    for path in sorted((ROOT / "results").rglob("*")):
        if path.suffix in SHOWN:
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages."""
    name = page.file.src_uri
    here = "README.md" if name == "index.md" else name
    here = here if here.startswith(("README", "results/")) else f"docs/{here}"

    def link(match: re.Match[str]) -> str:
        picture, text, target, anchor = match.groups()
        path = normpath(join(dirname(here), target))
        to = "index.md" if path == "README.md" else path.removeprefix("docs/")
        if files.get_file_from_path(to) is None:
            readme = files.get_file_from_path(f"{to}/README.md")
            if readme is None:
                return text
            to = readme.src_uri
        up = "../" * name.count("/")
        return f"{picture}[{text}]({up}{to}{anchor or ''})"

    return LINK.sub(link, markdown)
