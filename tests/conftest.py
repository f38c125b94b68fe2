from __future__ import annotations

import os
from pathlib import Path

import pytest
from program import TINY, inside, write_reversal


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file comes first: else one process is at it after all others have ended."""
    items.sort(key=lambda item: item.path.name != "test_readme.py")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real data sets: $ATTN_DATA, or shared/data beside the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    place = Path(os.environ.get("ATTN_DATA") or beside)
    if not place.is_dir():
        pytest.skip("no data sets here; ATTN_DATA names their directory")
    return place


@pytest.fixture(scope="session")
def reversal_model(tmp_path_factory) -> Path:
    """A model directory: a small transformer that the program itself taught to reverse words."""
    place = tmp_path_factory.mktemp("reversal")
    corpus = write_reversal(place / "train.tsv", 1200, seed=3)
    pieces = ("--type", "bpe", "--vocab-size", 36)  # a word has several segmentations
    recipe = (*pieces, "--dropout", 0, "--batch-tokens", 600, "--metric", "loss")
    limits = ("--max-steps", 250, "--warmup", 30, "--validate-every", 250, "--ema", 0.97)
    inside("train-mt", corpus, "-o", place / "model", *TINY, *recipe, *limits)
    return place / "model"
