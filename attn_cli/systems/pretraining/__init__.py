"""Encoders and language models from plain text."""
