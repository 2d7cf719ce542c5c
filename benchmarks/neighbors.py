"""K-NN on MNIST: the kit against scikit-learn's KD-tree and brute force, on the same queries.

    python benchmarks/neighbors.py DATA_FOLDER

needs mnist in the data folder and takes about three minutes. All four K come from one search;
scikit-learn's times are those of one search for the largest K.
"""

import statistics
import sys
import time

import torch
from sklearn.neighbors import KNeighborsClassifier

import kit

QUERIES, KS, REPEATS = 1000, (1, 3, 5, 7), 7


def seconds(work):
    """Seconds that a call takes, and what it returns."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def main(root):
    """Print the times, the ratios and whether every label agrees."""
    mnist = kit.data.load("mnist", root)
    x, y = mnist.x_train, mnist.y_train
    queries, truth = mnist.x_test[:QUERIES], mnist.y_test[:QUERIES]
    flat, labels = x.flatten(1).numpy(), y.numpy()
    flat_queries = queries.flatten(1).numpy()
    machine = kit.runtime.hardware(torch.device("cpu"))
    print(
        f"{machine['processor']}, {machine['threads']} threads, torch {machine['torch']}; {mnist.title}"
    )

    brute = KNeighborsClassifier(max(KS), algorithm="brute", n_jobs=-1).fit(flat, labels)
    kit.neighbors.accuracy_by_k(x, y, queries[:10], truth[:10], KS)  # warm up
    ours, theirs = [], []
    for _ in range(REPEATS):  # in turn, so that a slower minute slows both
        ours.append(seconds(lambda: kit.neighbors.accuracy_by_k(x, y, queries, truth, KS))[0])
        theirs.append(seconds(lambda: brute.predict(flat_queries))[0])
    tree = KNeighborsClassifier(max(KS), algorithm="kd_tree", n_jobs=-1).fit(flat, labels)
    tree_seconds = seconds(lambda: tree.predict(flat_queries))[0]

    labels_of = kit.neighbors.predict(x, y, queries, KS)
    for k in KS:
        expected = brute.set_params(n_neighbors=k).predict(flat_queries)
        print(f"K = {k}: {(labels_of[k].numpy() == expected).sum()} of {QUERIES} labels agree")
    ours, theirs = statistics.median(ours), statistics.median(theirs)
    print(f"kit, all four K        {ours:7.2f} s   (median of {REPEATS})")
    print(f"scikit-learn brute     {theirs:7.2f} s   {theirs / ours:6.1f} times as long")
    print(
        f"scikit-learn KD-tree   {tree_seconds:7.2f} s   {tree_seconds / ours:6.1f} times as long"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
