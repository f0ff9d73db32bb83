"""The documentation site: ``make docs`` builds it from the Markdown of the repository."""

import mscn_plugin

project = "mscn-plugin"
copyright = "2026, the mscn-plugin developers"
version = release = mscn_plugin.__version__
root_doc = "docs/index"

# The source folder is the repository, so that links between README.md, docs/ and the code are the
# same ones on a code host and here.
include_patterns = ["*.md", "docs/**.md"]
exclude_patterns = ["build", ".*", "runs"]
templates_path = ["templates"]
html_additional_pages = {"index": "to_docs.html"}

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_inherit_docstrings = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"mscn-plugin {release}"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_copy_source = False


def name_other_pages(app, docname, source):
    """Put the pages that the index does not name where it has ``<other pages>``."""
    if docname == root_doc:
        named = {line.removeprefix("../") for line in source[0].splitlines()}
        pages = {page.removeprefix("docs/") for page in app.env.found_docs}
        others = sorted(pages - named - {"README", "index"})
        names = [f"../{page}" if "/" in page else page for page in others]
        source[0] = source[0].replace("<other pages>", "\n".join(names))


def setup(app):
    app.connect("source-read", name_other_pages)
