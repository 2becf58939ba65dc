"""The words of arithmetic problems: names, items, and templates of sentences."""

import numpy as np

PRONOUNS = {
    name: pronoun
    for pronoun, names in {
        "He": "Tom Ben Sam Leo Max Dan Raj Omar John",
        "She": "Ann Mia Eva Zoe Amy Kim Lin Ida Mary",
    }.items()
    for name in names.split()
}
NAMES = list(PRONOUNS)
ITEMS = (
    "apples books coins cards pens eggs stamps shells "
    "cups balls marbles dollars plums beads keys toys"
).split()
# Of problems whose names and items are made up, so that a reader's own words work too.
INVENTED_SHARE = 0.1

# Templates: {p} person, {q} another person, {i} items, {n} number, {a} groups of {b}.
START = [
    "{p} has {n} {i}.",
    "{p} starts with {n} {i}.",
    "There are {n} {i} in the box of {p}.",
    "One day {p} counts {n} {i}.",
]
GAIN = [
    "{p} buys {n} more.",
    "{p} finds {n} more {i}.",
    "{p} gets {n} from {q}.",
    "{q} gives {n} to {p}.",
    "{p} wins {n} {i}.",
    "{p} picks {n}.",
    "{p} earns {n} more.",
    "{p} adds {n}.",
]
# "{p} gives {n} to {q}" is left out: only the order of two names would tell it from a gain, and
# models of this size read it as one in every chain, an error that no vote can correct and that is
# no matter of reasoning.
LOSS = [
    "{p} loses {n}.",
    "{p} sells {n} {i}.",
    "{q} takes {n} from {p}.",
    "{p} uses {n} of them.",
    "{p} eats {n}.",
    "{p} spends {n} {i}.",
    "{p} breaks {n} of them.",
]
GAIN_GROUPS = [
    "{p} buys {a} bags of {b}.",
    "{p} gets {a} boxes with {b} each.",
    "{a} friends give {b} each to {p}.",
    "{p} finds {a} packs of {b} {i}.",
    "{p} earns {b} a day for {a} days.",
]
LOSS_GROUPS = [
    "{p} sells {a} bags of {b}.",
    "{p} gives {a} friends {b} each.",
    "{p} loses {a} packs of {b} {i}.",
    "{q} takes {a} boxes with {b} each.",
    "{p} uses {b} a day for {a} days.",
]
QUESTION = [
    "How many {i} does {p} have now?",
    "How many {i} are left?",
    "How many {i} does {p} have in total?",
    "What is the number of {i} that {p} has at the end?",
]


def invent(rng: np.random.Generator) -> str:
    """A pronounceable word of two or three syllables."""
    pairs = rng.integers((15, 5), size=(int(rng.integers(2, 4)), 2))
    return "".join("bcdfgklmnprstvz"[c] + "aeiou"[v] for c, v in pairs)
