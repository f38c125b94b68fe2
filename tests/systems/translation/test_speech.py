"""Speech as a user meets it: `train-mt --source audio`, decode, score, attend."""

from __future__ import annotations

import json
import re
import sys

import numpy as np
import pytest
import sounds
import torch
from program import attn, inside
from test_train_mt import log
from torch.nn import functional as F

from attn_cli.config.audio import n_bands
from attn_cli.data.audio import load
from attn_cli.models.directory import load_model, read_config
from attn_cli.systems.generation import lines
from attn_cli.systems.translation.audio_source import AudioSide
from attn_cli.tokenizers.tokenizer_files import read_tokenizers

SIZES = ("--d-model", 32, "--n-decoder-layers", 1, "--threads", 1, "--device", "cpu")
LAYERS = ("--d-ff", 64, "--n-heads", 2, "--n-encoder-layers", 1)
WORDS = ("--source", "audio", "--type", "word", "--dropout", 0, "--precision", "float32")
LIMITS = ("--max-steps", 400, "--warmup", 10, "--batch-tokens", 400, "--ema", 0.95)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return sounds.write_words(tmp_path_factory.mktemp("corpus") / "speech", 240, seed=1)


@pytest.fixture(scope="module")
def recognizer(corpus, tmp_path_factory):
    """A model that has learnt to write down such words."""
    place = tmp_path_factory.mktemp("recognizer") / "model"
    inside("train-mt", corpus, "-o", place, *SIZES, *LAYERS, *WORDS, *LIMITS)
    return place


@pytest.fixture
def fresh(tmp_path):
    """Recordings that were not trained on."""
    return sounds.write_words(tmp_path / "fresh", 30, seed=99)


def columns(run):
    return [line.split("\t") for line in run.lines]


@pytest.mark.parametrize("how", [("--beam", 2), ("--ctc", "--greedy"), ("--ctc", "--beam", 4)])
def test_a_recognizer_writes_down_new_recordings(recognizer, fresh, how):
    run = attn("decode", "-m", recognizer, *how, fresh)
    assert len(run.lines) == 30
    rates = dict(line.split("\t") for line in attn("score", "--wer", stdin=run.out).lines)
    assert float(rates["WER"]) < 0.1


def test_the_directory_says_what_the_model_reads(recognizer):
    config = read_config(recognizer)
    model = config.model
    assert (config.task, model.source, model.sample_rate) == ("translate", "audio", sounds.RATE)
    assert (model.n_features, model.src_vocab, model.ctc) == (n_bands(sounds.RATE), 0, True)
    assert 0.4 < model.trained_seconds < 1.1
    left = {path.name for path in (recognizer / "checkpoints").iterdir()}
    assert not [name for name in left if "audio" in name or "index" in name]
    described = json.loads(inside("info", "--json", recognizer).out)
    assert "audio" in json.dumps(described)
    card = inside("info", "--card", recognizer).out.decode()
    assert "pipeline_tag: automatic-speech-recognition" in card


def test_what_is_reported_is_the_probability_of_the_transcript(recognizer, fresh):
    decoded = columns(inside("decode", "-m", recognizer, "--scores", "--beam", 3, fresh))
    named = fresh.with_name("again.tsv")
    named.write_text("".join(f"{n}.wav\t{line[0]}\n" for n, line in enumerate(decoded)))
    again = inside("score", "--log-prob", "-m", recognizer, named).lines
    expected = [float(line[1]) for line in decoded]
    assert [float(value) for value in again] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("how", ["--greedy", "--beam=3"])
