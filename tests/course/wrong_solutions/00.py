"""Wrong solutions of lesson 00: kind, exercise, what our solution says, what the wrong one says."""

UNROLLED = """returns = []
    later = 0.0
    for reward in rewards[::-1]:
        later = reward + gamma * later
        returns.insert(0, later)
    return jnp.stack(returns)"""

WRONG = [
    ("wrong axis", "set_token", "at[row, place]", "at[place, row]"),
    ("lost result", "set_token", "tokens.at[row, place].set(token)", "tokens"),
    ("adds", "set_token", ".set(token)", ".add(token)"),
    ("one key for all", "draw_uniforms", "jax.random.fold_in(key, t)", "key"),
    ("off by one", "draw_uniforms", "fold_in(key, t)", "fold_in(key, t + 1)"),
    ("arrays, not numbers", "count_params", "x.size", "1"),
    ("wrong direction", "discounted_returns", ", reverse=True", ""),
    ("off by one", "discounted_returns", "return now, now", "return now, later"),
    ("unrolled", "discounted_returns", "def step", UNROLLED + "\n\n    def step"),
]
