"""Errors that callers may want to catch."""

_LONGEST = 2000


class SkeletonFormatError(ValueError):
    """A file does not hold what its format promises; the message names file and place.

    Whatever the file holds, the message can be printed, and is no longer than a screen.
    """

    def __init__(self, message: object = "") -> None:
        text = str(message).encode("utf-8", "backslashreplace").decode()
        super().__init__(text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ...")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on whatever device."""
    # torch has a type for GPUs alone
    said = isinstance(error, RuntimeError) and "allocate memory" in str(error)
    return said or isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
