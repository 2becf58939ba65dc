"""The house, drawn from the imports: ``python docs/house.py`` writes docs/house.png, and the list
of modules in docs/architecture.md.

The list has the first sentence of every module and what every folder imports, so a test can tell
when it is out of date.
"""

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # draws without a screen

import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "jaxreason"
PAGE, DRAWING = ROOT / "docs" / "architecture.md", ROOT / "docs" / "house.png"
START, END = "<!-- modules -->\n", "<!-- end of modules -->\n"

CENTRES = {  # the rooms, in the order of the data, and where the drawing has them
    "tasks": (1.7, 4.4),
    "models": (1.7, 2.8),
    "decoding": (5.0, 2.8),
    "answers": (5.0, 1.2),
    "rewards": (8.4, 2.8),
    "search": (11.7, 4.4),
    "training": (11.7, 2.8),
    "evaluation": (11.7, 1.2),
}
ROOF = {"course": "lessons and command line", "api": "the public names"}  # use the rooms
FLOOR = {  # used by rooms and roof
    "progress": "progress bars",
    "mesh": "many devices",
    "hosts": "many hosts",
    "resume": "interrupted runs",
    "files": "where results go",
    "errors": "InputError",
}
WIDTH, HEIGHT = 2.8, 1.2  # of a room


def title(path: Path) -> str:
    """The first sentence of a module."""
    text = " ".join((ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0].split())
    sentence = re.split(r"(?<=\.)\s(?=[A-Z])", text)[0]  # "et al. 2021" ends none
    return sentence.rstrip(":").replace("``", "`")


def modules(folder: str) -> list[Path]:
    """The files of a folder, or the one file of that name."""
    if (PACKAGE / folder).is_dir():
        return sorted((PACKAGE / folder).rglob("[!_]*.py"))
    return [PACKAGE / f"{folder}.py"]


def imported(path: Path) -> Iterator[str]:
    """The folders that a module imports from, its own among them; imports are absolute."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "jaxreason":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module.startswith("jaxreason."):
            yield node.module.split(".")[1]


def uses() -> dict[str, list[str]]:
    """For every folder the others that it imports from, in the order of the house."""
    order = [*CENTRES, *ROOF, *FLOOR]
    found = {}
    for folder in order:
        names = {name for path in modules(folder) for name in imported(path)}
        found[folder] = [name for name in order if name in names and name != folder]
    return found


def reaches(start: str, end: str, used: dict[str, list[str]]) -> bool:
    """Whether imports lead from ``start`` to ``end``, in any number of steps."""
    return start == end or any(reaches(name, end, used) for name in used[start])


def arrows(used: dict[str, list[str]]) -> list[tuple[str, str]]:
    """From room to room, (used, user), without those that a longer way makes unnecessary."""
    found = []
    for user in CENTRES:
        rooms = [name for name in used[user] if name in CENTRES]
        for name in rooms:
            others = [other for other in rooms if other != name]
            if not any(reaches(other, name, used) for other in others):
                found.append((name, user))
    return found


def box(axes: plt.Axes, corner: tuple, size: tuple, colour: str) -> None:
    axes.add_patch(
        FancyBboxPatch(corner, *size, boxstyle="round,pad=0.04", facecolor=colour, edgecolor="0.4")
    )


def draw_row(axes: plt.Axes, parts: dict[str, str], bottom: float, colour: str) -> None:
    """The roof or the floor: one wide box, its parts side by side."""
    box(axes, (0.3, bottom), (12.8, 0.7), colour)
    for i, (name, what) in enumerate(parts.items()):
        middle = 0.3 + 12.8 * (i + 0.5) / len(parts)
        axes.text(middle, bottom + 0.47, name, ha="center", va="center", weight="bold", size=11)
        axes.text(middle, bottom + 0.19, what, ha="center", va="center", size=8.5)


def draw_room(axes: plt.Axes, name: str) -> None:
    x, y = CENTRES[name]
    box(axes, (x - WIDTH / 2, y - HEIGHT / 2), (WIDTH, HEIGHT), "#dce6f5")
    axes.text(x, y + 0.42, f"{name}/", ha="center", va="center", weight="bold", size=11)
    what = textwrap.fill(title(PACKAGE / name / "__init__.py"), 34)
    axes.text(x, y - 0.1, what, ha="center", va="center", size=8.5)


def draw_arrow(axes: plt.Axes, start: str, end: str) -> None:
    """From the used room to its user: to the right where that is on the right, else up or down."""
    (x0, y0), (x1, y1) = CENTRES[start], CENTRES[end]
    if x0 == x1:
        side = HEIGHT / 2 + 0.05 if y1 > y0 else -HEIGHT / 2 - 0.05
        ends = (x0, y0 + side), (x1, y1 - side)
    else:
        side = WIDTH / 2 + 0.05
        ends = (x0 + side, y0), (x1 - side, y1)
    style = {"arrowstyle": "-|>", "color": "0.25", "linewidth": 1.6, "mutation_scale": 16}
    axes.annotate("", xy=ends[1], xytext=ends[0], arrowprops=style)


def draw() -> plt.Figure:
    """The roof, the rooms with the arrows between them, and the floor."""
    figure, axes = plt.subplots(figsize=(13.4, 6.6))
    axes.set(xlim=(0, 13.4), ylim=(-0.75, 6.3))
    axes.axis("off")
    draw_row(axes, ROOF, 5.45, "#f6e3cf")
    for name in CENTRES:
        draw_room(axes, name)
    for start, end in arrows(uses()):
        draw_arrow(axes, start, end)
    draw_row(axes, FLOOR, -0.55, "#e6e6e6")
    return figure


def listing() -> str:
    """Every folder, what it uses, and its modules, as markdown."""
    used = uses()
    parts = []
    for folder in CENTRES:
        inner = title(PACKAGE / folder / "__init__.py")
        names = ", ".join(f"`{name}`" for name in used[folder])
        parts.append(f"### {folder}/\n\n{inner} Uses {names}.\n\n{rows(modules(folder))}")
    for head, names in (("Roof", ROOF), ("Floor", FLOOR)):
        files = [path for name in names for path in modules(name)]
        parts.append(f"### {head}\n\n{rows(files)}")
    return "\n".join(parts)


def rows(files: list[Path]) -> str:
    lines = ["| module | what it does |", "| --- | --- |"]
    for path in files:
        name = path.relative_to(PACKAGE).as_posix()
        inner = name.split("/", 1)[-1]
        lines.append(f"| [{inner}](../jaxreason/{name}) | {title(path)} |")
    return "\n".join(lines) + "\n"


def insert(page: str) -> str:
    """The page with its list as it would be made now."""
    before, rest = page.split(START)
    return f"{before}{START}\n{listing()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PAGE.write_text(insert(PAGE.read_text()))
    draw().savefig(DRAWING, dpi=110, bbox_inches="tight")
    print(PAGE, DRAWING)
