"""What a notebook leaves behind: tables, figures, claims, and how they were made.

Everything lies in one folder per notebook. Tables and figures depend on the numbers alone, so
that a run that changes nothing changes no file but ``manifest.json``.
"""

import datetime
import importlib.metadata
import io
import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from kit import runtime, steps

REPRODUCED, NOT_REPRODUCED = "reproduced", "not reproduced"
UNDECIDED, NOT_TESTED = "undecided", "not tested in this profile"
VERDICTS = (REPRODUCED, NOT_REPRODUCED, UNDECIDED, NOT_TESTED)
PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn", "scipy", "pandas", "matplotlib")
_REFERENCE = Path(__file__).parent / "reference"


def mean_interval(values, confidence=0.95):
    """Mean and its Student t interval.

    Parameters
    ----------
    values : array_like
        One number per repeat.
    confidence : float
        In (0, 1).

    Returns
    -------
    tuple of float
        Mean, lower and upper end; the ends are NaN for fewer than two values.

    Examples
    --------
    >>> mean_interval([1.0, 1.0, 1.0])
    (1.0, 1.0, 1.0)
    """
    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        return float(values.mean()) if len(values) else np.nan, np.nan, np.nan
    reach = stats.t.ppf((1 + confidence) / 2, len(values) - 1) * stats.sem(values)
    mean = float(values.mean())
    return mean, mean - float(reach), mean + float(reach)


def two_samples(a, b):
    """Compare the means of two samples whose members belong together in pairs.

    Parameters
    ----------
    a, b : array_like
        One number per repeat, in the same order.

    Returns
    -------
    dict
        The means, the difference a − b with Welch's 95 % interval, and the p-values of Welch's
        test (which takes the samples for independent) and of the paired t-test. NaN where fewer
        than two pairs are given or nothing varies.
    """
    names = ("mean", "mean against", "difference", "low", "high", "p Welch", "p paired")
    if len(a) < 2 or np.ptp(a) == np.ptp(b) == 0:
        means = (np.mean(a), np.mean(b), np.mean(a) - np.mean(b)) if len(a) else (np.nan,) * 3
        return dict(zip(names, (*means, *[np.nan] * 4), strict=True))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # one sample, or the difference, does not vary
        welch = stats.ttest_ind(a, b, equal_var=False)
        paired = stats.ttest_rel(a, b)
        low, high = welch.confidence_interval(0.95)
    values = (np.mean(a), np.mean(b), np.mean(a) - np.mean(b), low, high, welch.pvalue)
    return dict(zip(names, map(float, (*values, paired.pvalue)), strict=True))


def welch_interval(a, b):
    """Welch's 95 % interval for the difference of the means of two independent samples.

    Parameters
    ----------
    a, b : array_like
        One number per repeat; the sizes may differ.

    Returns
    -------
    tuple of float
        NaN where a sample has fewer than two values or nothing varies.

    Examples
    --------
    >>> low, high = welch_interval([1.0, 1.1, 0.9], [0.0, 0.1])
    >>> 0 < low < 0.95 < high
    True
    """
    if min(len(a), len(b)) < 2 or np.ptp(a) == np.ptp(b) == 0:
        return np.nan, np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a sample may hardly vary
        found = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    return float(found.low), float(found.high)


def verdict(low, high):
    """Verdict on "this quantity is positive" from its interval.

    Examples
    --------
    >>> verdict(0.2, 0.4), verdict(-0.1, 0.1), verdict(-2, -1)
    ('reproduced', 'undecided', 'not reproduced')
    """
    return REPRODUCED if low > 0 else NOT_REPRODUCED if high < 0 else UNDECIDED


def positive(values, unit):
    """Is a quantity positive? Verdict and evidence from its values over the repeats.

    Parameters
    ----------
    values : array_like
        One number per repeat; those that are not finite are left out, and counted.
    unit : str

    Returns
    -------
    tuple of str
        Verdict and evidence.

    Examples
    --------
    >>> positive([1.0, 2.0, 3.0], "points")
    ('undecided', '2 points [−0.4841, 4.484] over 3 runs')
    >>> positive([2.0, 2.1, 2.2], "points")[0]
    'reproduced'
    """
    values = np.asarray(values, dtype=float)
    finite = values[np.isfinite(values)]
    mean, low, high = mean_interval(finite)
    left_out = f", {len(values) - len(finite)} without a value" * (len(finite) < len(values))
    span = f"[{shown_number(low)}, {shown_number(high)}]"
    evidence = f"{shown_number(mean)} {unit} {span} over {_plural(len(finite), 'run')}{left_out}"
    return verdict(low, high), evidence


def all_of(verdicts):
    """Verdict on a claim that needs several: one failure fails it, one doubt leaves it open.

    Examples
    --------
    >>> all_of(["reproduced", "undecided"]), all_of([])
    ('undecided', 'undecided')
    """
    for worst in (NOT_REPRODUCED, UNDECIDED, NOT_TESTED):
        if worst in verdicts:
            return worst
    return REPRODUCED if verdicts else UNDECIDED


def printed(name):
    """The paper's printed values for a table or figure, or None where it prints none.

    Parameters
    ----------
    name : str
        Such as ``"3.F5"``.

    Returns
    -------
    pandas.DataFrame or None
    """
    path = _REFERENCE / f"{name}.csv"
    return pd.read_csv(path, comment="#") if path.is_file() else None


