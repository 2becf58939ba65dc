"""What the book adds to Sphinx. Every document is computed from the repository as it is read:

- a lesson gains the results of its published run (docs/results);
- an exercise becomes a page of its text, its code and its solution;
- docs/book/api.rst gains the public names, in the order of jaxreason/api.py;
- the directive ``{run}`` puts a recorded run and the script that shows it into a page;
- terms of the glossary are linked where a lesson first uses them;
- formulas become MathML, which browsers draw and read aloud without a script or a font.
"""

import ast
import html
import importlib
import inspect
import json
import re
from pathlib import Path

import jupytext
from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from nbformat import NotebookNode
from PIL import Image
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

logger = logging.getLogger(__name__)

ROOT = Path(__file__).parents[2]
BOOK = ROOT / "docs" / "book"
RESULTS = ROOT / "docs" / "results"
VERDICTS = {True: "holds", False: "**not seen**", None: "*not testable*"}


def add_to_source(app: Sphinx, docname: str, source: list[str]) -> None:
    """Completes a document before it is parsed."""
    folder, name = docname.rsplit("/", 1) if "/" in docname else ("", docname)
    if folder == "lessons":
        source[0] += results_cell(name, app.config.nb_execution_mode != "off")
    elif folder == "lessons/exercises":
        source[0] = exercise(name, source[0])
    elif docname == "docs/book/api":
        source[0] += public_names()


# ---- lessons: notebooks, and the results of the published run


def read_script(text: str) -> NotebookNode:
    """A percent script as a notebook, whose code is highlighted as Python."""
    notebook = jupytext.reads(text, fmt="py:percent")
    notebook.metadata["language_info"] = {"name": "python", "pygments_lexer": "python"}
    return notebook


def results_cell(lesson: str, executed: bool) -> str:
    """A markdown cell of a percent script: figures, claims and measurements."""
    path = RESULTS / lesson / "results.json"
    if not path.exists():
        return ""
    record = json.loads(path.read_text())
    model, device = record["model"], record["device"]
    lines = [
        "## Results of the published run",
        "",
        f"`{model['name']}` ({model['params']:,} parameters), {record['problems']:,} problems, "
        f"seed {record['seed']}, {device['cpus']} cores of a {device['platform'].upper()}, "
        f"{record['seconds']:,.0f} seconds, jax {record['versions']['jax']}. "
        f"[All lessons](../docs/results/README.md).",
        "",
    ]
    if executed:
        lines += [
            "The outputs above are of a smoke run (`--quick`), made with this page: it has few "
            "problems and wide intervals.",
            "",
        ]
    for figure in sorted(path.parent.glob("*.png")):
        finding = title_of(figure)
        lines += [f"![{finding}](../docs/results/{lesson}/{figure.name})", ""]
    if record["claims"]:
        lines += ["| claim | verdict | value | 95% interval |", "| --- | --- | ---: | :---: |"]
        lines += [
            f"| {cell(c['claim'])} | {VERDICTS[c['holds']]} | {interval(c)} |"
            for c in record["claims"]
        ]
    lines += ["", "| measurement | value | 95% interval | n | tokens a problem |"]
    lines += ["| --- | ---: | :---: | ---: | ---: |"]
    for m in record["measurements"]:
        tokens = "" if m["tokens"] is None else f"{m['tokens']:,.0f}"
        lines.append(f"| {cell(m['name'])} | {interval(m)} | {m['n']:,} | {tokens} |")
    return percent_markdown(lines)


def title_of(figure: Path) -> str:
    """The finding that a figure is titled with: its alternative text."""
    with Image.open(figure) as image:
        title = image.info.get("Title")
    known = json.loads((BOOK / "figures.json").read_text())
    found = title or known.get(f"{figure.parent.name}/{figure.stem}")
    return (found or figure.stem.replace("_", " ")).replace("\n", " ")


def interval(entry: dict) -> str:
    return f"{entry['value']:.4g} | {entry['low']:.4g} to {entry['high']:.4g}"


def cell(text: str) -> str:
    """Text for a cell of a table: no bar, no markup."""
    return re.sub(r"([|*_<`$])", r"\\\1", text)


def percent_markdown(lines: list[str]) -> str:
    return "\n\n# %% [markdown]\n" + "".join(f"# {line}".rstrip() + "\n" for line in lines)


# ---- exercises


def exercise(name: str, script: str) -> str:
    """A percent script: the stub's docstring as text, its code, and the solution folded away."""
    tree = ast.parse(script)
    title, *text = ast.get_docstring(tree).splitlines()
    code = "\n".join(script.splitlines()[tree.body[0].end_lineno :])
    page = percent_markdown([f"# {title.rstrip('.')}", *text]) + f"\n\n# %%\n{code.strip()}\n"
    solution = ROOT / "lessons" / "exercises" / "solutions" / f"{name}.py"
    if solution.exists():
        folded = ["<details><summary>Solution</summary>", "", "```python"]
        folded += [*solution.read_text().strip().splitlines(), "```", "", "</details>"]
        page += percent_markdown(folded)
    return page


# ---- the API reference