def test_what_the_encoder_says_has_the_probability_that_torch_gives_it(recognizer, fresh, how):
    """One recording at a time, by hand, through torch's own CTC."""
    decoded = columns(inside("decode", "-m", recognizer, "--ctc", how, "--scores", fresh))
    _, model = load_model(recognizer, torch.device("cpu"))
    source, tgt = read_tokenizers(recognizer)
    side = AudioSide.of(model.config, source)
    for number, (text, score, _) in enumerate(decoded):
        (item,) = side.encode([side.read(f"{number}.wav", str(fresh.parent))])
        with torch.inference_mode():
            log_probs = model.ctc(model.encoded(*side.collate([item])))[0]
        (tokens,) = tgt.encode([text])
        blank = log_probs.shape[1] - 1
        sizes = torch.tensor(len(item)), torch.tensor(len(tokens))
        nll = F.ctc_loss(log_probs, torch.tensor(tokens), *sizes, blank=blank, reduction="sum")
        assert -float(score) == pytest.approx(float(nll), abs=1e-3)


def test_the_encoder_has_a_say_in_what_the_decoder_writes(recognizer, fresh):
    """By hand from both lists: of the decoder's outputs, and torch's CTC of each of them."""
    as_json = ("--beam", 4, "--n-best", 4, "--format", "json", "--length-penalty", 0.5)
    alone, joint = (
        [
            {one["text"]: one["score"] for one in json.loads(line)["hypotheses"]}
            for line in inside("decode", "-m", recognizer, *how, *as_json, fresh).lines
        ]
        for how in ((), ("--ctc-weight", 0.4))
    )
    _, model = load_model(recognizer, torch.device("cpu"))
    source, tgt = read_tokenizers(recognizer)
    side = AudioSide.of(model.config, source)
    for number, (own, ranked) in enumerate(zip(alone, joint, strict=True)):
        (item,) = side.encode([side.read(f"{number}.wav", str(fresh.parent))])
        with torch.inference_mode():
            log_probs = model.ctc(model.encoded(*side.collate([item])))[0]
        assert set(ranked) == set(own)
        for text, score in ranked.items():
            (tokens,) = tgt.encode([text])
            sizes = torch.tensor(len(item)), torch.tensor(len(tokens))
            blank = log_probs.shape[1] - 1
            heard = F.ctc_loss(
                log_probs, torch.tensor(tokens), *sizes, blank=blank, reduction="sum"
            )
            expected = 0.6 * own[text] - 0.4 * float(heard) / (len(tokens) + 1) ** 0.5
            assert score == pytest.approx(expected, abs=1e-3)
        assert list(ranked.values()) == sorted(ranked.values(), reverse=True)
    for flags in (("--greedy",), ("--sample",), ("--ctc",)):
        refused = inside(
            *("decode", "-m", recognizer, "--ctc-weight", 0.4), *flags, fresh, status=2
        )
        assert "--ctc-weight" in refused.said


def test_every_way_to_search_reads_recordings(recognizer, fresh):
    best = [line[0] for line in columns(inside("decode", "-m", recognizer, fresh))]
    as_json = ("--n-best", 3, "--format", "json")
    for how in ((), ("--ctc",)):
        outputs = [
            json.loads(line)["hypotheses"]
            for line in inside("decode", "-m", recognizer, *how, *as_json, fresh).lines
        ]
        assert all(len({other["text"] for other in one}) == 3 for one in outputs)
        assert all(one[0]["log_prob"] >= one[1]["log_prob"] for one in outputs if how)
    both = f"{recognizer},{recognizer}"
    assert [line[0] for line in columns(inside("decode", "-m", both, fresh))] == best
    alone = inside("decode", "-m", recognizer, "--ctc", fresh).out
    assert inside("decode", "-m", both, "--ctc", fresh).out == alone
    one_by_one = inside("decode", "-m", recognizer, "--buffer", 1, fresh)
    assert [line[0] for line in columns(one_by_one)] == best
    small = inside("decode", "-m", recognizer, "--batch-tokens", 20, fresh)
    assert [line[0] for line in columns(small)] == best
    for text, links, _ in columns(inside("decode", "-m", recognizer, "--align", fresh)):
        pairs = [tuple(map(int, link.split("-"))) for link in links.split(" ")]
        assert [word for _, word in pairs] == list(range(len(text.split())))
        assert all(0 <= position < 25 for position, _ in pairs)


