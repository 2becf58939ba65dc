"""Wrong solutions of lesson 03: kind, exercise, what our solution says, what the wrong one says."""

WRONG = [
    ("wrong order", "next_level", "key=value, reverse=True)[:beam]", "key=value)[:beam]"),
    ("off by one", "next_level", "[:beam]", "[: beam + 1]"),
    ("repeats", "next_level", "found[child] = None", "found[child, state] = None"),
    ("wrong tie", "next_level", "sorted(found, key=value", "sorted(list(found)[::-1], key=value"),
    ("off by one", "depth_first", "> threshold", ">= threshold"),
    ("wrong order", "depth_first", "sorted(found, key=value, reverse=True)", "found"),
    ("no way back", "depth_first", "if path is not None:", "if True:"),
    ("half a path", "depth_first", "return [state, *path]", "return path"),
    ("wrong axis", "chains_within", "cumsum(axis=1)", "cumsum(axis=0)"),
    ("off by one", "chains_within", "<= budget", "< budget"),
    ("missing mask", "chains_within", "(solved & paid)", "solved"),
    ("wrong axis", "chains_within", ".any(axis=1)", ".any(axis=0)"),
    ("no first", "chains_within", "    paid[:, 0] = True\n", ""),
    ("off by one", "expanded", "(11, 3)", "(16, 4)"),
    ("pruned", "misleading", '"b": 0.5', '"b": 0.2'),
]
