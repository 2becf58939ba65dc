"""From chains and rewards to new weights."""
