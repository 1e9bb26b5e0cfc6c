"""Downstream protocols on frozen features."""
