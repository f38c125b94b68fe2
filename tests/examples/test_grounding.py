"""The example that measures whether a captioner looks at what it names, by a case worked out."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def measured(tmp_path):
    """Runs it on two pictures, yellow to the left of blue and blue to the left of black."""
    image = pytest.importorskip("PIL.Image")
    for name, halves in (("a.png", ("yellow", "#0099ff")), ("b.png", ("#0099ff", "black"))):
        picture = image.new("RGB", (40, 20), halves[0])
        picture.paste(image.new("RGB", (20, 20), halves[1]), (20, 0))
        picture.save(tmp_path / name)
    (tmp_path / "dev.tsv").write_text("a.png\tYellow, blue\nb.png\tblue or yellow.\n")

    def run(weights, *options):
        lines = [
            f"{line}\t1\tmean\t{row}\t{word}\t{column}\t0,{column}\t{weight}\n"
            for line, row, word, pair in weights
            for column, weight in enumerate(pair)
        ]
        command = [sys.executable, EXAMPLES / "captions" / "grounding.py", ".", "dev.tsv", *options]
        done = subprocess.run(
            command, cwd=tmp_path, input="".join(lines), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        said = [line for line in done.stderr.splitlines() if "was said" in line]
        rows = [line.split("\t") for line in done.stdout.splitlines()]
        assert bool(said) == (len(rows) == 1)
        return {row[0]: row[1:] for row in rows[1:]}

    return run


def test_weights_are_summed_where_the_colour_is(measured):
    figures = measured(
        [
            (1, 0, "Yellow,", (0.9, 0.1)),
            (1, 1, "blue", (0.3, 0.7)),
            (2, 0, "blue", (0.8, 0.2)),
            (2, 1, "or", (0.5, 0.5)),
            (2, 2, "yellow.", (0.5, 0.5)),
        ]
    )
    # Blue: 0.7 and 0.8 where it is; laid on each other's pictures, 0.3 and 0.2.
    assert figures == {
        "yellow": ["1", "1", "0.900", "nan", "0.500"],
        "blue": ["2", "0", "0.750", "0.250", "0.500"],
    }


def test_things_are_whatever_is_drawn(measured, tmp_path):
    image = pytest.importorskip("PIL.Image")
    picture = image.new("RGB", (40, 20), "lightgray")
    picture.paste(image.new("RGB", (10, 20), "black"), (20, 0))
    picture.save(tmp_path / "b.png")
    said = [(1, 0, "Blocks", (0.9, 0.1)), (2, 0, "blocks", (0.2, 0.8)), (2, 1, ".", (0.5, 0.5))]
    # The first picture is full of them, and the second has them on its right.
    assert measured(said, "--things", "blocks,tower") == {
        "blocks": ["2", "0", "0.900", "0.550", "0.750"]
    }
    assert measured(said) == {}
