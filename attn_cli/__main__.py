"""`python -m attn_cli`: the same program as `attn`, as torchrun starts it."""

import sys

from attn_cli.cli import main

if __name__ == "__main__":
    sys.exit(main())
