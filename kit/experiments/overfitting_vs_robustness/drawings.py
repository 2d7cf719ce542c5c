"""Pictures that only this study draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from kit import robustness, training
from kit.experiments.overfitting_vs_robustness.steps import ATTACKS, CONTROL, NEAREST
from kit.harness import plots

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from kit.watching import Trace

# Of the picture side by side: a panel's title, the curve that it shows, and its y axis.
PANELS = {
    "CW, crafted on the best snapshot": ("ASR CW", "success (%)"),
    "nearest L2, crafted on the last": ("ASR nearest L2, last", "success (%)"),
    "CLEVER (logits)": ("logits mean", "CLEVER (L2)"),
    "CLEVER (softmax)": ("softmax mean", "CLEVER (L2, softmax)"),
    "loss sensitivity": ("loss sensitivity", "loss sensitivity (L2)"),
    "empirical robustness": ("empirical robustness", "empirical robustness"),
}
_PERCENT = (0, 104)


def by_size(
    net: torch.nn.Module,
    x: Tensor,
    y: Tensor,
    made: Mapping[str, Mapping[float, Tensor]],
    nearest: Tensor,
) -> Callable[[float], Figure]:
    """What attacks of some sizes do to a net: gives the picture for one ε.

    Parameters
    ----------
    net, x, y
        The net under attack, images that it gets right, and their labels.
    made
        By attack and ε the attacked images.
    nearest
        Nearest L2's images, whose distance is drawn as a line: it has no ε.
    """

    def distance(x_adv: Tensor) -> float:
        return float((x_adv - x).flatten(1).norm(dim=1).mean())

    shares = {
        name: {
            eps: 100 * robustness.attack_success_rate(net, x_adv, y) for eps, x_adv in of.items()
        }
        for name, of in made.items()
    }
    lengths = {
        name: {eps: distance(x_adv) for eps, x_adv in of.items()} for name, of in made.items()
    }
    shown, needed = made["FGSM"], distance(nearest)
    answers = {eps: int(training.predict(net, x_adv[:1])) for eps, x_adv in shown.items()}

    def draw(eps: float) -> Figure:
        with plots.style():
            figure, axes = plt.subplots(
                1, 4, figsize=(10, 3), width_ratios=[1.6, 1.6, 0.8, 0.8], squeeze=False
            )
            success, length, *images = axes[0]
            for axis, values in ((success, shares), (length, lengths)):
                for (name, of), color in zip(
                    values.items(), plots.colors(values).values(), strict=True
                ):
                    axis.plot(list(of), list(of.values()), color=color, label=name)
                    axis.plot(eps, of[eps], "o", color=color)
                axis.axvline(eps, color="gray", linestyle=":", linewidth=1)
            success.set(xlabel="ε", ylabel="fooled (%)", ylim=_PERCENT)
            success.legend(fontsize="small")
            length.axhline(needed, color="black", linestyle="--", label=NEAREST)
            length.set(xlabel="ε", ylabel="L2 distance", ylim=(0, None))
            length.legend(fontsize="small")
            titles = f"clean: {int(y[0])}", f"FGSM: {answers[eps]}"
            for axis, image, title in zip(images, (x[0], shown[eps][0]), titles, strict=True):
                pixels = np.moveaxis(image.cpu().numpy(), 0, 2).squeeze()
                axis.imshow(pixels, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
                axis.set_title(title)
                axis.set_axis_off()
            figure.suptitle(
                f"ε = {eps:g}: FGSM fools {shares['FGSM'][eps]:.0f} %, {CONTROL} "
                f"{shares[CONTROL][eps]:.0f} %, at L2 {lengths['FGSM'][eps]:.2f}; "
                f"{NEAREST} fools at {needed:.2f}"
            )
            sns.despine(figure)
            plt.close(figure)
        return figure

    return draw


def passes(seen: Mapping[str, Trace]) -> Figure:
    """Mean loss and distance of watched attacks, pass by pass.

    Of nearest L2 those of the nearest image so far that fools, from where all images have one.
    """
    followed = {name: (one.loss, one.distance) for name, one in seen.items()}
    one = seen[NEAREST]
    closest, at = one.distance.where(one.fooled == 1, np.inf).cummin(0)
    followed[NEAREST] = one.loss.gather(0, at).where(closest.isfinite(), np.nan), closest
    shown = {
        f"{title} over the passes": {name: _mean(both[k]) for name, both in followed.items()}
        for k, title in enumerate(("loss", "distance"))
    }
    y_labels = ["cross-entropy", "L2 distance to the clean image"]
    return plots.curves(shown, x_label="passes per image", y_labels=y_labels)


def _mean(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over the images at each pass at which all of them have a value."""
    whole = values.isfinite().all(1)
    return whole.nonzero()[:, 0], values[whole].mean(1)


