"""Search over chains: trees of thoughts, and Monte Carlo tree search."""
