"""Glue of the triptych."""
