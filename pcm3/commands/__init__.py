"""The commands of ``pcm3``, which import their needs only when they are called."""
