"""What is known about a paper before anything is computed: its data sets, claims and names."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True)
class Study:
    """One description per paper; its results' names and its "not tested" rows follow from it.

    Parameters
    ----------
    notebook
        Name of the notebook, without suffix, such as ``"03_knn_tradeoff"``.
    datasets
        The paper's data sets in its order: name and title.
    claims
        Its claims in their order: ID and statement.
    names
        By result ID what the paper calls that result on a data set, where it has such a name.
    only
        What concerns some data sets alone: a claim's ID, or a trait such as ``"flip"``, and the
        data sets.
    title, citation
        What the paper is about, and its authors, title, place and year, for the page of results.
    headline
        ID of the figure that shows the paper's main point.
    finding
        What came out, in one sentence.
    shown_by
        By claim the IDs of the results that show it, where they are not the claim's own.
    reference
        Folder of the paper's printed values: ``NAME.csv`` for the result of that name.

    Examples
    --------
    >>> study = Study("03_knn_tradeoff", names={"3.F5": {"mnist": "3.F5", "cifar10": "3.F6"}})
    >>> study.name("3.F5", "cifar10", "FGSM"), study.name("3.F5", "digits"), study.name("3.F5")
    ('3.F6-FGSM', '3.F5-digits', '3.F5')
    >>> study.name("3.F5", "my-digits", "FGSM")
    '3.F5-my.digits-FGSM'
    """

    notebook: str
    datasets: dict[str, str] = dataclasses.field(default_factory=dict)
    claims: dict[str, str] = dataclasses.field(default_factory=dict)
    names: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)
    only: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    title: str = ""
    citation: str = ""
    headline: str = ""
    finding: str = ""
    shown_by: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    reference: Path | None = None

    def name(self, id: str, dataset: str = "", part: str = "") -> str:
        """Name of a result on a data set: the paper's, or its ID with the data set behind it.

        Hyphens stand between the parts of a name, so that one in a data set's name becomes a dot:
        no two results have one name.

        Parameters
        ----------
        id
            What the paper calls the result, such as ``"3.F5"``.
        dataset
            Name of the data set; empty where the result is about none or about all of them.
        part
            Stands behind the name, for one of several results of that name.
        """
        whole = id
        if dataset:
            written = dataset.replace("-", ".")
            whole = self.names.get(id, {}).get(dataset, f"{id}-{written}")
        return f"{whole}-{part}" if part else whole

    def printed(self, name: str) -> pd.DataFrame | None:
        """The paper's values of a result, such as ``"3.F5"``; None where it prints none."""
        import pandas as pd

        path = self.reference and self.reference / f"{name}.csv"
        return pd.read_csv(path, comment="#") if path and path.is_file() else None

    def claims_of(self, id: str) -> list[str]:
        """IDs of the claims that a result shows."""
        return [claim for claim in self.claims if id in self.shown_by.get(claim, (claim,))]

    def concerns(self, what: str, dataset: str) -> bool:
        """Does a claim, or a trait, concern a data set? A claim does unless `only` says otherwise.

        Raises
        ------
        ValueError
            There is no such claim or trait.
        """
        if what not in {*self.claims, *self.only}:
            known = ", ".join({**self.claims, **self.only})
            raise ValueError(f"{self.notebook} knows no claim or trait {what!r}: it has {known}.")
        return what not in self.only or dataset in self.only[what]

    def not_tested(self, datasets: Collection[str]) -> Iterator[tuple[str, str]]:
        """The claims on those of the paper's data sets that a run did not use.

        Parameters
        ----------
        datasets
            Names of the data sets that it used.

        Yields
        ------
        tuple of str
            Claim and title of the data set.
        """
        for dataset, title in self.datasets.items():
            if dataset not in datasets:
                yield from (
                    (claim, title) for claim in self.claims if self.concerns(claim, dataset)
                )
