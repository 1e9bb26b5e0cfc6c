"""The commands of ``pcm3``; each imports what it needs when it is called."""