def test_what_words_look_at_moves_on_with_the_time(recognizer, fresh):
    """Of recordings of several words: the later word looks at a later place, nearly always."""
    steps = []
    for _, links, _ in columns(inside("decode", "-m", recognizer, "--align", fresh)):
        places = [int(link.split("-")[0]) for link in links.split(" ")]
        steps += [later > earlier for earlier, later in zip(places, places[1:], strict=False)]
    assert len(steps) > 15
    assert np.mean(steps) > 0.8


def test_long_recordings_are_cut_at_silences_and_joined(recognizer, fresh, monkeypatch):
    texts = [line.split("\t")[1] for line in fresh.read_text().splitlines()[:6]]
    sound = []
    for number in range(6):
        sound += [load(bytes(fresh.parent / f"{number}.wav")).values, np.zeros(3200)]
    long = sounds.write_wave(fresh.parent / "long.wav", np.concatenate(sound))
    stdin = f"0.wav\n{long}\n1.wav\n".encode()
    root = ("--audio-root", fresh.parent)
    # The encoder has never heard so long a silence, but it says nothing of it.
    align = ("--ctc", "--align")
    run = inside("decode", "-m", recognizer, *root, *align, stdin=stdin)
    text, links = run.lines[1].split("\t")
    wrong = inside("score", "--wer", stdin=f"{text}\t{' '.join(texts)}\n".encode()).lines[0]
    assert float(wrong.split("\t")[1]) < 0.2
    assert re.search(
        r"standard input:2: long line, decoded in \d+ parts \(--max-seconds\)", run.said
    )
    places = [int(link.split("-")[0]) for link in links.split(" ")]
    whole = 25 * sum(map(len, sound)) / sounds.RATE
    assert places[-1] > 0.8 * whole  # of the whole recording, not of its last part
    assert max(places) < whole + 1
    # A shorter limit makes more parts, a longer one none.
    more = inside("decode", "-m", recognizer, *root, "--max-seconds", 0.5, stdin=stdin)
    assert len(more.lines) == 3
    assert int(re.search(r"input:2: .* in (\d+) parts", more.said)[1]) >= whole / 12.5
    said = inside("decode", "-m", recognizer, *root, "--max-seconds", 60, stdin=stdin).said
    assert "parts" not in said
    # However few are held at once, the answers are the same.
    monkeypatch.setattr(lines, "_MOST_HELD", 10)
    assert inside("decode", "-m", recognizer, *root, *align, stdin=stdin).out == run.out


def test_a_bad_recording_is_one_empty_line(recognizer, fresh):
    causes = sounds.hostile(fresh.parent)
    names = ["0.wav", *causes, "", "1.wav"]
    stdin = "".join(f"{name}\tx\n" if name else "\n" for name in names).encode()
    root = ("--audio-root", fresh.parent)
    run = attn("decode", "-m", recognizer, *root, stdin=stdin, status=3)
    assert len(run.lines) == len(names)
    assert run.lines[1:-1] == ["\tx"] * len(causes) + [""]
    assert all(line.split("\t")[0] for line in (run.lines[0], run.lines[-1]))
    for number, (name, cause) in enumerate(list(causes.items())[:10], 2):
        (said,) = (
            s for s in run.said.split("\n") if s.startswith(f"attn: standard input:{number}:")
        )
        assert re.search(cause, said)
        assert name in said
    assert f"{len(causes)} unusable lines" in run.said
    skipped = inside("decode", "-m", recognizer, *root, "--skip-bad", stdin=stdin)
    assert skipped.out == run.out
    assert inside("decode", "-m", recognizer, stdin=b"").out == b""


