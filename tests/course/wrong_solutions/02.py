"""Wrong solutions of lesson 02: kind, exercise, what our solution says, what the wrong one says."""

WRONG = [
    ("wrong tie", "majority", "key=counts.get)", "key=lambda a: (counts[a], a))"),
    ("off by one", "majority", "for answer in answers:", "for answer in answers[1:]:"),
    ("missing mask", "majority", "if answer is not None:", "if True:"),
    ("missing mask", "weighted_vote", "np.where(mask, logprobs, 0.0)", "logprobs"),
    ("wrong axis", "weighted_vote", "/ mask.sum(1)", "/ len(mask)"),
    ("no mean", "weighted_vote", " / mask.sum(1)", ""),
    ("wrong axis", "accuracy_of_votes", "-1, n)  #", "n, -1).swapaxes(1, 2)  #"),
    ("wrong axis", "accuracy_of_votes", "axis=1", "axis=0"),
    ("missing mask", "accuracy_of_votes", "[i if i >= 0 else None for i in votes]", "votes"),
    ("off by one", "least_sure_group", "- window + 1)", "- window)"),
    ("missing mask", "least_sure_group", "chain = row[of_chain]", "chain = row"),
    ("off by one", "least_sure_group", "start : start + window]", "start + 1 : start + window]"),
    (
        "no proposal",
        "acceptance",
        "alpha * logp_new.sum() - logq_new.sum()",
        "alpha * logp_new.sum()",
    ),
    ("wrong sign", "acceptance", "alpha * logp_now.sum() - logq", "alpha * logp_now.sum() + logq"),
    ("no lengths", "acceptance", " * len(logp_now) / len(logp_new)", ""),
    ("no minimum", "acceptance", "min(1.0, float(ratio))", "float(ratio)"),
]
