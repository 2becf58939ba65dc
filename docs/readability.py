"""How easy the README and the lessons are to read: ``python docs/readability.py [COMMIT ...]``.

For each commit, and for the files as they are, it prints the number of sentences, the share of them
with more than 30 words, and the Flesch reading ease (Flesch 1948):

    206.835 - 1.015 words per sentence - 84.6 syllables per word

Plain English is at 60 to 70, a scientific paper at 30. Code, tables, headings and figures are left
out. A name in backticks counts as one short word. Syllables are counted as groups of vowels, so
scores compare texts of one kind and mean little by themselves.
"""

import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
LONG = 30  # words


class Readability(NamedTuple):
    """Of a text."""

    sentences: int
    long: float  # share of sentences with more than LONG words
    ease: float  # Flesch reading ease


def prose(markdown: str) -> list[str]:
    """The sentences of a markdown text, without what is not prose."""
    text = re.sub(r"```.*?```|<!--.*?-->|\$\$.*?\$\$", "\n\n", markdown, flags=re.DOTALL)
    text = re.sub(r"^\s*(\||#|!\[).*$", "\n", text, flags=re.MULTILINE)  # tables, headings, figures
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)  # links keep their words
    text = re.sub(r"`[^`]*`|\$[^$]*\$", "X", text)  # a name or a formula is read as one word
    paragraphs = re.split(r"\n\s*\n|\n\s*(?:[-*]|\d\.)\s", text)
    return [
        sentence
        for paragraph in paragraphs
        for sentence in re.split(r"(?<=[.?!])[\"*)]*\s+(?=[\"*(A-Z0-9])", paragraph.strip())
        if len(words(sentence)) > 2
    ]


def words(text: str) -> list[str]:
    return re.findall(r"[A-Za-z]+(?:['\u2019][a-z]+)?", text)


def syllables(word: str) -> int:
    """Groups of vowels, without a silent e at the end."""
    groups = len(re.findall(r"[aeiouy]+", word.lower()))
    silent = re.search(r"[^aeiouyl]e$|[^aeiouytd]ed$", word.lower()) is not None
    return max(1, groups - silent)


def readability(sentences: list[str]) -> Readability:
    """Of the sentences of a text, at least one."""
    of_each = [words(sentence) for sentence in sentences]
    count = sum(map(len, of_each))
    per_word = sum(syllables(word) for row in of_each for word in row) / count
    ease = 206.835 - 1.015 * count / len(sentences) - 84.6 * per_word
    return Readability(len(sentences), sum(len(row) > LONG for row in of_each) / len(of_each), ease)


def lesson_prose(script: str) -> str:
    """The markdown cells of a lesson."""
    cells = re.split(r"^# %%(.*)$", script, flags=re.MULTILINE)
    prose_cells = [
        text for kind, text in zip(cells[1::2], cells[2::2], strict=True) if "mark" in kind
    ]
    return "\n\n".join(re.sub(r"^# ?", "", text, flags=re.MULTILINE) for text in prose_cells)


def texts(commit: str | None) -> dict[str, str]:
    """The README and the lessons' markdown, by file; of the working tree if there is no commit."""
    if commit is None:
        paths = [ROOT / "README.md", *sorted((ROOT / "lessons").glob("*.py"))]
        files = {path.relative_to(ROOT).as_posix(): path.read_text() for path in paths}
    else:
        names = _git("ls-tree", "--name-only", commit, "README.md", "lessons/").split()
        files = {n: _git("show", f"{commit}:{n}") for n in names if n.endswith((".md", ".py"))}
    return {n: lesson_prose(text) if n.endswith(".py") else text for n, text in files.items()}


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout


def main() -> None:
    for commit in [*sys.argv[1:], None]:
        print(f"{commit or 'now':<40}{'sentences':>10}{f'over {LONG} words':>15}{'Flesch':>8}")
        sentences = {name: prose(text) for name, text in texts(commit).items()}
        sentences["all"] = sum(sentences.values(), [])
        for name, of_file in sentences.items():
            found = readability(of_file)
            print(f"{name:<40}{found.sentences:>10}{found.long:>15.1%}{found.ease:>8.1f}")


if __name__ == "__main__":
    main()
