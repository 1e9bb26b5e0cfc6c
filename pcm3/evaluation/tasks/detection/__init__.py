"""Actions in untrimmed recordings."""
