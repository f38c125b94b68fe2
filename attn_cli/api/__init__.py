"""attn from Python: `attn_cli.load`, the trainings, and scores, made of what commands are made of.

The names are had from `attn_cli` itself, which imports them when they are asked for.
"""
