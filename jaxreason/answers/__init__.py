"""From chains to answers, grades and votes: `extract`, `verify`, `vote`."""
