"""Names of data sets, and whether their images are there."""

from __future__ import annotations

import re
from pathlib import Path

from kit import runtime

PLAIN = re.compile(r"\w[\w-]*")


def present(name: str, root: str | Path | None = None) -> bool:
    """Is the data set on disk, so that loading it needs no network?"""
    folder = runtime.folder("data", root)
    if not PLAIN.fullmatch(str(name)):
        return False
    if name == "digits" or (folder / f"{name}.npz").is_file():
        return True
    if not folder.is_dir():
        return False
    from kit.data.readers import complete  # imports torchvision

    return complete(name, folder)
