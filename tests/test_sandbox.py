"""What a decoder that was taken over can do: compute, and answer. Each thing is tried, against a canary of the test."""

import errno
import logging
import os
import platform
import re
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dermlens import sandbox
from dermlens.errors import ImageError
from dermlens.ingest import pool
from dermlens.ingest.read import read_image
from tests.image_files import picture, saved

ROOT = Path(__file__).parents[1]
GOOD = saved(picture(), "PNG")
SECRET = "a canary sings"
MARK = b"#ATTACK"
TAKEN_OVER = f"""
import ctypes, io, mmap, os, signal, socket, subprocess, sys, threading
from PIL import Image
from dermlens.errors import ImageError
libc, opened = ctypes.CDLL(None, use_errno=True), Image.open
def taken_over(file, *arguments, **options):
    mark, code = file.getvalue().partition({MARK!r})[1:]
    if mark:
        exec(code.decode())
    return opened(file, *arguments, **options)
Image.open = taken_over
"""
UNBOXED = "\nfrom dermlens import sandbox\nsandbox.trouble = lambda: 'a test'\n"
needs_linux = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"), reason="there is no sandbox here"
)


@dataclass
class Canary:
    """What an attack must not reach."""

    file: Path
    server: socket.socket
    process: subprocess.Popen

    @property
    def port(self) -> int:
        return self.server.getsockname()[1]

    def reached(self) -> str:
        """Return what of it was reached, "" if nothing was."""
        found = []
        if not self.file.exists() or self.file.read_text() != SECRET or [*self.file.parent.iterdir()] != [self.file]:
            found.append("file")
        try:
            self.server.accept()[0].close()
            found.append("socket")
        except BlockingIOError:
            pass
        return " ".join([*found, *(["process"] if self.process.poll() is not None else [])])


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Canary]:
    (tmp_path / "nest").mkdir()
    file = tmp_path / "nest" / "canary"
    file.write_text(SECRET)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        yield Canary(file, server, process)
        process.kill()
        process.wait()
        process.stdin.close()


