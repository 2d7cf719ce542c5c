"""Noises by description: plain mappings that can stand in a step's key."""

import torch

from kit import perturbations, runtime

CLEAN, LEFT, SHORTCUT = {"kind": "clean"}, {"kind": "left"}, {"kind": "shortcut"}
_TITLES = {"clean": "clean", "left": "left column [7]", "shortcut": "One-Pixel Shortcut"}


def uniform(pixels, draw):
    """Description of one uniform baseline."""
    return {"kind": "uniform", "pixels": pixels, "draw": draw}


def evolved(chain):
    """Description of a search's best candidate, from the calls of its generations."""
    where = ("data_root", "device")
    given = chain[-1].parameters
    return {"kind": "evolved"} | {k: v for k, v in given.items() if k not in where}


def title(noise, draws=False):
    """A noise in a few words; with `draws` each uniform baseline by its own name.

    Examples
    --------
    >>> title(uniform(1, 3)), title(uniform(1, 3), draws=True), title(LEFT)
    ('uniform Np = 1', 'uniform Np = 1, draw 3', 'left column [7]')
    """
    if noise["kind"] == "evolved":
        return f"evolved Np = {noise['search']['pixels']} ({noise['search']['optimizer']})"
    if noise["kind"] == "uniform":
        return f"uniform Np = {noise['pixels']}" + f", draw {noise['draw']}" * draws
    return _TITLES[noise["kind"]]


def make(noise, dataset, seed, best_genome):
    """The noise that a description names.

    Parameters
    ----------
    noise : dict
    dataset : kit.data.Dataset
    seed : int
    best_genome : callable
        Finds the best genome of a search from the description of evolved noise.

    Returns
    -------
    torch.Tensor
        Shape (classes, C, H, W), on the CPU.
    """
    classes, shape = len(dataset.classes), dataset.shape
    if noise["kind"] == "clean":
        return torch.zeros(classes, *shape)
    if noise["kind"] == "left":
        return perturbations.left_column(classes, shape)
    if noise["kind"] == "shortcut":
        x, y = dataset.x_train, dataset.y_train
        return perturbations.one_pixel_shortcut(x, y, classes, seed=seed)
    if noise["kind"] == "uniform":
        draw = runtime.derive_seed(seed, "uniform", noise["draw"])
        return perturbations.uniform(classes, noise["pixels"], shape, seed=draw)
    return perturbations.decode(best_genome(noise), classes, noise["search"]["pixels"], shape)
