"""A process shuts itself in, for good: it can compute, and speak over what it has open, and nothing else.

Linux alone, by `seccomp` with a list of what is allowed, and by Landlock where the kernel has it. Written here because
pyseccomp has had no release since 2021 and needs a library of the system, and landlock's binding is no release yet.

Of what is not listed, files alone are refused with an error, as libraries look for optional ones and go on without;
everything else ends the process with SIGSYS, since what decodes a picture never asks for it.
"""

import ctypes
import errno
import os
import platform
import resource
import struct
import sys
import threading
from collections.abc import Callable, Iterable, Mapping

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # linux/audit.h
_NUMBERS = {  # system call -> its number on x86-64 and on aarch64, None where there is no such call
    "read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66), "close": (3, 57),
    "sendto": (44, 206), "recvfrom": (45, 207), "pipe2": (293, 59), "dup": (32, 23), "dup2": (33, None),
    "dup3": (292, 24), "brk": (12, 214), "munmap": (11, 215), "mremap": (25, 216), "madvise": (28, 233),
    "futex": (202, 98), "exit": (60, 93), "exit_group": (231, 94), "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "sigaltstack": (131, 132), "restart_syscall": (219, 128),
    "clock_gettime": (228, 113), "gettimeofday": (96, 169), "getrandom": (318, 278), "getpid": (39, 172),
    "gettid": (186, 178), "sysinfo": (99, 179), "sched_yield": (24, 124), "sched_getaffinity": (204, 123),
    "set_robust_list": (273, 99), "rseq": (334, 293),
    "mmap": (9, 222), "mprotect": (10, 226), "clone": (56, 220), "fcntl": (72, 25), "ioctl": (16, 29),
    "open": (2, None), "openat": (257, 56), "openat2": (437, 437), "stat": (4, None), "lstat": (6, None),
    "fstat": (5, 80), "newfstatat": (262, 79), "statx": (332, 291), "access": (21, None), "faccessat": (269, 48),
    "faccessat2": (439, 439), "readlink": (89, None), "readlinkat": (267, 78), "getcwd": (79, 17), "lseek": (8, 62),
    "getdents64": (217, 61), "clone3": (435, 435), "seccomp": (317, 277), "landlock_create_ruleset": (444, 444),
    "landlock_restrict_self": (446, 446),
}  # fmt: skip
_FILES = (
    *("open", "openat", "openat2", "stat", "lstat", "fstat", "newfstatat", "statx", "access", "faccessat"),
    *("faccessat2", "readlink", "readlinkat", "getcwd", "lseek", "getdents64"),
)
_REFUSED = dict.fromkeys(_FILES, errno.EACCES) | {"clone3": errno.ENOSYS}  # whose flags no filter sees: clone is used
_THREAD = 0x100 | 0x800 | 0x10000  # CLONE_VM, CLONE_SIGHAND, CLONE_THREAD: libheif decodes in threads
_NAMESPACES = 0x7E020080
_CHECKED: Mapping[str, tuple[int, int, tuple[int, ...]]] = {  # call -> number of the argument, mask, what may be left
    "mmap": (2, 4, (0,)),  # never PROT_EXEC
    "mprotect": (2, 4, (0,)),
    "clone": (0, _THREAD | _NAMESPACES, (_THREAD,)),
    "fcntl": (1, 0xFFFFFFFF, (1, 2, 1030)),  # F_GETFD, F_SETFD, F_DUPFD_CLOEXEC
    "ioctl": (1, 0xFFFFFFFF, (0x5421, 0x5450, 0x5451)),  # FIONBIO, FIONCLEX, FIOCLEX
}
_BY_ITSELF = ("seccomp", "landlock_create_ruleset", "landlock_restrict_self")
ALLOWED = tuple(name for name in _NUMBERS if name not in {*_REFUSED, *_CHECKED, *_BY_ITSELF})
"""System calls that are allowed whatever their arguments."""

_KILL, _ERROR, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_LOAD, _AND, _IF_EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x06  # of classic BPF
_FILTER = 1
ALL_THREADS = 1
_NO_NEW_PRIVS = 38
_FILE_RIGHTS = ((5, 16), (3, 15), (2, 14), (1, 13))  # version of Landlock -> how many rights to files it knows


