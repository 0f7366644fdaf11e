"""Whether the dashboard can be served on a port: `python -m dermlens.server.port 8501` says why not, and what to do."""

import errno
import socket
import sys

HOST = "localhost"
_TRIED = 50


def trouble(port: int) -> int | None:
    """Return why this machine cannot serve on a port of HOST, as an errno; None if it can."""
    for family, _, _, _, address in socket.getaddrinfo(HOST, port, type=socket.SOCK_STREAM):
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port just left is free, as for the server
            try:
                probe.bind(address)
            except OSError as e:
                if e.errno in (errno.EADDRINUSE, errno.EACCES):
                    return e.errno
    return None


def problem(port: str) -> str | None:
    """Return the sentence for a port that cannot be used, None for one that can."""
    if not (port.isascii() and port.isdecimal() and 1 <= int(port) <= 65535):
        return f"PORT must be a whole number from 1 to 65535, got {port!r}."
    number = int(port)
    reason = trouble(number)
    if reason is None:
        return None
    candidates = range(max(number, 1023) + 1, min(max(number, 1023) + _TRIED, 65535) + 1)
    free = next((n for n in candidates if trouble(n) is None), None)
    advice = f"choose another: make run PORT={free}" if free else "choose another: make run PORT=..."
    if reason == errno.EACCES:
        return f"Port {number} may not be used by this account; {advice}."
    return f"Port {number} is in use, perhaps by a dashboard that is running already. Stop that program, or {advice}."


def main(arguments: list[str]) -> int:
    """Check the port that is named; returns the exit status."""
    sentence = problem(arguments[0]) if len(arguments) == 1 else "Name one port: python -m dermlens.server.port 8501"
    if sentence:
        print(sentence, file=sys.stderr)
    return 2 if sentence else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
