"""Sequence to sequence: from texts, images or recordings to texts."""
