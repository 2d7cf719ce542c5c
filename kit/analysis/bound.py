"""Theorem 1's bound (Eq. 3 of Chaudhury & Yamasaki, ICASSP 2020) as a picture."""

import numpy as np

from kit import divergence, plots


def figure(dimension=785, source_risk=0.01, delta=0.05):
    """The bound on the target risk against the number of samples, for several divergences.

    Parameters
    ----------
    dimension : int
        VC dimension of the hypotheses.
    source_risk : float
        Empirical risk on the source.
    delta : float
        The bound holds with probability 1 − δ.

    Returns
    -------
    matplotlib.figure.Figure
    """
    sizes = np.logspace(np.log10(max(1000, dimension)), 8, 60)
    shown = {"1: says nothing": (np.log10(sizes), np.ones((1, 60)))}
    for apart in (0.0, 0.5, 1.0, 2.0):
        values = [
            divergence.risk_bound(source_risk, apart, n, dimension, delta=delta) for n in sizes
        ]
        shown[f"divergence {apart:g}"] = np.log10(sizes), np.array([values])
    panels = {f"VC dimension {dimension}, risk on the source {source_risk:g}": shown}
    return plots.curves(
        panels, x_label="samples n (powers of ten)", y_labels=["bound on the target risk"]
    )
