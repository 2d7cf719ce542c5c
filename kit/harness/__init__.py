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

if "KIT_PROGRESS" in os.environ:  # a notebook that the runner executes
    # At its end Python looks for cycles among all objects that torch, pandas and the others have
    # made: 0.7 s for memory that goes back as a whole a moment later.
    atexit.register(gc.freeze)

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
