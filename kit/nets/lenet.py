"""LeNet-5 (LeCun et al., Gradient-based learning applied to document recognition, 1998)."""

from __future__ import annotations

from torch import Tensor, nn


class LeNet5(nn.Module):
    """Two 5×5 convolutions with pooling, then three fully connected layers.

    With today's choices where the original's are out of use: ReLU and max-pooling. As in the
    original a 28×28 image is padded to 32×32; images under 16 pixels (digits) are padded before
    both convolutions, so that something is left to pool.

    Parameters
    ----------
    shape
        Shape of one image, (C, H, W), with H and W at least 8.
    classes
        Number of classes.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        channels, height, width = shape
        if min(height, width) < 8:
            raise ValueError(f"LeNet-5 needs images of at least 8×8 pixels, not {height}×{width}.")
        first = 2 if min(height, width) < 32 else 0
        second = 2 if min(height, width) < 16 else 0
        rows, columns = (
            ((side + 2 * first - 4) // 2 + 2 * second - 4) // 2 for side in (height, width)
        )
        self.features = nn.Sequential(
            nn.Conv2d(channels, 6, 5, padding=first),
            nn.MaxPool2d(2),  # before the ReLU: the same result for a quarter of the work
            nn.ReLU(),
            nn.Conv2d(6, 16, 5, padding=second),
            nn.MaxPool2d(2),
            nn.ReLU(),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(16 * rows * columns, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits of shape (N, classes) for images of shape (N, C, H, W)."""
        return self.classifier(self.features(x))
