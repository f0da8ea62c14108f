"""What one cannot do to a process from outside on this machine: step its wall clock, block its event loop.

Python imports this by itself at its start, because its folder is on PYTHONPATH. Nothing of the service
knows of it. A shared file of two numbers says by how much the wall clock is off (nanoseconds) and for
how long SIGUSR2 shall block whoever gets it (seconds), as a callback that computes for too long would.
"""

import mmap
import os
import signal
import struct
import time
from pathlib import Path

LAYOUT = struct.Struct("<qd")

_file = os.environ.get("SILENCE_TAMPER_FILE")
if _file:
    with Path(_file).open("rb") as _opened:
        _shared = mmap.mmap(_opened.fileno(), LAYOUT.size, prot=mmap.PROT_READ)
    _true_ns, _sleep = time.time_ns, time.sleep

    def _time_ns() -> int:
        offset_ns: int = LAYOUT.unpack_from(_shared)[0]
        return _true_ns() + offset_ns

    def _block(_number: int, _frame: object) -> None:
        block_s: float = LAYOUT.unpack_from(_shared)[1]
        _sleep(block_s)

    time.time_ns = _time_ns
    time.time = lambda: _time_ns() / 1e9  # noqa: TID251 - it is replaced, not asked
    signal.signal(signal.SIGUSR2, _block)
