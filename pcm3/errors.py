"""Errors that callers may want to catch."""

_LONGEST = 2000


class SkeletonFormatError(ValueError):
    """Raised if a file does not follow its format; the message names file and place.

    The message can be printed and fits on a screen, whatever the file holds.
    """

    def __init__(self, message: object = "") -> None:
        text = str(message).encode("utf-8", "backslashreplace").decode()
        super().__init__(text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ...")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on any device."""
    # torch has an error class for GPUs only
    said = isinstance(error, RuntimeError) and "allocate memory" in str(error)
    return said or isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
