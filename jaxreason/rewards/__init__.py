"""Scores of a chain and of its steps."""
