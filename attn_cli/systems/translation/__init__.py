"""Sequence to sequence: from texts or images to texts."""
