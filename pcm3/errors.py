"""Errors that callers may want to catch."""


class SkeletonFormatError(ValueError):
    """A file does not hold what its format promises; the message names file and place."""
