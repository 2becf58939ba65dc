"""The public interface: what ``from jaxreason import ...`` gives, and that it is complete."""

import inspect
import subprocess
import sys
import typing
from pathlib import Path

import pytest
from conftest import for_each

import jaxreason
from jaxreason import api
from jaxreason.answers import vote

PACKAGE = Path(jaxreason.__file__).parent
EXPORTED = {name: getattr(api, name) for name in api.__all__}
FUNCTIONS = {  # a jitted function keeps the one that was written in __wrapped__
    name: inspect.unwrap(value)
    for name, value in EXPORTED.items()
    if inspect.isfunction(inspect.unwrap(value))
}
CLASSES = {name: value for name, value in EXPORTED.items() if inspect.isclass(value)}
MODULES = {value.__name__ for value in EXPORTED.values() if inspect.ismodule(value)}


def classes_in(annotation):
    """The package's own classes that an annotation names, in unions, lists and callables too."""
    if inspect.isclass(annotation) and annotation.__module__.startswith("jaxreason."):
        yield annotation
    arguments = typing.get_args(annotation)
    for argument in arguments:
        for part in argument if isinstance(argument, list) else [argument]:
            yield from classes_in(part)


def test_names_are_there_without_being_imported_at_once():
    """In a fresh process. That one which asks it for `complete` is in tests/test_distributed.py."""
    code = (
        "import sys, jaxreason\n"
        "assert not {'jax', 'jaxreason.errors'} & set(sys.modules)\n"
        "assert jaxreason.errors is sys.modules['jaxreason.errors']\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_a_star_import_gives_every_name():
    names = {}
    exec("from jaxreason import *", names)
    assert {name: names[name] for name in api.__all__} == EXPORTED
    assert names["complete"] is jaxreason.complete


def test_every_name_is_listed_once_and_seen_by_dir():
    assert len(api.__all__) == len(set(api.__all__))
    assert set(api.__all__) <= set(dir(jaxreason))


def test_an_export_hides_no_module_of_the_package():
    modules = {path.stem for path in PACKAGE.iterdir() if path.suffix in ("", ".py")}
    assert not modules & set(api.__all__)


def test_vote_is_the_function_and_its_module_is_reached_by_its_folder():
    assert jaxreason.vote is vote.vote and jaxreason.majority is vote.majority
    assert inspect.ismodule(vote) and vote.__name__ == "jaxreason.answers.vote"


def test_a_search_is_used_by_its_module():
    assert jaxreason.mcts.search is not jaxreason.lm_mcts.search


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="no attribute 'compleet'"):
        _ = jaxreason.compleet
    with pytest.raises(ImportError, match="compleet"):
        exec("from jaxreason import compleet")


@for_each(FUNCTIONS)
def test_every_parameter_and_result_has_a_type(name):
    signature = inspect.signature(FUNCTIONS[name])
    unnamed = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    untyped = [
        parameter.name
        for parameter in signature.parameters.values()
        if parameter.annotation is inspect.Parameter.empty and parameter.kind not in unnamed
    ]
    assert untyped == []
    assert signature.return_annotation is not inspect.Signature.empty


@for_each(FUNCTIONS)
def test_every_type_in_a_signature_is_exported(name):
    missing = {
        f"{found.__module__}.{found.__name__}"
        for annotation in typing.get_type_hints(FUNCTIONS[name]).values()
        for found in classes_in(annotation)
        if found not in CLASSES.values() and found.__module__ not in MODULES
    }
    assert missing == set()


def test_the_check_of_types_sees_through_unions_lists_and_callables():
    hint = typing.Callable[[list[api.Rollout]], dict[str, api.Prompt | None]]
    assert set(classes_in(hint)) == {api.Rollout, api.Prompt}
