"""attn: train, run and measure attention models from a shell."""

__version__ = "0.1.0"
