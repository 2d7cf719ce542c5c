"""papermill, without a grammar that takes 1.5 of the 1.7 s of its import.

jsonschema compiles rfc3987_syntax, where that is installed, to check international web addresses;
no notebook has any.
"""

import sys

sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
import papermill  # noqa: E402

if sys.modules["rfc3987_syntax"] is None:
    del sys.modules["rfc3987_syntax"]

__all__ = ["papermill"]