def beside_printed(name, frame):
    """Our table with the paper's printed values in columns of their own.

    Columns that both tables have and that hold no measured number identify the rows.
    """
    theirs = printed(name)
    if theirs is None:
        return frame
    keys = [c for c in theirs if c in frame and not pd.api.types.is_float_dtype(frame[c])]
    renamed = {c: f"{c} (printed)" for c in theirs if c not in keys}
    return frame.merge(theirs.rename(columns=renamed), how="left", on=keys)


class Report:
    """The results of one notebook, written as they come.

    Parameters
    ----------
    notebook : str
        Name of the notebook, without suffix.
    parameters : dict
        Its parameters, for the manifest.
    datasets : sequence of kit.data.Dataset
        What it used.
    entries : sequence of dict
        Entries of the steps it gathered, with their records.
    out : str or pathlib.Path, optional
        Folder of the results; by default ``figures/custom/NOTEBOOK``.
    """

    def __init__(self, notebook, parameters, datasets, entries, out=None):
        self.notebook, self.parameters = notebook, parameters
        self.datasets, self.records = list(datasets), [entry["record"] for entry in entries]
        default = runtime.folder("figures") / "custom" / notebook
        self.folder = runtime.writable(Path(out or default).expanduser().resolve())
        (self.folder / "manifest.json").unlink(missing_ok=True)  # no longer whole
        self.claims = []
        self.titles = {}

    @property
    def hardware(self):
        """One phrase on what computed the numbers."""
        kinds = {
            f"{r['hardware']['processor']} ({_plural(r['hardware']['threads'], 'thread')}), "
            f"torch {r['hardware']['torch']}"
            for r in self.records
        }
        return "; ".join(sorted(kinds))

    def table(self, name, frame, title, *, as_printed=True):
        """Write a table as CSV and Markdown, the paper's printed values beside ours.

        Parameters
        ----------
        name : str
            Its name in the paper, such as ``"3.F5"``.
        frame : pandas.DataFrame
        title : str
            One sentence on what it shows, with the data set and the number of runs.
        as_printed : bool
            Are the settings those of the paper's printed values, so that these may stand beside?

        Returns
        -------
        pandas.DataFrame
            The table as written.
        """
        whole = beside_printed(name, frame) if as_printed else frame
        note = (
            "" if len(whole.columns) > len(frame.columns) else " The paper prints no such values."
        )
        note = "." + note
        shown = whole.map(shown_number).to_markdown(index=False, disable_numparse=True)
        text = f"**{name}** {title}{note}\n\n{shown}\n\nComputed on {self.hardware}.\n"
        self._write(f"{name}.csv", whole.to_csv(index=False, float_format="%.6g"))
        self._write(f"{name}.md", text)
        self.titles[name] = title + note
        return whole

    def figure(self, name, figure, title):
        """Write a figure as PNG and SVG.

        Parameters
        ----------
        name, title : str
            As for a table.
        figure : matplotlib.figure.Figure
        """
        from kit import plots  # heavy, and no business of a step's

        # Neither a date nor a version in the files: equal pictures are equal files.
        for suffix, metadata in (
            (".png", {"Software": None}),
            (".svg", {"Date": None, "Creator": None}),
        ):
            buffer = io.BytesIO()
            with plots.style():
                figure.savefig(buffer, format=suffix[1:], metadata=metadata)
            self._write(f"{name}{suffix}", buffer.getvalue())
        self.titles.setdefault(name, title)

    def claim(self, name, statement, data, verdict, evidence):
        """Note the verdict on a claim.

        Parameters
        ----------
        name : str
            Such as ``"3.C1"``.
        statement : str
            What the paper says, in one sentence.
        data : str
            What it was tested on.
        verdict : str
            One of `VERDICTS`.
        evidence : str
            The numbers behind it, with an interval where there are repeats.

        Raises
        ------
        ValueError
            The verdict is none of the four.
        """
        if verdict not in VERDICTS:
            raise ValueError(f"Verdict {verdict!r} is none of {', '.join(VERDICTS)}.")
        self.claims.append(
            {"claim": name, "data": data, "verdict": verdict, "statement": statement}
            | {"evidence": evidence}
        )

    def finish(self):
        """Write the claims and, as the very last file, the manifest: the stamp of a whole run.

        Returns
        -------
        pandas.DataFrame
            The claims.
        """
        self._write("claims.json", _json(self.claims))
        self._write("manifest.json", _json(self._manifest()))
        return pd.DataFrame(self.claims)

    def _manifest(self):
        packages = {name: importlib.metadata.version(name) for name in PACKAGES}
        return {
            "notebook": self.notebook,
            "kit": _kit_version(),
            "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "seconds": round(sum(record["seconds"] for record in self.records), 1),
            "parameters": {k: v for k, v in self.parameters.items() if k not in steps.ELSEWHERE},
            "packages": packages,
            "data": {
                d.name: {
                    "title": d.title, "source": d.source, "fingerprint": d.fingerprint,
                    "train": len(d.x_train), "test": len(d.x_test),
                }
                for d in self.datasets
            },
            "titles": self.titles,
            "steps": self.records,
        }  # fmt: skip

    def _write(self, name, content):
        with runtime.written_whole(self.folder / name) as beside:
            if isinstance(content, bytes):
                beside.write_bytes(content)
            else:
                beside.write_text(content, encoding="utf-8", newline="\n")


def shown_number(value):
    """A number as people read it: four digits, ∞ and – where there is none."""
    if not isinstance(value, float):
        return str(value)
    if np.isnan(value):
        return "–"
    text = f"{value:.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"
    return text.replace("inf", "∞").replace("-", "−", 1)


def _plural(count, noun):
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _kit_version():
    from kit import __version__

    return __version__


def _json(value):
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
