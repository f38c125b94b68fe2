"""Speech as a user meets it: `train-mt --source audio`, decode, score, attend."""

from __future__ import annotations

import json
import random
import re
import sys
from difflib import SequenceMatcher

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
    assert model.positions == "sinusoidal"
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
    """The score is of both: log P, which stays the decoder's, and torch's CTC of the output."""
    as_json = ("--beam", 4, "--n-best", 4, "--format", "json", "--length-penalty", 0.5)
    run = inside("decode", "-m", recognizer, "--ctc-weight", 0.4, *as_json, fresh)
    _, model = load_model(recognizer, torch.device("cpu"))
    source, tgt = read_tokenizers(recognizer)
    side = AudioSide.of(model.config, source)
    for number, line in enumerate(run.lines):
        (item,) = side.encode([side.read(f"{number}.wav", str(fresh.parent))])
        with torch.inference_mode():
            log_probs = model.ctc(model.encoded(*side.collate([item])))[0]
        hypotheses = json.loads(line)["hypotheses"]
        assert len(hypotheses) == 4
        for one in hypotheses:
            (tokens,) = tgt.encode([one["text"]])
            sizes = torch.tensor(len(item)), torch.tensor(len(tokens))
            blank, target = log_probs.shape[1] - 1, torch.tensor(tokens, dtype=torch.long)
            heard = F.ctc_loss(log_probs, target, *sizes, blank=blank, reduction="sum")
            expected = (0.6 * one["log_prob"] - 0.4 * float(heard)) / (len(tokens) + 1) ** 0.5
            assert one["score"] == pytest.approx(expected, abs=1e-3)
        scores = [one["score"] for one in hypotheses]
        assert scores == sorted(scores, reverse=True)


def test_it_has_the_say_that_it_had_in_training_unless_told(recognizer, fresh):
    def scores(*how):
        lines = inside("decode", "-m", recognizer, "--format", "json", *how, fresh).lines
        return [json.loads(line)["hypotheses"][0]["score"] for line in lines]

    assert scores() == scores("--ctc-weight", 0.3)
    assert scores("--greedy") == scores("--greedy", "--ctc-weight", 0.3)
    assert scores() != scores("--ctc-weight", 0)
    drawn = ("decode", "-m", recognizer, "--sample")
    assert inside(*drawn, fresh).out == inside(*drawn, "--ctc-weight", 0, fresh).out
    for flags in (("--sample",), ("--ctc",)):
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


def seconds(column):
    """What `--align` says of a transcript."""
    return [tuple(map(float, times.split("-"))) for times in column.split(" ")] if column else []


def test_words_begin_and_end_when_they_sound(recognizer, tmp_path):
    """Of recordings whose words were written at known times, by every way to search."""
    generator, known, names = random.Random(5), [], []
    for number in range(20):
        words = generator.choices(list(sounds.WORDS), k=generator.randint(1, 3))
        samples, times = sounds.timed_utterance(words, generator)
        sounds.write_wave(tmp_path / f"{number}.wav", samples)
        known.append((" ".join(words), times))
        names.append(f"{tmp_path / str(number)}.wav\n")
    stdin = "".join(names).encode()
    for how in ((), ("--ctc",), ("--ctc-weight", 0)):
        right = 0
        run = inside("decode", "-m", recognizer, "--align", *how, stdin=stdin)
        for (words, times), (text, column) in zip(known, columns(run), strict=True):
            found = seconds(column)
            assert len(found) == len(text.split())
            if text == words:
                right += 1
                assert np.abs(np.array(found) - np.array(times)).max() < 0.05
        assert right > 5
    as_json = inside("decode", "-m", recognizer, "--align", "--format", "json", stdin=stdin)
    lines = inside("decode", "-m", recognizer, "--align", stdin=stdin)
    for line, (text, column) in zip(as_json.lines, columns(lines), strict=True):
        (best,) = json.loads(line)["hypotheses"]
        assert "align" not in best
        assert " ".join(word["word"] for word in best["words"]) == text
        assert [(word["start"], word["end"]) for word in best["words"]] == seconds(column)


def test_what_words_look_at_moves_on_with_the_time(recognizer, fresh):
    """Of recordings of several words: the later word looks at a later place, nearly always."""
    steps = []
    rows = columns(inside("attend", "-m", recognizer, "--pairs", "--kind", "cross", fresh))
    for number in {row[0] for row in rows}:
        best: dict[str, tuple[float, float]] = {}
        for row in rows:
            if row[0] == number:
                weight, place = float(row[7]), float(row[6])
                best[row[3]] = max(best.get(row[3], (0.0, 0.0)), (weight, place))
        places = [place for _, place in best.values()][:-1]  # the last one is of the end
        steps += [later > earlier for earlier, later in zip(places, places[1:], strict=False)]
    assert len(steps) > 15
    assert np.mean(steps) > 0.8


def test_long_recordings_are_cut_at_silences_and_joined(recognizer, fresh, monkeypatch):
    """What is said of the whole is what is said of its parts, each where it is in the whole."""
    sound = [load(bytes(fresh.parent / f"{number}.wav")).values for number in range(6)]
    long = sounds.write_wave(fresh.parent / "long.wav", np.concatenate(sound))
    stdin = f"0.wav\n{long}\n1.wav\n".encode()
    root = ("--audio-root", fresh.parent)
    align = ("--ctc", "--align")
    run = inside("decode", "-m", recognizer, *root, *align, stdin=stdin)
    text, column = run.lines[1].split("\t")
    said = re.search(r"input:2: long line, decoded in (\d+) parts \(--max-seconds\)", run.said)
    _, model = load_model(recognizer, torch.device("cpu"))
    side = AudioSide.of(model.config, read_tokenizers(recognizer)[0])
    parts = side.pieces(side.read(str(long), ""), side.longest)
    assert len(parts) == int(said[1]) > 2
    words, times = [], []
    for number, part in enumerate(parts):
        begin, end = (round(sounds.RATE * at) for at in (part.begins, part.begins + part.seconds))
        name = fresh.parent / f"part-{number}.wav"
        sounds.write_wave(name, np.concatenate(sound)[begin:end])
        answer = inside("decode", "-m", recognizer, *align, stdin=f"{name}\n".encode()).lines[0]
        words += answer.split("\t")[0].split()
        own = seconds(answer.split("\t")[1])
        times += [(part.begins + start, part.begins + stop) for start, stop in own]
    # Not more, as a sound that is cut is another one at its edges.
    same = SequenceMatcher(None, text.split(), words)
    assert len(words) >= 6 and same.ratio() > 0.7
    found = seconds(column)
    apart = [
        abs(found[block.a + at][0] - times[block.b + at][0])
        for block in same.get_matching_blocks()
        for at in range(block.size)
    ]
    assert np.median(apart) < 0.03
    assert found == sorted(found) and len(found) == len(text.split())
    whole = sum(map(len, sound)) / sounds.RATE
    assert 0.8 * whole < found[-1][1] <= whole + 0.05  # of the whole, not of its last part
    # A shorter limit makes more parts, a longer one none.
    more = inside("decode", "-m", recognizer, *root, "--max-seconds", 0.5, stdin=stdin)
    assert len(more.lines) == 3
    assert int(re.search(r"input:2: .* in (\d+) parts", more.said)[1]) >= 2 * whole
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
    run = inside("decode", "-m", reversal_model, "--ctc-weight", 0.5, fresh, status=2)
    assert "--source audio makes models that have one (--ctc-weight)" in run.said
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
