"""Exercises: what a reader starts from passes nothing, our solutions pass, and common slips are
seen by the exercise in which they were made.
"""

from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, failed_cli, run_cli

from jaxreason.course import exercises
from jaxreason.course.exercises import NotYetError, expect_close, run_checks
from jaxreason.errors import InputError

FOLDER = ROOT / "lessons" / "exercises"
WRONG = Path(__file__).parent / "wrong_solutions"
LESSONS = sorted(path.stem for path in FOLDER.glob("[0-9][0-9].py"))


def wrong_solutions(lesson: str) -> list[tuple[str, str, str, str]]:
    return exercises._load(WRONG / f"{lesson}.py").WRONG


@pytest.mark.parametrize("lesson", LESSONS)
def test_stubs_pass_nothing_and_solutions_pass(lesson):
    stub = run_checks(lesson, FOLDER / f"{lesson}.py")
    assert 3 <= len(stub) <= 7
    assert [verdict.exercise for verdict in stub if verdict.hint is None] == []
    ours = run_checks(lesson, FOLDER / "solutions" / f"{lesson}.py")
    assert [verdict for verdict in ours if verdict.hint is not None] == []


@pytest.mark.parametrize("lesson", LESSONS)
def test_slips_are_seen_where_they_were_made(lesson, tmp_path):
    ours = (FOLDER / "solutions" / f"{lesson}.py").read_text()
    for i, (kind, exercise, right, wrong) in enumerate(wrong_solutions(lesson)):
        assert right in ours, f"{lesson}: {right!r} stands in no solution"
        file = tmp_path / f"{i}.py"
        file.write_text(ours.replace(right, wrong))
        hints = dict(run_checks(lesson, file))
        assert hints[exercise] is not None, f"{kind} in {exercise} passed: {wrong!r}"


def test_every_exercise_is_in_the_stub_by_its_name():
    for lesson in LESSONS:
        names = vars(exercises._load(FOLDER / f"{lesson}.py"))
        for exercise, _ in run_checks(lesson, FOLDER / f"{lesson}.py"):
            assert exercise in names or exercise.upper() in names, (lesson, exercise)


def test_a_hint_says_where_and_not_what():
    with pytest.raises(
        NotYetError, match=r"^x: 1 of 4 values differ, the first at \[1, 0\]: got 9"
    ):
        expect_close([[1, 2], [9, 4]], np.array([[1, 2], [3, 4]]), "x")
    with pytest.raises(NotYetError, match=r"got shape \[2\], expected shape \[1, 2\]"):
        expect_close([1, 2], [[1, 2]], "x")
    with pytest.raises(NotYetError, match="is there a return"):
        expect_close(None, 1.0, "x")


def test_errors_of_the_reader_name_the_line(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def majority(answers):\n    return answers['a']\n")
    hints = dict(run_checks("02", file))
    assert hints["majority"].startswith("line 2: TypeError: list indices")
    assert hints["weighted_vote"] == "weighted_vote is missing from mine.py"
    file.write_text("x = 1\ny = z\n")
    with pytest.raises(InputError, match=r"mine.py does not run: line 2: NameError"):
        run_checks("02", file)


def test_check_on_the_command_line(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    run_cli(monkeypatch, "check", "2")
    assert "wrote exercises_02.py" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        run_cli(monkeypatch, "check", "02")
    assert stop.value.code == 1
    told = capsys.readouterr().out
    assert "majority           not written yet" in told and "0 of 7 passed" in told
    run_cli(monkeypatch, "check", "02", "--solution")
    solution = capsys.readouterr().out
    assert "def weighted_vote" in solution
    Path("exercises_02.py").write_text(solution)
    run_cli(monkeypatch, "check", "02b")  # later parts of a lesson share its exercises
    assert "7 of 7 passed" in capsys.readouterr().out
    assert "expected one of" in failed_cli(monkeypatch, capsys, "check", "99").err
    assert "not found" in failed_cli(monkeypatch, capsys, "check", "02", "--file", "no.py").err


def test_a_folder_that_cannot_be_written_is_one_line(monkeypatch, capsys, tmp_path):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(exercises.shutil, "copyfile", full)
    error = failed_cli(monkeypatch, capsys, "check", "02").err
    assert error.count("\n") == 1 and "No space left on device" in error