def in_training(regime: str, epochs: Sequence[int], accuracy: Mapping[str, np.ndarray]) -> Figure:
    """Accuracies over the epochs of one regime."""
    shown = {f"{regime}: in training": {part: (epochs, v) for part, v in accuracy.items()}}
    label = "accuracy (%)"
    return plots.curves(shown, x_label="epoch", y_labels=[label], limits={label: _PERCENT})


def examples(fold: Mapping[str, Any], classes: Sequence[str]) -> Figure:
    """Images of one fold, clean and by each attack, with the crafting snapshot's answers."""
    rows = {"clean": fold["originals"]}
    truth = fold["labels"][fold["image"][: len(rows["clean"])]]
    captions = {"clean": [classes[k] for k in truth]}
    for attack, key in ATTACKS.items():
        rows[attack] = fold[f"{key}_examples"]
        predicted = fold[f"{key}_predictions"][fold["epoch"] - 1]
        captions[attack] = [classes[k] for k in predicted[: len(truth)]]
    return plots.image_rows(rows, captions)


def success(regime: str, epochs: Sequence[int], rates: Mapping[str, np.ndarray]) -> Figure:
    """Clean accuracies and attack success rates over the epochs."""
    limits = dict.fromkeys(("accuracy (%)", "attack success rate (%)"), _PERCENT)
    return _two(regime, epochs, rates, {"clean": "accuracy", "attacked": "ASR"}, limits)


def clever(
    regime: str, epochs: Sequence[int], scores: Mapping[str, np.ndarray], highest: float
) -> Figure:
    """CLEVER over the epochs, on a scale up to `highest`; images at its cap, if there are any."""
    groups, limits = {"mean over images": "mean"}, {"CLEVER (L2)": (0, 1.15 * highest)}
    if at_cap(scores):
        groups |= {"images at the cap": "at cap (%)"}
        limits |= {"images at the cap (%)": (-4, 104)}
    return _two(regime, epochs, scores, groups, limits)


def at_cap(scores: Mapping[str, np.ndarray]) -> bool:
    """Does CLEVER reach the largest value that it can take, on any image?"""
    return any(np.any(values) for name, values in scores.items() if "at cap (%)" in name)


def gradients(regime: str, epochs: Sequence[int], metrics: Mapping[str, np.ndarray]) -> Figure:
    """Loss sensitivity and empirical robustness over the epochs."""
    groups = {"loss": "loss sensitivity", "smallest FGSM step": "empirical robustness"}
    labels = dict.fromkeys(("loss sensitivity (L2)", "empirical robustness"))
    return _two(regime, epochs, metrics, groups, labels)


def _two(
    regime: str,
    epochs: Sequence[int],
    values: Mapping[str, np.ndarray],
    groups: Mapping[str, str],
    limits: Mapping[str, tuple[float, float] | None],
) -> Figure:
    """Two panels of :func:`panels`; `limits` are the ends of the y axes by their labels."""
    ends = {label: both for label, both in limits.items() if both}
    return plots.curves(
        panels(regime, epochs, values, groups),
        x_label="epoch",
        y_labels=list(limits),
        limits=ends,
    )


def panels(
    regime: str, epochs: Sequence[int], curves: Mapping[str, np.ndarray], groups: Mapping[str, str]
) -> dict[str, dict[str, tuple[Sequence[int], np.ndarray]]]:
    """Panels of curves: by title those whose names hold a word, which is left out of the labels."""
    return {
        f"{regime}: {title}": {
            name.replace(word, "").strip() or name: (epochs, values)
            for name, values in curves.items()
            if word in name
        }
        for title, word in groups.items()
    }


def side_by_side(
    curves: Mapping[str, Mapping[str, np.ndarray]], epochs: Sequence[int], clever: Sequence[int]
) -> Figure:
    """Both regimes in the panels of `PANELS`; a triangle marks the epochs that crafted examples.

    Wherever an example was crafted, it succeeds by construction.

    Parameters
    ----------
    curves
        By regime and name.
    epochs, clever
        Those of the curves, and those at which CLEVER was measured.
    """
    shown = {
        title: {
            regime: (clever if "CLEVER" in title else epochs, of_regime[name])
            for regime, of_regime in curves.items()
        }
        for title, (name, _) in PANELS.items()
    }
    y_labels = [label for _, label in PANELS.values()]
    limits = {"success (%)": (0, 114)}
    figure = plots.curves(shown, x_label="epoch", y_labels=y_labels, columns=3, limits=limits)
    looks = plots.colors(curves)
    for regime, of_regime in curves.items():
        last = np.full(1, max(epochs))
        for axis, at in zip(figure.axes, (of_regime["crafting epoch"], last), strict=False):
            axis.plot(at, [108] * len(at), "v", color=looks[regime], markersize=5)
    return figure
