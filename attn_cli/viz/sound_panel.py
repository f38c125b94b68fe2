"""The panel of a recording: its spectrogram, and below it, on one axis of time, where words look.

Shapes: T rows, S positions, F features of a frame.
"""

from __future__ import annotations

from dataclasses import dataclass

from attn_cli.config.audio import FRAMES_A_POSITION, FRAMES_A_SECOND
from attn_cli.data.audio import Recording
from attn_cli.viz.panels import CELL, GAP, Corner, Page, Panel, label_room, shown_labels

# Inches.
_SECOND = 2.0
_NARROWEST, _WIDEST = 3.0, 24.0
_SPECTROGRAM = 0.9
_BETWEEN = 0.06
_AXIS = 0.4  # room for the seconds below


@dataclass(frozen=True)
class SoundPanel(Panel):
    """The frames as the model reads them, time from left to right, low features below.

    Attributes:
        sound: the recording.
    """

    sound: Recording

    @property
    def _breadth(self) -> float:
        """Inches of the axis of time."""
        return min(_WIDEST, max(_NARROWEST, _SECOND * self.sound.seconds))

    @property
    def width(self) -> float:
        """See `Panel`."""
        return max(label_room(self.drawn.rows) + self._breadth, self.title_width) + GAP

    @property
    def height(self) -> float:
        """See `Panel`."""
        cells = CELL * len(self.weights)
        return self.title_height + _SPECTROGRAM + _BETWEEN + cells + _AXIS

    def draw(self, page: Page, corner: Corner) -> None:
        """See `Panel`."""
        page.write_title(corner, self.title)
        left = corner[0] + label_room(self.drawn.rows) / page.width
        size = 8 * page.scale
        top = 1.0 - corner[1] - (self.title_height + _SPECTROGRAM) / page.height
        begin, end = self.sound.begins, self.sound.begins + self.sound.seconds
        above = page.axes(left, top, self._breadth, _SPECTROGRAM)
        above.imshow(
            self.sound.features.T,
            cmap="Greys",
            origin="lower",
            aspect="auto",
            extent=(begin, end, 0.0, self.sound.features.shape[1]),
        )
        above.set_xlim(begin, end)
        above.set_xticks([])
        above.set_yticks([])
        height, width = self.weights.shape
        bottom = top - (_BETWEEN + CELL * height) / page.height
        below = page.axes(left, bottom, self._breadth, CELL * height)
        last = begin + width * FRAMES_A_POSITION / FRAMES_A_SECOND
        below.imshow(self.weights, extent=(begin, last, height - 0.5, -0.5), **self.shades)
        below.set_xlim(begin, end)
        below.set_yticks(range(height), shown_labels(self.drawn.rows), fontsize=size)
        below.tick_params(axis="y", length=0)
        below.tick_params(axis="x", labelsize=size, length=3 * page.scale)
        below.set_xlabel("seconds", fontsize=size, labelpad=1)
