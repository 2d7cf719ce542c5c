"""What a net looks at (Grad-CAM), and the loss around its weights."""

from kit.explain.grad_cam import background_share, grad_cam
from kit.explain.landscape import estimate_statistics, interpolate, sharpness

__all__ = ["background_share", "estimate_statistics", "grad_cam", "interpolate", "sharpness"]
