"""The shape of the code base: folders and files use those above them, flax stays in models/."""

import ast
import functools
from pathlib import Path

import pytest
from conftest import for_each

PACKAGE = Path(__file__).parent.parent / "jaxreason"

# The way data travels. A module imports only from its own folder and from lines above its own.
FOLDERS = [
    "errors",
    "files",
    "resume",
    "hosts",
    "mesh",
    "progress",
    "tasks",
    "models",
    "decoding",
    "answers",
    "rewards",
    "search",
    "training",
    "evaluation",
    "api",
    "course",
]

# What a learner would lift into another project, and the lines they would have to take along.
LIFTED = {
    "answers.vote": 400,
    "answers.extract": 1300,  # with the grammar of numbers, units and statements
    "search.tree_of_thoughts": 500,
    "search.mcts": 500,
    "search.particles": 250,
    "training.grpo": 500,
}

MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if not {"lessons", "checkpoints"} & set(path.relative_to(PACKAGE).parts)
}
PLAIN = {name: path for name, path in MODULES.items() if path.stem not in ("__init__", "__main__")}


@functools.cache
def parse(path):
    return ast.parse(path.read_text(), str(path))


def imported(tree):
    """Every module imported in a file, inside functions too; ``from a import b``: a and a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@functools.cache
def ours(name):
    """The modules of the package that a module imports."""
    found = {module.removeprefix("jaxreason.") for module in imported(parse(MODULES[name]))}
    return {module for module in found if module in MODULES or f"{module}.__init__" in MODULES}


def closure(name, seen=()):
    """A module and all that it imports from the package."""
    seen = {*seen, name}
    for module in ours(name) & set(PLAIN):
        if module not in seen:
            seen = closure(module, seen)
    return seen


def folder(name):
    return name.split(".")[0]


def test_every_folder_has_its_place():
    assert {folder(name) for name in PLAIN} == set(FOLDERS)


@for_each(PLAIN)
def test_imports_run_down_the_folders(name):
    assert "jaxreason" not in ours(name)  # never the package as a whole
    later = FOLDERS[FOLDERS.index(folder(name)) + 1 :]
    assert not {module for module in ours(name) if folder(module) in later}


def test_no_circle_among_files():
    for name in PLAIN:
        for module in ours(name) & set(PLAIN):
            assert name not in closure(module), f"{name} and {module} import each other"


@pytest.mark.parametrize("name", LIFTED)
def test_an_algorithm_can_be_lifted(name):
    taken = closure(name)
    assert sum(len(MODULES[module].read_text().splitlines()) for module in taken) <= LIFTED[name]


@pytest.mark.parametrize(
    "name", ["search.tree_of_thoughts", "search.mcts", "search.particles", "answers.vote"]
)
def test_an_algorithm_imports_nothing_but_errors(name):
    assert ours(name) <= {"errors"}


@for_each(MODULES)
def test_only_models_import_flax(name):
    uses_flax = any(module.split(".")[0] == "flax" for module in imported(parse(MODULES[name])))
    assert not uses_flax or name.startswith("models.")


def test_the_check_can_see_flax():
    assert "flax" in set(imported(parse(MODULES["models.decoder"])))


def test_the_check_can_see_a_closure():
    assert {"decoding.rollout", "models.decoder", "errors"} <= closure("decoding.completions")


@for_each(MODULES)
def test_modules_and_public_functions_are_documented(name):
    tree = parse(MODULES[name])
    if MODULES[name].read_text().strip():
        assert ast.get_docstring(tree), "the module has no docstring"
    public = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    ]
    assert [node.name for node in public if not ast.get_docstring(node)] == []


@for_each(PLAIN)
def test_no_private_name_is_used_across_modules(name):
    private = [
        module
        for module in imported(parse(MODULES[name]))
        if module.startswith("jaxreason.") and module.split(".")[-1].startswith("_")
    ]
    assert private == []


@for_each(MODULES)
def test_modules_are_short(name):
    assert len(MODULES[name].read_text().splitlines()) <= 400
