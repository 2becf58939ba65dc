"""The docstrings of the public interface: errors, shapes, and where a method comes from."""

import inspect
import pkgutil
import re
import types
import typing
from pathlib import Path

import jax
import numpy as np
from conftest import for_each

import jaxreason
from jaxreason import api
from jaxreason.errors import InputError

SHAPE = re.compile(r"\[[A-Za-z0-9_., +*()'-]*\]|scalar|a number")  # such as [B, N] or [...]
SHARED = re.compile(
    r"(?:\ball|each|both)[ \n]+`*\[|\][ \n]*`*[ \n]+(?:each|both|all)\b"
)  # one for all
ELSEWHERE = re.compile(r":(?:func|class|meth|mod):`|\bas (?:there|in|for)\b|likewise")
RAISES = re.compile(r"^ *raise InputError\b", re.MULTILINE)
ARRAYS = {jax.Array, np.ndarray}
NUMBERS = {int, float, bool, type(None)}

# What a paper introduced, and its first author: named with the year in the source of the function,
# or in the docstring of its module.
SOURCES = {
    "zero_shot_cot": "Kojima",
    "few_shot": "Wei",
    "complete_within": "Muennighoff",
    "Sampler": "Holtzman",
    "compile_stop": "Corasick",
    "vote": "Wang",
    "early_stop": "Aggarwal",
    "pass_at_k": "Chen",
    "monte_carlo_labels": "Wang",
    "aggregate": "Lightman",
    "bfs": "Yao",
    "dfs": "Yao",
    "dvts": "Beeching",
    "mcts": "Silver",
    "init_lora": "Hu",
    "group_advantages": "Shao",
    "grpo_loss": "Shao",
    "GRPO": "Shao",
    "DR_GRPO": "Liu",
    "DAPO": "Yu",
    "RLOO": "Ahmadian",
    "GSPO": "Zheng",
    "CISPO": "Chen",
    "gae": "Schulman",
    "ppo_loss": "Schulman",
    "kd_loss": "Hinton",
    "on_policy_loss": "Agarwal",
    "wilson": "Wilson",
    "mean_interval": "Efron",
    "auc": "DeLong",
    "forward_flops": "Kaplan",
    "training_flops": "Kaplan",
    "compute_optimal": "Snell",
}


def public():
    """name -> function or class, for every exported one and those of the exported modules."""
    found = {}
    for name in api.__all__:
        value = getattr(api, name)
        if inspect.ismodule(value):
            for inner, member in vars(value).items():
                if not inner.startswith("_") and is_documented(member):
                    if inspect.unwrap(member).__module__ == value.__name__:
                        found[f"{name}.{inner}"] = inspect.unwrap(member)
        elif is_documented(value):
            found[name] = inspect.unwrap(value)
    return found


def is_documented(value):
    value = inspect.unwrap(value)
    ours = getattr(value, "__module__", "").startswith("jaxreason")
    return ours and (inspect.isfunction(value) or inspect.isclass(value))


PUBLIC = public()
FUNCTIONS = {name: value for name, value in PUBLIC.items() if inspect.isfunction(value)}
METHODS = {
    f"{name}.{inner}": member
    for name, value in PUBLIC.items()
    if inspect.isclass(value)
    for inner, member in vars(value).items()
    if inspect.isfunction(member) and not inner.startswith("_")
    if inspect.getsourcefile(member) == inspect.getsourcefile(value)
}
TUPLES = {
    name: value
    for name, value in PUBLIC.items()
    if inspect.isclass(value) and issubclass(value, tuple) and hasattr(value, "_fields")
}


def body(function):
    """A function's source behind its docstring."""
    return inspect.getsource(function).split('"""', 2)[-1]


def holds_array(annotation):
    """Whether a value of that type is an array, or else a number or None; no tree, no list."""
    parts = {annotation}
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        parts = set(typing.get_args(annotation))
    return bool(parts & ARRAYS) and parts <= ARRAYS | NUMBERS


