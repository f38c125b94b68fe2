"""Recordings, a label each."""
