"""A tutorial of the reader's own: its Python is run, and compared with what it says is printed."""
