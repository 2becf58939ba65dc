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

# No wheel, no checkout and no address: one line says what to do.
INSTALL = """\
# Installs jaxreason where it is missing, as on Colab: from a wheel or a checkout that is there, or
# else from its address. Jax, and what a kernel may have loaded already, keep their versions, so
# that nothing needs a restart and jax goes on to match the accelerator.
import importlib.util
import subprocess
import sys
from importlib import metadata
from pathlib import Path

ADDRESS = "{address}"
if importlib.util.find_spec("jaxreason") is None:
    here = Path.cwd()
    wheels = sorted(here.glob("jaxreason-*.whl"), reverse=True)
    folders = (here, *here.parents)
    checkouts = [folder for folder in folders if (folder / "jaxreason" / "api.py").is_file()]
    sources = [*map(str, wheels + checkouts), ADDRESS]
    if not sources[0]:
        raise SystemExit(
            "jaxreason is not installed: put its wheel (jaxreason-*.whl) beside this notebook "
            "and run this cell again"
        )
    keep = ("jax", "libtpu", "numpy", "matplotlib", "tqdm")
    found = [(package.name or "", package.version) for package in metadata.distributions()]
    kept = (f"{name}=={version}\\n" for name, version in found if name.lower().startswith(keep))
    Path("constraints.txt").write_text("".join(sorted(kept)))
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "-c", "constraints.txt", sources[0]], check=True)
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
