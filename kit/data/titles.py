"""Data sets that are known by name, and what people call them."""

TITLES = {
    "digits": "digits",
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "kmnist": "KMNIST",
    "svhn": "SVHN",
    "cifar10": "CIFAR-10",
    "stl10": "STL-10",
}
NAMES = tuple(TITLES)
