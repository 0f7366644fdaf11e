"""Where the server keeps what must outlive it."""

import os
from collections.abc import Mapping
from pathlib import Path


def state_dir(environment: Mapping[str, str] = os.environ) -> Path:
    """Return DERMLENS_STATE, else `dermlens` in the user's folder for state (XDG_STATE_HOME, ~/.local/state)."""
    if base := environment.get("DERMLENS_STATE"):
        return Path(base)
    return Path(environment.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "dermlens"
