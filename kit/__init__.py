"""The methods of papers on generalization and robustness, one module per method.

Submodules are imported when they are first used, so that ``import kit`` costs next to nothing.

Examples
--------
>>> import kit
>>> digits = kit.data.load("digits")
>>> digits.x_train.shape
torch.Size([1437, 1, 8, 8])
"""

import lazy_loader

# setuptools reads the version without importing anything: keep it a plain literal.
__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
