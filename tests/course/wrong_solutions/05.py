"""Wrong solutions of lesson 05: kind, exercise, what our solution says, what the wrong one says."""

WRONG = [
    ("missing mask", "best_of_n", "usable.argmax(1)", "scores.argmax(1)"),
    ("wrong axis", "best_of_n", "usable.argmax(1)", "usable.argmax(0)"),
    ("wrong fill", "best_of_n", "scores, -np.inf)", "scores, 0.0)"),
    (
        "wrong tie",
        "best_of_n",
        "usable.argmax(1)",
        "usable.shape[1] - 1 - usable[:, ::-1].argmax(1)",
    ),
    ("missing mask", "weighted_vote", "np.where(ids >= 0, scores, 0.0)", "scores"),
    ("wrong axis", "weighted_vote", ").sum(2)", ").sum(1)"),
    ("mean for sum", "weighted_vote", ").sum(2)", ").sum(2) / same.sum(2)"),
    ("counts for scores", "weighted_vote", "np.where(ids >= 0, scores, 0.0)", "1.0 * (ids >= 0)"),
    (
        "put back",
        "pass_at_k",
        "1 - math.comb(n - num_right, k) / math.comb(n, k)",
        "1 - (1 - num_right / n) ** k",
    ),
    ("off by one", "pass_at_k", "math.comb(n - num_right, k)", "math.comb(n - num_right - 1, k)"),
    ("average problem", "mixed", "MIXED = 0.547", "MIXED = 0.947"),
    ("no use at all", "fooled", "0.2, 0.25, 0.1, 0.1], [0.2", "0.95, 0.97, 0.95, 0.95], [0.2"),
    ("not normalised", "systematic", "np.cumsum(weights) / np.sum(weights)", "np.cumsum(weights)"),
    ("wrong end", "systematic", 'side="right"', 'side="left"'),
    (
        "one point for all",
        "systematic",
        "(np.arange(len(weights)) + u) / len(weights)",
        "np.full(len(weights), u)",
    ),
]
