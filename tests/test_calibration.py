"""The rules of verdicts err no more often than they say, as far as few simulations tell."""

from benchmarks import calibration


def test_no_rule_errs_much_more_often_than_it_says():
    table = calibration.found(times=60)
    assert set(table["holds"]) == {"yes", ""}
    without = table[table["holds"] == ""]
    assert {"each part by itself", "without what they share"} <= set(without["rule"])


def test_a_rule_that_errs_is_noticed(monkeypatch):
    """Were fewer repeats, or parts by themselves, enough, the table would say so."""
    monkeypatch.setattr(
        "kit.harness.results.verdicts.Verdict._chances", property(lambda verdict: 1)
    )
    table = calibration.found(times=150)
    assert "**no**" in set(table[table["rule"] == "all of several parts"]["holds"])
