"""The lessons as notebooks: ``python docs/notebooks.py`` writes one for every script.

docs/notebooks/NN_name.ipynb is lessons/NN_name.py behind three cells: the first says where the
notebook comes from, the second installs the package where it is missing, and the third takes
options. Edit the scripts. Notebooks have no outputs, and the same script gives the same bytes: a
test checks that both agree. Needs jupytext, of the ``dev`` extra. With jupyter alone a notebook
runs from its first cell to the last by

    JAXREASON_OPTIONS=--quick jupyter nbconvert --to notebook --execute --output-dir /tmp \\
        docs/notebooks/00_introduction.ipynb

The address of the project stands in one place, as ``Repository`` in ``[project.urls]`` of
pyproject.toml. If it is on GitHub, the first cell links to Colab and the second installs from
there. Without an address there is no link, and a checkout or a wheel is needed.
"""

import tomllib
from pathlib import Path

import jupytext
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

ROOT = Path(__file__).parent.parent
GITHUB = "https://github.com/"

WRITTEN = "Written by `docs/notebooks.py` from `lessons/{name}.py`."
BADGE = """[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/{repository}/blob/main/docs/notebooks/{name}.ipynb)

Written by `docs/notebooks.py` from [lessons/{name}.py](https://github.com/{repository}/blob/main/lessons/{name}.py)."""

# Where there is no wheel, no checkout and no address, one line says what to do.
INSTALL = """\
# Installs jaxreason where it is missing, as on Colab. What may be loaded already keeps its version:
# jax has to match the accelerator.
import importlib.util, subprocess, sys
from importlib import metadata
from pathlib import Path

ADDRESS = "{address}"
if importlib.util.find_spec("jaxreason") is None:
    here = Path.cwd()
    checkouts = [f for f in (here, *here.parents) if (f / "jaxreason" / "api.py").is_file()]
    source = str([*sorted(here.glob("jaxreason-*.whl"))[::-1], *checkouts, ADDRESS][0])
    if not source:
        sys.exit("jaxreason is missing: put its wheel (jaxreason-*.whl) beside this notebook, and "
                 "run this cell again")
    kept = [f"{p.name}=={p.version}\\n" for p in metadata.distributions()
            if (p.name or "").lower().startswith(("jax", "libtpu", "numpy", "matplotlib", "tqdm"))]
    Path("constraints.txt").write_text("".join(kept))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "-c", "constraints.txt"]
    subprocess.run([*pip, source], check=True)
    importlib.invalidate_caches()"""

OPTIONS = """\
from jaxreason.course import options

# As on the command line: "--quick" is a smoke run,
# "--model Qwen/Qwen2.5-0.5B-Instruct --problems 50" another model.
options.notebook_options = \"\""""


def repository() -> str:
    """``owner/name`` on GitHub by pyproject.toml, or nothing."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    address = project.get("urls", {}).get("Repository", "")
    return address.removeprefix(GITHUB).strip("/") if address.startswith(GITHUB) else ""


def opening(name: str, repository: str) -> list[NotebookNode]:
    """The three cells before those of the script."""
    address = f"jaxreason @ git+{GITHUB}{repository}" if repository else ""
    first = (
        (BADGE if repository else WRITTEN)
        .replace("{repository}", repository)
        .replace("{name}", name)
    )
    return [
        new_markdown_cell(first),
        new_code_cell(INSTALL.replace("{address}", address)),
        new_code_cell(OPTIONS),
    ]


def notebook(script: Path) -> NotebookNode:
    """The notebook of a lesson, with ids that follow from the place of a cell."""
    made = jupytext.read(script)
    made.cells = [*opening(script.stem, repository()), *made.cells]
    for i, cell in enumerate(made.cells):
        if cell.cell_type == "markdown":  # figures are as near to lessons/ as to docs/notebooks/
            cell.source = cell.source.replace("](../docs/", "](../")
        cell.id = f"cell-{i}"
        cell.metadata = {}
    made.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}
    }
    made.nbformat, made.nbformat_minor = 4, 5
    return made


def write(folder: Path = ROOT / "docs" / "notebooks") -> list[Path]:
    """Writes all of them and removes those whose script is gone."""
    folder.mkdir(exist_ok=True)
    written = []
    for script in sorted((ROOT / "lessons").glob("[0-9][0-9]*_*.py")):
        written.append(folder / f"{script.stem}.ipynb")
        written[-1].write_text(jupytext.writes(notebook(script), fmt="ipynb") + "\n")
    for path in set(folder.glob("*.ipynb")) - set(written):
        path.unlink()
    return written


if __name__ == "__main__":
    print("\n".join(str(path.relative_to(ROOT)) for path in write()))
