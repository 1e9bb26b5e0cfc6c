"""The downstream tasks."""
