"""Wrong solutions of lesson 06: kind, exercise, what our solution says, what the wrong one says."""

WRONG = [
    ("off by one", "puct_scores", "n = 1 + visits.sum()", "n = visits.sum()"),
    ("off by one", "puct_scores", "/ (1 + visits)", "/ np.maximum(visits, 1)"),
    ("no root", "puct_scores", "np.sqrt(n)", "n"),
    ("missing mask", "puct_scores", "np.where(visits > 0, q, 0.0)", "q"),
    ("missing mask", "puct_scores", "np.where(prior > 0, scores, -np.inf)", "scores"),
    ("off by one", "back_up", "/ (visits[node] + 1)", "/ max(visits[node], 1)"),
    ("wrong way", "back_up", "reversed(path)", "path"),
    (
        "no reward",
        "back_up",
        "rewards[node] + discounts[node] * target",
        "discounts[node] * target",
    ),
    ("no discount", "back_up", "+ discounts[node] * target", "+ target"),
    ("in place", "back_up", "visits.copy()", "visits"),
    ("wrong sign", "bandit", "visits, c).argmax()", "visits, c).argmin()"),
    ("off by one", "bandit", "range(num_simulations)", "range(num_simulations - 1)"),
    ("no prior", "bandit", "1 / len(returns))", "1.0)"),
    ("half", "worse", "WORSE = 4", "WORSE = 32"),
    ("too large", "exploration", "EXPLORATION = 0.01", "EXPLORATION = 10"),
]
