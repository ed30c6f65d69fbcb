"""The three columns as text: their sources parsed, lined up, read side by side."""
