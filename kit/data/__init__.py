"""Data sets by name: read, reduced, split, augmented. The parts are imported when they are used."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
