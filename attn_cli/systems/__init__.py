"""What attn does: a folder for each system."""