@pytest.fixture
def decoders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Decoders that do what a file tells them to; returns the module that makes them so."""
    (tmp_path / "taken").mkdir()
    module = tmp_path / "taken" / "sitecustomize.py"
    module.write_text(TAKEN_OVER)
    monkeypatch.setenv("PYTHONPATH", f"{module.parent}{os.pathsep}{ROOT}")
    pool.close()
    yield module
    pool.close()


def answer(attack: str, canary: Canary) -> str:
    """Return what the door says of a file whose decoder is told to do something."""
    names = {"FILE": str(canary.file), "PORT": canary.port, "PID": canary.process.pid, "OURS": os.getpid()}
    code = "".join(f"{name} = {value!r}\n" for name, value in names.items()) + attack
    try:
        read_image(GOOD + MARK + code.encode())
    except ImageError as e:
        return str(e)
    return ""


ENDING = {  # each of them ends the decoder
    "a socket": "socket.socket().connect(('127.0.0.1', PORT))",
    "a socket of this machine": "socket.socket(socket.AF_UNIX)",
    "connect": "libc.connect(0, ctypes.create_string_buffer(16), 16)",
    "exec": "os.execv('/bin/rm', ['rm', FILE])",
    "a program": "libc.posix_spawn(None, b'/bin/rm', None, None, (ctypes.c_char_p * 3)(b'rm', FILE.encode()), None)",
    "fork": "os.fork()",
    "vfork": "subprocess.run(['/bin/rm', FILE])",
    "kill": "os.kill(PID, signal.SIGKILL)",
    "kill the server": "os.kill(OURS, signal.SIGTERM)",
    "kill the template": "os.kill(os.getppid(), signal.SIGKILL)",
    "ptrace": "libc.ptrace(16, PID, None, None)",
    "read the server's memory": "libc.process_vm_readv(OURS, None, 0, None, 0, 0)",
    "write the server's memory": "libc.process_vm_writev(OURS, None, 0, None, 0, 0)",
    "remove": "os.unlink(FILE)",
    "rename": "os.rename(FILE, FILE + '2')",
    "make a folder": "os.mkdir(FILE + '2')",
    "link": "os.symlink('/etc/passwd', FILE + '2')",
    "change rights": "os.chmod(FILE, 0o777)",
    "memory that can be run": "mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC)",
    "memory that is made to run": "libc.mprotect(ctypes.c_void_p(id(libc) & ~4095), 4096, 7)",
    "more memory": "import resource; resource.setrlimit(resource.RLIMIT_CPU, (1, 1))",
    "a file in memory": "os.memfd_create('x')",
    "a name space": "libc.unshare(0x10000000)",
    "no more sandbox": "libc.prctl(22, 0)",
    "a terminal": "import fcntl; fcntl.ioctl(0, 0x5412, b'x')",
    "another way to sockets": "libc.syscall(425, 8, None)",
    "the other system calls of x86": "libc.syscall(0x40000000 | 41, 2, 1, 0)",
}
REFUSED = {  # each of them fails
    "read": "said = open(FILE).read()",
    "write": "open(FILE, 'w').write('x')",
    "make": "open(FILE + '2', 'w')",
    "open by number": "said = libc.open(FILE.encode(), os.O_RDWR); os.write(said, b'x')",
    "list": "said = os.listdir(os.path.dirname(FILE))",
    "look": "said = os.stat(FILE)",
    "the server's memory as a file": "said = open(f'/proc/{OURS}/mem', 'rb')",
}
TOLD = "\ntry:\n    {}\nexcept OSError as e:\n    said = e.errno\nraise ImageError(f'said {{said}}.')"


@needs_linux
@pytest.mark.parametrize("name", ENDING)
def test_what_a_decoder_never_does_ends_it_and_the_file_is_refused(name: str, canary: Canary, decoders: Path) -> None:
    pool.usage(anew=True)
    assert "The decoder broke down on this PNG file" in answer(ENDING[name], canary)
    assert pool.usage().crashed == 1
    assert canary.reached() == ""
    assert answer("", canary) == "", "the next file is read as if nothing had been"


@needs_linux
@pytest.mark.parametrize("name", REFUSED)
def test_no_file_can_be_opened(name: str, canary: Canary, decoders: Path) -> None:
    wanted = errno.EBADF if "libc" in REFUSED[name] else errno.EACCES
    assert answer(TOLD.format(REFUSED[name].replace("; ", "\n    ")), canary) == f"said {wanted}."
    assert canary.reached() == ""


@needs_linux
def test_the_same_attacks_succeed_where_there_is_no_sandbox_and_the_log_says_so_once(
    canary: Canary, decoders: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoders.write_text(TAKEN_OVER + UNBOXED)
    monkeypatch.setattr(pool, "_told", False)
    with caplog.at_level(logging.WARNING, pool.__name__):
        assert answer(TOLD.format(REFUSED["read"]), canary) == f"said {SECRET}."
        pool.close()
        pool.warm()
        answer(ENDING["a socket"], canary)
        assert canary.reached() == "socket"
        answer(ENDING["kill"], canary)
        canary.process.wait(60)
        answer(ENDING["remove"], canary)
        assert not canary.file.exists()
    assert [r.getMessage() for r in caplog.records] == [pool.NO_SANDBOX % "a test"]


@needs_linux
def test_a_decoder_can_use_threads_but_start_no_process_by_the_same_call(canary: Canary, decoders: Path) -> None:
    thread = "ran = []\nt = threading.Thread(target=ran.append, args=(1,))\nt.start()\nt.join()\n"
    thread += "raise ImageError(f'{ran}.')"
    assert answer(thread, canary) == "[1]."
    clone = 56 if platform.machine() == "x86_64" else 220
    assert "broke down" in answer(f"libc.syscall({clone}, signal.SIGCHLD, None, None, None, None)", canary)
    assert "broke down" in answer(f"libc.syscall({clone}, 0x10000000 | 0x10900, None, None, None, None)", canary)


@needs_linux
def test_landlock_refuses_files_by_itself(tmp_path: Path) -> None:
    program = """
import ctypes, os, sys
from dermlens import sandbox
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    return sandbox._checked(libc.syscall(ctypes.c_long(sandbox._NUMBERS[name][COLUMN]), *arguments))
sandbox._checked(libc.prctl(38, *(ctypes.c_ulong(n) for n in (1, 0, 0, 0))))
try:
    version = call("landlock_create_ruleset", None, ctypes.c_size_t(0), 1)
