from __future__ import annotations

from collections.abc import Iterator

import pytest
from lived import RECIPE, Lives, Training, undisturbed
from program import TINY, write_reversal


@pytest.fixture(scope="session")
def lives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lives]:
    server = Lives(tmp_path_factory.mktemp("lives") / "streams")
    yield server
    server.close()


@pytest.fixture(scope="session")
def training(lives: Lives, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """24 updates of two batches each over 2.x epochs, four validations, a state each update."""
    place = tmp_path_factory.mktemp("training")
    corpus = write_reversal(place / "t.tsv", 700, seed=5, longest=8)
    limits = ("--max-steps", 24, "--validate-every", 6, "--save-every", "0.0001s")
    return undisturbed(lives, place, ("train-mt", corpus, *TINY, *RECIPE, *limits))
