"""An executed notebook as an HTML page that needs no script and no network."""

from __future__ import annotations

import html
import os
import re
from pathlib import Path

import latex2mathml.converter
import nbformat
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments.formatters import HtmlFormatter
from traitlets.config import Config

from kit import runtime
from kit.harness import page, positions

# No widgets and no scripts: what they draw stands in a picture or in text as well.
_SHOWN = ["text/html", "text/markdown", "image/png", "image/jpeg", "image/svg+xml", "text/plain"]

# What scrolls is reached by keyboard; a table in a box of its own is already.
_SCROLLS = re.compile(r'(<div class="output_html[^"]*")(?=>\s*(?!<div class="scroll"))')
_WIDGET = "application/vnd.jupyter.widget-view+json"
INJECTED = "injected-parameters"  # papermill's tag


class _Renderer(IPythonRenderer):
    """Equations become MathML, which browsers draw and read aloud by themselves.

    Parameters
    ----------
    folder
        Of the page; links that are relative to the notebook's own folder still find their way.
    """

    def __init__(self, folder: Path):
        super().__init__(escape=False, exclude_anchor_links=True)
        self.folder = folder

    def block_math(self, body: str) -> str:
        return mathml(body, "block")

    def inline_math(self, body: str) -> str:
        return mathml(body, "inline")

    def link(self, text: str, url: str, title: str | None = None) -> str:
        if not re.match(r"[a-z]+:|[#/]", url):
            url = os.path.relpath(runtime.root() / "notebooks" / url, self.folder)
        return super().link(text, url, title)


def mathml(body: str, display: str) -> str:
    """An equation, ``"inline"`` or as a ``"block"``; one that cannot be read stays as it was."""
    body = body.replace(r"\operatorname*", r"\operatorname")  # which it takes for a product
    try:
        return latex2mathml.converter.convert(body, display=display)
    except Exception:  # its exceptions have no common base
        return f"<code>{html.escape(body)}</code>"


def write(path: Path) -> Path:
    """Write a notebook with its outputs as ``NAME.html`` beside it.

    Returns
    -------
    pathlib.Path
        The page.
    """
    notebook = nbformat.read(path, as_version=4)
    standalone(notebook)
    markdown = MarkdownWithMath(renderer=_Renderer(path.parent.resolve()))
    exporter = HTMLExporter(
        config=Config({"NbConvertBase": {"display_data_priority": _SHOWN}}),
        template_name="basic",
        filters={"markdown2html": markdown.render},
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    body, _ = exporter.from_notebook_node(notebook)
    heading = re.search(r"<h1[^>]*>(.*?)</h1>", body)
    text = page.render(
        "notebook.html",
        title=heading[1] if heading else path.stem,
        body=_SCROLLS.sub(r'\1 tabindex="0"', body),
        light=HtmlFormatter(style="default").get_style_defs(".highlight"),
        dark=HtmlFormatter(style="github-dark").get_style_defs(".highlight"),
    )
    return page.write_text(path.with_suffix(".html"), text)


def standalone(notebook: nbformat.NotebookNode) -> None:
    """Change an executed notebook for pages without a kernel: its controls choose by CSS alone."""
    notebook.cells = [_folded(cell) for cell in notebook.cells]
    notebook.metadata.pop("widgets", None)  # their state, a script of nothing but data
    for cell in notebook.cells:
        if "outputs" in cell:  # a slider that nothing moves is left out
            cell.outputs = [o for o in cell.outputs if _WIDGET not in o.get("data", {})]
    controls = [
        output.data
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if positions.MIME in output.get("data", {})
    ]
    for number, data in enumerate(controls, 1):
        data["text/html"] = positions.as_html(data.pop(positions.MIME), f"control-{number}")


def _folded(cell: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A cell; that of all parameters of the run, most of which stand in the one above, folded."""
    if INJECTED not in cell.metadata.get("tags", []):
        return cell
    return nbformat.v4.new_markdown_cell(
        "<details><summary>Parameters of this run</summary>\n\n"
        f"```python\n{cell.source}\n```\n\n</details>"
    )
