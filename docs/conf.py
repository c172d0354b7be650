"""Sphinx's settings: guides in MyST Markdown, and a reference made from the docstrings."""

import gandask

project = "gandask"
version = release = gandask.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
# several classes may be meant by a short name in a docstring
suppress_warnings = ["ref.python"]

# guides
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]

# reference: reference.py writes what autodoc fills
autodoc_default_options = {"members": True, "no-value": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
smartquotes_action = "qe"  # an option such as --set keeps its dashes
default_role = "py:obj"  # what docstrings put into single backticks

# pages of other people cannot be reached from everywhere; our own can
linkcheck_ignore = [r"https?://"]

html_theme = "furo"
html_title = "gandask"
html_show_sphinx = False
html_copy_source = False
