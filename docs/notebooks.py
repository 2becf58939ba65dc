"""The lessons as notebooks: ``python docs/notebooks.py`` writes docs/notebooks/NN_name.ipynb of every lessons/NN_name.py.

The scripts are what is edited. A notebook is a script behind three cells, of which the first links to Colab, the second installs
the package there, and the third takes options. No outputs, and the same bytes for the same script: a test asks whether
they are in step. Needs jupytext, of the ``dev`` extra. To run one from its first cell to the last, with jupyter alone:

    JAXREASON_OPTIONS=--quick jupyter nbconvert --to notebook --execute --output-dir /tmp docs/notebooks/00_introduction.ipynb
"""

from pathlib import Path

import jupytext
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

ROOT = Path(__file__).parent.parent
REPOSITORY = "OWNER/jaxreason"  # on GitHub; Colab opens notebooks from there

BADGE = """[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/{repository}/blob/main/docs/notebooks/{name}.ipynb)

Written by `docs/notebooks.py` from [lessons/{name}.py](https://github.com/{repository}/blob/main/lessons/{name}.py)."""

INSTALL = """# Installs jaxreason where it is missing, as on Colab; elsewhere it does nothing. Jax, and what a kernel may have loaded already,
# keep their versions, so that nothing needs a restart and jax goes on to match the accelerator.
import importlib.util
import subprocess
import sys
from importlib import metadata
from pathlib import Path

if importlib.util.find_spec("jaxreason") is None:
    kept = ("jax", "libtpu", "numpy", "matplotlib", "tqdm")
    installed = (f"{d.name}=={d.version}\\n" for d in metadata.distributions() if (d.name or "").lower().startswith(kept))
    Path("constraints.txt").write_text("".join(sorted(installed)))
    source = "jaxreason @ git+https://github.com/{repository}"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "-c", "constraints.txt", source], check=True)
    importlib.invalidate_caches()"""

OPTIONS = """from jaxreason import lesson

# As on the command line: "--quick" is a smoke run, "--model Qwen/Qwen2.5-0.5B-Instruct --problems 50" another model.
lesson.notebook_options = \"\""""


def notebook(script: Path) -> NotebookNode:
    """The notebook of a lesson, with ids that follow from the place of a cell."""
    made = jupytext.read(script)
    texts = [
        text.replace("{repository}", REPOSITORY).replace("{name}", script.stem) for text in (BADGE, INSTALL, OPTIONS)
    ]
    made.cells = [new_markdown_cell(texts[0]), new_code_cell(texts[1]), new_code_cell(texts[2]), *made.cells]
    for i, cell in enumerate(made.cells):
        cell.id = f"cell-{i}"
        cell.metadata = {}
    made.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    made.nbformat, made.nbformat_minor = 4, 5
    return made


def write(folder: Path = ROOT / "docs" / "notebooks") -> list[Path]:
    """Writes all of them and removes those whose script is gone."""
    folder.mkdir(exist_ok=True)
    written = []
    for script in sorted((ROOT / "lessons").glob("[0-9][0-9]_*.py")):
        written.append(folder / f"{script.stem}.ipynb")
        written[-1].write_text(jupytext.writes(notebook(script), fmt="ipynb") + "\n")
    for path in set(folder.glob("*.ipynb")) - set(written):
        path.unlink()
    return written


if __name__ == "__main__":
    print("\n".join(str(path.relative_to(ROOT)) for path in write()))
