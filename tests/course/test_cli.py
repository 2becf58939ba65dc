"""The command line: what good input prints, and bad input as one line with exit status 2."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import failed_cli, run_cli

from jaxreason.course import cli

LESSONS = sorted(Path(__file__).parents[2].glob("lessons/[0-9][0-9]*_*.py"))


def fails(monkeypatch, capsys, *arguments: str) -> str:
    captured = failed_cli(monkeypatch, capsys, *arguments)
    assert captured.out == ""
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1, captured.err
    return captured.err


def test_solve_answers_a_simple_question(monkeypatch, capsys):
    run_cli(
        monkeypatch,
        "solve",
        "Tom has 12 apples. Tom buys 5 more. How many apples does Tom have now?",
        "--method",
        "cot",
    )
    assert capsys.readouterr().out == "12+5=17\n#### 17\n"


def test_solve_takes_a_wording_of_your_own(monkeypatch, capsys):
    question = "Tom has 12 apples. Tom buys 5 more. How many apples does Tom have now?"
    trained = ("--prompt", "Q: {question}\nLet's think step by step.\n", "--method", "cot")
    run_cli(monkeypatch, "solve", question, *trained)
    captured = capsys.readouterr()
    # The words it was trained on: the chain of the test above. It is short, but the model is
    # shipped.
    assert (captured.out, captured.err) == ("12+5=17\n#### 17\n", "")
    run_cli(monkeypatch, "solve", question, "--prompt", "Q: {question}\nAnswer:", "--method", "cot")
    assert capsys.readouterr().out == "17\n"  # other words, another answer: at once


def test_solve_by_vote_prints_the_share_of_the_winner(monkeypatch, capsys):
    run_cli(monkeypatch, "solve", "What is 20+3?", "--samples", "8")
    assert "\n23  (" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["solve", "What is 1+1?", "--model", "tinny"], "'tinny'"),
        (["solve", ""], "empty"),
        (["solve", "   "], "empty"),
        (["solve", "What is 1+1? " * 200], "tokens"),
        (["solve", "What is 1+1?", "--samples", "0"], "0"),
        (["solve", "What is 1+1?", "--temperature", "-1"], "-1"),
        (["solve", "What is 1+1?", "--max-new-tokens", "0"], "0"),
        (["solve", "What is 1+1?", "--system", "Be brief."], "'tiny' has no chat template"),
        (["solve", "What is 1+1?", "--system", ""], "--system"),
        (
            ["solve", "What is 1+1?", "--prompt", "Think first."],
            "'Think first.' does not say where",
        ),
        (["solve", "What is 1+1?", "--prompt", ""], "{question}"),
        (["solve", "What is 1+1?", "--prompt", "{}", "--method", "cot"], "{question}"),
        (
            ["solve", "What is 1+1?", "--prompt", "{question}", "--method", "direct"],
            "--prompt goes with",
        ),
        (["lesson", "77"], "'77'"),
        (["lesson", "00", "--model", "no/such/model"], "'no/such/model'"),
        (["lesson", "01", "--problems", "0"], "0"),
        (["lesson", "02", "--problems", "-3"], "-3"),
    ],
)
def test_bad_input_is_one_line_that_names_it(monkeypatch, capsys, arguments, named):
    assert named in fails(monkeypatch, capsys, *arguments)


@pytest.mark.parametrize("script", LESSONS, ids=lambda path: path.stem)
def test_lessons_refuse_an_unwritable_folder_and_write_nothing(
    monkeypatch, capsys, tmp_path, script
):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    message = fails(monkeypatch, capsys, "lesson", script.stem, "--out", str(blocked))
    assert "--out" in message and str(blocked) in message
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("damage", ["weights missing", "weights truncated", "config missing"])
def test_damaged_models_are_named(monkeypatch, capsys, tmp_path, damage):
    source = Path(cli.__file__).parents[2] / "checkpoints" / "tiny"
    for path in source.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = tmp_path / "model.safetensors"
    if damage == "weights missing":
        weights.unlink()
    elif damage == "weights truncated":
        weights.write_bytes(weights.read_bytes()[:-1000])
    else:
        (tmp_path / "config.json").unlink()
    message = fails(monkeypatch, capsys, "solve", "What is 1+1?", "--model", str(tmp_path))
    assert str(tmp_path) in message


def test_option_errors_of_the_parser_exit_with_2_too(monkeypatch):
    with pytest.raises(SystemExit) as stop:
        run_cli(monkeypatch, "lesson", "00", "--problems", "many")
    assert stop.value.code == 2


def test_the_same_lesson_runs_as_a_script_in_any_directory(tmp_path):
    done = subprocess.run(
        [sys.executable, str(LESSONS[0]), "--problems", "0"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: --problems is 0")


def test_lessons_are_percent_scripts_with_prose():
    for script in LESSONS:
        text = script.read_text()
        assert text.count("# %% [markdown]") >= 3, script
        assert "lesson.start(" in text and "run.finish()" in text, script
