"""The study's parameters: which hold for which data set, and whether they make sense."""

from kit import nets, training
from kit.experiments import common

# Parameters that a data set may have of its own, in `special`.
OWN = (
    "pixels", "train", "test", "size", "search_train", "generations", "popsize", "search_epochs",
    "search_batch_size", "discriminator_epochs", "epochs", "batch_size", "repeats", "uniforms",
    "crop", "table_nets", "table_epochs", "table_repeats",
)  # fmt: skip
COUNTS = (
    "generations", "search_epochs", "search_batch_size", "discriminator_epochs", "epochs",
    "batch_size", "repeats", "uniforms", "crop", "table_epochs", "table_repeats", "cam_images",
    "alphas",
)  # fmt: skip


def parameters_of(name, given):
    """The parameters that hold for one data set: its own in `special` before the general ones."""
    return {**given, **given["special"].get(name, {})}


def check(**given):
    """Refuse parameters that make no sense, in one sentence each.

    Raises
    ------
    ValueError
    """
    datasets, special = given["datasets"], given["special"]
    common.check_datasets(datasets)
    for place in ("special", "table_datasets"):
        for name in given[place]:
            if name not in datasets:
                raise ValueError(
                    f"{place} names {name!r}, which is not among datasets, {datasets}."
                )
    for name, own in special.items():
        wrong = [key for key in own if key not in OWN] if type(own) is dict else [own]
        if wrong:
            raise ValueError(f"special of {name} has {wrong[0]!r}: allowed are {', '.join(OWN)}.")
    for name in datasets:
        own = parameters_of(name, given)
        _check_numbers(own)
        _check_names(own)


def _check_numbers(own):
    common.check_counts({name: own[name] for name in COUNTS})
    common.check_from_zero({name: own[name] for name in ("train", "test", "size", "search_train")})
    popsize, pixels = own["popsize"], own["pixels"]
    if type(popsize) is not int or popsize < 0 or popsize == 1:
        raise ValueError(
            f"popsize is {popsize!r}: use a whole number from 2 on (λ), or 0 for pycma's choice."
        )
    if not pixels or any(type(count) is not int or count < 1 for count in pixels):
        raise ValueError(f"pixels is {pixels!r}: list whole numbers from 1 on, such as [1, 2].")
    if pixels != sorted(set(pixels)):
        raise ValueError(f"pixels is {pixels}: name each number once, the smallest first.")
    for name in ("start_place", "start_value"):
        if not 0 <= own[name] <= 1:
            raise ValueError(f"{name} is {own[name]}: it must be in [0, 1].")
    rates = {"search_lr": own["search_lr"], "sigma": own["sigma"]}
    rates |= {f"optimizers: the rate of {name}": rate for name, rate in own["optimizers"].items()}
    common.check_positive(rates)


def _check_names(own):
    for name in (*own["optimizers"], own["search_optimizer"], own["rival"]):
        if name not in training.OPTIMIZERS:
            known = ", ".join(training.OPTIMIZERS)
            raise ValueError(f"Unknown optimizer {name!r}: use one of {known}.")
    for name in ("adam", "sgd", own["search_optimizer"], own["rival"]):
        if name not in own["optimizers"]:
            raise ValueError(f"optimizers lacks {name!r}: figures and claims need its rate.")
    if own["rival"] == own["search_optimizer"]:
        raise ValueError(f"rival is {own['rival']!r}, as search_optimizer is: name another one.")
    for name in (*own["table_nets"], own["discriminator"]):
        if name not in nets.ARCHITECTURES:
            raise ValueError(f"Unknown net {name!r}: use one of {', '.join(nets.ARCHITECTURES)}.")


def aims(own):
    """The searches of a data set: pairs of pixels per class and the optimizer they aim at."""
    ours = [(pixels, own["search_optimizer"]) for pixels in own["pixels"]]
    return [*ours, (own["pixels"][0], own["rival"])]


def search_options(own, net, pixels, optimizer):
    """Options of :func:`kit.evolution.search` for one search."""
    aimed = optimizer == own["search_optimizer"]
    return {
        "pixels": pixels, "popsize": own["popsize"] or None, "sigma": float(own["sigma"]),
        "place": float(own["start_place"]), "value": float(own["start_value"]),
        "options": own["cma_options"], "net": net, "epochs": own["search_epochs"],
        "batch_size": own["search_batch_size"], "optimizer": optimizer,
        "lr": float(own["search_lr"] if aimed else own["optimizers"][optimizer]),
        "discriminator": own["discriminator"],
        "discriminator_epochs": own["discriminator_epochs"],
    }  # fmt: skip
