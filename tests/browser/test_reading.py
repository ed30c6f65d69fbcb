"""The times of the reading paths, held against what a reader can see of the pages."""

import re
from collections.abc import Callable
from typing import Any

import pytest

Visit = Callable[..., Any]
SPEED = 238


def test_times_add_up(visit: Visit) -> None:
    page = visit("reading.html")
    for section in page.locator("section section:has(ol)").all():
        stops = [int(n) for n in re.findall(r", (\d+) min:", section.inner_text())]
        (total,) = re.findall(r"(\d+) minutes in all", section.inner_text())
        assert sum(stops) == int(total) > 0
    assert page.locator("section section:has(ol)").count() == 3


@pytest.mark.parametrize("name", ["concepts/gradients", "concepts/recording", "port", "mistakes"])
def test_a_time_is_that_of_what_is_seen(visit: Visit, name: str) -> None:
    """On a telephone one column is shown, and what is folded is not."""
    page = visit("reading.html")
    item = page.locator(f'article ol li:has(a[href="{name}.html"])').first.inner_text()
    (told,) = re.findall(r", (\d+) min:", item)
    seen = visit(f"{name}.html", width=375).locator("article").inner_text()
    minutes = len(re.findall(r"\w+(?:[.'-]\w+)*", seen)) / SPEED
    assert abs(int(told) - minutes) <= 0.5 + 0.15 * minutes
