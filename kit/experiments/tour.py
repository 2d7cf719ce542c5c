"""The four pictures of the tour, notebook 00. Their headings say what they show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from kit.harness import plots


def pixels(training: Tensor, eta: Tensor, right: Sequence[float], share: float) -> Figure:
    """A training digit of each class, its pixel circled, and how well each class is known.

    Parameters
    ----------
    training
        One perturbed digit of each class.
    eta
        The perturbation; zero for the classes that stay clean.
    right
        Of each class the percentage of clean test digits that the net gets right.
    share
        Of all clean test digits.
    """
    marked = int(eta.flatten(1).any(1).sum())
    with plots.style():
        figure, axes = plt.subplot_mosaic(
            "0123456789;bbbbbbbbbb", figsize=(8, 4), height_ratios=[1, 2.5]
        )
        for label, image in enumerate(training):
            _image(axes[str(label)], image, str(label))
            for place in eta[label, 0].nonzero().tolist():
                axes[str(label)].plot(*place[::-1], "o", ms=12, mfc="none", mew=2, color="C1")
        parts = {"a pixel in training": slice(marked), "clean in training": slice(marked, 10)}
        for (name, part), color in zip(parts.items(), ("C1", "C0"), strict=True):
            axes["b"].bar(range(10)[part], right[part], color=color, label=name)
        axes["b"].set(xticks=range(10), xlabel="class", ylim=(0, 100))
        axes["b"].set_ylabel("right on clean\ntest digits (%)")
        figure.legend(loc="outside lower center", ncols=2, fontsize="small")
        figure.suptitle(
            f"{marked} of 10 classes carry a pixel: {share:.0%} right on clean test digits"
        )
        plt.close(figure)
    return figure


def attack(
    image: Tensor, attacked: Tensor, believed: Tensor, truth: int, eps: float, norms: Mapping
) -> Figure:
    """A digit, what an attack of size `eps` adds to it, their sum, and what a net makes of that.

    Parameters
    ----------
    image, attacked
        Before and after.
    believed
        How sure the net is of each class, in %.
    truth
        The digit's class.
    norms
        Of the change: l0, l2 and linf.
    """
    with plots.style():
        figure, (clean, change, moved, bars) = plt.subplots(
            1, 4, figsize=(10, 2.8), width_ratios=[1, 1, 1, 1.6]
        )
        _image(clean, image, f"test digit: {truth}")
        sizes = "change: L0 = {l0}, L2 = {l2:.2f}, L∞ = {linf:.2f}".format(**norms)
        _image(change, attacked - image, sizes, cmap="RdBu_r", vmin=-0.3, vmax=0.3)
        change.set_xlabel("red: brighter, blue: darker", fontsize="small")
        _image(moved, attacked, "their sum")
        colors = ["C0" if label == truth else "C1" for label in range(10)]
        bars.bar(range(10), believed, color=colors)
        bars.set(xticks=range(10), ylim=(0, 100), xlabel="class (blue: the true one)")
        bars.set_ylabel("the net believes (%)")
        figure.suptitle(
            f"ε = {eps:.2f}: the net says {int(believed.argmax())}, the digit is a {truth}"
        )
        plt.close(figure)
    return figure


def neighbours(
    attacked: Tensor, truth: int, images: Tensor, labels: Sequence[int], k: int, said: int
) -> Figure:
    """A digit that fools a net, and its neighbours; those that have no vote are faded.

    Parameters
    ----------
    attacked, truth
        The digit and its class.
    images, labels
        Its nearest neighbours, the nearest first.
    k
        How many of them vote.
    said
        The class that they elect.
    """
    with plots.style():
        figure, axes = plt.subplots(2, 8, figsize=(9, 3))
        axes = axes.ravel()
        _image(axes[0], attacked, f"attacked {truth}")
        shown = zip(axes[1:], images, labels, strict=True)
        for place, (axis, image, label) in enumerate(shown, 1):
            agrees, counts = label == truth, place <= k
            title = f"{place}: {label} {'✓' if agrees else '✗'}"
            _image(axis, image, title, alpha=1 if counts else 0.35)
            axis.title.set_alpha(1 if counts else 0.5)
            axis.spines[:].set(color="C0" if agrees else "C1", linewidth=3, visible=counts)
        agreeing = sum(label == truth for label in labels[:k])
        figure.suptitle(
            f"K = {k}: {agreeing} of {k} vote for the true class {truth}; K-NN says {said}"
        )
        plt.close(figure)
    return figure


def transfer(
    strength: float, gradients: tuple[Tensor, Tensor], cosines: Tensor, place: int, right: Mapping
) -> Figure:
    """Two nets' gradients at one digit, and how the second does on digits that attack the first.

    Parameters
    ----------
    strength
        λ with which the second was trained.
    gradients
        The reference's and the second net's at one digit.
    cosines, place
        Between the gradients of both at all test digits, and which of these is the one.
    right
        Shares that the second net gets right by sets of digits; the last are made to fool the
        reference.
    """
    with plots.style():
        figure, (left, middle, bars) = plt.subplots(
            1, 3, figsize=(9, 3.2), width_ratios=[1, 1, 1.2]
        )
        titles = "reference's gradient", "this net's gradient"
        for axis, gradient, title in zip((left, middle), gradients, titles, strict=True):
            _image(axis, gradient, title, cmap="RdBu_r", vmin=-0.4, vmax=0.4)
        middle.set_xlabel(f"cosine here: {float(cosines[place]):+.2f}")
        shares = [100 * share for share in right.values()]
        shown = bars.bar(list(right), shares, color=["C0", "C1"])
        bars.bar_label(shown, fmt="%.0f %%")
        bars.set(ylim=(0, 110), ylabel="right (%)", title="this net on test digits")
        figure.suptitle(
            f"λ = {strength:g}: mean cosine {float(cosines.mean()):+.2f}; "
            f"{shares[-1] / 100:.0%} right on digits made to fool the reference"
        )
        plt.close(figure)
    return figure


def _image(axis: Axes, image: Tensor, title: str, **options: object) -> None:
    """One digit, or one map of the size of a digit."""
    shown: dict = {"cmap": "gray", "vmin": 0, "vmax": 1} | options
    axis.imshow(image.squeeze(), **shown)
    axis.set_title(title, fontsize="small")
    axis.set(xticks=[], yticks=[])
