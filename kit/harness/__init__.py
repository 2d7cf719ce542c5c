"""What turns an experiment into checked results, whatever the experiment is about.

Steps are computed once and kept (:mod:`kit.harness.steps`), parameters read and checked
(:mod:`~kit.harness.settings`), claims judged and tables written (:mod:`~kit.harness.results`),
figures drawn (:mod:`~kit.harness.plots`), notebooks executed (:mod:`~kit.harness.runner`), and all
of it shown on a page (:mod:`~kit.harness.page`). Nothing here knows a method or a paper.
"""

import atexit
import gc
import os

import lazy_loader

if "KIT_PROGRESS" in os.environ:  # a notebook that the runner executes, or a worker of it
    # Python looks for garbage among the million objects that torch, pandas and the others make: by
    # default a tenth of the time of a short notebook, and 0.7 s at its end. The kit's own methods
    # leave no tensors that only this would find.
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
