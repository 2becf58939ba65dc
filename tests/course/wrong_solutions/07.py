"""Wrong solutions of lesson 07: kind, exercise, what our solution says, what the wrong one says."""

WRONG = [
    ("off by one", "think", "waits > 0", "waits >= 0"),
    ("off by one", "think", "thought == at_most", "thought == at_most + 1 if at_most else False"),
    (
        "wrong order",
        "think",
        "if thinking and thought == at_most:",
        "if thinking and thought == at_most and word != end:",
    ),
    ("ends twice", "think", "thinking = thinking and word != end", "thinking = True"),
    ("wait is free", "think", "thought += thinking", "thought += thinking and word != 'Wait'"),
    ("no limit", "think", "len(words) < max_tokens", "True"),
    ("wrong axis", "equal_tokens", "right.sum(1)", "right.sum(0)"),
    ("rounded", "equal_tokens", "rest = count - low", "rest = 0"),
    (
        "put back",
        "equal_tokens",
        "1 - math.comb(int(w), n) / math.comb(tries, n)",
        "1 - (w / tries) ** n",
    ),
    ("no bounds", "equal_tokens", "min(max(budget / try_tokens, 1), tries)", "budget / try_tokens"),
    (
        "no bound",
        "allocate",
        "min(most, least + int(factor * entropy))",
        "least + int(factor * entropy)",
    ),
    ("wrong sign", "allocate", "entropy = -(", "entropy = ("),
    ("wrong base", "allocate", "np.log(shares)", "np.log2(shares)"),
    ("nine times", "nine_tries", "NINE_TRIES = 0.81", "NINE_TRIES = 0.17 * 9"),
    ("it ends", "next", '"Wait": "Wait"', '"Wait": "####"'),
]
