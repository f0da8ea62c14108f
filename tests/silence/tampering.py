"""The other side of `tamper.sitecustomize`: says what the tampered processes shall see."""

import mmap
import os
import signal
import struct
from pathlib import Path

_LAYOUT = struct.Struct("<qd")
_FOLDER = Path(__file__).parent / "tamper"


class Tampering:
    """One shared file for all processes of one service."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "tamper"
        self._path.write_bytes(_LAYOUT.pack(0, 0.0))
        with self._path.open("r+b") as opened:
            self._shared = mmap.mmap(opened.fileno(), _LAYOUT.size)

    def variables(self, repository: Path) -> dict[str, str]:
        """What has to be in the environment of the service."""
        path = os.pathsep.join((str(_FOLDER), str(repository)))
        return {"PYTHONPATH": path, "SILENCE_TAMPER_FILE": str(self._path)}

    def step_clock(self, by_s: float) -> None:
        """Set the wall clock of all processes off by so much; 0 sets it right."""
        _LAYOUT.pack_into(self._shared, 0, round(by_s * 1e9), 0.0)

    def block(self, pid: int, for_s: float) -> None:
        """Have the event loop of a process stand, in a callback that does not return."""
        _LAYOUT.pack_into(self._shared, 0, 0, for_s)
        os.kill(pid, signal.SIGUSR2)
