"""Solutions of lessons 03, 03b and 03c."""


def next_level(level, children, value, beam):
    found = {}  # a dictionary keeps the order, and each key once
    for state in level:
        for child in children(state):
            found[child] = None
    return sorted(found, key=value, reverse=True)[:beam]  # sorted keeps the order of equals


def depth_first(state, children, value, is_solution, threshold):
    found = children(state)
    for child in found:
        if is_solution(child):
            return [state, child]
    for child in sorted(found, key=value, reverse=True):
        if value(child) > threshold:
            path = depth_first(child, children, value, is_solution, threshold)
            if path is not None:
                return [state, *path]
    return None


def chains_within(solved, num_tokens, budget):
    paid = num_tokens.cumsum(axis=1) <= budget[:, None]
    paid[:, 0] = True
    return (solved & paid).any(axis=1)


# The start, then five states on each of two levels. The third level is the leaves, which are
# tested and not expanded. A path of three moves expands the start and two more.
EXPANDED = (11, 3)

# The beam follows a, which is a dead end, and has dropped b. Depth-first search comes back.
MISLEADING = {"a": 0.9, "b": 0.5, "a1": 0.1, "a2": 0.1, "b1": 0.5, "b2": 0.5}
