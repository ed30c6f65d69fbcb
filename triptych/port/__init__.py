"""Check a port of one's own: rounding or mistake, where it begins, and what it costs."""

from triptych.agreement.measures import DisagreementError
from triptych.port.call import assert_agree, compare
from triptych.port.report import Report
from triptych.port.timed import Timing, time

__all__ = ["DisagreementError", "Report", "Timing", "assert_agree", "compare", "time"]
