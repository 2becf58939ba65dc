"""The shape of every lesson: a question, the algorithm in plain code, asserted equal to the
library's, what to inspect, exercises; no long script and no long cell.

``python -m tests.course.test_lesson_shape`` prints the counts.
"""

import ast
import statistics
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent.parent
LESSONS = sorted((ROOT / "lessons").glob("[0-9][0-9]*_*.py"))
REPORTS = {"measure", "claim", "claim_better", "figure", "curves", "bars", "points"}


class Counts(NamedTuple):
    """What a lesson consists of."""

    lines: int
    markdown: list[str]  # its cells
    code: list[list[str]]  # the lines of its cells that are not blank, without imports
    claims: int  # calls
    reporting: float  # share of the lines of code that plot or record


def counts(script: Path) -> Counts:
    text = script.read_text()
    cells: list[tuple[bool, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("# %%"):
            cells.append(("markdown" in line, []))
        elif cells and line.strip():
            cells[-1][1].append(line)
    tree = ast.parse(text)
    imports = {
        line
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for line in text.splitlines()[node.lineno - 1 : node.end_lineno]
    }
    code = [
        [line for line in lines if line not in imports]
        for is_markdown, lines in cells
        if not is_markdown
    ]
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    reporting = {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr | ast.Assign) and any(map(_reports, ast.walk(node)))
        for line in range(node.lineno, node.end_lineno + 1)
    }
    return Counts(
        lines=len(text.splitlines()),
        markdown=["\n".join(lines) for is_markdown, lines in cells if is_markdown],
        code=code,
        claims=sum(_reports(call) and call.func.attr.startswith("claim") for call in calls),
        reporting=len(reporting) / sum(map(len, code)),
    )


def _reports(node: ast.AST) -> bool:
    """Whether this is a call such as ``run.measure(...)``."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in REPORTS
        and ast.unparse(node.func.value) == "run"
    )


@pytest.mark.parametrize("script", LESSONS, ids=lambda script: script.stem)
def test_a_lesson_is_short_and_has_the_parts_of_one(script):
    lesson = counts(script)
    assert lesson.lines <= 330
    assert max(map(len, lesson.code)) <= 25
    assert lesson.claims <= 10
    prose = "\n".join(lesson.markdown)
    for part in ("At the end of this", "When it does not work", "## Exercises", "**"):
        assert part in prose, part
    assert any("assert" in line for cell in lesson.code for line in cell)


if __name__ == "__main__":
    for script in LESSONS:
        lesson = counts(script)
        lengths = list(map(len, lesson.code))
        print(
            f"{script.stem:<32}{lesson.lines:>4} lines {len(lesson.markdown):>3} markdown cells, "
            f"code cells: longest {max(lengths):>3}, median {statistics.median(lengths):>4}; "
            f"{lesson.reporting:>4.0%} report, {lesson.claims:>2} claims"
        )
