"""Wrong solutions of lesson 09: kind, exercise, what our solution says, what the wrong one says."""

WRONG = [
    ("off by one", "completion_loss", "[prompt_length - 1 : -1]", "[prompt_length:]"),
    ("missing mask", "completion_loss", "prompt_length - 1 : -1]", "0:-1][-len(tokens) :]"),
    ("wrong axis", "completion_loss", "sum(-1, keepdims=True))", "sum(0, keepdims=True))"),
    ("sum for mean", "completion_loss", "learned].mean()", "learned].sum()"),
    ("wrong direction", "kd_loss", "np.exp(t) * (t - s)", "np.exp(s) * (s - t)"),
    ("no square", "kd_loss", "temperature**2", "temperature"),
    ("one temperature", "kd_loss", "log_softmax(teacher / temperature)", "log_softmax(teacher)"),
    ("log p at T", "kd_loss", "-log_softmax(student)[", "-s["),
    ("missing mask", "kd_loss", "(weights * per_token)", "per_token"),
    ("mean over all", "kd_loss", "/ weights.sum()", "/ len(weights)"),
    ("duplicates", "keep_traces", " and text not in right", ""),
    ("off by one", "keep_traces", "len(right) < most", "len(right) <= most"),
    ("wrong kept", "keep_traces", "answer == gold and", "answer is not None and"),
    ("both forward", "preferred", '("A", "B")', '("A", "A")'),
]
