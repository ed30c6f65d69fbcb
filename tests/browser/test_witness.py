"""The fourth witness: a browser trains the runs of the columns, and finds their digests."""

from typing import Any

from triptych.agreement import digests


def trained(visit: Any) -> str:
    page = visit("concepts/reproducible.html")
    assert page.inner_text("#witness output") == ""
    page.click("#witness button")
    page.wait_for_function("document.querySelector('#witness output').textContent")
    said: str = page.inner_text("#witness output")
    return said


def test_it_finds_the_columns_digests(visit: Any) -> None:
    assert trained(visit).splitlines() == [
        f"{run.steps} steps of {run.optimizer}: {run.digest}, the same as the columns'"
        for run in digests.committed()[:2]
    ]


def test_a_digest_that_differs_is_said(visit: Any) -> None:
    """One weight of the start, in its last bit."""
    page = visit("concepts/reproducible.html")
    page.evaluate(
        """() => {
          const there = document.getElementById("witness-data");
          const given = JSON.parse(there.textContent);
          given.data.start["fc1.bias"][0] *= 1 + 2 ** -22;
          there.textContent = JSON.stringify(given);
          const script = document.createElement("script");
          script.src = document.querySelector("script[src$='witness.js']").src;
          const fresh = document.getElementById("witness");
          fresh.replaceWith(fresh.cloneNode(true));
          document.body.append(script);
        }"""
    )
    page.wait_for_timeout(300)
    page.click("#witness button")
    page.wait_for_function("document.querySelector('#witness output').textContent")
    sgd, adam = page.inner_text("#witness output").splitlines()
    for line, run in zip((sgd, adam), digests.committed(), strict=False):
        assert line.endswith(f"the columns have {run.digest}")
        assert run.digest not in line.partition(",")[0]
