"""papermill without what makes it slow: what it never needs, and a file for every cell.

jsonschema compiles rfc3987_syntax, where that is installed, to check international web addresses,
and loads isoduration to check spans of time; no notebook has any, and they take two thirds of
papermill's import. A kernel loads a debugger, which nobody reaches in a run without a screen:
nearly half of its start.
"""

import sys
import time
from typing import Any

_UNUSED = ("rfc3987_syntax", "isoduration")
for _name in _UNUSED:
    sys.modules.setdefault(_name, None)  # type: ignore[arg-type]
import papermill  # noqa: E402
from jupyter_client.manager import AsyncKernelManager  # noqa: E402
from papermill import engines  # noqa: E402

for _name in _UNUSED:
    if sys.modules[_name] is None:
        del sys.modules[_name]

__all__ = ["ENGINE", "papermill"]
ENGINE = "kit"  # papermill's name for the engine below
_MOST = 0.05  # of the time goes into saving on the way
_START = (
    "import runpy, sys; sys.modules['debugpy'] = None; "
    "runpy.run_module('ipykernel_launcher', run_name='__main__', alter_sys=True)"
)


class _WithoutDebugger(AsyncKernelManager):
    """Starts kernels of IPython's without their debugger, and all others as they are."""

    def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
        """The command that starts the kernel."""
        command = super().format_kernel_cmd(extra_arguments)
        if command[1:3] == ["-m", "ipykernel_launcher"]:
            command[1:3] = ["-c", _START]
        return command


class _Engine(engines.NBClientEngine):
    """papermill's own, which writes the whole notebook before and after each cell.

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
            super().execute_managed_notebook(
                nb_man, *arguments, kernel_manager_class=_WithoutDebugger, **options
            )
        finally:
            nb_man.save = save  # what papermill saves in the end is whole


engines.papermill_engines.register(ENGINE, _Engine)
