"""Contextual vectors of lines."""
