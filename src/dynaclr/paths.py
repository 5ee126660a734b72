"""Paths as users write them."""

from __future__ import annotations

import os
from pathlib import Path


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return a path with ``~`` for the home folder.

    Parameters
    ----------
    path
        The path, as the user wrote it; that of a user without a home stays so.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:  # ~nobody
        return Path(path)
