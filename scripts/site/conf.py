"""The documentation site: Sphinx over the pages as they are, `nox -s docs` builds it.

The pages are written to be read in the repository, so nothing in them is Sphinx's own. The source
folder is the repository's root, for links lead out of `docs/` too; the navigation is what
`docs/README.md` lists, a group for each of its headings, and then whatever page it leaves out, so
that a new page never breaks the build. Links to files that are no pages become downloads.
"""

import re
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]
CONTENTS = "docs/README"

project = "workflow"
author = "the workflow authors"
extensions = ["myst_parser"]
root_doc = CONTENTS
include_patterns = ["docs/**.md", "*.md", "benchmarks/README.md"]
include_patterns += ["examples/*/README.md"]
# neither environments nor servers' data are looked through, nor what a build left
exclude_patterns = [".*", "dist", "build", "packages", "adaptertest", "tests", "scripts"]
exclude_patterns += ["**/.*", "benchmarks/**/.*"]

# headings can be linked to, as the repository's own pages are shown
myst_heading_anchors = 4
myst_links_external_new_tab = False
# blocks that show a console or several files are not Pygments' to judge
suppress_warnings = ["misc.highlighting_failure"]

html_theme = "furo"
html_title = "workflow"
html_copy_source = False
html_show_sphinx = False


def groups(contents: str) -> list[tuple[str, list[str]]]:
    """The headings of the contents, each with the pages that it lists, as Sphinx names them."""
    found: list[tuple[str, list[str]]] = []
    for section in re.split(r"^## ", contents, flags=re.MULTILINE)[1:]:
        heading, _, rest = section.partition("\n")
        links = re.findall(r"^\| \[[^]]+\]\(([\w./-]+)\.md\)", rest, re.MULTILINE)
        files = [(ROOT / "docs" / link).resolve() for link in links]
        found.append((heading, [file.relative_to(ROOT).as_posix() for file in files]))
    return found


def add_navigation(app: Sphinx, docname: str, source: list[str]) -> None:
    if docname != CONTENTS:
        return
    listed = groups(source[0])
    known = {CONTENTS}.union(*(pages for _, pages in listed))
    listed.append(("More", sorted(app.env.found_docs - known)))
    for heading, pages in listed:
        entries = "".join(f"/{page}\n" for page in pages)
        source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {heading}\n\n{entries}```\n"


def setup(app: Sphinx) -> None:
    app.connect("source-read", add_navigation)
