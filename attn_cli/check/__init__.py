"""Data before training: leaks between its parts, duplicates, odd lines; no PyTorch."""
