"""The veil over an image: whatever is drawn in a region, it shows whether it is looked at."""

import numpy as np
import pytest

from attn_cli.data.images import Picture
from attn_cli.viz.regions import veils


@pytest.mark.parametrize("colour", [0, 255])
def test_black_and_white_things_show_where_they_are_looked_at(colour):
    pixels = np.full((8, 16, 3), colour, np.uint8)
    veil = veils(np.array([[0.75, 0.25], [0.0, 1.0]]), Picture(pixels, 8))
    opacity = veil[..., 3:]
    seen = opacity * veil[..., :3] + (1 - opacity) * colour / 255
    assert opacity[0, 0, 0] == opacity[1, 0, 1] == 0  # each word's largest weight is clear
    away = abs(seen - colour / 255).max(-1)
    assert away[0, 0, 1] > 0.2
    assert away[1, 0, 0] > away[0, 0, 1]
