"""Class-wise pixel noise: one sparse image per class, added to every training image of the class.

Noise is a tensor of shape (classes, C, H, W) with values in [−1, 1] and up to Np pixels that are
not zero per class. Images x of class y become clip(x + noise_y) in [0, 1] (Chaudhury & Yamasaki,
ICASSP 2020, §2). Adding +1 or −1 to a channel sets it to 1 or 0, so the baselines, which set
pixels, are noise of the same kind.
"""

from kit.perturbations.genome import decode, encode, genome_length, start
from kit.perturbations.noise import apply, left_column, one_pixel_shortcut, uniform

__all__ = [
    "apply", "decode", "encode", "genome_length", "left_column", "one_pixel_shortcut", "start",
    "uniform",
]  # fmt: skip
