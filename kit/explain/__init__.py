"""What a net looks at (Grad-CAM, integrated gradients), and the loss around its weights."""

from kit.explain.attribution import attribution_distance, integrated_gradients
from kit.explain.grad_cam import DARK, background_share, grad_cam
from kit.explain.landscape import estimate_statistics, interpolate, sharpness

__all__ = [
    "DARK", "attribution_distance", "background_share", "estimate_statistics", "grad_cam",
    "integrated_gradients", "interpolate", "sharpness",
]  # fmt: skip
