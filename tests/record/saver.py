"""A process that saves from several threads, as a server does, until it is killed.

`python -m tests.record.saver URL SEED`. It prints the token of each case once that is saved.
"""

import os
import sys
import threading

import numpy as np

from dermlens.record import save
from dermlens.record.open import open_record
from dermlens.record.people import NOBODY_SIGNED_IN
from dermlens.record.readings import Judgement
from dermlens.record.settings import Settings
from tests.record.filled import KEY, saving

WRITERS = 4


def ready(rng: np.random.Generator) -> save.Saving:
    """Return what is to be kept of a case with one reading."""
    return saving(rng, 5, readings=(Judgement("before", "nv", 50, "none"),))


def save_for_ever(url: str, seed: int) -> None:
    """Save from several threads, as a server does, and print the token of each case that was saved."""
    record = open_record(Settings(url, key=KEY))

    def work(number: int) -> None:
        rng = np.random.default_rng([seed, number])
        while True:
            one = ready(rng)
            save.save(record, NOBODY_SIGNED_IN, one)
            os.write(1, f"{one.token}\n".encode())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    save_for_ever(sys.argv[1], int(sys.argv[2]))
