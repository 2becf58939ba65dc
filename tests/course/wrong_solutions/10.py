"""Wrong solutions of lesson 10: kind, exercise, what our solution says, what the wrong one says."""

WRONG = [
    ("off by one", "chain_flops", "range(1, prompt + 1)", "range(prompt)"),
    ("off by one", "chain_flops", "prompt + length)", "prompt + length + 1)"),
    ("no cache", "chain_flops", "    for length in lengths:\n", "    for length in lengths[:1]:\n"),
    ("2 for 4", "chain_flops", "4 * num_layers", "2 * num_layers"),
    ("wrong axis", "pareto_front", ".any(1)", ".any(0)"),
    ("ties", "pareto_front", "cost[None, :] <= cost", "cost[None, :] < cost"),
    ("all dominate", "pareto_front", ".any(1)", ".all(1)"),
    ("wrong axis", "best_plan", "solved[method, b]", "solved[b, method]"),
    ("off by one", "best_plan", "price <= budget", "price < budget"),
    ("dear ties", "best_plan", "(right, -price)", "(right, price)"),
    ("no verifier", "num_chains", "NUM_CHAINS = 10", "NUM_CHAINS = 33"),
    ("off by one", "num_chains", "NUM_CHAINS = 10", "NUM_CHAINS = 9"),
]
