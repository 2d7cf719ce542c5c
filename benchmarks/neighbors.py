"""Exact K-NN on MNIST against scikit-learn and faiss."""

from __future__ import annotations

from collections.abc import Iterator

import faiss
import numpy as np
from sklearn.neighbors import KNeighborsClassifier

import kit
from benchmarks.rows import Row, in_turn

KS = (1, 3, 5, 7)


def rows(root: str, quick: bool) -> Iterator[Row]:
    """All four K from one search; the peers search once, for the largest K."""
    mnist = kit.data.load("mnist", root)
    count = 100 if quick else 1000
    x, y, queries = mnist.x_train, mnist.y_train, mnist.x_test[:count]
    flat, flat_queries = x.flatten(1).numpy(), queries.flatten(1).numpy()
    known = {
        name: KNeighborsClassifier(max(KS), algorithm=name, n_jobs=-1).fit(flat, y.numpy())
        for name in ("brute", "kd_tree")
    }
    index = faiss.IndexFlatL2(flat.shape[1])
    index.add(flat)
    labels = kit.neighbors.predict(x, y, queries, KS)
    theirs = known["brute"].predict(flat_queries)
    same = f"{(labels[max(KS)].numpy() == theirs).mean():.1%} of labels agree at K = 7"
    near = kit.neighbors.nearest(x, queries, max(KS)).numpy()
    found = index.search(flat_queries, max(KS))[1]
    sets = np.mean([set(a) == set(b) for a, b in zip(near, found, strict=True)])
    ways = {
        "kit": lambda: kit.neighbors.predict(x, y, queries, KS),
        "brute": lambda: known["brute"].predict(flat_queries),
        "faiss": lambda: index.search(flat_queries, max(KS)),
        "one query": lambda: kit.neighbors.predict(x, y, queries[:1], KS),
    }
    seconds = in_turn(ways, 1 if quick else 5)
    tree = in_turn({"tree": lambda: known["kd_tree"].predict(flat_queries)}, 1)["tree"]
    why = (
        f"turning {len(x):,} training images to their principal directions takes "
        f"{seconds['one query']:.2f} s, whatever the number of queries; most of the rest is the "
        "product of the turned images"
    )
    work = f"exact K-NN, MNIST, {count} queries, K ≤ 7"
    yield Row(work, "scikit-learn KD-tree", seconds["kit"], tree, 60, same, why)
    yield Row(work, "scikit-learn brute", seconds["kit"], seconds["brute"], 2, same, why)
    same = f"{sets:.1%} of neighbour sets agree"
    yield Row(work, "faiss IndexFlatL2", seconds["kit"], seconds["faiss"], 0.95, same, why)
