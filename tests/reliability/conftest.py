from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from lived import RECIPE, Commands, Lives, Training, commands, undisturbed
from program import TINY, inside, write_reversal


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


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small encoder that has hardly learnt to tell sentences by their first syllable."""
    place = tmp_path_factory.mktemp("classifier")
    source = write_reversal(place / "sentences.tsv", 200, seed=2)
    lines = (line.split("\t")[0] for line in source.read_text().splitlines())
    corpus = place / "train.tsv"
    corpus.write_text("".join(f"{line}\t{line[:2]}\n" for line in lines))
    size = ("--size", "tiny", "--vocab-size", 30)
    limits = ("--max-steps", 20, "--threads", 1, "--device", "cpu")
    inside("finetune", corpus, "--task", "classify", "-o", place / "model", *size, *limits)
    return place / "model"


@pytest.fixture(scope="session")
def streaming(reversal_model: Path, classifier: Path) -> Commands:
    """Every streaming command by its name."""
    return commands(reversal_model, classifier)
