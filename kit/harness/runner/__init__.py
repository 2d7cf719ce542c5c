"""Notebooks run headless: parameters are checked first, and only a finished run is believed.

``command_line`` is what ``run_all.py`` calls; ``python -m kit.harness.runner`` executes one
notebook. The parts are imported when they are used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
