"""What is known about a paper before anything is computed: its data sets, claims and names."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator

from kit.results.statistics import NOT_TESTED


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

    Examples
    --------
    >>> study = Study("03_knn_tradeoff", names={"3.F5": {"mnist": "3.F5", "cifar10": "3.F6"}})
    >>> study.name("3.F5", "cifar10", "FGSM"), study.name("3.F5", "digits"), study.name("3.F5")
    ('3.F6-FGSM', '3.F5-digits', '3.F5')
    """

    notebook: str
    datasets: dict[str, str] = dataclasses.field(default_factory=dict)
    claims: dict[str, str] = dataclasses.field(default_factory=dict)
    names: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)
    only: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    def name(self, id: str, dataset: str | None = None, part: str = "") -> str:
        """Name of a result on a data set: the paper's, or its ID with the data set behind it.

        Parameters
        ----------
        id
            What the paper calls the result, such as ``"3.F5"``.
        dataset
            Name of the data set; None where the result is about none or about all of them.
        part
            Stands behind the name, for one of several results of that name.
        """
        whole = id
        if dataset is not None:
            whole = self.names.get(id, {}).get(dataset, f"{id}-{dataset}")
        return f"{whole}-{part}" if part else whole

    def concerns(self, what: str, dataset: str) -> bool:
        """Does a claim, or a trait, concern a data set? It does unless `only` says otherwise."""
        return what not in self.only or dataset in self.only[what]

    def not_tested(self, datasets: Collection[str]) -> Iterator[tuple[str, str, str, str, str]]:
        """The claims on those of the paper's data sets that a run did not use.

        Parameters
        ----------
        datasets
            Names of the data sets that it used.

        Yields
        ------
        tuple of str
            Claim, statement, title of the data set, verdict and reason.
        """
        for dataset, title in self.datasets.items():
            if dataset in datasets:
                continue
            for claim, statement in self.claims.items():
                if self.concerns(claim, dataset):
                    yield claim, statement, title, NOT_TESTED, "not among this run's data sets"
