"""One file per paper, named as its notebook is without its number, holding the steps.

Each has ``check(**parameters)``, which refuses bad values before anything runs, and
``plan(**parameters)``, which lists the calls a notebook gathers. Both take the notebook's
parameters by name and ignore those that concern only tables and figures.
"""
