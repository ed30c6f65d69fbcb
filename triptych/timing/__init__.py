"""What `pytest --benchmark-only` has measured: read, merged, shown in tables and plots."""
