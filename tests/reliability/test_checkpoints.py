"""States on disk: damaged ones are passed over, full disks are named, one training at a time."""

from __future__ import annotations

import fcntl
import json
import re
import shutil
import signal
from pathlib import Path

import pytest
from lived import Lives, Training

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def stopped(lives: Lives, training: Training, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that was killed with two states on disk."""
    output = tmp_path_factory.mktemp("stopped") / "out"
    lives.run(*training.into(output), kind="after a checkpoint", at=16)
    assert len(states(output)) == 2
    return output


def states(output: Path) -> list[Path]:
    return sorted((output / "checkpoints").glob("state-*"))


def flip(raw: bytes) -> bytes:
    return raw[:-9] + bytes([raw[-9] ^ 16]) + raw[-8:]


def without_a_key(raw: bytes) -> bytes:
    """The same state with a sound checksum, as another version of attn might have written it."""
    import safetensors.torch

    from attn_cli.models.storage import _checksum

    tensors = safetensors.torch.load(raw)
    size = int.from_bytes(raw[:8], "little")
    _, text = json.loads(raw[8 : 8 + size])["__metadata__"]["attn"].split(" ", 1)
    meta = json.loads(text)
    del meta["progress"]["since_best"]
    text = json.dumps(meta)
    return safetensors.torch.save(tensors, {"attn": f"{_checksum(tensors, text)} {text}"})


def of_another_model(raw: bytes) -> bytes:
    import safetensors.torch
    import torch

    from attn_cli.models.storage import _checksum

    size = int.from_bytes(raw[:8], "little")
    _, text = json.loads(raw[8 : 8 + size])["__metadata__"]["attn"].split(" ", 1)
    tensors = {"model.output_bias": torch.zeros(3)}
    return safetensors.torch.save(tensors, {"attn": f"{_checksum(tensors, text)} {text}"})


DAMAGES = {
    "cut": (lambda raw: raw[: len(raw) // 2], "cut short"),
    "one bit": (flip, "checksum differs"),
    "empty": (lambda raw: b"", "not a safetensors file"),
    "foreign": (lambda raw: b"PK\x03\x04" + raw, "not a safetensors file"),
    "of another version": (without_a_key, "not a state of this training"),
    "of another model": (of_another_model, "not a state of this training"),
}


SELDOM = ("empty", "foreign", "of another model")


@pytest.mark.parametrize(
    "damage", [pytest.param(d, marks=[pytest.mark.slow] if d in SELDOM else []) for d in DAMAGES]
)
def test_a_damaged_state_is_named_and_the_one_before_it_used(
    damage: str, stopped: Path, lives: Lives, training: Training, tmp_path: Path
) -> None:
    change, cause = DAMAGES[damage]
    output = shutil.copytree(stopped, tmp_path / "out")
    newest = states(output)[-1]
    newest.write_bytes(change(newest.read_bytes()))
    done = lives.run(*training.into(output))
    assert done.status == 0, done.said
    assert f"{newest.name}: " in done.said
    assert cause in done.said
    assert training.is_what_became_of(output)


def test_states_that_are_all_damaged_are_refused(
    stopped: Path, lives: Lives, training: Training, tmp_path: Path
) -> None:
    output = shutil.copytree(stopped, tmp_path / "out")
    for path in states(output):
        path.write_bytes(flip(path.read_bytes()))
    done = lives.run(*training.into(output))
    assert done.status == 3
    assert "no saved state is usable; --overwrite starts afresh" in done.said
    assert lives.run(*training.into(output), "--overwrite").status == 0
    assert training.is_what_became_of(output)


def test_a_state_that_leads_elsewhere_is_not_followed(
    stopped: Path, lives: Lives, training: Training, tmp_path: Path
) -> None:
    output = shutil.copytree(stopped, tmp_path / "out")
    newest = states(output)[-1]
    newest.rename(tmp_path / "elsewhere")
    newest.symlink_to(tmp_path / "elsewhere")
    done = lives.run(*training.into(output))
    assert "leaves the directory" in done.said
    assert training.is_what_became_of(output)


@pytest.mark.parametrize("at", [6, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2, 9))])
def test_a_full_disk_stops_with_the_cause_and_spoils_nothing(
    at: int, lives: Lives, training: Training, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    done = lives.run(*training.into(output), kind="disk full", at=at)
    assert done.status == 1, done.said
    last = done.said.splitlines()[-1]
    assert re.fullmatch(r"attn: .*out/.*: can't be written: No space left on device", last)
    assert lives.run(*training.into(output)).status == 0
    assert training.is_what_became_of(output)


def test_a_limit_on_file_sizes_is_named(lives: Lives, training: Training, tmp_path: Path) -> None:
    """As a quota does, it lets small files pass: the states do not fit, the weights do."""
    output = tmp_path / "out"
    done = lives.run(*training.into(output), kind="file size limit", at=200_000)
    assert done.status == 1
    assert re.search(r"state-\d+.safetensors: can't be written: File too large", done.said)
    assert lives.run(*training.into(output)).status == 0
    assert training.is_what_became_of(output)


@pytest.mark.parametrize("name", ["train.jsonl", "config.json", "checkpoints/train.index"])
def test_links_are_never_written_through(
    name: str, lives: Lives, training: Training, tmp_path: Path
) -> None:
    """A directory from a stranger must not turn a training into a weapon."""
    output, victim = tmp_path / "out", tmp_path / "victim"
    (output / "checkpoints").mkdir(parents=True)
    victim.write_text("precious")
    (output / name).symlink_to(victim)
    done = lives.run(*training.into(output))
    assert done.status == 3
    assert f"{name}: a link that leaves the directory" in done.said
    assert victim.read_text() == "precious"


def test_a_read_only_folder_is_named(lives: Lives, training: Training, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    done = lives.run(*training.into(tmp_path / "out"), kind="without privileges")
    tmp_path.chmod(0o700)
    assert done.status == 1
    assert re.fullmatch(r"attn: .*out/.*: can't be written: Permission denied\n", done.said)


def test_a_folder_that_turns_read_only_stops_with_the_cause_and_spoils_nothing(
    lives: Lives, training: Training, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    plan = {"kind": "folder turns read-only", "at": 8, "folder": str(output)}
    done = lives.run(*training.into(output), **plan)
    for place in (output, output / "checkpoints"):
        place.chmod(0o700)
    assert done.status == 1
    last = done.said.splitlines()[-1]
    assert re.fullmatch(r"attn: .*/state-000000008.*: can't be written: Permission denied", last)
    continued = lives.run(*training.into(output))
    assert continued.status == 0 and "continuing after step 7\n" in continued.said
    assert training.is_what_became_of(output)


def test_an_output_below_a_file_is_named(lives: Lives, training: Training, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = lives.run(*training.into(tmp_path / "file" / "out"))
    assert done.status == 1
    assert "Not a directory" in done.said


def test_a_second_training_in_one_directory_is_refused_and_a_stale_lock_is_not(
    lives: Lives, training: Training, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    (output / "checkpoints").mkdir(parents=True)
    with (output / "checkpoints" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = lives.run(*training.into(output))
        assert done.status == 1
        assert "another training is writing there" in done.said
    assert lives.run(*training.into(output)).status == 0  # the file is there, its holder is not
    assert training.is_what_became_of(output)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("SIGINT", "when signalled"),
        ("SIGTERM", "when signalled in a validation"),
        pytest.param("SIGHUP", "when signalled", marks=pytest.mark.slow),
        pytest.param("SIGTERM", "when signalled", marks=pytest.mark.slow),
        pytest.param("SIGINT", "when signalled in a validation", marks=pytest.mark.slow),
    ],
)
def test_a_signal_saves_first(
    name: str, kind: str, lives: Lives, training: Training, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    done = lives.run(*training.into(output), kind=kind, at=2, signals=[name])
    assert done.status == 128 + getattr(signal, name)
    step = 2 if kind == "when signalled" else 12
    assert f"stopped after step {step}, state saved" in done.said
    assert states(output)[-1].name == f"state-{step:09d}.safetensors"
    assert lives.run(*training.into(output)).status == 0
    assert training.is_what_became_of(output)


def test_nohup_is_respected(lives: Lives, training: Training, tmp_path: Path) -> None:
    plan = {"kind": "when signalled", "at": 3, "signals": ["SIGHUP"], "ignoring": ["SIGHUP"]}
    assert lives.run(*training.into(tmp_path / "out"), **plan).status == 0
    assert training.is_what_became_of(tmp_path / "out")


def test_a_second_interrupt_stops_at_once(lives: Lives, training: Training, tmp_path: Path) -> None:
    output = tmp_path / "out"
    signals = ["SIGINT", "SIGINT"]
    done = lives.run(*training.into(output), kind="when signalled", at=9, signals=signals)
    assert done.status == 130
    assert "state saved" not in done.said
    assert lives.run(*training.into(output)).status == 0
    assert training.is_what_became_of(output)


def test_nothing_is_ever_unpickled() -> None:
    """No pickle, no torch.load, no NumPy pickles: what is opened can't run code.

    `workers.py` alone sends objects to processes that it has forked itself, through their pipes.
    """
    forbidden = re.compile(
        r"\b(pickle|marshal|shelve|joblib)\b|(?<!safetensors\.)torch\.(load|save)\b|(?<![.\w])(eval|exec)\("
    )
    sources = [*(ROOT / "attn_cli").rglob("*.py")]
    assert len(sources) > 50
    for source in sources:
        for number, line in enumerate(source.read_text("utf-8").split("\n"), 1):
            code = line.replace("allow_pickle=False", "").split("#")[0]
            if forbidden.search(code) and source.name != "workers.py":
                assert is_prose(code), f"{source.name}:{number}: {line}"
            assert "np.load(" not in code or "allow_pickle=False" in line


def is_prose(code: str) -> bool:
    """Whether a line of a docstring says the word, as "No pickle." does."""
    return "(" not in code and "import" not in code
