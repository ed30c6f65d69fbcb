"""How far the columns are from each other: measures, bounds, what is measured, the tables."""

from triptych.agreement.measures import DisagreementError, Row, assert_within, distance

__all__ = ["DisagreementError", "Row", "assert_within", "distance"]
