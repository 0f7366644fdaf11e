"""Numbers of whole bits. Runs inside the decoding process, on hostile bytes."""


class Bits:
    """Reads bits and Exp-Golomb codes (ITU-T H.265, 9.2; AV1, 4.10.3); IndexError at the end."""

    def __init__(self, data: bytes) -> None:
        self.value, self.left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, count: int = 1) -> int:
        """Return the next bits as a number."""
        self.left -= count
        if self.left < 0:
            raise IndexError("the data are too short")
        return self.value >> self.left & ((1 << count) - 1)

    def code(self) -> int:
        """Return the next number of variable length."""
        zeros = 0
        while not self.take():
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)
