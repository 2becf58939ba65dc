"""The committed notebooks are those that docs/notebooks.py writes, and their cell for Colab keeps
Colab's jax.
"""

import ast
import importlib.util
import json
import subprocess
from pathlib import Path

import jax
import pytest

from jaxreason import InputError
from jaxreason.course import options

ROOT = Path(__file__).parent.parent
LESSONS = sorted((ROOT / "lessons").glob("[0-9][0-9]*_*.py"))
COMMITTED = ROOT / "docs" / "notebooks"


@pytest.fixture(scope="module")
def notebooks():
    spec = importlib.util.spec_from_file_location("notebooks", ROOT / "docs" / "notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cells(path: Path, kind: str) -> list[str]:
    return [
        "".join(c["source"])
        for c in json.loads(path.read_text())["cells"]
        if c["cell_type"] == kind
    ]


def test_they_are_in_step_with_the_scripts(notebooks, tmp_path):
    written = notebooks.write(tmp_path)
    assert [path.stem for path in written] == [script.stem for script in LESSONS]
    assert sorted(path.name for path in COMMITTED.glob("*.ipynb")) == [
        path.name for path in written
    ]
    for path in written:
        assert path.read_bytes() == (COMMITTED / path.name).read_bytes(), (
            "run: python docs/notebooks.py"
        )


@pytest.mark.parametrize("script", LESSONS, ids=lambda script: script.stem)
def test_a_notebook_is_its_script_without_outputs(script):
    path = COMMITTED / f"{script.stem}.ipynb"
    code = cells(path, "code")
    assert ast.dump(ast.parse("\n".join(code[2:]))) == ast.dump(ast.parse(script.read_text()))
    for cell in json.loads(path.read_text())["cells"]:
        assert cell["cell_type"] == "markdown" or (
            cell["outputs"] == [] and cell["execution_count"] is None
        )
    assert "OWNER" not in path.read_text()


@pytest.mark.parametrize(
    ("address", "repository"),
    [
        (None, ""),
        ("", ""),
        ("https://github.com/someone/jaxreason", "someone/jaxreason"),
        ("https://github.com/someone/jaxreason/", "someone/jaxreason"),
        ("https://example.org/jaxreason", ""),  # Colab opens notebooks from GitHub alone
    ],
)
def test_the_address_stands_in_pyproject_alone(
    notebooks, monkeypatch, tmp_path, address, repository
):
    urls = "" if address is None else f'[project.urls]\nRepository = "{address}"\n'
    (tmp_path / "pyproject.toml").write_text(f'[project]\nname = "x"\n{urls}')
    monkeypatch.setattr(notebooks, "ROOT", tmp_path)
    assert notebooks.repository() == repository
    first, second, _ = (cell.source for cell in notebooks.opening("00_introduction", repository))
    assert ("colab" in first) == ("github" in first) == ("github" in second) == bool(repository)
    assert "lessons/00_introduction.py" in first
    if repository:
        assert f"github/{repository}/blob/main/docs/notebooks/00_introduction.ipynb" in first
        assert f'ADDRESS = "jaxreason @ git+https://github.com/{repository}"' in second


@pytest.mark.parametrize(
    "there", ["installed", "wheel", "checkout", "checkout above", "address", "nothing"]
)
def test_the_first_cell_installs_only_what_is_missing_and_keeps_jax(
    notebooks, monkeypatch, tmp_path, there
):
    commands = []
    here = tmp_path / "docs" / "notebooks"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    monkeypatch.setattr(subprocess, "run", lambda command, check: commands.append(command))
    if there != "installed":
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    root = here if there == "checkout" else tmp_path
    if there.startswith("checkout"):
        (root / "jaxreason").mkdir()
        (root / "jaxreason" / "api.py").touch()
    if there == "wheel":
        (here / "jaxreason-0.1.0-py3-none-any.whl").touch()
    cell = notebooks.opening("00_introduction", "someone/jaxreason" if there == "address" else "")[
        1
    ].source
    if there == "nothing":
        with pytest.raises(SystemExit, match="put its wheel .* beside this notebook") as end:
            exec(cell, {})
        assert "\n" not in str(end.value) and not commands
        return
    exec(cell, {})
    assert len(commands) == (there != "installed")
    if there != "installed":
        assert commands[0][-3:-1] == ["-c", "constraints.txt"]
        assert f"jax=={jax.__version__}" in Path("constraints.txt").read_text().split()
    if there == "wheel":
        assert Path(commands[0][-1]) == here / "jaxreason-0.1.0-py3-none-any.whl"
    if there.startswith("checkout"):
        assert Path(commands[0][-1]) == root
    if there == "address":
        assert commands[0][-1] == "jaxreason @ git+https://github.com/someone/jaxreason"


def test_options_of_a_notebook(monkeypatch):
    monkeypatch.setattr(options, "in_notebook", lambda: True)
    for cell, environment, problems in (
        ("", "", 40),
        ("", "--problems 30", 30),
        ("--problems 20", "--problems 30", 20),
    ):
        monkeypatch.setattr(options, "notebook_options", cell)
        monkeypatch.setenv("JAXREASON_OPTIONS", environment)
        assert options.read_options("00", problems=40).options.problems == problems
    monkeypatch.setattr(options, "notebook_options", "--problem 20")
    with pytest.raises(InputError, match="'--problem 20'"):
        options.read_options("00")
