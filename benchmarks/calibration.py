"""How often do the rules of verdicts err? Simulated: without an effect, and where there is one.

    python -m benchmarks.calibration          # about a minute of one core

writes benchmarks/results/calibration.md, and fails where a rule errs more often than it says, or
``--compare`` raises a false alarm more often. What is not a rule of the kit's stands beside it: the
same question without the rule. Of ``--compare`` it also says how often a shift would be noticed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import special

from kit import runtime
from kit.harness import results
from kit.harness.results import Verdict, all_of, claims, comparison, larger, positive
from kit.harness.results.verdicts import above

TIMES = 2000
SIZES = (3, 5, 8, 12)
ERROR = 0.05
FALSE_ALARMS = 0.08  # 5 %, and three standard errors of 400 reruns
SKEWED = 0.125  # what docs/results.md says of a strongly skewed sample; five of it or eight
Draw = Callable[[np.random.Generator, int], np.ndarray]


class Question(NamedTuple):
    """How often does something happen that should happen in so many cases at most?"""

    rule: str
    data: str
    n: str
    happens: str
    most: float | None  # None: not a rule of the kit's, shown for comparison
    once: Callable[[np.random.Generator], bool]


# Of mean 0, or a share of images in %; deviation 1 but for the counts.
NOISE: dict[str, Draw] = {
    "normal": lambda random, n: random.normal(0, 1, n),
    "skewed differences": lambda random, n: np.subtract(*random.exponential(1, (2, n))) / np.sqrt(2),
    "counts of 300 images": lambda random, n: (
        np.subtract(*random.binomial(300, 0.97, (2, n))) / 3.0
    ),
}  # fmt: skip


def decided(verdict: Verdict) -> bool:
    """Does it say anything at all?"""
    return verdict.outcome != results.UNDECIDED


def fails(verdict: Verdict) -> bool:
    """Does it say "not reproduced"?"""
    return verdict.outcome == results.NOT_REPRODUCED


def mean_of_repeats() -> Iterator[Question]:
    """No effect: a verdict in 5 % of cases. The printed effect: no failure."""
    for name, noise in NOISE.items():
        image = 1 / 3 if "300" in name else 0.0
        for n in SIZES:
            yield Question(
                "mean of repeats",
                f"{name}, no effect",
                str(n),
                "is decided",
                ERROR,
                lambda random, n=n, noise=noise, image=image: decided(
                    positive(noise(random, n), "", image)
                ),
            )
        yield Question(
            "mean of repeats",
            f"{name}, as large as printed (2 deviations)",
            "5",
            "fails or is called smaller",
            ERROR / 2,
            lambda random, noise=noise: (
                positive(noise(random, 5) + 2, "", printed=2.0).outcome
                in (results.NOT_REPRODUCED, results.SMALLER)
            ),
        )


def printed_effect() -> Iterator[Question]:
    """Between zero and half of what is printed no run fails, however many repeats it has."""
    for share in (0.0, 0.25, 0.5):
        for n in SIZES:
            yield Question(
                "printed effect",
                f"normal, {share:g} of the printed one (4 deviations)",
                str(n),
                "fails",
                ERROR / 2,
                lambda random, n=n, share=share: fails(
                    positive(random.normal(4 * share, 1, n), "", printed=4.0)
                ),
            )
    for n in SIZES:
        yield Question(
            "printed effect",
            "normal, half of the printed one (4 deviations)",
            str(n),
            "is called smaller",
            ERROR / 2,
            lambda random, n=n: (
                positive(random.normal(2, 1, n), "", printed=4.0).outcome == results.SMALLER
            ),
        )


def scores() -> Iterator[Question]:
    """A border for skewed scores and for percentages near 100, asked for where it is met."""
    near_all = special.logit(0.97)
    data: dict[str, tuple[Draw, float, str]] = {
        "log-normal scores": (lambda random, n: np.exp(random.normal(0, 1, n)), 1.0, "log"),
        "percentages near 97": (
            lambda random, n: 100 * special.expit(random.normal(near_all, 1, n)), 97.0, "logit",
        ),
    }  # fmt: skip
    for name, (draw, border, scale) in data.items():
        for n in SIZES:
            yield Question(
                f"a border on the {scale} scale",
                name,
                str(n),
                "is decided",
                ERROR,
                lambda random, n=n, draw=draw, border=border, scale=scale: decided(
                    above(draw(random, n), border, "", scale=scale)
                ),
            )
        arithmetic = float(draw(np.random.default_rng(0), 1_000_000).mean())
        yield Question(
            "without that scale",
            name,
            "5",
            "is decided",
            None,
            lambda random, draw=draw, border=arithmetic: decided(
                above(draw(random, 5), border, "")
            ),
        )


def two_samples() -> Iterator[Question]:
    """Two samples of different sizes and spreads, one of them skewed, of the same mean."""
    for n, m in ((5, 5), (5, 24), (8, 30)):
        yield Question(
            "two samples",
            "normal and three times as wide",
            f"{n} and {m}",
            "is decided",
            ERROR,
            lambda random, n=n, m=m: decided(
                larger(random.normal(0, 3, n), random.normal(0, 1, m), "")
            ),
        )
    for n, m in ((5, 24), (8, 30)):
        yield Question(
            "two samples, one strongly skewed",
            "exponential against one that hardly varies",
            f"{n} and {m}",
            "is decided",
            SKEWED,
            lambda random, n=n, m=m: decided(
                larger(random.exponential(1, n), random.normal(1, 0.05, m), "")
            ),
        )


def several_parts() -> Iterator[Question]:
    """All parts lie on the border of being true, so that none is false."""
    for parts in (1, 2, 3, 4, 6):
        most = ERROR if parts == 2 else ERROR / 2
        yield Question(
            "all of several parts",
            f"normal, {parts} parts on their border",
            "8",
            "fails",
            most,
            lambda random, parts=parts: fails(
                all_of([positive(row, "") for row in random.normal(0, 1, (parts, 8))])
            ),
        )

    def each_alone(random: np.random.Generator) -> bool:
        return any(fails(positive(row, "")) for row in random.normal(0, 1, (6, 8)))

    yield Question(
        "each part by itself", "normal, 6 parts on their border", "8", "fails", None, each_alone
    )


def holm() -> Iterator[Question]:
    """Twenty verdicts at once, without an effect in any."""

    def any_survives(random: np.random.Generator) -> bool:
        found = [positive(row, "") for row in random.normal(0, 1, (20, 8))]
        return any(results.holm([verdict.p for verdict in found]))

    yield Question("Holm", "normal, 20 verdicts", "8", "one survives", ERROR, any_survives)


def shared_images() -> Iterator[Question]:
    """An accuracy on one pool of images, asked of new images, where it lies on the border."""
    for n in (5, 10):
        for name, most, corrected in (
            ("re-splits of one pool", ERROR, True),
            ("without what they share", None, False),
        ):
            yield Question(
                name,
                "250 of 1,000 images tested in each split",
                str(n),
                "is decided",
                most,
                lambda random, n=n, corrected=corrected: decided(_resplits(random, n, corrected)),
            )
    for n in (5, 10):
        for name, most, corrected in (
            ("nets on the same images", ERROR, True),
            ("without what they share", None, False),
        ):
            yield Question(
                name,
                "300 images, fooled or not",
                str(n),
                "is decided",
                most,
                lambda random, n=n, corrected=corrected: decided(_nested(random, n, corrected)),
            )


def _resplits(random: np.random.Generator, n: int, corrected: bool) -> Verdict:
    pool = random.normal(0, 1, 1000)  # how much easier each image is than the average
    splits = [random.permutation(1000)[:250] for _ in range(n)]
    values = np.array([pool[split].mean() for split in splits])
    shared = results.of_resplits(values, 250, 750) if corrected else 0.0
    return positive(values, "", shared=shared)


def _nested(random: np.random.Generator, n: int, corrected: bool) -> Verdict:
    images, nets = random.normal(0, 1, 300), random.normal(0, 0.1, (n, 1))
    fooled = random.normal(images + nets, 1, (n, 300)) > 0
    draws = random.multinomial(300, np.full(300, 1 / 300), size=200) / 300  # bootstraps
    shared = results.of_shared_images(fooled @ draws.T) if corrected else 0.0
    return positive(fooled.mean(1) - 0.5, "", shared=shared)


def asked() -> Iterator[Question]:
    """All questions."""
    for each in (
        mean_of_repeats, printed_effect, scores, two_samples, several_parts, holm, shared_images,
    ):  # fmt: skip
        yield from each()


def comparisons(times: int) -> pd.DataFrame:
    """A row for each committed folder: false alarms of ``--compare``, and shifts that it sees."""
    rows = []
    for path in sorted((runtime.root() / "figures").glob("*/*/claims.json")):
        judged = claims.read(path.parent)
        parts = [
            (claim["claim"], part)
            for claim in judged
            for part in claim.get("numbers", [])
            if part["error"] and min(part["n"]) > 1
        ]
        if not parts:
            continue
        random = np.random.default_rng(0)
        alarms, one, whole = [], [], []
        for _ in range(times):
            shifted = parts[random.integers(len(parts))]
            pairs = [_rerun(random, part) for _, part in parts]
            alarms.append(_alarm(pairs))
            one.append(
                _alarm(
                    [
                        _shift(pair) if part is shifted[1] else pair
                        for (_, part), pair in zip(parts, pairs, strict=True)
                    ]
                )
            )
            whole.append(
                _alarm(
                    [
                        _shift(pair) if claim == shifted[0] else pair
                        for (claim, _), pair in zip(parts, pairs, strict=True)
                    ]
                )
            )
        repeats = sorted({min(part["n"]) for _, part in parts})
        visible = np.median([_compared(*pair, len(parts)).visible for pair in pairs])
        rows.append((
            f"{path.parent.parent.name}/{path.parent.name}", len(parts),
            f"{repeats[0]} to {repeats[-1]}" if len(repeats) > 1 else str(repeats[0]),
            f"{np.mean(alarms):.1%}", f"{np.mean(one):.0%}", f"{_best(parts):.0%}",
            f"{np.mean(whole):.0%}", f"{visible:.1f}",
        ))  # fmt: skip
    columns = [
        "results", "numbers", "repeats", "false alarms", "two deviations in one number",
        "by any test", "in all numbers of one claim", "shift in one number seen in 8 of 10 cases",
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def _rerun(random: np.random.Generator, part: dict) -> tuple[dict, dict]:
    """The committed number and that of an honest rerun, both as chance would have them."""
    size = 1 / (1 / np.array(part["n"])).sum()
    freedom, spread = sum(part["n"]) - len(part["n"]), part["error"] * np.sqrt(size)
    old, new = (
        part
        | {
            "scale": "linear",
            "estimate": random.normal(0, spread / np.sqrt(size)),
            "error": spread * np.sqrt(random.chisquare(freedom) / freedom / size),
            "spread": spread,
        }
        for _ in range(2)
    )
    return old, new


def _best(parts: list[tuple[str, dict]]) -> float:
    """The chance of seeing two deviations in one number, if the deviations were known exactly.

    No test that keeps to the same number of false alarms can see more.
    """
    sizes = np.array([1 / (1 / np.array(part["n"])).sum() for _, part in parts])
    limit = special.ndtri(1 - ERROR / len(parts) / 2)
    return float(special.ndtr(2 / np.sqrt(2 / sizes) - limit).mean())


def _shift(pair: tuple[dict, dict]) -> tuple[dict, dict]:
    old, new = pair
    return old, new | {"estimate": new["estimate"] + 2 * new["spread"]}


def _compared(old: dict, new: dict, numbers: int) -> comparison.Compared:
    return comparison.judged("", "", old, new, ERROR / numbers, same_images=True)


def _alarm(pairs: list[tuple[dict, dict]]) -> bool:
    return not all(_compared(*pair, len(pairs)).inside for pair in pairs)


def found(times: int) -> pd.DataFrame:
    """A row for each question: how often it happens, and whether that is as often as promised."""
    rows = []
    for number, q in enumerate(asked()):
        random = np.random.default_rng(number)
        share = float(np.mean([q.once(random) for _ in range(times)]))
        most = q.most or np.nan
        beyond_chance = 3 * np.sqrt(most * (1 - most) / times)
        verdict = "" if q.most is None else "yes" if share <= most + beyond_chance else "**no**"
        rows.append((*q[:4], f"{share:.1%}", "" if q.most is None else f"{most:.1%}", verdict))
    columns = ["rule", "data", "repeats", "what happens", "how often", "at most", "holds"]
    return pd.DataFrame(rows, columns=columns)


def main() -> int:
    """Write the table; 1 where a rule errs more often than it says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calibration", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--times", type=int, default=TIMES, help="simulations of each question")
    options = parser.parse_args()
    table = found(options.times)
    compared = comparisons(max(options.times // 5, 100))
    text = (
        f"# How often the rules of verdicts err\n\n{options.times:,} simulations a row; "
        '"at most" is what the rule says, and "holds" allows three standard errors of the '
        "simulation. Rows without it are the same question without the rule.\n\n"
        f"{table.to_markdown(index=False, disable_numparse=True)}\n\n"
        "## What `--compare` sees\n\nHonest reruns, and reruns with a shift of two standard "
        "deviations of a repeat, of as many repeats as the committed results have. All numbers of a "
        "notebook hold together with 95 % confidence: the more there are and the fewer the repeats, "
        "the larger a shift in a single one has to be. *By any test*: what could be seen if the "
        "deviations were known, and not only estimated from so few repeats.\n\n"
        f"{compared.to_markdown(index=False, disable_numparse=True)}\n"
    )
    (Path(__file__).parent / "results" / "calibration.md").write_text(text, encoding="utf-8")
    print(table.to_string(index=False), compared.to_string(index=False), sep="\n\n")
    false_alarms = compared["false alarms"].str.rstrip("%").astype(float)
    return int((table["holds"] == "**no**").any() or (false_alarms > 100 * FALSE_ALARMS).any())


if __name__ == "__main__":
    sys.exit(main())
