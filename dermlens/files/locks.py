"""Locks between processes, which the system takes back when a process ends, be it killed."""

import fcntl


def take(descriptor: int) -> bool:
    """Lock an open file or folder for this process alone; returns False if another one has it.

    On a disk that has no locks, as some shared ones, nobody is kept out.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True
