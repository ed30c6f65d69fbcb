"""What the documents print and state: the book of claims, the verdicts, how they are shown."""

from triptych.claims.book import Claim, ClaimsError, claims, named
from triptych.claims.verdicts import Result, check_all, summary

__all__ = ["Claim", "ClaimsError", "Result", "check_all", "claims", "named", "summary"]
