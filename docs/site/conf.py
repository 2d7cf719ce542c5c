"""How Sphinx makes the site from the pages that docs/site/build.py gathers."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

from kit import __version__
from kit.harness.runner.notebook_page import mathml

project = "Generalization and robustness kit"
author = "The authors of the kit"
release = __version__
default_role = "py:obj"
extensions = ["myst_nb", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
exclude_patterns = ["docs/template"]
nitpicky = False

html_theme = "pydata_sphinx_theme"
html_title = "kit"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_theme_options = {
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": False,
}
html_math_renderer = "mathml"

myst_enable_extensions = ["dollarmath", "html_image", "colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # run_all.py has executed them
nb_merge_streams = True
nb_mime_priority_overrides = [  # no widgets, no scripts: what they draw stands there as well
    ("html", kind, place)
    for place, kind in enumerate(
        ("text/html", "text/markdown", "image/png", "image/jpeg", "image/svg+xml", "text/plain")
    )
]

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # they stand in the signatures
numpydoc_show_class_members = False
numpydoc_xref_param_type = False


def _inline(translator: Any, node: nodes.math) -> None:
    translator.body.append(mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def _displayed(translator: Any, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="math">{mathml(node.astext(), "block")}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Equations as MathML: neither a script nor a network is needed to see them."""
    app.add_html_math_renderer("mathml", (_inline, None), (_displayed, None))
