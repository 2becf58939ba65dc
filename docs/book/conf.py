"""The book, as Sphinx reads it. ``python docs/book/build.py`` builds it; see README.md here."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

project = "jaxreason"
html_title = "jaxreason"
copyright = "2026, the jaxreason engineers"
language = "en"

# The sources are the repository itself: a lesson is read where it lies, and links between
# documents work as they do on the repository's own pages.
root_doc = "docs/book/index"
include_patterns = [
    "README.md",
    "CONTRIBUTING.md",
    "lessons/**.py",
    "docs/*.md",
    "docs/results*/**.md",
    "docs/book/**.md",
    "docs/book/api.rst",
    "findings/README.md",
    "checkpoints/*/README.md",
]
exclude_patterns = [
    ".*",
    "outputs",
    "**/__pycache__",
    "docs/results_qwen/prompts/test",
    "docs/results_qwen/prompts/train",
    "lessons/exercises/*/**",  # solutions are shown on the pages of their exercises
]

extensions = [
    "myst_nb",  # MyST documents, and lessons as notebooks
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "book",  # docs/book/book.py
]

# Lessons are jupytext scripts. They run only with `build.py --execute`.
source_suffix = {".md": "myst-nb", ".py": "myst-nb", ".rst": "restructuredtext"}
nb_custom_formats = {".py": ["book.read_script", {}]}
nb_execution_mode = "off"
nb_execution_excludepatterns = ["lessons/exercises/*"]
nb_execution_timeout = 900
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "deflist"]
myst_dmath_double_inline = True  # $$...$$ in a line of text
myst_dmath_allow_space = False  # "$27 in June and $14 in July" is no formula
myst_dmath_allow_digits = False
myst_heading_anchors = 3

# The API reference: what api.py exports, from the docstrings.
add_module_names = False
python_use_unqualified_type_names = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_numpy_docstring = False

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["book.css"]
html_js_files = ["book.js"]
html_favicon = "static/icon.svg"
html_math_renderer = "mathml"
html_copy_source = False
html_use_index = True
pygments_style = "a11y-light"
