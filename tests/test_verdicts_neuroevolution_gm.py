"""Parts of paper 4's claims on made-up tables: what each of them must look at."""

import pandas as pd
import pytest

from kit import results
from kit.experiments.neuroevolution_gm import claims

YES, NO = results.REPRODUCED, results.NOT_REPRODUCED


def table(values, **columns):
    """Three runs of each net around a value."""
    return pd.DataFrame([
        {"net": net, "run": run, "accuracy": value + 0.1 * run, **columns}
        for net, value in values.items()
        for run in (1, 2, 3)
    ])  # fmt: skip


def accuracies(clean, against):
    return pd.concat([table(clean, images="clean"), table(against, images="L∞-PGD")])


@pytest.mark.parametrize(("clean", "wanted"), [(80, YES), (78.5, YES), (70, NO)])
def test_4c1_asks_for_clean_accuracy_too(clean, wanted):
    e = accuracies({"Ref": 80, "NE+GM 1": clean}, {"Ref": 20, "Ref+GM": 40, "NE+GM 1": 50})
    assert claims._withstands(e, ["L∞-PGD"], claims.COMPARABLE, 0.01)[0] == wanted
    made = claims.Evidence(e, e, *[table({})] * 2, {}, *[table({})] * 2, 0.01)
    claim, _, (verdict, _) = next(claims.verdicts([], made))
    assert (claim, verdict) == ("4.C1", wanted)


@pytest.mark.parametrize(("ours", "wanted"), [(10, YES), (30, NO)])
def test_fooled_less_means_a_lower_rate(ours, wanted):
    rates = table({"Ref+GM": 20, "NE+GM 1": ours}).rename(columns={"accuracy": "both right"})
    assert claims._fooled_less(rates, ["Ref+GM"], "both right", 0.01)[0] == wanted


def test_fitness_is_the_smaller_accuracy():
    e = accuracies({"NE+GM 1": 90, "Random+GM": 60}, {"NE+GM 1": 40, "Random+GM": 50})
    made = claims.Evidence(e, e, e, e, {}, e, e, 0.01)
    assert claims._earns_its_keep(made)[0] == NO


@pytest.mark.parametrize(("kept", "wanted"), [(30, YES), (20, NO)])
def test_robust_is_half_of_the_accuracy_on_the_references_examples(kept, wanted):
    rows = table({"NE+GM 1": 50, "Ref": 5}).rename(columns={"accuracy": "reference's"})
    rows["white-box"] = rows["twin's"] = [kept + 0.1 * run for run in (1, 2, 3)] + [5.0] * 3
    made = claims.Evidence(rows, rows, rows, rows, {}, rows, rows, 0.01)
    assert {judged[0] for *_, judged in claims._about_robustness(made)} == {wanted}