def public_names() -> str:
    """reStructuredText: a section for each comment in ``__all__`` of api.py."""
    api = importlib.import_module("jaxreason.api")
    listed = inspect.getsource(api).split("__all__ = [")[1]
    lines = []
    for comment, name in re.findall(r'# (.+)|"(\w+)"', listed):
        if comment:
            title = comment[0].upper() + comment[1:]
            lines += ["", title, "-" * len(title), ""]
            continue
        value = getattr(api, name)
        if inspect.ismodule(value):
            lines += [name, "~" * len(name), "", f".. automodule:: {value.__name__}"]
            lines += ["   :members:", ""]
        elif inspect.isclass(value):
            lines += [f".. autoclass:: jaxreason.{name}", *fields(value), ""]
        elif callable(value) and hasattr(value, "__code__"):
            lines += [f".. autofunction:: jaxreason.{name}", ""]
        else:
            shown = re.sub(r"\b[\w.]+\.(?=[A-Z])", "", repr(value))
            lines += [f".. py:data:: jaxreason.{name}", f"   :value: {shown}", ""]
    return "\n".join(lines)


def fields(cls: type) -> list[str]:
    """The fields of a NamedTuple or dataclass as they stand in its source, comments included:
    there are the shapes.
    """
    if not getattr(cls, "__annotations__", None):
        return []
    source = inspect.getsource(cls)
    body = ast.parse(source).body[0].body
    own = [node for node in body if isinstance(node, ast.AnnAssign)]
    lines = source.splitlines()[own[0].lineno - 1 : own[-1].end_lineno]
    first = own[0].lineno - 2  # with the comment above the first field
    while source.splitlines()[first].strip().startswith("#"):
        lines.insert(0, source.splitlines()[first])
        first -= 1
    return ["", "   .. code-block:: python", "", *(f"   {line}" for line in lines)]


# ---- recorded runs


class Run(SphinxDirective):
    """``{run} votes``: inside/votes.json and the scripts that show it, in the page itself, because
    a page that is opened from a file may fetch nothing.
    """

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        files = [BOOK / "inside" / file for file in (f"{name}.json", "page.js", f"{name}.js")]
        for file in files:
            self.env.note_dependency(str(file))
        data, *scripts = (file.read_text() for file in files)
        data = data.replace("<", "\\u003c")  # no text of the data can end the element
        raw = (
            '<div id="run" class="run"><noscript>This page needs JavaScript.</noscript></div>\n'
            f'<script type="application/json" id="run-data">{data}</script>\n'
            f"<script>{''.join(scripts)}</script>"
        )
        return [nodes.raw("", raw, format="html")]


# ---- terms


def link_terms(app: Sphinx, doctree: nodes.document) -> None:
    """Links the first use of each glossary term in the prose of a lesson."""
    if not app.env.docname.startswith("lessons/"):
        return
    terms = glossary_terms()
    pattern = re.compile(r"\b(" + "|".join(map(re.escape, terms)) + r")\b", re.IGNORECASE)
    seen = set()
    for text in list(doctree.findall(nodes.Text)):
        if not isinstance(text.parent, nodes.paragraph):
            continue
        parts: list[nodes.Node] = []
        end = 0
        for match in pattern.finditer(str(text)):
            term = match[0].lower()
            if term in seen:
                continue
            seen.add(term)
            link = addnodes.pending_xref(
                "",
                nodes.inline("", match[0]),
                refdomain="std",
                reftype="term",
                reftarget=terms[term],
                refexplicit=True,
                refdoc=app.env.docname,
            )
            parts += [nodes.Text(str(text)[end : match.start()]), link]
            end = match.end()
        if parts:
            text.parent.replace(text, [*parts, nodes.Text(str(text)[end:])])


def glossary_terms() -> dict[str, str]:
    """Terms by their lower case; longer ones first, so that they are found first."""
    page = (BOOK / "glossary.md").read_text()
    block = re.search(r"```\{glossary\}\n(.*?)```", page, re.DOTALL)[1]
    terms = [line for line in block.splitlines() if line and not line.startswith((" ", ":"))]
    return {term.lower(): term for term in sorted(terms, key=len, reverse=True)}


# ---- links to files


def link_files(app: Sphinx, doctree: nodes.document) -> None:
    """A link to a script that is no page of the book offers the file; one to a folder is text."""
    here = ROOT / app.env.docname
    for link in list(doctree.findall(addnodes.pending_xref)):
        if link.get("reftype") != "myst":
            continue
        target = link["reftarget"]
        script = Path(f"{target}.py")  # MyST leaves the suffix of a source out
        if target not in app.env.found_docs and (ROOT / script).is_file():
            offer = addnodes.download_reference("", "", *link.children, reftarget=f"/{script}")
            link.replace_self(offer)
        elif (here.parent / target).is_dir():
            link.replace_self(link.children)


# ---- formulas


def inline_math(self, node: nodes.math) -> None:
    self.body.append(mathml(node, as_block=False))
    raise nodes.SkipNode


def block_math(self, node: nodes.math_block) -> None:
    self.body.append(f'<div class="math">{mathml(node, as_block=True)}</div>')
    raise nodes.SkipNode


def mathml(node: nodes.Node, *, as_block: bool) -> str:
    """The formula in MathML; brackets grow by themselves there, so their sizes are left out."""
    formula = re.sub(r"\\[bB]igg?[lr]?(?![a-zA-Z])", "", node.astext())
    try:
        return tex2mathml(formula.replace(r"\dots", r"\ldots"), as_block=as_block)
    except MathError as error:
        logger.warning("formula %r: %s", formula, error, location=node)
        return f"<code>{html.escape(formula)}</code>"


def setup(app: Sphinx) -> dict:
    app.connect("source-read", add_to_source)
    app.connect("doctree-read", link_terms)
    app.connect("doctree-read", link_files, priority=400)  # before Sphinx collects the files
    app.add_directive("run", Run)
    app.add_html_math_renderer("mathml", (inline_math, None), (block_math, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
