"""Where freed memory goes on a CPU."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8  # from <malloc.h>


def keep_freed_memory() -> None:
    """Tell the C library to keep freed memory instead of giving it back to the system.

    XLA on CPU allocates a step's temporaries, 100 MB and more, anew each step. By default they come
    as fresh pages which the system must first find and clear. On two cores that is 127 against
    107 ms a step of the digits' model (medians of 36 steps). Elsewhere than on Linux with the GNU C
    library nothing happens. `launch/local.sh` does better still, with large pages, which can only
    be asked for before a program starts.
    """
    if not sys.platform.startswith("linux"):
        return
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is None:
        return
    set_option(M_MMAP_MAX, 0)
    set_option(M_TRIM_THRESHOLD, 2**31 - 1)
    set_option(M_TOP_PAD, 2**28)
    set_option(M_ARENA_MAX, 1)
