"""The next frames of a motion."""
