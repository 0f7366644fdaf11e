"""The decoding process: `python -m dermlens.ingest.worker FD`, started by dermlens.ingest.pool alone.

It serves as a warm template. For every file it forks a child, which limits itself, shuts itself into a sandbox, decodes
that one file and ends: a file can neither harm nor see the next one. The child answers in JSON and raw pixels, never in
pickle: what comes out of it is as untrusted as what went in. Nothing is written to any log.
"""

import gc
import json
import os
import resource
import signal
import socket
import sys
from typing import NoReturn

from PIL import Image

from dermlens import sandbox
from dermlens.child_process import receive, send
from dermlens.errors import ImageError
from dermlens.ingest import decode
from dermlens.ingest.formats import ACCEPTED, Limits


def serve(control: socket.socket) -> None:
    """Answer "ready", then fork a child for every job that comes, until the other side hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # it ends a child as any other signal from outside does
    gc.disable()  # a child ends before there is much to collect, and collecting would copy every page of the template
    Image.preinit()
    loaded = set()
    trouble = sandbox.trouble()
    send(control, {"sandbox": trouble})
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 4096, 1)
        if not descriptors:
            return
        job = json.loads(message)
        if job["kind"] in ACCEPTED and job["kind"] not in loaded:
            decode.load_plugin(job["kind"])  # here, once, rather than in every child
            loaded.add(job["kind"])
        child = os.fork()
        if not child:
            control.close()
            _work(socket.socket(fileno=descriptors[0]), job, boxed=not trouble)
        os.close(descriptors[0])
        _, status, used = os.wait4(child, 0)
        exit_code = os.waitstatus_to_exitcode(status)
        send(control, {"exit": exit_code, "seconds": used.ru_utime + used.ru_stime, "memory": used.ru_maxrss * 1024})


def _work(answer: socket.socket, job: dict, boxed: bool) -> NoReturn:
    """Be the child: read the file, decode it, answer, and end without any of the template's clean-up."""
    try:
        limits = Limits(**job["limits"])
        _limit(limits, job["bytes"])
        if boxed:
            sandbox.enter()
        received = bytearray(job["bytes"])
        receive(answer, received)
        data = bytes(received)
        if job.get("identity"):
            from dermlens.ingest.decoders import dicom

            send(answer, {"identity": dicom.identity(data)})
        else:
            found = decode.decode(data, job["kind"], limits)
            height, width = found.pixels.shape[:2]
            header = {"height": height, "width": width, "notices": found.notices}
            send(answer, header, found.pixels.data.cast("B"))
    except ImageError as e:
        send(answer, {"error": str(e)})
    except MemoryError:
        send(answer, {"memory": True})
    finally:
        answer.close()
        os._exit(0 if sys.exc_info()[0] is None else 1)


def _limit(limits: Limits, size: int) -> None:
    """Bound memory and computing time; allow no file to be written and no core (which would hold the image) dumped."""
    for which, most, beyond in (
        (resource.RLIMIT_AS, limits.memory, 0),
        (resource.RLIMIT_CPU, limits.cpu_seconds + size // 2**20, 1),  # SIGXCPU comes first and tells what it was
        (resource.RLIMIT_FSIZE, 0, 0),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        sandbox.limit(which, most, beyond)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
