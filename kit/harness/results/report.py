"""What a notebook leaves behind: tables, figures, claims, and how they were made.

Everything lies in one folder per notebook. Tables and figures depend on the numbers alone, so
that a run that changes nothing changes no file but ``manifest.json``, and ``results.zip`` where
the numbers were computed anew, by the dates and seconds in it.
"""

from __future__ import annotations

import datetime
import html
import importlib.metadata
import io
import json
import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from kit import files, runtime
from kit.harness import machine, steps
from kit.harness.results import claims, crate
from kit.harness.results.reference import beside_printed
from kit.harness.results.screen import boxed, on_screen
from kit.harness.results.verdicts import NOT_TESTED, UNDECIDED, VERDICTS, holm, shown_number

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from kit.harness.results.study import Study
    from kit.harness.results.verdicts import Verdict
    from kit.harness.settings import Settings

    # ID of a claim, the verdict, the data set, what of the claim is meant
    Claimed = tuple[str, Verdict, "Data | str | None", str]

PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn", "scipy", "pandas", "matplotlib")
# Neither a date nor a version in the files: equal pictures are equal files.
_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
}


class Data(Protocol):
    """A data set, or which images of one: what a result is about.

    It has a `title` for people, or an `about` that has one.
    """

    @property
    def name(self) -> str:
        """Its name in files."""


