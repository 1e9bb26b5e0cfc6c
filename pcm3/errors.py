"""Errors that callers may want to catch."""


class SkeletonFormatError(ValueError):
    """A file does not hold what its format promises; the message names file and place."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on whatever device."""
    # torch has a type for GPUs alone
    said = isinstance(error, RuntimeError) and "allocate memory" in str(error)
    return said or isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
