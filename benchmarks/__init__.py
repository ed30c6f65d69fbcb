"""How long the columns take, and what other people's code takes: `pytest --benchmark-only`."""