class Report:
    """The results of one notebook, written as they come.

    Parameters
    ----------
    study
        The paper's description.
    settings
        Its ``parameters`` go to the manifest; they name no folder and no device.
    results
        Results of the tasks and splits of the data sets, in any nesting of lists, dictionaries
        and data classes. They go to ``results.zip``, and what all of them took to the manifest.
    out
        Folder of the results; by default ``figures/custom/NOTEBOOK``.
    """

    def __init__(
        self, study: Study, settings: Settings, results: object, out: str | Path = ""
    ) -> None:
        self.study, self.parameters = study, dict(settings.parameters)
        # A result that stands in several places of the tree was computed once.
        leaves = {id(leaf): leaf for leaf in steps.leaves(results)}.values()
        self.results = [leaf for leaf in leaves if hasattr(leaf, "record")]
        self.records = [result.record for result in self.results]
        splits = [leaf for leaf in leaves if getattr(leaf, "about", None)]
        self.splits = {split.name: split for split in reversed(splits)}
        self._described = splits
        default = runtime.folder("figures") / "custom" / study.notebook
        self.folder = files.writable(Path(out or default).expanduser().resolve())
        (self.folder / "manifest.json").unlink(missing_ok=True)  # no longer whole
        # What computed the numbers, each kind once.
        machines = {json.dumps(record["hardware"], sort_keys=True) for record in self.records}
        self.hardware: list[dict[str, Any]] = [json.loads(text) for text in sorted(machines)]
        self.claims: list[claims.Claim] = []
        # By the names of the files: ID, data set, part and title.
        self.tables: dict[str, dict[str, str]] = {}
        self.figures: dict[str, dict[str, str]] = {}

    def show(
        self,
        id: str,
        result: pd.DataFrame | Figure,
        dataset: Data | None = None,
        title: str = "",
        *,
        part: str = "",
        as_printed: bool = True,
    ) -> None:
        """Write a table (CSV, Markdown) or a figure (PNG, SVG), and display it in a notebook.

        Parameters
        ----------
        id
            Its name in the paper, such as ``"3.F5"``.
        result
            A table gets the paper's printed values beside ours. An index that is more than a
            numbering of rows becomes columns.
        dataset
            What it is about, if one data set alone.
        title
            One sentence on what it shows, with the data set and the number of runs.
        part
            Stands behind the name, for one of several results of that name.
        as_printed
            Are the settings those of the paper's printed values, so that these may stand beside?

        Raises
        ------
        ValueError
            The result is neither a table nor a figure.
        """
        import pandas as pd
        from matplotlib.figure import Figure

        on = "" if dataset is None else dataset.name
        name, about = self.study.name(id, on, part), {"id": id, "dataset": on, "part": part}
        if isinstance(result, Figure):
            _name_data(result, _title(dataset))
            png = self._write_figure(name, result)
            self.figures[name] = about | {"title": title}
            _display_picture(name, title, png)
        elif isinstance(result, pd.DataFrame):
            whole, title = self._write_table(name, _without_index(result), title, as_printed)
            self.tables[name] = about | {"title": title}
            _display(name, title, boxed(on_screen(whole), name))
        else:
            raise ValueError(
                f"{name} is a {type(result).__name__}: show a pandas DataFrame or a matplotlib "
                "Figure."
            )

    def committed(self, id: str, dataset: str = "", *, part: str = "") -> None:
        """Display a figure of the repository's own results, beside this run's.

        Of those with the paper's sizes, where there are such. Nothing is displayed where this run
        has made the very figure.

        Parameters
        ----------
        id, dataset, part
            As for :meth:`show`; the data set by its name, such as ``"mnist"``.
        """
        name = self.study.name(id, dataset, part)
        for profile in reversed(steps.archive.COMMITTED):
            folder = runtime.root() / "figures" / profile / self.study.notebook
            if not (folder / f"{name}.png").is_file():
                continue
            manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
            if manifest["parameters"] != self.parameters:
                title = f"of the committed results, profile {profile}: "
                title += manifest["figures"][name]["title"]
                _display_picture(name, title, (folder / f"{name}.png").read_bytes())
            return
        _display(name, "is not among the committed results, so that none stands beside this run's.")

    def claim(
        self,
        id: str,
        verdict: str,
        evidence: str,
        dataset: Data | str | None = None,
        part: str = "",
        survives_holm: bool | None = None,
    ) -> None:
        """Note the verdict on a claim.

        Parameters
        ----------
        id
            Such as ``"3.C1"``.
        verdict
            One of `VERDICTS`.
        evidence
            The numbers behind it, with an interval where there are repeats.
        dataset
            What it was tested on: a data set, or a data set's title.
        part
            Which part of it, such as the attack.
        survives_holm
            As :meth:`judge` finds it; None where it was not asked. What is undecided has nothing
            that could survive.

        Raises
        ------
        ValueError
            The verdict is none of those, or the study has no such claim.
        """
        if verdict not in VERDICTS:
            raise ValueError(f"Verdict {verdict!r} is none of {', '.join(VERDICTS)}.")
        if id not in self.study.claims:
            raise ValueError(f"Claim {id!r} is none of {', '.join(self.study.claims)}.")
        self.claims.append({
            "claim": id, "dataset": _title(dataset), "part": part, "verdict": verdict,
            "statement": self.study.claims[id], "evidence": evidence,
            "survives Holm": None if verdict == UNDECIDED else survives_holm,
        })  # fmt: skip

    def judge(self, verdicts: Iterable[Claimed]) -> None:
        """Note the verdicts on all claims, and which of them survive that they are so many.

        A notebook shows them.

        Parameters
        ----------
        verdicts
            Of each the claim's ID, the verdict, and what it is about as for :meth:`claim`.
        """
        import pandas as pd

        verdicts = list(verdicts)
        surviving = holm([verdict.p for _, verdict, *_ in verdicts])
        for (id, verdict, dataset, part), survives in zip(verdicts, surviving, strict=True):
            self.claim(id, verdict.outcome, verdict.evidence, dataset, part, survives)
            self.claims[-1]["numbers"] = [part.numbers() for part in verdict.parts]
        _display("Verdicts", "", boxed(pd.DataFrame(claims.judged(self.claims)), "Verdicts"))

    def not_tested(self, datasets: Collection[str]) -> None:
        """Note the claims on those of the paper's data sets that this run did not use for them."""
        judged = {(claim["claim"], claims.dataset(claim)) for claim in self.claims}
        for id, title in self.study.not_tested(datasets):
            if (id, title) not in judged:
                self.claim(id, NOT_TESTED, "not among this run's data sets", title)

    def finish(self) -> None:
        """Write claims, results and, as the very last file, the manifest: stamp of a whole run."""
        self._write(claims.FILE, _json(self.claims))
        self._write("claims.md", claims.with_evidence(self.claims, self.study.claims))
        steps.archive.write(
            self.folder / steps.archive.NAME,
            self.results,
            [split.note for split in self._described],
        )
        manifest = self._manifest()
        about = crate.metadata(self.folder, manifest, self.claims, self.study)
        self._write(crate.FILE, about)
        self._write("manifest.json", _json(manifest))

    def _manifest(self) -> dict[str, Any]:
        from kit import __version__

        return {
            "notebook": self.study.notebook,
            "kit": __version__,
            "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "seconds": round(sum(record["seconds"] for record in self.records), 1),
            "hardware": self.hardware,
            "parameters": self.parameters,
            "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
            "data": {
                name: {
                    "title": split.about.title, "source": split.about.source,
                    "fingerprint": split.fingerprint,
                    "train": split.about.train, "test": split.about.test,
                }
                for name, split in self.splits.items()
            },
            "tables": self.tables,
            "figures": self.figures,
        }  # fmt: skip

    def _write_table(
        self, name: str, frame: pd.DataFrame, title: str, as_printed: bool
    ) -> tuple[pd.DataFrame, str]:
        """Write it; the table with printed values, and its title with a sentence on these."""
        printed = self.study.printed(name)
        whole = frame if printed is None or not as_printed else beside_printed(printed, frame)
        stands_beside = len(whole.columns) > len(frame.columns)
        if not as_printed and printed is not None:
            title += ". The paper's values are of another size and do not stand beside."
        else:
            title += "." if stands_beside else ". The paper prints no such table."
        shown = whole.map(shown_number).to_markdown(index=False, disable_numparse=True)
        text = f"**{name}** {title}\n\n{shown}\n\nComputed on {machine.names(self.hardware)}.\n"
        self._write(f"{name}.csv", whole.to_csv(index=False, float_format="%.6g"))
        self._write(f"{name}.md", text)
        return whole, title

    def _write_figure(self, name: str, figure: Figure) -> bytes:
        """Write it in every format; the PNG."""
        from kit.harness import plots

        contents = {}
        for suffix, metadata in _METADATA.items():
            buffer = io.BytesIO()
            with plots.style():
                figure.savefig(buffer, format=suffix, metadata=metadata)
            figure.set_layout_engine("none")  # laid out once: all formats show the same
            contents[suffix] = buffer.getvalue()
            self._write(f"{name}.{suffix}", contents[suffix])
        return contents["png"]

    def _write(self, name: str, content: str | bytes) -> None:
        with files.atomic_write(self.folder / name) as beside:
            if isinstance(content, bytes):
                beside.write_bytes(content)
            else:
                beside.write_text(content, encoding="utf-8", newline="\n")


