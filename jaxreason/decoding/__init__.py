"""From prompts to chains."""
