"""From chains to answers, grades and votes."""