except OSError:
    sys.exit(77)
sandbox._close_files(call)
try:
    open(sys.argv[1])
except PermissionError:
    sys.exit(0)
sys.exit(1)
""".replace("COLUMN", "0" if platform.machine() == "x86_64" else "1")
    file = tmp_path / "canary"
    file.write_text(SECRET)
    done = subprocess.run([sys.executable, "-c", program, file], cwd=ROOT, capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip("this kernel has no Landlock")
    assert done.returncode == 0, done.stderr


def headers(machine: str) -> dict[str, int]:
    """Return the numbers of system calls by the kernel's own headers; skips where they are not installed."""
    file = Path(
        "/usr/include/asm-generic/unistd.h" if machine == "aarch64" else "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"
    )
    if not file.is_file():
        pytest.skip(f"{file} is not installed")
    named = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", file.read_text())
    found = {name: int(number) for name, number in named}
    found |= {"newfstatat": found.get("newfstatat", found.get("fstatat", -1))}
    return found


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_numbers_of_system_calls_are_those_of_the_kernel(machine: str) -> None:
    known, column = headers(machine), ["x86_64", "aarch64"].index(machine)
    for name, numbers in sandbox._NUMBERS.items():
        if numbers[column] is not None:
            assert known[name] == numbers[column], name
        else:
            assert name not in known


def verdict(machine: str, number: int, *arguments: int, arch: int | None = None) -> int:
    """Run the filter as the kernel does (classic BPF) and return what it says."""
    arch = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}[machine] if arch is None else arch
    data = struct.pack("<IIQ6Q", number, arch, 0, *arguments, *[0] * (6 - len(arguments)))
    lines, at, held = list(struct.iter_unpack("<HBBI", sandbox.program(machine))), 0, 0
    while True:
        code, yes, no, value = lines[at]
        at += 1
        if code == 0x20:
            (held,) = struct.unpack_from("<I", data, value)
        elif code == 0x54:
            held &= value
        elif code == 0x15:
            at += yes if held == value else no
        else:
            assert code == 0x06
            return value


KILL, ALLOW, THREAD = 0x80000000, 0x7FFF0000, 0x10900


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_lets_through_what_decoding_needs_and_nothing_else(machine: str) -> None:
    known = headers(machine)
    allowed = {name for name, number in known.items() if verdict(machine, number) == ALLOW}
    assert allowed >= {"read", "write", "futex", "exit_group", "mmap"}
    assert allowed - set(sandbox.ALLOWED) == {"mmap", "mprotect"}
    for name in ("socket", "connect", "execve", "execveat", "kill", "tgkill", "ptrace", "process_vm_readv", "unshare"):
        assert verdict(machine, known[name], THREAD) == KILL, name
    assert verdict(machine, known["openat"]) == 0x50000 | errno.EACCES
    assert verdict(machine, known["clone3"]) == 0x50000 | errno.ENOSYS
    assert verdict(machine, known["mmap"], 0, 4096, 3) == ALLOW
    assert verdict(machine, known["mmap"], 0, 4096, 7) == verdict(machine, known["mprotect"], 0, 4096, 4) == KILL
    assert verdict(machine, known["clone"], 0x3D0F00) == ALLOW
    for flags in (17, 0x4111, THREAD | 0x20000, THREAD | 0x10000000, THREAD | 0x80):  # fork, vfork, name spaces
        assert verdict(machine, known["clone"], flags) == KILL
    assert verdict(machine, known["read"], arch=0x40000003) == KILL, "another machine's calls"
    assert verdict(machine, 0x40000000 | known["read"]) == KILL


@pytest.mark.parametrize(("system", "machine"), [("darwin", "arm64"), ("linux", "riscv64")])
def test_other_systems_say_so(monkeypatch: pytest.MonkeyPatch, system: str, machine: str) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    with pytest.raises(OSError, match=f"no sandbox for {system} on {machine}"):
        sandbox.enter()
    assert f"no sandbox for {system} on {machine}" in sandbox.trouble()