def arrays_of(value):
    """The names of the parameters or fields that hold arrays; a single key has no shape to tell."""
    return [
        name
        for name, annotation in inspect.get_annotations(value).items()
        if holds_array(annotation) and name not in ("return", "key")
    ]


def passages(docstring, name):
    """What a docstring says of a parameter: its entry in Args, and the sentences that name it."""
    entries = re.split(r"\n(?= {0,4}[\w, *]+: )|\n\n", inspect.cleandoc(docstring))
    for entry in entries:
        head, _, _ = entry.partition(": ")
        names = re.split(r"[,\s]+", head.strip())
        if name in names or re.search(rf"\b{name}\b", entry):
            yield entry


def has_shape(docstring, name):
    """Whether a docstring tells a parameter's shape, or refers to where it is told."""
    if SHARED.search(docstring):
        return True
    told = list(passages(docstring, name))
    return any(SHAPE.search(text) or ELSEWHERE.search(text) for text in told)


def field_comment(value, name):
    """The comment on the line of a field, and those on the lines above it."""
    lines = inspect.getsource(value).splitlines()
    (at,) = [i for i, line in enumerate(lines) if re.match(rf"    {name}: ", line)]
    above = []
    while lines[at - 1 - len(above)].strip().startswith("#"):
        above.append(lines[at - 1 - len(above)])
    return " ".join([*reversed(above), lines[at].partition("#")[2]])


@for_each(PUBLIC)
def test_it_has_a_docstring_of_its_own(name):
    docstring = vars(PUBLIC[name]).get("__doc__", PUBLIC[name].__doc__)
    assert docstring and not docstring.startswith(f"{PUBLIC[name].__name__}(")


@for_each({**FUNCTIONS, **METHODS})
def test_it_says_which_bad_input_it_refuses(name):
    function = {**FUNCTIONS, **METHODS}[name]
    if RAISES.search(body(function)):
        assert re.search(r"\n\s*Raises:\n\s+InputError: ", function.__doc__ or "")


@for_each(FUNCTIONS)
def test_it_tells_the_shape_of_every_array_it_takes(name):
    function = FUNCTIONS[name]
    untold = [p for p in arrays_of(function) if not has_shape(function.__doc__, p)]
    assert untold == []


@for_each(TUPLES)
def test_it_tells_the_shape_of_every_array_it_holds(name):
    value = TUPLES[name]
    untold = [
        field
        for field in arrays_of(value)
        if not SHAPE.search(field_comment(value, field)) and not has_shape(value.__doc__, field)
    ]
    assert untold == []


@for_each(SOURCES.items())
def test_a_method_names_its_source(name, author):
    value = inspect.unwrap(getattr(api, name))
    if inspect.ismodule(value):
        said = inspect.getsource(value)
    elif name in PUBLIC:
        said = f"{inspect.getsource(value)} {inspect.getmodule(value).__doc__}"
    else:  # a preset: its class says where each of its options comes from
        said = type(value).__doc__
    assert re.search(rf"{author}\b[^()]{{0,80}}?\b(?:19|20)\d\d\b", said), f"{author}, with a year"


def test_the_checks_see_what_is_missing():
    def refuses(tokens: jax.Array, lengths: np.ndarray | None):
        """Takes tokens and lengths ``[B]``."""
        raise InputError("bad")

    assert RAISES.search(body(refuses)) and "Raises:" not in refuses.__doc__
    assert arrays_of(refuses) == ["tokens", "lengths"]
    assert has_shape(refuses.__doc__, "tokens") and not has_shape("Takes tokens.", "tokens")
    assert not has_shape("Args:\n  tokens: ids\n  lengths: ``[B]`` of each", "tokens")


def test_what_docstrings_refer_to_is_there():
    """``:func:`jaxreason.decoding.completions.complete``` names a module and what stands in it."""
    package = Path(jaxreason.__file__).parent
    texts = [path.read_text() for path in package.rglob("*.py")]
    named = {name for text in texts for name in re.findall(r":\w+:`~?(jaxreason\.[\w.]+)`", text)}
    assert len(named) > 20
    for name in named:
        assert pkgutil.resolve_name(name) is not None
