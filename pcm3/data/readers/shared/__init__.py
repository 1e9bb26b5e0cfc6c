"""Modules that several readers use."""
