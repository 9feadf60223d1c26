"""A folder takes the place of another in one step, also where the process is killed in between."""

from __future__ import annotations

import ctypes
import os
import shutil
from pathlib import Path

FORMER = "former"
"""Where the graph that is being replaced lies for a moment, in the work folder."""


def replace_folder(out: Path, staging: Path, work: Path) -> None:
    """Give `staging` the name `out` in one step; what bears it now is deleted.

    Where the system cannot exchange two names, a crash may leave `out` without its former content; see `restore`.
    """
    if not out.exists():
        staging.rename(out)
    elif exchange(staging, out):
        shutil.rmtree(staging, ignore_errors=True)
    else:
        former = work / FORMER
        out.rename(former)
        staging.rename(out)
        shutil.rmtree(former, ignore_errors=True)


def exchange(one: Path, other: Path) -> bool:
    """Swap the names of two folders in one step, where the system can (Linux)."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):
        return False
    here, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return bool(renameat2(here, os.fsencode(one), here, os.fsencode(other), ctypes.c_uint(swap)) == 0)


def restore(out: Path, work: Path) -> None:
    """Put a graph back that a crash left between its two names."""
    former = work / FORMER
    if former.is_dir() and not out.exists():
        former.rename(out)