def test_without_soundfile_other_sounds_end_the_run(recognizer, fresh, monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    (fresh.parent / "a.flac").write_bytes(b"fLaC" + bytes(60))
    stdin = f"{fresh.parent / 'a.flac'}\n".encode()
    run = inside("decode", "-m", recognizer, stdin=stdin, status=2)
    assert "pip install '.[audio]'" in run.said


def test_options_of_the_other_kind_of_model_are_refused(recognizer, reversal_model, corpus, fresh):
    run = inside("decode", "-m", reversal_model, "--max-seconds", 3, fresh, status=2)
    assert "--max-seconds: this model reads no recordings" in run.said
    run = inside("decode", "-m", reversal_model, "--ctc", fresh, status=2)
    assert "--ctc: the encoder of this model has no output of its own" in run.said
    run = inside("train-mt", corpus, "--init", recognizer, "-o", "nowhere", status=2)
    assert "--source text (there: audio)" in run.said
    rate = ("--source", "audio", "--sample-rate", 16000)
    run = inside("train-mt", corpus, "--init", recognizer, *rate, "-o", "nowhere", status=2)
    assert "--sample-rate 16000 (there: 8000)" in run.said
    both = ("--max-seconds", 3, "--max-input", 70)
    run = inside("decode", "-m", recognizer, *both, fresh, status=2)
    assert "--max-input and --max-seconds are one limit" in run.said
    for flags in (("--length-penalty", 0.5), ("--prefix",), ("--sample",)):
        run = inside("decode", "-m", recognizer, "--ctc", *flags, fresh, status=2)
        assert flags[0] in run.said and "--ctc says what the encoder says" in run.said
    run = inside("embed", "-m", recognizer, fresh, status=3)
    assert "this model reads recordings" in run.said


def test_a_recognizer_learns_on(recognizer, corpus, tmp_path):
    command = ("--source", "audio", "--max-steps", 2, "--metric", "loss", "--threads", 1)
    run = inside("train-mt", corpus, "--init", recognizer, "-o", tmp_path / "m", *command)
    assert f"continued from {recognizer}" in run.said
    assert float(re.findall(r"dev: loss ([0-9.]+)", run.said)[0]) < 0.5
    assert read_config(tmp_path / "m").model == read_config(recognizer).model
    sampled = ("--criterion", "risk", "--max-steps", 1, "--samples", 2)
    given = ("--init", recognizer, "-o", tmp_path / "n", *command[:2], *sampled, "--threads", 1)
    inside("train-mt", corpus, *given, "--metric", "loss")
    run = inside("train-mt", corpus, *given, "--ctc-weight", 0.2, "--overwrite", status=2)
    assert "--criterion risk has none" in run.said


def test_the_word_error_rate_decides_which_weights_are_kept(recognizer, corpus, tmp_path):
    """It is what `score` says of what `decode` writes with these weights."""
    rows = log(recognizer)
    assert (
        min(row["dev_wer"] for row in rows) == [row["dev_wer"] for row in rows if row["best"]][-1]
    )
    dev = sounds.write_words(tmp_path / "dev", 25, seed=8)
    place = tmp_path / "m"
    given = ("--source", "audio", "--init", recognizer, "--dev", dev, "--precision", "float32")
    limits = ("--max-steps", 4, "--validate-every", 2, "--threads", 1, "--lr", 0.02)
    run = inside("train-mt", corpus, "-o", place, *given, *limits)
    best = [row["dev_wer"] for row in log(place) if row["best"]][-1]
    decoded = inside("decode", "-m", place, "--greedy", dev)
    (line,) = inside("score", "--wer", stdin=decoded.out).lines
    assert float(line.split("\t")[1]) == pytest.approx(best, abs=1e-4)
    assert f"best dev wer {best:.3f}" in run.said


def test_the_table_of_attention_names_times(recognizer, fresh):
    rows = columns(inside("attend", "-m", recognizer, "--pairs", fresh))
    first = [row[6] for row in rows if row[0] == "1"][:4]
    assert first == ["0.00", "0.04", "0.08", "0.12"]