def enter(threads: int = ALL_THREADS) -> None:
    """Shut this process in for good.

    Args:
        threads: ALL_THREADS, or 0 for the calling one alone.

    Raises:
        OSError: this system cannot do that; `errno` tells why, ENOSYS where it is no Linux that is known here.
    """
    machine = platform.machine()
    if sys.platform != "linux" or machine not in _ARCHITECTURES:
        raise OSError(errno.ENOSYS, f"no sandbox for {sys.platform} on {machine}")
    libc = ctypes.CDLL(None, use_errno=True)
    column = list(_ARCHITECTURES).index(machine)

    def call(name: str, *arguments: object) -> int:
        return _checked(libc.syscall(ctypes.c_long(_NUMBERS[name][column] or 0), *arguments))

    _checked(libc.prctl(_NO_NEW_PRIVS, *(ctypes.c_ulong(n) for n in (1, 0, 0, 0))))
    _close_files(call)
    code = program(machine)
    held = ctypes.create_string_buffer(code, len(code))

    class Program(ctypes.Structure):
        """struct sock_fprog."""

        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    call("seccomp", _FILTER, threads, ctypes.byref(Program(len(code) // 8, ctypes.addressof(held))))


def limit(which: int, most: int, beyond: int = 0) -> None:
    """Limit a resource of this process, or leave it at less if that is its limit already.

    Args:
        which: one of resource.RLIMIT_*. most: its soft limit. beyond: by how much the hard limit is higher.
    """
    hard = resource.getrlimit(which)[1]
    soft, highest = (n if hard == resource.RLIM_INFINITY else min(n, hard) for n in (most, most + beyond))
    try:
        resource.setrlimit(which, (soft, highest))
    except ValueError:  # macOS does not know a limit on address space
        if sys.platform == "linux":
            raise


def trouble() -> str:
    """Return why no child of this process can be shut in, "" if it can: tried in a thread, and no other is touched."""
    said = []

    def attempt() -> None:
        try:
            enter(threads=0)
        except OSError as e:
            said.append(f"{platform.system()} {platform.release()} on {platform.machine()}: {e.strerror}")

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    return "".join(said)


def program(machine: str) -> bytes:
    """Return the filter as classic BPF, 8 bytes an instruction (struct sock_filter), for x86_64 or aarch64."""
    column = list(_ARCHITECTURES).index(machine)
    found = [(_LOAD, 0, 0, 4), (_IF_EQUAL, 1, 0, _ARCHITECTURES[machine]), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, 0)]
    for name, (argument, mask, values) in _CHECKED.items():
        found += _if_called(name, column, _if_argument(argument, mask, values))
    for name, number in _REFUSED.items():
        found += _if_called(name, column, [(_RETURN, 0, 0, _ERROR | number)])
    for name in ALLOWED:
        found += _if_called(name, column, [(_RETURN, 0, 0, _ALLOW)])
    return b"".join(struct.pack("<HBBI", *line) for line in [*found, (_RETURN, 0, 0, _KILL)])


_Line = tuple[int, int, int, int]


def _if_called(name: str, column: int, then: list[_Line]) -> list[_Line]:
    number = _NUMBERS[name][column]
    return [] if number is None else [(_IF_EQUAL, 0, len(then), number), *then]


def _if_argument(argument: int, mask: int, values: Iterable[int]) -> list[_Line]:
    lines = [(_LOAD, 0, 0, 16 + 8 * argument), (_AND, 0, 0, mask)]  # the low half, in which all flags are
    for value in values:
        lines += [(_IF_EQUAL, 0, 1, value), (_RETURN, 0, 0, _ALLOW)]
    return [*lines, (_RETURN, 0, 0, _KILL)]


def _close_files(call: Callable[..., int]) -> None:
    """Give up every right to files, TCP, and processes outside, as far as this kernel's Landlock goes."""
    try:
        version = call("landlock_create_ruleset", None, ctypes.c_size_t(0), 1)
    except OSError as e:
        if e.errno in (errno.ENOSYS, errno.EOPNOTSUPP):
            return
        raise
    rights = next(count for since, count in _FILE_RIGHTS if version >= since)
    parts = [(1 << rights) - 1, *([3] if version >= 4 else []), *([3] if version >= 6 else [])]
    rules = struct.pack(f"={len(parts)}Q", *parts)
    ruleset = call("landlock_create_ruleset", rules, ctypes.c_size_t(len(rules)), 0)
    try:
        call("landlock_restrict_self", ruleset, 0)
    finally:
        os.close(ruleset)


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
