"""papermill without what makes it slow: grammars that it never needs, and a file for every cell.

jsonschema compiles rfc3987_syntax, where that is installed, to check international web addresses,
and loads isoduration to check spans of time; no notebook has any, and they take 1.6 of the 1.8 s of
papermill's import.
"""

import sys
import time
from typing import Any

_UNUSED = ("rfc3987_syntax", "isoduration")
for _name in _UNUSED:
    sys.modules.setdefault(_name, None)  # type: ignore[arg-type]
import papermill  # noqa: E402
from papermill import engines  # noqa: E402

for _name in _UNUSED:
    if sys.modules[_name] is None:
        del sys.modules[_name]

__all__ = ["ENGINE", "papermill"]
ENGINE = "kit"  # papermill's name for the engine below
_MOST = 0.05  # of the time goes into saving on the way


class _SeldomSaved(engines.NBClientEngine):
    """papermill's own engine, which writes the whole notebook before and after each cell.

    With its pictures it has some megabytes: a fifth of the time of a notebook of 70 short cells.
    """

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, *arguments: Any, **options: Any) -> None:
        """As papermill's, but that what is saved on the way may be a second old."""
        save, due = nb_man.save, 0.0

        def seldom() -> None:
            nonlocal due
            if (started := time.monotonic()) >= due:
                save()
                done = time.monotonic()
                due = done + (done - started) / _MOST

        nb_man.save = seldom
        try:
            super().execute_managed_notebook(nb_man, *arguments, **options)
        finally:
            nb_man.save = save  # what papermill saves in the end is whole


engines.papermill_engines.register(ENGINE, _SeldomSaved)
