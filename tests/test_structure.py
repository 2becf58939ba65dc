"""The shape of the code base: imports run one way, flax stays inside models/, modules stay short and documented."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "jaxreason"

# The way data travels; a module imports only from lines above its own.
ORDER = [
    "errors",
    "files",
    "resume",
    "tasks.problem",
    "tasks.arithmetic",
    "tasks.game24_answer",
    "tasks.game24",
    "tasks.game24_tokens",
    "tasks.game24_value",
    "tasks.gsm8k",
    "tasks.math500",
    "tasks.gym",
    "prompts",
    "tokens",
    "mesh",
    "models.names",
    "models.rope",
    "models.decoder",
    "models.weights",
    "models.gguf_file",
    "models.gguf",
    "models.hf",
    "models.lora",
    "memory",
    "sampling",
    "rollout",
    "budget",
    "logprobs",
    "heads",
    "symbolic",
    "notation",
    "exact",
    "values",
    "statements",
    "extract",
    "verify",
    "vote",
    "thoughts",
    "tree_of_thoughts",
    "step_labels",
    "mcts",
    "texts",
    "lm_mcts",
    "sft",
    "grpo",
    "distill",
    "checkpoint",
    "train",
    "grpo_device",
    "grpo_text",
    "ppo",
    "reward_model",
    "evaluate",
    "viz",
    "api",
    "options",
    "lesson",
    "cli",
]

MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if "lessons" not in path.relative_to(PACKAGE).parts and "checkpoints" not in path.relative_to(PACKAGE).parts
}
PLAIN = {name: path for name, path in MODULES.items() if path.stem not in ("__init__", "__main__")}


def parse(path):
    return ast.parse(path.read_text(), str(path))


def imported(tree):
    """Every module imported anywhere in a file, inside functions too; ``from a import b`` gives a and a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_module_has_its_place():
    assert set(PLAIN) <= set(ORDER), "add a new module to ORDER and to the annotated tree"


@pytest.mark.parametrize("name", PLAIN)
def test_imports_run_down_the_list(name):
    ours = {
        module.removeprefix("jaxreason.") for module in imported(parse(PLAIN[name])) if module.startswith("jaxreason.")
    }
    later = {module for module in ours & set(ORDER) if ORDER.index(module) >= ORDER.index(name)}
    assert not later
    assert "jaxreason" not in imported(parse(PLAIN[name])) or ours  # never the package as a whole


@pytest.mark.parametrize("name", MODULES)
def test_only_models_import_flax(name):
    uses_flax = any(module.split(".")[0] == "flax" for module in imported(parse(MODULES[name])))
    assert not uses_flax or name.startswith("models.")


def test_the_check_can_see_flax():
    assert "flax" in set(imported(parse(MODULES["models.decoder"])))


@pytest.mark.parametrize("name", MODULES)
def test_modules_and_public_functions_are_documented(name):
    tree = parse(MODULES[name])
    if MODULES[name].read_text().strip():
        assert ast.get_docstring(tree), "the module has no docstring"
    public = [node for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
    assert [node.name for node in public if not ast.get_docstring(node)] == []


@pytest.mark.parametrize("name", MODULES)
def test_modules_are_short(name):
    assert len(MODULES[name].read_text().splitlines()) <= 400
