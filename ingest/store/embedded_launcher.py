"""Become the right user, ask the kernel to be told of the parent's death, then become the program.

A program of its own, started by file name before anything of this package can be imported: it uses
the standard library only. Order matters: the kernel forgets the parent-death signal whenever the
credentials change, so it is set after them, and because the parent may have died before that, the
parent is looked at once more afterwards.

Argument: one JSON object with `identity` (`self`, `namespace` or `user`), `uid`, `gid`,
`parent_pid`, `death_signal` (0: none), `folder` (where to stand; must be writable), `argv`.

Exit codes before the program takes over, each with a line on standard error:
120 the identity cannot be taken, 121 the folder or the program cannot be used by it,
122 the parent is gone.
"""

import ctypes
import json
import os
import sys

EXIT_NO_IDENTITY = 120
EXIT_NO_ACCESS = 121
EXIT_NO_PARENT = 122

_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG = 1


def _give_up(code: int, message: str) -> None:
    os.write(2, f"{message}\n".encode(errors="replace"))
    os._exit(code)


def _call(name: str, *args: int) -> None:
    """Call a C library function that answers 0 for success; raises OSError otherwise."""
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    if function(*args) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:  # noqa: PTH123 - pathlib is slow to import
        file.write(text)


def _enter_namespace(uid: int, gid: int) -> None:
    """Be `uid` and `gid` to ourselves while files go on belonging to who we are outside."""
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    _call("unshare", _CLONE_NEWUSER)
    _write("/proc/self/uid_map", f"{uid} {outer_uid} 1")
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/gid_map", f"{gid} {outer_gid} 1")


def _drop_to(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def _take_identity(identity: str, uid: int, gid: int) -> None:
    if identity == "namespace":
        _enter_namespace(uid, gid)
    elif identity == "user":
        _drop_to(uid, gid)


def _ask_for_death_signal(number: int, parent_pid: int) -> None:
    """Linux only; elsewhere a killed parent goes unnoticed and the next start clears up."""
    if number and sys.platform == "linux":
        _call("prctl", _PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent_pid:
        _give_up(EXIT_NO_PARENT, "the process that started this one is gone")


def _stand_in(folder: str) -> None:
    os.chdir(folder)
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise PermissionError(13, "not writable for this user", folder)


def main() -> None:
    order = json.loads(sys.argv[1])
    try:
        _take_identity(order["identity"], order["uid"], order["gid"])
    except OSError as error:
        _give_up(EXIT_NO_IDENTITY, str(error))
    os.umask(0o077)
    _ask_for_death_signal(order["death_signal"], order["parent_pid"])
    try:
        _stand_in(order["folder"])
        os.execv(order["argv"][0], order["argv"])  # noqa: S606 - no shell is what is wanted
    except OSError as error:
        _give_up(EXIT_NO_ACCESS, f"{error.strerror}: {error.filename or order['argv'][0]}")


if __name__ == "__main__":
    main()