def _without_index(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with what its index says in columns; numbers of rows alone say nothing."""
    from pandas.api.types import is_integer_dtype

    if frame.index.names == [None] and is_integer_dtype(frame.index):
        return frame
    names = [
        f"index {n}" if name is None or name in frame else str(name)
        for n, name in enumerate(frame.index.names, 1)
    ]
    return frame.reset_index(names=names)


def _title(dataset: Data | str | None) -> str:
    if dataset is None or isinstance(dataset, str):
        return dataset or ""
    described: Any = getattr(dataset, "about", None) or dataset
    return described.title


def _name_data(figure: Figure, title: str) -> None:
    """Write on a figure what data it shows, unless a panel's title says so."""
    from kit.harness import plots

    if title and not any(title in axis.get_title() for axis in figure.axes):
        with plots.style():
            figure.suptitle(title, x=0.01, ha="left", fontsize="small", color="dimgray")


def _shell() -> Any:
    """The IPython shell that runs this code, or None; who has no IPython need not import it."""
    return sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None


def _display(name: str, title: str, bundle: dict[str, str] | None = None) -> None:
    """In a notebook: name and title, and below the result in some formats."""
    if _shell() is not None:
        from IPython.display import Markdown, display

        # Names of data sets and classes come from files of others.
        display(Markdown(f"**{name}** {html.escape(title, quote=False)}"))
        if bundle:
            display(bundle, raw=True)


def _display_picture(name: str, title: str, png: bytes) -> None:
    from kit.harness import plots

    _display(name, title, plots.as_html(png, title or name))


def _json(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
