"""The processor of this machine, and how much of it this process may use."""

import os
import platform
from pathlib import Path


def processor() -> str:
    """Return the processor's name, that of its kind (such as aarch64) where the system tells no more."""
    return _first("model name") or platform.processor() or platform.machine()


def processor_flags() -> frozenset[str]:
    """Return the names of what the processor can do, such as "avx512_bf16"; none where the system does not tell."""
    return frozenset((_first("flags") or _first("Features")).split())


def available_cores() -> int:
    """Return how many CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _first(name: str) -> str:
    """Return an entry of the first processor in /proc/cpuinfo, "" where there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.split(":")[0].strip() == name), "")
