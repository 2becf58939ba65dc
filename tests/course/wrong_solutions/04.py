"""Wrong solutions of lesson 04: kind, exercise, what our solution says, what the wrong one says."""

WRONG = [
    ("wrong axis", "labels", "right.mean(1), right.any(1)", "right.mean(0), right.any(0)"),
    ("all for any", "labels", "right.any(1)", "right.all(1)"),
    ("missing mask", "loss", "counts = ~np.isnan(targets)", "counts = np.isfinite(logits)"),
    ("wrong count", "loss", "/ counts.sum()", "/ counts.size"),
    ("wrong sign", "loss", "- y * logits", "+ y * logits"),
    ("overflow", "loss", "np.exp(-np.abs(logits))", "np.exp(-logits)"),
    ("missing mask", "first_error", "scores < 0.5", "~(scores >= 0.5)"),
    ("off by one", "first_error", "scores < 0.5", "scores <= 0.5"),
    (
        "no error is not the first",
        "first_error",
        "np.where(below.any(1), below.argmax(1), -1)",
        "below.argmax(1)",
    ),
    ("one rollout", "missed", "MISSED = 0.41", "MISSED = 0.8"),
    ("no slip", "lucky", "45-12=34\\n34+7=40", "45-12=33\\n33+7=40"),
]
