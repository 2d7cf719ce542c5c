"""One module or folder per paper, named as its notebook is without its number.

Each has ``Settings``, the paper's parameters with their bounds; ``plan(settings)``, its tasks by
data set, or a ValueError or FileNotFoundError where the data do not fit or are not there; and
``STUDY``, what the paper claims and how it calls its results.
"""
