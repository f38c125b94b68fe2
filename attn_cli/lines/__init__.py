"""The stream contract: lines in, lines out, in the standard library alone."""
