"""The committed notebooks are those that docs/notebooks.py writes, and their cell for Colab keeps Colab's jax."""

import ast
import importlib.util
import json
import subprocess
from pathlib import Path

import jax
import pytest

from jaxreason import InputError, lesson

ROOT = Path(__file__).parent.parent
LESSONS = sorted((ROOT / "lessons").glob("[0-9][0-9]_*.py"))
COMMITTED = ROOT / "docs" / "notebooks"


@pytest.fixture(scope="module")
def notebooks():
    spec = importlib.util.spec_from_file_location("notebooks", ROOT / "docs" / "notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cells(path: Path, kind: str) -> list[str]:
    return ["".join(c["source"]) for c in json.loads(path.read_text())["cells"] if c["cell_type"] == kind]


def test_they_are_in_step_with_the_scripts(notebooks, tmp_path):
    written = notebooks.write(tmp_path)
    assert [path.stem for path in written] == [script.stem for script in LESSONS]
    assert sorted(path.name for path in COMMITTED.glob("*.ipynb")) == [path.name for path in written]
    for path in written:
        assert path.read_bytes() == (COMMITTED / path.name).read_bytes(), "run: python docs/notebooks.py"


@pytest.mark.parametrize("script", LESSONS, ids=lambda script: script.stem)
def test_a_notebook_is_its_script_without_outputs(script):
    path = COMMITTED / f"{script.stem}.ipynb"
    code = cells(path, "code")
    assert ast.dump(ast.parse("\n".join(code[2:]))) == ast.dump(ast.parse(script.read_text()))
    for cell in json.loads(path.read_text())["cells"]:
        assert cell["cell_type"] == "markdown" or (cell["outputs"] == [] and cell["execution_count"] is None)
    assert (
        f"colab.research.google.com/github/OWNER/jaxreason/blob/main/docs/notebooks/{path.name}"
        in cells(path, "markdown")[0]
    )


@pytest.mark.parametrize("installed", [True, False])
def test_the_first_cell_installs_only_what_is_missing_and_keeps_jax(monkeypatch, tmp_path, installed):
    commands, find = [], importlib.util.find_spec
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "run", lambda command, check: commands.append(command))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: find(name) if installed else None)
    exec(cells(COMMITTED / f"{LESSONS[0].stem}.ipynb", "code")[0], {})
    assert len(commands) == (0 if installed else 1)
    if not installed:
        assert commands[0][-3:-1] == ["-c", "constraints.txt"] and commands[0][-1].startswith(
            "jaxreason @ git+https://"
        )
        assert f"jax=={jax.__version__}" in Path("constraints.txt").read_text().split()


def test_options_of_a_notebook(monkeypatch):
    monkeypatch.setattr(lesson, "in_notebook", lambda: True)
    for cell, environment, problems in (
        ("", "", 40),
        ("", "--problems 30", 30),
        ("--problems 20", "--problems 30", 20),
    ):
        monkeypatch.setattr(lesson, "notebook_options", cell)
        monkeypatch.setenv("JAXREASON_OPTIONS", environment)
        assert lesson.read_options("00", lesson.Options(problems=40)).problems == problems
    monkeypatch.setattr(lesson, "notebook_options", "--problem 20")
    with pytest.raises(InputError, match="'--problem 20'"):
        lesson.read_options("00", lesson.Options())
