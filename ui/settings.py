"""What is set when the dashboard is started: `streamlit run Home.py -- --stored-aspect 4:3`."""

import argparse
import os
import sys

from dermlens.errors import ConfigError
from dermlens.image.preprocess import STORED_ASPECTS


def stored_aspect() -> str:
    """Return the aspect that the image files are stored in: --stored-aspect, else DERMLENS_STORED_ASPECT, else as-is.

    Raises:
        ConfigError: it is none of preprocess.STORED_ASPECTS.
    """
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--stored-aspect", default=os.environ.get("DERMLENS_STORED_ASPECT") or "as-is")
    chosen = parser.parse_known_args(sys.argv[1:])[0].stored_aspect
    if chosen not in STORED_ASPECTS:
        raise ConfigError(f"--stored-aspect must be one of {', '.join(STORED_ASPECTS)}, got {chosen!r}.")
    return str(chosen)


def keeps_record() -> bool:
    """Return whether a record is kept: DERMLENS_DATABASE names it."""
    return bool(os.environ.get("DERMLENS_DATABASE"))


def sends_to_pacs() -> bool:
    """Return whether there is a PACS to send to: DERMLENS_PACS names it."""
    return bool(os.environ.get("DERMLENS_PACS"))
