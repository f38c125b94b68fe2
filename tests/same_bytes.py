"""Same commands, same seed, same bytes: records what `attn` does, and compares two records.

    python same_bytes.py record CHECKOUT OUTDIR [--only SECTION,SECTION] [--keep]
    python same_bytes.py compare OUTDIR1 OUTDIR2 [--ignore KIND,KIND] [--only SECTION,...] [--most N]
    python same_bytes.py sections

Commands run in forked children of one process that has imported torch and all of attn_cli, in a
directory of their own with relative paths. Only `attn_cli.cli.main` is called. OUTDIR gets one JSON
file a section, and meta.json; `--only` replaces those sections and leaves what else OUTDIR holds. A command
with another status than it is meant to have is said at once, and `record` ends with 1.

Kinds of what is compared: status, stdout, stderr, weights (a multiset of tensors: names are not
looked at), log (train.jsonl without times), tokenizer, config (config.json, flat), files (names in
the model directory), made (pictures, pages, arrays).
"""
# One line a command reads better here than the formatter's eight.
# fmt: off
# ruff: noqa

from __future__ import annotations

import argparse
import gc
import gzip
import hashlib
import importlib
import io
import json
import math
import os
import pkgutil
import random
import re
import shlex
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

SECTIONS: dict[str, object] = {}


def section(function):
    SECTIONS[function.__name__.replace("_", "-")] = function
    return function


# ---------------------------------------------------------------- data, all of it made here

NOUNS = {"cat": "chat", "dog": "chien", "bird": "oiseau", "house": "maison", "child": "enfant",
         "tree": "arbre", "book": "livre", "king": "roi", "film": "film", "garden": "jardin"}
ADJECTIVES = {"small": "petit", "red": "rouge", "old": "vieux", "fast": "rapide", "good": "bon",
              "bad": "méchant"}
VERBS = {"sees": "voit", "likes": "aime", "finds": "trouve", "reads": "lit", "wants": "veut"}
PLACES = {"here": "ici", "there": "là", "today": "aujourd'hui", "in the garden": "dans le jardin"}


def sentence(rng: random.Random) -> tuple[str, str]:
    def phrase() -> tuple[str, str]:
        noun = rng.choice(list(NOUNS))
        if rng.random() < 0.5:
            adjective = rng.choice(list(ADJECTIVES))
            return f"the {adjective} {noun}", f"le {NOUNS[noun]} {ADJECTIVES[adjective]}"
        return f"a {noun}", f"un {NOUNS[noun]}"

    (a, b), verb, (c, d) = phrase(), rng.choice(list(VERBS)), phrase()
    source, target = f"{a} {verb} {c}", f"{b} {VERBS[verb]} {d}"
    if rng.random() < 0.3:
        place = rng.choice(list(PLACES))
        source, target = f"{source} {place}", f"{target} {PLACES[place]}"
    if rng.random() < 0.2:
        source, target = f"{source}!", f"{target} !"
    if rng.random() < 0.1:
        number = rng.randint(2, 99)
        source, target = f"{number} {source}", f"{number} {target}"
    return source, target


def lines(path: str, rows, *, end: str = "\n") -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    text = "".join((row if isinstance(row, str) else "\t".join(row)) + end for row in rows)
    Path(path).write_bytes(text.encode("utf-8"))


def jsonl(path: str, rows) -> None:
    lines(path, (json.dumps(row, ensure_ascii=False) for row in rows))


def write_text_data() -> None:
    rng = random.Random(7)
    pairs = [sentence(rng) for _ in range(220)]
    lines("train.tsv", pairs)
    lines("train.en", [a for a, _ in pairs])
    lines("train.fr", [b for _, b in pairs])
    lines("swapped.tsv", [(b, a) for a, b in pairs])
    lines("header.tsv", [("id", "src", "tgt"), *((str(i), *p) for i, p in enumerate(pairs))])
    jsonl("train.jsonl", ({"n": i, "en": a, "fr": b} for i, (a, b) in enumerate(pairs)))
    Path("train.tsv.gz").write_bytes(gzip.compress(Path("train.tsv").read_bytes(), mtime=0))
    dev = [sentence(rng) for _ in range(24)]
    lines("dev.tsv", dev)
    test = [sentence(rng) for _ in range(10)]
    lines("test.tsv", [(a, b, f"x{i}") for i, (a, b) in enumerate(test)])
    lines("pairs.tsv", test)
    lines("few.txt", [a for a, _ in test[:3]])
    lines("new.txt", [*(a for a, _ in test), "", "  ", "the zebra Æ ¿ 漢 sees", "A", "a  dog   sees a cat "])
    lines("clean.txt", [*(a for a, _ in test[:6]), "", "the zebra Æ ¿ 漢 sees", "A", "a  dog   sees a cat "])
    lines("one.txt", [test[0][0]])
    lines("crlf.txt", [a for a, _ in test[:3]], end="\r\n")
    long = [" ".join(sentence(rng)[0] for _ in range(n)) for n in (12, 3)]
    lines("long.txt", [long[0], test[0][0], ". ".join([long[1], *long[1].split(" the ")])])
    Path("bad.txt").write_bytes(
        f"{test[0][0]}\n".encode() + b"caf\xff\xfe sees\n\n" + f"{test[1][0]}\n".encode()
        + b"a\x00b\n" + f"{test[2][0]}\n".encode()
    )
    lines("prefix.tsv", [(a, " ".join(b.split()[:2]), "z") for a, b in test[:4]] + [(test[4][0], "", "z")])
    lines("phrases.tsv", [(a, " ||| ".join([b.split()[-1], "livre"]), "z") for a, b in test[:4]] + [(test[4][0], "")])
    lines("both.tsv", [(a, "le", b.split()[-1]) for a, b in test[:4]] + ["only one column"])
    lines("columns.tsv", [("id", "text", "more"), *((str(i), a, b) for i, (a, b) in enumerate(test[:4]))])
    jsonl("new.jsonl", [{"id": i, "en": a, "x": [1, {"y": None}]} for i, (a, _) in enumerate(test[:4])] + [{"id": 9}])
    Path("new.txt.gz").write_bytes(gzip.compress(Path("new.txt").read_bytes(), mtime=0))
    lines("badtrain.tsv", [*pairs[:120], "one column", ("", "x"), *pairs[120:]])
    with_vectors = [*NOUNS, *VERBS, "the", "a", "unseen"]
    lines("vectors.txt", [f"{len(with_vectors)} 32"] + [
        " ".join([w, *(f"{rng.gauss(0, 1):.4f}" for _ in range(32))]) for w in with_vectors])
    lines("vectors128.txt", [" ".join([w, *(f"{rng.gauss(0, 1):.4f}" for _ in range(128))]) for w in with_vectors])
    document: list[str] = []
    for _ in range(70):
        document += [sentence(rng)[0] for _ in range(rng.randint(3, 6))] + [""]
    lines("text.txt", document)
    documents = []
    for _ in range(8):
        documents += [sentence(rng)[0] for _ in range(4)] + [""]
    lines("devtext.txt", documents)
    # hypotheses and references of `score`
    hyps, others, refs, refs2 = [], [], [], []
    for i in range(40):
        ref = sentence(rng)[1].split()
        refs.append(" ".join(ref))
        refs2.append(" ".join(w if rng.random() > 0.15 else "bon" for w in ref))
        hyps.append(" ".join(w if rng.random() > 0.25 else rng.choice(list(NOUNS.values())) for w in ref))
        others.append(" ".join(w if rng.random() > 0.4 else rng.choice(list(NOUNS.values())) for w in ref))
    hyps[3], hyps[5] = "", refs[5].upper()
    for name, rows in (("hyp.txt", hyps), ("other.txt", others), ("ref.txt", refs), ("ref2.txt", refs2)):
        lines(f"score/{name}", rows)
    lines("score/hyps.tsv", zip(hyps, refs))
    lines("score/hyps3.tsv", zip(hyps, refs, refs2))
    labels = ["pos", "neg", "so so"]
    gold = [rng.choice(labels) for _ in range(40)]
    lines("score/labels.tsv", [(g if rng.random() > 0.3 else rng.choice(labels), g) for g in gold])
    many = [sorted(rng.sample(labels, rng.randint(1, 3))) for _ in range(30)]
    lines("score/many.tsv", [(",".join(m if rng.random() > 0.4 else labels[:1]), ",".join(m)) for m in many])
    lines("score/numbers.tsv", [(f"{x + rng.gauss(0, 1):.3f}", f"{x:.3f}") for x in (rng.gauss(0, 2) for _ in range(30))])
    tags = []
    for _ in range(20):
        own = []
        while len(own) < 6:
            kind = rng.choice(["PER", "LOC", ""])
            own += [f"B-{kind}", f"I-{kind}"][: rng.randint(1, 2)] if kind else ["O"]
        tags.append(own)
    guess = [[t if rng.random() > 0.2 else "O" for t in own] for own in tags]
    lines("score/tags.tsv", [(" ".join(g), " ".join(t)) for g, t in zip(guess, tags)])
    lines("score/tags.conll", [row for g, t in zip(guess, tags) for row in [*zip("w" * len(t), g, t), ""]])


def write_labelled_data() -> None:
    rng = random.Random(11)

    def text() -> str:
        return sentence(rng)[0]

    def mood(words: str) -> str:
        return "good" if words.count("a ") % 2 else "bad"

    def moods(n: int):
        return [(t, mood(t)) for t in (text() for _ in range(n))]

    lines("labels.tsv", moods(200))
    lines("labels-dev.tsv", moods(30))
    longs = [" ".join(text() for _ in range(rng.choice([1, 1, 8]))) for _ in range(80)]
    lines("long-labels.tsv", [(t, mood(t)) for t in longs])
    couples = [(text(), text()) for _ in range(160)]
    lines("couples.tsv", [(a, b, ["no", "yes", "may be"][len(a + b) % 3]) for a, b in couples])
    lines("couples.txt", [f"{a}\t{b}\tkept" for a, b in couples[:6]] + [""])
    jsonl("couples.jsonl", ({"p": a, "h": b, "l": str(len(a + b) % 2)} for a, b in couples))
    lines("regress.tsv", [(a, b, f"{(len(a) - len(b)) / 7:.3f}") for a, b in couples])
    lines("rate.tsv", [(a, f"{len(a) / 7:.3f}") for a, _ in couples])
    lines("multilabel.tsv", [(a, ",".join(["x"] * ("a " in a) + ["y"] * ("the" in a) + ["z"])) for a, _ in couples])
    choices = []
    for a, b in couples[:120]:
        others = [text(), text()]
        number = rng.randrange(3)
        choices.append((a, *others[:number], b, *others[number:], str(number)))
    lines("choice.tsv", choices)
    lines("choice.txt", [row[:-1] for row in choices[:6]])
    people, towns, other = ["anna", "bob", "cara", "dan"], ["lima", "oslo", "rome"], ["a", "book", "saw", "the", "was"]

    def tagged():
        words = []
        for _ in range(rng.randint(2, 6)):
            kind = rng.random()
            if kind < 0.3:
                words += [(rng.choice(people), "B-PER"), (rng.choice(["king", "smith"]), "I-PER")]
            elif kind < 0.5:
                words.append((rng.choice(towns), "B-LOC"))
            words.append((rng.choice(other), "O"))
        return words

    found = [tagged() for _ in range(180)]
    rows = [row for s in found for row in [*((w, t, str(len(w))) for w, t in s), ""]]
    lines("train.conll", rows)
    lines("test.conll", ["# a comment", *[row for s in found[:6] for row in [*((w, t, "x") for w, t in s), ""]]])
    lines("tag.txt", [" ".join(w for w, _ in s) for s in found[:6]] + ["", "unseen wörds here"])
    paragraphs = []
    for number in range(60):
        context = ". ".join(text() for _ in range(3 if number % 9 else 14)) + "."
        answers, questions = [], []
        for n in range(2):
            place = rng.choice([m.start() for m in re.finditer(r"\b(?:cat|dog|bird|child|house|tree|book|king|film|garden)\b", context)])
            answer = re.match(r"\w+", context[place:]).group()
            empty = rng.random() < 0.2
            questions.append({"id": f"q{number}-{n}", "question": f"what is {rng.choice(list(VERBS))} of {answer[:2]}?",
                              "answers": [] if empty else [{"text": answer, "answer_start": place}], "is_impossible": empty})
        paragraphs.append({"context": context, "qas": questions})
    for name, own in (("qa.json", paragraphs[:50]), ("qa-dev.json", paragraphs[50:])):
        Path(name).write_text(json.dumps({"version": "v2.0", "data": [{"title": "t", "paragraphs": own}]}))
    documents = []
    for _ in range(90):
        parts = [text() for _ in range(rng.randint(2, 5))]
        documents.append({"parts": parts, "label": mood(parts[0])})
    jsonl("docs.jsonl", documents)
    jsonl("docs-new.jsonl", [{"parts": d["parts"], "id": i} for i, d in enumerate(documents[:4])])
    lines("docs.txt", [". ".join(d["parts"]) + "." for d in documents[4:8]] + [""])
    for folder, several in (("graph", False), ("graph2", True)):
        rows, edges = [("node", "label", "split", "features")], [("node_u", "node_v")]
        for node in range(60):
            own = node % 3
            label = "ABC"[own] + (",big" if several and own < 2 else "")
            split = ("train", "val", "test", "test")[node // 3 % 4]
            features = {own if rng.random() < 0.5 else rng.randrange(3), 3 + node % 2, rng.randrange(5, 20)}
            rows.append((f"n{node}", label, split, " ".join(f"{f}:{1 + f % 3}" if several else str(f) for f in sorted(features))))
            edges += [(f"n{node}", f"n{(rng.randrange(20) * 3 + (own if rng.random() < 0.9 else rng.randrange(3))) % 60}") for _ in range(3)]
        lines(f"{folder}/nodes.tsv", rows)
        lines(f"{folder}/edges.tsv", edges)


def write_images() -> None:
    from PIL import Image, ImageDraw

    rng = random.Random(5)
    colours = {"red": (200, 30, 40), "blue": (20, 30, 220), "green": (30, 160, 30)}
    captions, seen = [], []
    Path("photos").mkdir()
    for number in range(130):
        size = (32, 16) if number % 10 else (40, 20)
        picture = Image.new("RGB", size, "white")
        draw, names = ImageDraw.Draw(picture), []
        for left in (2, 18):
            colour, shape = rng.choice(list(colours)), rng.choice(["square", "disc"])
            (draw.rectangle if shape == "square" else draw.ellipse)((left, 2, left + 11, 13), fill=colours[colour])
            names.append(f"a {colour} {shape}")
        picture.save(f"photos/{number}.png")
        captions.append((f"{number}.png", f"{names[0]} left of {names[1]}"))
        seen.append((f"{number}.png", f"{names[1]} right of {names[0]}"))
    lines("photos/train.tsv", [row for both in zip(captions[:110], seen) for row in both])
    lines("photos/dev.tsv", captions[110:122])
    lines("photos/test.tsv", captions[122:])
    lines("photos/bad.tsv", [captions[122], ("missing.png", "x"), captions[123]])
    Path("photos/broken.png").write_bytes(Path("photos/1.png").read_bytes()[:40])
    lines("photos/new.txt", ["photos/123.png", "", "photos/broken.png", "photos/124.png"])


def write_huggingface() -> None:
    """Tiny random directories of the transformers library."""
    import torch
    import transformers

    words = ["the", "a", *NOUNS, *ADJECTIVES, *VERBS, "here", "in", "##s", "##ed", "un", "##known", ".", "!", "é"]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    sizes = dict(vocab_size=len(vocabulary), hidden_size=24, num_hidden_layers=2, num_attention_heads=3,
                 intermediate_size=40, max_position_embeddings=32)

    def shaken(model, folder):
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(torch.randn_like(weight) * 0.1)
        model.save_pretrained(folder)

    kinds = ("Model", "ForPreTraining", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification",
             "ForQuestionAnswering", "ForNextSentencePrediction")
    for kind in kinds:
        torch.manual_seed(5)
        folder = f"hf/Bert{kind}"
        more = {"num_labels": 3} if "Classification" in kind else {}
        shaken(getattr(transformers, f"Bert{kind}")(transformers.BertConfig(**sizes, **more)), folder)
        Path(folder, "vocab.txt").write_text("\n".join(vocabulary) + "\n", "utf-8")
    import tokenizers

    engine = tokenizers.ByteLevelBPETokenizer()
    engine.train_from_iterator(Path("text.txt").read_text().split("\n"), 300, special_tokens=["<|endoftext|>"], show_progress=False)
    for kind in ("LMHeadModel", "Model"):
        folder = Path(f"hf/GPT2{kind}")
        torch.manual_seed(6)
        config = transformers.GPT2Config(n_embd=24, n_layer=2, n_head=3, n_positions=48, vocab_size=engine.get_vocab_size(),
                                         bos_token_id=0, eos_token_id=0)
        shaken(getattr(transformers, f"GPT2{kind}")(config), folder)
        engine.save_model(str(folder))


# ---------------------------------------------------------------- running

STEP_LINE = re.compile(r"^step [\d,]+  epoch ")


def normalized(text: str, place: str, *, step_lines: bool = True, resumed: bool = False) -> str:
    text = text.replace(place, "<DIR>")
    text = re.sub(r"\([\d,]+ tokens/s\)", "(N tokens/s)", text)
    text = re.sub(r"(epoch [\d.]+)  \d+:\d\d  ", r"\1  M:SS  ", text)
    text = re.sub(r"attn-dry-run-[0-9a-f]{8}", "attn-dry-run-X", text)
    text = re.sub(r"in [\d.]+ (s|seconds|minutes)\b", r"in T \1", text)
    if resumed:
        text = re.sub(r"(after|at|to) step [\d,]+", r"\1 step N", text)
    if not step_lines:
        text = "".join(line for line in text.splitlines(keepends=True) if not STEP_LINE.match(line))
    return text


class Recorder:
    def __init__(self, main, outdir: Path, only: set[str] | None) -> None:
        self.main, self.outdir, self.only = main, outdir, only
        self.place = str(Path.cwd())
        self.section = ""
        self.found: dict[str, dict[str, dict]] = {}
        self.made: set[str] = set()
        self.failures: list[str] = []

    def _fork(self, argv: list[str], stdin: str | None, env: dict[str, str]) -> int:
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child:
            return child
        status = 99
        try:
            for number, name, flags in ((0, stdin or os.devnull, os.O_RDONLY),
                                        (1, "../.stdout", os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
                                        (2, "../.stderr", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)):
                file = os.open(name, flags, 0o644)
                os.dup2(file, number)
                os.close(file)
            os.environ.update(env)
            sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), "utf-8")
            sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)), "utf-8")
            sys.stderr = io.TextIOWrapper(io.BufferedWriter(io.FileIO(2, "w", closefd=False)), "utf-8",
                                          errors="backslashreplace", write_through=True)
            sys.argv = ["attn", *argv]
            status = self.main()
            sys.stdout.flush()
            sys.stderr.flush()
        except BaseException:
            try:
                traceback.print_exc()
                sys.stderr.flush()
            finally:
                os._exit(99)
        os._exit(status & 255)

    def __call__(self, name: str, command: str, *, stdin: str | None = None, status: int | tuple[int, ...] = 0,
                 model: str | None = None, made: tuple[str, ...] = (), step_lines: bool = True, resumed: bool = False,
                 env: dict[str, str] | None = None, stop_after: str | None = None, keep_names: bool = False) -> dict:
        argv = shlex.split(command)
        begun = time.time()
        child = self._fork(argv, stdin, env or {})
        if stop_after:
            log = Path(stop_after)
            while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                if log.exists() and log.stat().st_size:
                    os.kill(child, signal.SIGTERM)
                    break
                time.sleep(0.005)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        out = Path("../.stdout").read_bytes().decode("utf-8", "backslashreplace")
        said = Path("../.stderr").read_bytes().decode("utf-8", "backslashreplace")
        entry = {
            "argv": argv, "stdin": stdin, "status": code, "seconds": round(time.time() - begun, 2),
            "stdout": out.replace(self.place, "<DIR>"),
            "stderr": normalized(said, self.place, step_lines=step_lines, resumed=resumed),
        }
        if model and not stop_after and Path(model).exists():
            entry |= look_at(Path(model), keep_names=keep_names)
        files = sorted({str(path) for pattern in made for path in Path().glob(pattern)})
        if made:
            entry["made"] = {path: hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in files}
        wanted = (status,) if isinstance(status, int) else status
        if code not in wanted or "Traceback" in said or (made and not files):
            problem = f"{self.section}/{name}: status {code}, wanted {status}: attn {command}"
            self.failures.append(problem)
            print(f"!! {problem}\n{said[-1500:]}", file=sys.stderr, flush=True)
        own = self.found.setdefault(self.section, {})
        assert name not in own, f"{self.section}/{name} twice"
        own[name] = entry
        return entry

    def once(self, name: str, function) -> None:
        """A shared model or data, made when it is first needed, recorded in section `models`."""
        if name in self.made:
            return
        self.made.add(name)
        before, self.section = self.section, "models"
        function(self)
        self.section = before

    def isolated(self, function) -> None:
        """Runs something that imports a lot in a child."""
        child = os.fork()
        if not child:
            try:
                function()
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0, function

    def models(self, *names: str) -> None:
        for name in names:
            self.once(name, lambda r, name=name: MODELS[name](r))


def look_at(folder: Path, *, keep_names: bool = False) -> dict:
    """What a directory of a model holds."""
    import safetensors.numpy  # noqa: F401

    entry: dict = {"weights": [], "tokenizer": {}, "files": []}
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        name = str(path.relative_to(folder))
        entry["files"].append(name)
        if path.suffix == ".safetensors":
            for row in tensors(path):
                own = row if keep_names else row[1:]
                entry["weights"].append([name, *own])
        elif path.name == "train.jsonl":
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            entry["log"] = [{k: v for k, v in row.items() if k != "minutes"} for row in rows]
        elif path.name == "config.json":
            entry["config"] = flat(json.loads(path.read_text()))
        elif name.startswith("checkpoints/"):
            pass
        else:
            entry["tokenizer"][name] = hashlib.sha256(path.read_bytes()).hexdigest()
    entry["weights"].sort()
    return entry


def tensors(path: Path):
    """Name, dtype, shape, SHA-256, sum of magnitudes of each tensor in a file of safetensors."""
    import numpy as np

    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    head = json.loads(raw[8 : 8 + size])
    for name, own in head.items():
        if name == "__metadata__":
            continue
        begin, end = own["data_offsets"]
        data = raw[8 + size + begin : 8 + size + end]
        key = f"{own['dtype']}{own['shape']}".encode() + data
        norm = float(np.abs(np.frombuffer(data, np.float32).astype(np.float64)).sum()) if own["dtype"] == "F32" else 0.0
        yield [name, own["dtype"], own["shape"], hashlib.sha256(key).hexdigest()[:24], norm]


def flat(value, prefix: str = "") -> dict:
    if isinstance(value, dict):
        return {k: v for key, own in value.items() for k, v in flat(own, f"{prefix}{key}.").items()}
    if isinstance(value, list) and any(isinstance(v, dict) for v in value):
        return {k: v for i, own in enumerate(value) for k, v in flat(own, f"{prefix}{i}.").items()}
    return {prefix[:-1]: value}


# ---------------------------------------------------------------- shared models

CPU = "--threads 1 --device cpu"
SIZES = "--d-model 32 --n-encoder-layers 2 --n-decoder-layers 2"
HEADS = "--d-ff 64 --n-heads 2"
PIECES = "--type bpe --vocab-size 80"
FEW = "--max-steps 6 --validate-every 3 --metric loss --batch-tokens 500"


def mt(output: str, more: str = "", *, limits: str = FEW, corpus: str = "train.tsv --dev dev.tsv", pieces: str = PIECES,
       sizes: str = f"{SIZES} {HEADS}") -> str:
    return f"train-mt {corpus} -o {output} {sizes} {pieces} {limits} {CPU} {more}"


LEARN = "--max-steps 160 --validate-every 80 --metric loss --batch-tokens 700 --warmup 20 --ema 0.97 --dropout 0"
TUNE = f"--size tiny --type bpe --vocab-size 70 --max-steps 6 --validate-every 3 --batch-tokens 300 --warmup 2 {CPU}"
INIT = f"--init bert --max-steps 6 --validate-every 3 --batch-tokens 300 --warmup 2 {CPU}"
PRE = f"--d-model 32 --d-ff 64 --n-heads 2 --n-layers 2 --max-len 48 --vocab-size 90 --batch-tokens 500 --max-steps 6 --validate-every 3 --dev devtext.txt {CPU}"


CLM = PRE.replace("--vocab-size 90", "--vocab-size 300")


def _model(command: str, output: str, **more):
    return lambda r: r(f"make {output}", command, model=output, **more)


def tune(output: str, data: str, more: str, base: str = TUNE) -> str:
    return f"finetune {data} -o {output} {base} {more}"


MODELS = {
    "translator": _model(mt("translator", limits=LEARN), "translator"),
    "second": lambda r: (r.models("translator"), r("make second", mt("second", "--tokenizer translator --seed 2", limits=LEARN, pieces=""), model="second")),
    "rnn": _model(mt("rnn", "--arch rnn", limits=LEARN, sizes=SIZES), "rnn"),
    "cnn": _model(mt("cnn", "--arch cnn", limits=LEARN, sizes=SIZES), "cnn"),
    "masked": _model(mt("masked", "--decoder mask-predict", limits=LEARN), "masked"),
    "captioner": _model(
        mt("captioner", "--source image --region-size 8 --image-size 16x32", limits=LEARN.replace("160", "60"), corpus="photos/train.tsv --dev photos/dev.tsv"), "captioner"),
    "bert": _model(f"pretrain text.txt -o bert {PRE} --n-layers 4 --max-steps 30", "bert"),
    "hfbert": _model(f"pretrain text.txt -o hfbert {PRE} --positions learned --norm post --max-positions 64", "hfbert"),
    "gpt": _model(f"pretrain text.txt -o gpt --objective clm {CLM} --max-steps 60 --validate-every 30", "gpt"),
    "gpt2": lambda r: (r.models("gpt"), r("make gpt2", f"pretrain text.txt -o gpt2 --objective clm {PRE.replace('--vocab-size 90', '')} --tokenizer gpt --seed 3", model="gpt2")),
    "bilm": _model(f"pretrain text.txt -o bilm --objective bilm {PRE.replace('--d-ff 64 --n-heads 2', '')}", "bilm"),
    "classifier": lambda r: (r.models("bert"), r("make classifier", tune("classifier", "labels.tsv", "--task classify --dev labels-dev.tsv", INIT), model="classifier")),
    "couples": lambda r: (r.models("bert"), r("make couples", tune("couples", "couples.tsv", "--task pair", INIT), model="couples")),
    "tagger": _model(tune("tagger", "train.conll", "--task tag --max-steps 60 --validate-every 30"), "tagger"),
    "reader": _model(tune("reader", "qa.json", "--task qa --dev qa-dev.json --max-len 48 --max-steps 20"), "reader"),
    "chooser": _model(tune("chooser", "choice.tsv", "--task choice"), "chooser"),
    "several": _model(tune("several", "", "--task mood=classify:labels.tsv --task kind=pair:couples.tsv:0.5 --task far=regress:regress.tsv"), "several"),
    "han": _model(tune("han", "docs.jsonl", "--task classify --arch han --columns parts,label"), "han"),
    "rnntext": _model(tune("rnntext", "labels.tsv", "--task classify --arch rnn"), "rnntext"),
    "gpttext": _model(tune("gpttext", "labels.tsv", "--task classify --arch gpt"), "gpttext"),
    "nodes": _model(f"finetune graph --task nodes -o nodes --d-head 4 --n-heads 2 --max-steps 30 --lr 0.03 {CPU}", "nodes", step_lines=False),
    "huggingface": lambda r: r.isolated(write_huggingface),
    "images": lambda r: r.isolated(write_images),
}


# ---------------------------------------------------------------- sections: training


def variants(r: Recorder, table: dict[str, str], base: str = "", *, sizes: str = f"{SIZES} {HEADS}", kinds: tuple[str, ...] = ("cross",), **more) -> None:
    """Trains each, writes and scores with it, and draws what it attends to."""
    for name, options in table.items():
        output = f"v/{r.section}/{name}"
        r(name, mt(output, f"{base} {options}", sizes=sizes, **more), model=output)
        r(f"{name} decode", f"decode -m {output} --beam 3 --max-len 9 --scores --n-best 2 --format moses --buffer 2 {CPU} few.txt")
        r(f"{name} ppl", f"score --log-prob -m {output} pairs.tsv {CPU}")
        for kind in kinds:
            r(f"{name} attend {kind}", f"attend --pairs --kind {kind} --layer all --head all -m {output} {CPU}", stdin="pairs.tsv")


@section
def mt_transformer(r: Recorder) -> None:
    kinds = ("cross", "encoder", "decoder")
    positions = {f"positions-{p}": f"--positions {p}" for p in ("sinusoidal", "sinusoidal-halves", "learned", "relative", "rotary", "none")}
    variants(r, positions, kinds=kinds)
    variants(r, {f"attention-{a}": f"--attention {a}" for a in ("dot", "general", "additive", "cosine", "mean")})
    variants(r, {
        "normalize-sum": "--normalize sum",
        "norm-post": "--norm post",
        "projections-none": "--projections none",
        "tie-key-value": "--tie-key-value",
        "combine-concat": "--combine concat",
        "combine-mean": "--combine mean",
        "relative-additive": "--positions relative --attention additive --max-distance 3",
        "relative-general-post": "--positions relative --attention general --norm post --tie-key-value",
        "relative-cosine": "--positions relative --attention cosine --normalize sum",
        "rotary-cosine": "--positions rotary --attention cosine",
        "learned-short": "--positions learned --max-positions 5",
        "untied": "--no-tie-embeddings",
        "separate-vocab": "--separate-vocab --vocab-size 60",
        "head-penalty": "--head-penalty 0.5",
        "no-encoder": "--n-encoder-layers 0",
        "deep": "--n-encoder-layers 3 --n-decoder-layers 1 --dropout 0.3",
    })
    r("preset tiny", f"train-mt train.tsv -o v/preset --type bpe --vocab-size 80 --max-steps 2 --metric loss --max-len 10 {CPU}", model="v/preset")


@section
def mt_rnn(r: Recorder) -> None:
    variants(r, {
        **{f"attention-{a}": f"--attention {a}" for a in ("scaled-dot", "dot", "general", "additive", "cosine", "mean")},
        "gru": "--cell gru", "plain-rnn": "--cell rnn",
        "additive-previous": "--attention additive --attend-from previous",
        "previous-gru-feeding": "--attention additive --attend-from previous --cell gru --input-feeding",
        "input-feeding": "--input-feeding",
        "hard": "--normalize hard", "hard-previous": "--normalize hard --attend-from previous",
        "sum": "--normalize sum", "projections": "--projections learned", "tie-key-value": "--projections learned --tie-key-value",
        "one-direction": "--unidirectional", "one-layer": "--n-encoder-layers 1 --n-decoder-layers 1",
        "untied-separate": "--no-tie-embeddings --separate-vocab --vocab-size 60",
        "scheduled": "--scheduled-sampling linear --sampling-rate 0.6",
        "scheduled-feeding": "--input-feeding --scheduled-sampling linear --sampling-choice argmax",
    }, "--arch rnn", sizes=SIZES)
    variants(r, {"none": "--attention none", "none-gru-feeding": "--attention none --cell gru"}, "--arch rnn", sizes=SIZES, kinds=())


@section
def mt_cnn(r: Recorder) -> None:
    variants(r, {
        "plain": "", "positions-sinusoidal": "--positions sinusoidal", "positions-none": "--positions none", "kernel-5": "--kernel-size 5",
        **{f"attention-{a}": f"--attention {a}" for a in ("dot", "general", "additive", "cosine", "mean")},
        "sum": "--normalize sum", "untied": "--no-tie-embeddings", "short": "--max-positions 4",
        "scheduled": "--scheduled-sampling linear --sampling-rate 0.5",
    }, "--arch cnn", sizes=SIZES)


@section
def mt_mask_predict(r: Recorder) -> None:
    for name, options in {"plain": "", "rotary-post": "--positions rotary --norm post", "relative": "--positions relative", "learned": "--positions learned --max-positions 6 --separate-vocab --vocab-size 60",
                          "bleu": "--metric bleu"}.items():
        output = f"v/mask/{name}"
        r(name, mt(output, f"--decoder mask-predict {options}"), model=output)
        r(f"{name} decode", f"decode -m {output} --beam 3 --iterations 3 --scores --n-best 2 --format moses {CPU} few.txt")
        r(f"{name} attend", f"attend --pairs --kind cross --layer all -m {output} {CPU}", stdin="pairs.tsv")
    r("from init", mt("v/mask/next", "--init v/mask/plain", pieces="", sizes=""), model="v/mask/next")


@section
def mt_image(r: Recorder) -> None:
    r.models("images")
    corpus = "photos/train.tsv --dev photos/dev.tsv"
    for name, options in {
        "conv": "--region-size 8 --image-size 16x32", "patch": "--region-size 8 --image-encoder patch",
        "shape-of-first": "--region-size 16", "rnn": "--arch rnn --region-size 8", "rnn-hard": "--arch rnn --region-size 8 --normalize hard",
        "relative": "--region-size 8 --positions relative", "bleu": "--region-size 8 --metric bleu",
        "cnn": "--arch cnn --region-size 8 --image-encoder patch",
    }.items():
        output = f"v/image/{name}"
        sizes = SIZES if "--arch" in options else f"{SIZES} {HEADS}"
        r(name, mt(output, f"--source image {options}", corpus=corpus, sizes=sizes), model=output)
        r(f"{name} decode", f"decode -m {output} --beam 3 --max-len 8 --scores {CPU} photos/test.tsv")
        r(f"{name} attend", f"attend -m {output} --pairs --layer all --head all photos/test.tsv {CPU}")
    r("held out", mt("v/image/held", "--source image --region-size 8", corpus="photos/train.tsv"), model="v/image/held")
    r("image root", mt("v/image/root", "--source image --region-size 8 --image-root photos", corpus="--dev photos/dev.tsv"), stdin="photos/train.tsv", model="v/image/root")
    r("init", mt("v/image/next", "--source image --init v/image/conv", corpus=corpus, pieces="", sizes=""), model="v/image/next")
    r("risk", mt("v/image/risk", "--source image --init v/image/conv --criterion risk --samples 2 --max-steps 2", corpus=corpus, pieces="", sizes=""), model="v/image/risk")
    r("bad image", mt("v/image/bad", "--source image --region-size 8", corpus="photos/bad.tsv", pieces="--type char"), status=3)
    r("bad image skipped", mt("v/image/skip", "--source image --region-size 8 --skip-bad", corpus="photos/bad.tsv", pieces="--type char"), model="v/image/skip")
    r("blank and broken", f"decode -m v/image/conv --beam 2 --max-len 8 {CPU} --image-root .", stdin="photos/new.txt", status=3)


@section
def mt_learning(r: Recorder) -> None:
    r.models("translator", "rnn")
    few = {"limits": FEW}
    for name, options in {
        "sampling-linear": "--scheduled-sampling linear", "sampling-exponential": "--scheduled-sampling exponential --sampling-rate 0.9",
        "sampling-inverse": "--scheduled-sampling inverse-sigmoid --sampling-choice argmax --sampling-rate 1",
    }.items():
        r(name, mt(f"v/learn/{name}", options, **few), model=f"v/learn/{name}")
    for name, options in {"professor": "", "professor-gru": "--cell gru --input-feeding", "professor-scheduled": "--scheduled-sampling linear", "professor-odd-smooth": "--label-smoothing 0 --accumulate 2"}.items():
        r(name, mt(f"v/learn/{name}", f"--arch rnn --professor-forcing 0.3 {options}", sizes=SIZES, **few), model=f"v/learn/{name}")
    start = {"pieces": "", "sizes": "", "limits": "--max-steps 4 --validate-every 2 --metric bleu"}
    for name, options in {
        "init": "", "init-dropout": "--dropout 0.3", "risk": "--criterion risk", "risk-beam": "--criterion risk --candidates beam --samples 3",
        "risk-reference": "--criterion risk --with-reference --sharpness 0.5 --likelihood-weight 0 --samples 2",
        "reinforce": "--criterion reinforce", "reinforce-weight": "--criterion reinforce --samples 2 --likelihood-weight 0.7 --batch-tokens 300",
        "risk-accumulate": "--criterion risk --accumulate 2 --batch-tokens 200 --metric loss",
    }.items():
        r(name, mt(f"v/learn/{name}", f"--init translator {options}", **start), model=f"v/learn/{name}")
    for name, options in {"rnn-risk": "--criterion risk", "rnn-reinforce": "--criterion reinforce", "rnn-init-professor": "--professor-forcing 0.2"}.items():
        r(name, mt(f"v/learn/{name}", f"--init rnn {options}", **start), model=f"v/learn/{name}")
    r("risk from nothing", mt("v/learn/scratch", "--criterion risk --max-steps 2 --samples 2"), model="v/learn/scratch")


@section
def mt_training(r: Recorder) -> None:
    for name, options in {
        "adamw": "--optimizer adamw", "adam-decay": "--optimizer adam --weight-decay 0.1", "muon-decay": "--weight-decay 0.1 --lr 0.01 --matrix-lr 0.03",
        "cosine": "--schedule cosine --warmup 3", "inverse-sqrt": "--schedule inverse-sqrt --warmup 3", "constant": "--schedule constant --warmup 0",
        "no-clip": "--clip-norm 0", "clip": "--clip-norm 0.1", "no-smoothing": "--label-smoothing 0", "smoothing": "--label-smoothing 0.4", "no-ema": "--ema 0", "ema": "--ema 0.5",
        "average": "--keep-best 3 --average 3 --validate-every 2 --ema 0", "keep": "--keep-best 2 --validate-every 1", "accumulate": "--accumulate 3 --batch-tokens 200",
        "epochs": "--max-steps 100 --max-epochs 1.5 --validate-every 4", "patience": "--patience 1 --lr 0 --matrix-lr 0 --max-steps 40 --validate-every 2",
        "metric-bleu": "--metric bleu", "metric-chrf": "--metric chrf", "seed": "--seed 5", "max-len": "--max-len 6", "bf16": "--precision bf16",
        "dropout": "--dropout 0.4", "quiet": "--quiet",
    }.items():
        r(name, mt(f"v/train/{name}", options), model=f"v/train/{name}")
    r("metric-bleu-default", mt("v/train/bleu-held", "--metric bleu", corpus="train.tsv", limits="--max-steps 4 --validate-every 4 --batch-tokens 500"), model="v/train/bleu-held")
    for kind, options in {"unigram": "--vocab-size 60", "bpe": "--vocab-size 60", "wordpiece": "--vocab-size 80 --lowercase", "char": "", "word": "",
                          "unigram-bytes": "--type unigram --lossless --vocab-size 330", "bpe-coverage": "--type bpe --coverage 0.99 --vocab-size 320"}.items():
        given = options if "--type" in options else f"--type {kind} {options}"
        r(f"tokenizer-{kind}", mt(f"v/train/t-{kind}", "", pieces=given), model=f"v/train/t-{kind}")
        r(f"tokenizer-{kind} decode", f"decode -m v/train/t-{kind} --beam 2 --max-len 6 few.txt {CPU}")
    r("tokenizer default", mt("v/train/t-default", pieces=""), model="v/train/t-default")
    r("subword sampling", mt("v/train/subword", "--subword-sampling 0.2"), model="v/train/subword")
    r("subword sampling unigram", mt("v/train/subword-u", "--subword-sampling 0.5", pieces="--type unigram --vocab-size 60"), model="v/train/subword-u")
    r("given tokenizer", mt("v/train/given", "--tokenizer v/train/t-unigram", pieces=""), model="v/train/given")
    r("embeddings", mt("v/train/vectors", "--embeddings vectors.txt", pieces="--type word"), model="v/train/vectors")
    r("embeddings separate", mt("v/train/vectors2", "--embeddings vectors.txt --separate-vocab", pieces="--type word"), model="v/train/vectors2")
    for name, corpus in {"held out": "train.tsv", "parallel": "--src train.en --tgt train.fr", "columns": "--columns 2,1 train.tsv --dev dev.tsv", "header": "--columns src,tgt header.tsv",
                         "json": "--columns en,fr train.jsonl", "gz": "train.tsv.gz", "two files": "train.tsv swapped.tsv", "skip bad": "badtrain.tsv --skip-bad --dev dev.tsv", "dev in train": "train.tsv --dev train.tsv"}.items():
        output = f"v/train/c-{name.replace(' ', '-')}"
        r(name, mt(output, "", corpus=corpus), model=output)
    r("stdin", mt("v/train/stdin", corpus=""), stdin="train.tsv", model="v/train/stdin")
    r("bad refused", mt("v/train/refused", corpus="badtrain.tsv --dev dev.tsv"), status=3)
    r("dry run", mt("v/train/dry", "--dry-run"))
    r("tensorboard", mt("v/train/board", "--tensorboard v/train/events"), model="v/train/board")
    r("finished", mt("v/train/seed", "--seed 5"), model="v/train/seed")
    r("other options", mt("v/train/seed", "--seed 6"), status=2)
    r("overwrite", mt("v/train/seed", "--seed 6 --overwrite"), model="v/train/seed")
    Path("config.toml").write_text('d-model = 32\nd_ff = 64\nn_heads = 2\nn_encoder_layers = 1\nn_decoder_layers = 1\nmax_steps = 3\nmetric = "loss"\ntype = "bpe"\nvocab_size = 80\nthreads = 1\ndevice = "cpu"\ndev = "dev.tsv"\nbatch_tokens = 400\n')
    r("toml", "train-mt train.tsv -o v/train/toml --config config.toml --max-steps 4", model="v/train/toml")
    r("output by environment", f"train-mt train.tsv {SIZES} {HEADS} {PIECES} --max-steps 1 --metric loss --dev dev.tsv {CPU}", env={"ATTN_MODEL": "v/train/env"}, model="v/train/env")


def stopped(r: Recorder, name: str, command: str, output: str) -> None:
    r(f"{name} stopped", command, status=143, stop_after=f"{output}/train.jsonl", step_lines=False, resumed=True)
    r(f"{name} continued", command, model=output, step_lines=False, resumed=True)


@section
def resume(r: Recorder) -> None:
    long = "--max-steps 60 --validate-every 6 --metric loss --batch-tokens 500"
    for name, options, sizes in (("transformer", "--accumulate 2 --dropout 0.2", f"{SIZES} {HEADS}"), ("rnn-professor", "--arch rnn --professor-forcing 0.2 --normalize hard", SIZES),
                                 ("adam-average", "--optimizer adam --keep-best 3 --average 2 --scheduled-sampling linear --subword-sampling 0.1", f"{SIZES} {HEADS}")):
        stopped(r, name, mt(f"v/resume/{name}", options, limits=long, sizes=sizes), f"v/resume/{name}")
    longer = {"--max-steps 6 ": "--max-steps 40 "}
    pre, fine = PRE.replace(*next(iter(longer.items()))), TUNE.replace(*next(iter(longer.items())))
    stopped(r, "pretrain", f"pretrain text.txt -o v/resume/pre {pre}", "v/resume/pre")
    stopped(r, "finetune", tune("v/resume/fine", "labels.tsv", "--task classify", fine), "v/resume/fine")
    stopped(r, "nodes", f"finetune graph --task nodes -o v/resume/nodes --d-head 4 --max-steps 900 --validate-every 10 --patience 0 --dropout 0.3 {CPU}", "v/resume/nodes")


@section
def pretrain(r: Recorder) -> None:
    stack = PRE
    for name, options in {
        "mlm+nsp": "", "mlm": "--objective mlm", "whole-word": "--objective mlm --whole-word", "span": "--objective mlm --span", "nsp-whole-word": "--whole-word --short-seq 0.6 --nsp-weight 0.3",
        "static": "--static-masking", "mask-rate": "--mask 0.4 --objective mlm", "post-learned": "--norm post --positions learned --max-positions 64",
        "relative": "--positions relative", "sinusoidal": "--positions sinusoidal --activation relu", "halves-tanh": "--positions sinusoidal-halves --activation gelu-tanh", "no-positions": "--positions none",
        "additive": "--attention additive", "cosine-sum": "--attention cosine --normalize sum", "general-concat": "--attention general --combine concat", "mean": "--attention mean --combine mean",
        "unprojected": "--projections none", "tied": "--tie-key-value", "dropout": "--dropout 0.3",
        "clm": "--objective clm --vocab-size 300", "clm-bpe-relative": "--objective clm --type bpe --positions relative --vocab-size 310", "clm-char-learned": "--objective clm --type char --vocab-size 300 --positions learned --norm post",
        "clm-unigram": "--objective clm --type unigram --vocab-size 310 --tie-key-value",
        "bpe": "--type bpe", "unigram-lossless": "--type unigram --lossless --vocab-size 310", "lowercase": "--lowercase", "word": "--type word", "adamw-average": "--optimizer adamw --keep-best 2 --average 2 --ema 0",
        "accumulate": "--accumulate 2 --batch-tokens 250 --label-smoothing 0.1", "held-out": "",
    }.items():
        output = f"v/pre/{name}"
        command = f"pretrain text.txt -o {output} {stack} {options}"
        command = command.replace("--dev devtext.txt", "") if name == "held-out" else command
        r(name, command, model=output)
    light = stack.replace("--d-ff 64 --n-heads 2", "")
    for name, options in {"bilm": "--objective bilm", "bilm-word": "--objective bilm --type word --dropout 0.2"}.items():
        r(name, f"pretrain text.txt -o v/pre/{name} {light} {options}", model=f"v/pre/{name}")
    short = f"--max-len 48 --batch-tokens 500 --max-steps 4 --validate-every 2 --dev devtext.txt {CPU}"
    r.models("bert", "gpt", "bilm")
    for name, options in {"init": "--init bert", "init-mlm": "--init bert --objective mlm", "init-clm": "--init gpt --objective clm", "init-bilm": "--init bilm --objective bilm"}.items():
        r(name, f"pretrain text.txt -o v/pre/{name} {short} {options}", model=f"v/pre/{name}")
    r("stdin dry", f"pretrain --dry-run {stack}", stdin="text.txt")
    r("json", f"pretrain train.jsonl --columns en --objective mlm -o v/pre/json {stack}", status=2)
    r("tokenizer", f"pretrain text.txt --tokenizer bert -o v/pre/tok {stack.replace('--vocab-size 90', '')}", model="v/pre/tok")


@section
def finetune(r: Recorder) -> None:
    kinds = {"classify": "labels.tsv", "pair": "couples.tsv", "regress": "regress.tsv", "rate": "rate.tsv", "multilabel": "multilabel.tsv", "choice": "choice.tsv", "tag": "train.conll", "qa": "qa.json"}
    asked = {"classify": "clean.txt", "pair": "couples.txt", "regress": "couples.txt", "rate": "clean.txt", "multilabel": "clean.txt", "choice": "choice.txt", "tag": "test.conll", "qa": "qa-dev.json"}
    r.models("bert", "gpt", "bilm")
    for kind, data in kinds.items():
        r(kind, tune(f"v/fine/{kind}", data, f"--task {kind} --max-len 40"), model=f"v/fine/{kind}")
        r(f"{kind} decode", f"decode -m v/fine/{kind} {asked[kind]} {CPU}", status=(0, 3) if kind in ("pair", "regress") else 0)
        r(f"{kind} init", tune(f"v/fine/i-{kind}", data, f"--task {kind} --max-len 40", INIT), model=f"v/fine/i-{kind}")
    for arch in ("gpt", "rnn"):
        for kind in ("classify", "pair", "tag", "qa"):
            name = f"{arch}-{kind}"
            r(name, tune(f"v/fine/{name}", kinds[kind], f"--task {kind} --arch {arch} --max-len 40 --max-steps 4"), model=f"v/fine/{name}")
            r(f"{name} decode", f"decode -m v/fine/{name} {asked[kind]} {CPU}", status=(0, 3) if kind == "pair" else 0)
    for name, options in {
        "han": "docs.jsonl --task classify --arch han --columns parts,label", "han-text": "labels.tsv --task classify --arch han --max-len 10", "han-rate": "rate.tsv --task rate --arch han",
        "han-multilabel": "multilabel.tsv --task multilabel --arch han --dropout 0.2",
        "pool-mean": "labels.tsv --task classify --pool mean", "pool-max": "labels.tsv --task classify --pool max", "pool-own": "labels.tsv --task classify --pool own", "gpt-mean": "labels.tsv --task classify --arch gpt --pool mean",
        "balance": "labels.tsv --task classify --balance", "pair-balance": "couples.tsv --task pair --balance", "smoothing": "couples.tsv --task pair --label-smoothing 0.2", "dropout": "labels.tsv --task classify --dropout 0.4",
        "long": "long-labels.tsv --task classify --max-len 16 --stride 6", "embeddings": "labels.tsv --task classify --type word --embeddings vectors128.txt", "han-embeddings": "docs.jsonl --task classify --arch han --columns parts,label --type word --embeddings vectors128.txt",
        "json": "couples.jsonl --task pair --columns p,h,l", "muon": "labels.tsv --task classify --optimizer muon", "dev": "labels.tsv --task classify --dev labels-dev.tsv --metric macro_f1", "mcc": "labels.tsv --task classify --metric mcc --keep-best 2 --average 2",
        "loss": "labels.tsv --task classify --metric loss", "spearman": "regress.tsv --task regress --metric spearman", "tag-accuracy": "train.conll --task tag --metric accuracy", "squad-em": "qa.json --task qa --metric squad_em --max-len 40",
        "dry": "labels.tsv --task classify --dry-run", "accumulate": "labels.tsv --task classify --accumulate 2", "wordpiece": "labels.tsv --task classify --type wordpiece --lowercase",
    }.items():
        data, more = options.split(" ", 1)
        output = f"v/fine/{name}"
        r(name, tune(output, data, more), model=None if name == "dry" else output)
    for name, options in {
        "lora": "--task classify --lora 4", "freeze": "--task classify --freeze 2", "freeze-all": "--task classify --freeze 5", "layer-decay": "--task classify --layer-decay 0.5", "init-max": "--task classify --pool max",
        "init-dropout": "--task classify --dropout 0.3",
    }.items():
        r(name, tune(f"v/fine/{name}", "labels.tsv", options, INIT), model=f"v/fine/{name}")
    r("tag-balance", tune("v/fine/tag-balance", "train.conll", "--task tag --balance"), status=(0, 2))
    for start, base in {"gpt": INIT.replace("bert", "gpt"), "bilm": INIT.replace("bert", "bilm")}.items():
        for kind in ("classify", "tag", "pair"):
            r(f"from-{start}-{kind}", tune(f"v/fine/from-{start}-{kind}", kinds[kind], f"--task {kind}", base), model=f"v/fine/from-{start}-{kind}")
        r(f"from-{start}-decay", tune(f"v/fine/{start}-decay", "labels.tsv", "--task classify --layer-decay 0.7 --freeze 1", base), model=f"v/fine/{start}-decay")
    r("from-bilm decode", f"decode -m v/fine/from-bilm-tag tag.txt {CPU}")
    r("gpt-lora", tune("v/fine/gpt-lora", "labels.tsv", "--task classify --lora 2", INIT.replace("bert", "gpt")), model="v/fine/gpt-lora")
    r("again", tune("v/fine/again", "labels.tsv", "--task classify", INIT.replace("bert", "v/fine/i-classify")), model="v/fine/again")
    several = "--task mood=classify:labels.tsv --task names=tag:train.conll:0.5 --task far=regress:regress.tsv:2 --task what=qa:qa.json"
    r("several", tune("v/fine/several", "", several), model="v/fine/several")
    r("several init", tune("v/fine/several-init", "", f"{several} --dev mood=labels-dev.tsv --columns mood=1,2", INIT), model="v/fine/several-init")
    r("several decode", f"decode -m v/fine/several --task names tag.txt {CPU}")


@section
def nodes(r: Recorder) -> None:
    base = f"--task nodes --d-head 4 --n-heads 2 --max-steps 12 --lr 0.03 {CPU}"
    for name, options in {"gat": "graph", "gatv2": "graph --graph-score gatv2", "multi": "graph2", "multi-label": "graph --multi-label", "single": "graph2 --single-label", "three-layers": "graph --n-layers 3 --dropout 0.2",
                          "output-heads": "graph --n-output-heads 3", "raw": "graph --no-normalize-features", "batches": "graph --batch-tokens 6 --accumulate 2", "one-layer": "graph --n-layers 1", "adamw-ema": "graph --optimizer adamw --ema 0.9 --schedule linear --clip-norm 1",
                          "metric": "graph --metric loss --validate-every 3 --keep-best 2 --average 2", "muon": "graph --optimizer muon --label-smoothing 0.1"}.items():
        r(name, f"finetune {options} -o v/nodes/{name} {base}", model=f"v/nodes/{name}", step_lines=False)
        graph = options.split()[0]
        r(f"{name} decode", f"decode {graph} -m v/nodes/{name} --scores {CPU}")
        r(f"{name} attend", f"attend {graph} -m v/nodes/{name} --layer all --head all {CPU}")
    r("json", f"decode graph/nodes.tsv -m v/nodes/gat --format json {CPU}")
    r("multi json", f"decode graph2 -m v/nodes/multi --format json {CPU}")


# ---------------------------------------------------------------- sections: running


@section
def decode(r: Recorder) -> None:
    r.models("translator", "second", "rnn", "cnn", "masked")
    for name, options in {
        "plain": "new.txt", "beam 3": "--beam 3 new.txt", "greedy": "--greedy new.txt", "beam 1": "--beam 1 new.txt", "beam 12": "--beam 12 few.txt", "n-best refused": "--n-best 3 new.txt", "n-best moses": "--n-best 3 --format moses new.txt",
        "n-best json": "--n-best 3 --format json new.txt", "n-best all": "--n-best 2 --format json --align --scores new.txt", "n-best moses align": "--n-best 2 --format moses --align --scores new.txt",
        "text scores align": "--scores --align new.txt", "scores": "--scores new.txt", "align": "--align new.txt", "json": "--format json new.txt", "moses": "--format moses new.txt", "passing": "test.tsv", "passing scores": "--scores --align test.tsv",
        "prefix": "--prefix prefix.tsv", "prefix scores": "--prefix --scores --n-best 2 --format json prefix.tsv", "constraints": "--constraints phrases.tsv", "constraints scores": "--constraints --scores --beam 4 --n-best 2 --format moses phrases.tsv",
        "sample": "--sample new.txt", "sample seed": "--sample --seed 7 new.txt", "top-k": "--sample --top-k 3 --temperature 2 new.txt", "top-p": "--sample --top-p 0.8 --temperature 1.5 new.txt", "samples": "--sample --n-best 3 --scores --format moses new.txt",
        "sample prefix": "--sample --prefix prefix.tsv", "sample all": "--sample --top-k 5 --top-p 0.9 --min-len 4 --no-repeat-ngram 2 new.txt",
        "min-len": "--min-len 9 new.txt", "max-len": "--max-len 3 new.txt", "no repeat": "--no-repeat-ngram 1 --min-len 8 new.txt", "coverage": "--coverage-penalty 0.7 --scores new.txt", "length 0": "--length-penalty 0 --scores new.txt", "length 2": "--length-penalty 2 new.txt",
        "count": "--stopping count --n-best 4 --format moses --scores new.txt", "diversity": "--diversity 0.8 --beam 4 --n-best 4 --format moses new.txt", "groups": "--diversity 1.5 --diversity-groups 2 --beam 6 --n-best 4 --format json new.txt", "max-input": "--max-input 12 long.txt", "long": "long.txt --scores --align",
        "batch": "--batch-tokens 30 new.txt", "buffer 1": "--buffer 1 new.txt", "buffer 3": "--buffer 3 --scores new.txt", "bf16": "--precision bf16 new.txt", "columns": "--columns 2 test.tsv", "columns header": "--columns text columns.tsv", "columns two": "--columns 2,3 columns.tsv --prefix",
        "gz": "new.txt.gz", "crlf": "crlf.txt", "quiet": "--quiet new.txt", "greedy constraints": "--greedy --prefix --scores prefix.tsv",
    }.items():
        r(name, f"decode -m translator {options} {CPU}", status=2 if "refused" in name else 0)
    r("json lines", f"decode -m translator --columns en new.jsonl {CPU}", status=3)
    r("json lines scores", f"decode -m translator --columns en new.jsonl --skip-bad --scores --align {CPU}")
    r("both", f"decode -m translator --prefix --constraints both.tsv {CPU}", status=3)
    r("both skipped", f"decode -m translator --prefix --constraints --skip-bad both.tsv --scores {CPU}")
    r("stdin", f"decode -m translator {CPU}", stdin="new.txt")
    r("bad", f"decode -m translator bad.txt {CPU}", status=3)
    r("bad skipped", f"decode -m translator bad.txt --skip-bad --scores {CPU}")
    r("empty", f"decode -m translator {CPU}")
    r("environment", f"decode few.txt {CPU}", env={"ATTN_MODEL": "translator"})
    for name, options in {"plain": "", "greedy": "--greedy", "all": "--n-best 2 --format json --align --scores", "sample": "--sample --top-k 4", "coverage": "--coverage-penalty 0.5", "max-input": "--max-input 10"}.items():
        r(f"ensemble {name}", f"decode -m translator,second {options} new.txt {CPU}")
    r("ensemble constraints", f"decode -m translator,second --constraints phrases.tsv {CPU}")
    for model in ("rnn", "cnn"):
        for name, options in {"plain": "new.txt", "greedy": "--greedy new.txt", "all": "--n-best 2 --format json --align --scores new.txt", "sample": "--sample new.txt", "constraints": "--constraints phrases.tsv", "prefix": "--prefix prefix.tsv",
                              "coverage": "--coverage-penalty 0.5 --no-repeat-ngram 2 --min-len 3 new.txt", "diversity": "--diversity 0.5 --beam 4 --n-best 3 --format moses new.txt", "long": "long.txt", "twice": f"-m {model},{model} new.txt", "batch": "--batch-tokens 40 --buffer 4 new.txt"}.items():
            r(f"{model} {name}", f"decode {'' if name == 'twice' else f'-m {model}'} {options} {CPU}")
    for name, options in {"plain": "new.txt", "iterations": "--iterations 4 new.txt", "one": "--iterations 1 --greedy new.txt", "all": "--n-best 2 --beam 4 --format json --scores new.txt", "align": "--align new.txt", "min-len": "--min-len 9 new.txt", "max-len": "--max-len 4 new.txt", "length": "--length-penalty 0 --scores new.txt",
                          "long": "long.txt --max-input 20", "ensemble": "-m masked,masked new.txt"}.items():
        r(f"masked {name}", f"decode {'' if name == 'ensemble' else '-m masked'} {options} {CPU}")
    for name, options in {"sample": "--sample", "prefix": "--prefix", "constraints": "--constraints", "coverage": "--coverage-penalty 1", "no repeat": "--no-repeat-ngram 2", "diversity": "--diversity 1"}.items():
        r(f"masked refuses {name}", f"decode -m masked {options} prefix.tsv {CPU}", status=2)
    Path("decode.toml").write_text('model = "translator"\nn_best = 2\nscores = true\nbeam = 3\nformat = "moses"\n')
    r("toml", f"decode --config decode.toml few.txt {CPU}")


@section
def decode_tasks(r: Recorder) -> None:
    r.models("images", "gpt", "gpt2", "classifier", "couples", "tagger", "reader", "chooser", "several", "han", "rnntext", "gpttext", "nodes", "captioner")
    for name, options in {"plain": "few.txt", "greedy": "--greedy new.txt", "sample": "--sample --top-k 5 --seed 3 new.txt", "n-best": "--n-best 2 --format json --scores few.txt", "max-len": "--max-len 4 few.txt", "moses": "--n-best 2 --format moses few.txt", "min": "--min-len 8 --no-repeat-ngram 3 few.txt",
                          "constraints": "--constraints phrases.tsv", "diversity": "--diversity 1 --beam 4 --n-best 2 --format moses few.txt", "long": "--max-len 6 long.txt", "columns": "--columns 2 --max-len 5 test.tsv", "buffer": "--buffer 1 --max-len 5 new.txt"}.items():
        r(f"gpt {name}", f"decode -m gpt {options} {CPU}")
    r("gpt bad", f"decode -m gpt --max-len 5 bad.txt {CPU}", status=3)
    r("gpt ensemble", f"decode -m gpt,gpt2 --max-len 6 --scores new.txt {CPU}")
    for model in ("classifier", "gpttext", "rnntext", "han"):
        for name, options in {"plain": "clean.txt", "scores": "--scores test.tsv", "json": "--format json clean.txt", "json scores": "--format json --scores clean.txt", "long": "--stride 5 long.txt", "buffer": "--buffer 2 clean.txt"}.items():
            if (model, name) == ("han", "long"):
                options = "long.txt"
            r(f"{model} {name}", f"decode -m {model} {options} {CPU}")
        r(f"{model} bad", f"decode -m {model} bad.txt {CPU}", status=3)
        r(f"{model} spaces", f"decode -m {model} new.txt {CPU}", status=3)
        r(f"{model} n-best", f"decode -m {model} --n-best 2 --format moses few.txt {CPU}", status=2)
    r("classifier ensemble", f"decode -m classifier,classifier new.txt {CPU}", status=(0, 2))
    r("classifier columns", f"decode -m classifier --columns en new.jsonl --skip-bad --format json {CPU}")
    r("couples", f"decode -m couples --scores couples.txt {CPU}", status=(0, 3))
    r("couples json", f"decode -m couples couples.txt --format json {CPU}", status=(0, 3))
    r("couples columns", f"decode -m couples --columns p,h couples.jsonl --buffer 7 {CPU}")
    for name, options in {"conll": "test.conll", "scores": "--scores test.conll", "json": "--format json test.conll", "text": "tag.txt", "text scores": "--scores tag.txt", "text json": "--format json tag.txt", "buffer": "--buffer 2 tag.txt", "stride": "--stride 3 long.txt"}.items():
        r(f"tagger {name}", f"decode -m tagger {options} {CPU}", status=(0, 2))
    r("tagger bad", f"decode -m tagger bad.txt {CPU}", status=3)
    for name, options in {"plain": "qa-dev.json", "scores": "--scores qa-dev.json", "n-best": "--n-best 3 --format json qa-dev.json", "threshold": "--no-answer-threshold -5 qa-dev.json", "long answer": "--max-answer-len 2 qa-dev.json", "stride": "--stride 8 qa-dev.json"}.items():
        r(f"reader {name}", f"decode -m reader {options} {CPU}", status=(0, 2))
    r("reader stdin", f"decode -m reader {CPU}", stdin="qa-dev.json")
    lines("asked.tsv", [("what is it?", "the cat sees a dog in the garden", "x"), ("who?", "a king finds the red book")])
    r("reader lines", f"decode -m reader asked.tsv {CPU}", status=(0, 2, 3))
    r("chooser", f"decode -m chooser --scores choice.txt {CPU}")
    r("chooser json", f"decode -m chooser --format json choice.txt {CPU}")
    r("several", f"decode -m several --task mood clean.txt --scores {CPU}")
    r("several pair", f"decode -m several --task kind couples.txt {CPU}", status=(0, 3))
    r("several number", f"decode -m several --task far couples.txt --scores {CPU}", status=(0, 2, 3))
    r("several which", f"decode -m several new.txt {CPU}", status=2)
    r("several unknown", f"decode -m several --task modd new.txt {CPU}", status=2)
    r("han documents", f"decode -m han --columns parts docs-new.jsonl --scores {CPU}")
    r("han text", f"decode -m han docs.txt {CPU}")
    r("nodes", f"decode graph -m nodes {CPU}")
    r("nodes n-best", f"decode graph -m nodes --scores --format json {CPU}")
    for name, options in {"plain": "photos/test.tsv", "all": "--n-best 2 --format json --scores photos/test.tsv", "align": "--align photos/test.tsv", "sample": "--sample photos/test.tsv", "root": "--image-root photos photos/test.tsv"}.items():
        r(f"captioner {name}", f"decode -m captioner {options} {CPU}", status=(0, 2))
    r("captioner bad", f"decode -m captioner photos/bad.tsv {CPU}", status=3)
    for name, options in {"classifier refuses beam": "-m classifier --beam 3", "classifier refuses align": "-m classifier --align", "tagger refuses prefix": "-m tagger --prefix", "reader refuses sample": "-m reader --sample"}.items():
        r(name, f"decode {options} few.txt {CPU}", status=(0, 2, 3))


@section
def score(r: Recorder) -> None:
    texts = "score/hyp.txt --ref score/ref.txt"
    for name, options in {
        "default": texts, "all": f"{texts} --bleu --chrf --chrf++ --ter --wer --cer --rouge --exact-match", "json": f"{texts} --bleu --chrf --chrf++ --ter --wer --cer --rouge --exact-match --json", "two refs": f"{texts} --ref score/ref2.txt --bleu --chrf --ter --wer --cer --rouge --exact-match --json",
        "signature": f"{texts} --bleu --chrf --ter --signature", "bootstrap": f"{texts} --bleu --chrf --wer --rouge --exact-match --bootstrap 60", "bootstrap json": f"{texts} --ref score/ref2.txt --bleu --ter --bootstrap 40 --json --seed 3", "baseline": f"{texts} --bleu --chrf --wer --baseline score/other.txt", "baseline json": f"{texts} --bleu --rouge --baseline score/other.txt --bootstrap 50 --json --signature",
        "per line": f"{texts} --bleu --chrf --ter --wer --cer --rouge --exact-match --per-line", "per line json": f"{texts} --bleu --chrf --per-line --json", "lowercase": f"{texts} --bleu --chrf --wer --cer --exact-match --lowercase", "intl": f"{texts} --bleu --tokenize intl --signature", "char": f"{texts} --bleu --tokenize char", "no stem": f"{texts} --rouge --no-stem", "zh none": f"{texts} --bleu --tokenize none --per-line",
        "tsv": "score/hyps.tsv --bleu", "tsv two": "score/hyps3.tsv --bleu --chrf", "columns": "score/hyps3.tsv --bleu --columns 1,3", "accuracy": "score/labels.tsv --accuracy --f1 --mcc", "labels json": "score/labels.tsv --accuracy --f1 --mcc --json --report", "labels report": "score/labels.tsv --f1 --report", "labels per line": "score/labels.tsv --accuracy --per-line", "labels bootstrap": "score/labels.tsv --accuracy --f1 --mcc --bootstrap 30",
        "many": "score/many.tsv --multilabel-f1 --exact-match --report", "many json": "score/many.tsv --multilabel-f1 --json", "numbers": "score/numbers.tsv --pearson --spearman --bootstrap 20", "numbers json": "score/numbers.tsv --pearson --spearman --json", "spans": "score/tags.tsv --span-f1 --accuracy", "spans json": "score/tags.tsv --span-f1 --json --report", "spans bioes": "score/tags.tsv --span-f1 --scheme bioes", "spans lenient": "score/tags.tsv --span-f1 --scheme lenient --report",
        "conll": "score/tags.conll --span-f1 --accuracy --f1 --columns 2,3", "tags": "score/tags.tsv --tags --accuracy --f1 --mcc", "spans per line": "score/tags.tsv --span-f1 --scheme bio --per-line",
    }.items():
        r(name, f"score {options}")
    r("stdin", "score --bleu --chrf", stdin="score/hyps.tsv")
    r("lengths differ", "score new.txt --ref score/ref.txt --bleu", status=3)
    r("bad", "score bad.txt --ref bad.txt --bleu", status=3)
    r("bad skipped", "score bad.txt --ref bad.txt --bleu --skip-bad")
    r("one column", "score few.txt --bleu", status=3)
    r.models("images", "translator", "second", "rnn", "cnn", "masked", "gpt", "gpt2", "bilm", "bert", "reader", "captioner")
    r("answers", f"decode -m reader qa-dev.json {CPU}")
    Path("answers.json").write_text(r.found[r.section]["answers"]["stdout"])
    r("squad", "score answers.json --squad --ref qa-dev.json")
    r("squad json", "score answers.json --squad --ref qa-dev.json --json --bootstrap 20")
    for model in ("translator", "rnn", "cnn", "translator,second", "captioner"):
        data = "photos/test.tsv" if model == "captioner" else "pairs.tsv"
        r(f"log-prob {model}", f"score --log-prob -m {model} {data} {CPU}")
        r(f"ppl {model}", f"score --ppl -m {model} {data} {CPU}")
        r(f"ppl json {model}", f"score --ppl --json -m {model} {data} {CPU}", status=(0, 2))
    r("masked", f"score --log-prob -m masked pairs.tsv {CPU}", status=(0, 2, 3))
    for model in ("gpt", "gpt,gpt2"):
        r(f"ppl {model}", f"score --ppl -m {model} new.txt {CPU}")
        r(f"log-prob {model}", f"score --log-prob -m {model} new.txt {CPU}")
    r("ppl gpt long", f"score --ppl -m gpt long.txt {CPU}")
    r("ppl gpt columns", f"score --ppl -m gpt --columns 2 test.tsv {CPU}", status=(0, 2))
    r("ppl bilm", f"score --ppl -m bilm new.txt {CPU}", status=(0, 2, 3))
    r("ppl bert", f"score --ppl -m bert new.txt {CPU}", status=(0, 2, 3))
    r("log-prob bad", f"score --log-prob -m translator few.txt {CPU}", status=3)
    r("log-prob bad skipped", f"score --log-prob -m translator bad.txt --skip-bad {CPU}")


@section
def attend(r: Recorder) -> None:
    r.models("images", "translator", "rnn", "cnn", "masked", "captioner", "bert", "gpt", "classifier", "couples", "tagger", "reader", "chooser", "several", "han", "rnntext", "gpttext", "nodes", "bilm")
    r("bilm nothing", f"attend -m bilm few.txt {CPU}", status=(0, 1, 2, 3))
    for name, options in {
        "default": "few.txt", "words": "--words few.txt", "pairs": "--pairs pairs.tsv", "pairs words": "--pairs --words pairs.tsv", "encoder": "--kind encoder few.txt", "decoder": "--kind decoder --layer 1 --head 2 few.txt", "all": "--layer all --head all few.txt", "last": "--layer -1 --head mean few.txt", "words encoder": "--words --kind encoder --layer all --head all few.txt",
        "heat": "--format heat few.txt", "heat words": "--format heat --words --pairs pairs.tsv", "tsv blank": "--format tsv new.txt", "beam": "--beam 1 few.txt", "max-input": "--max-input 12 long.txt", "columns": "--columns 2 columns.tsv", "columns names": "--columns text,more --pairs columns.tsv",
    }.items():
        r(name, f"attend -m translator {options} {CPU}")
    r("bad", f"attend -m translator bad.txt {CPU}", status=3)
    r("bad skipped", f"attend -m translator bad.txt --skip-bad {CPU}")
    r("json", f"attend -m translator --columns en new.jsonl --skip-bad {CPU}")
    for ending in ("html", "svg", "png", "pdf"):
        Path(f"drawn/{ending}").mkdir(parents=True)
        r(f"file {ending}", f"attend -m translator -o drawn/{ending}/a.{ending} few.txt {CPU}", made=(f"drawn/{ending}/a*",))
        r(f"file {ending} words", f"attend -m translator --words --head all --pairs -o drawn/{ending}/w.{ending} pairs.tsv {CPU}", made=(f"drawn/{ending}/w*",))
    models = {"rnn": "few.txt", "cnn": "few.txt", "masked": "few.txt", "captioner": "photos/test.tsv", "bert": "few.txt", "gpt": "few.txt", "classifier": "few.txt", "couples": "couples.txt", "tagger": "tag.txt", "reader": "asked.tsv", "chooser": "choice.txt", "han": "docs.txt", "rnntext": "few.txt", "gpttext": "few.txt", "several": "few.txt"}
    lines("asked.tsv", [("what is it?", "the cat sees a dog in the garden", "x"), ("who?", "a king finds the red book")])
    for model, data in models.items():
        task = "--task mood" if model == "several" else ""
        fine = (0, 2, 3) if model in ("reader", "couples", "captioner") else 0
        r(model, f"attend -m {model} {task} {data} {CPU}", status=fine)
        r(f"{model} words", f"attend -m {model} {task} --words {data} {CPU}", status=(0, 2, 3))
        r(f"{model} all", f"attend -m {model} {task} --layer all --head all {data} {CPU}", status=fine)
        r(f"{model} heat", f"attend -m {model} {task} --format heat {data} {CPU}", status=(0, 2, 3))
        Path(f"drawn/{model}").mkdir()
        r(f"{model} page", f"attend -m {model} {task} -o drawn/{model}/page.html {data} {CPU}", made=(f"drawn/{model}/page*",), status=fine)
        if model not in ("rnn", "captioner", "han", "couples"):
            continue  # pictures take long, and are drawn by the same code
        r(f"{model} svg", f"attend -m {model} {task} -o drawn/{model}/p.svg {data} {CPU}", made=(f"drawn/{model}/p*",), status=fine)
    r("bert long", f"attend -m bert long.txt --max-input 20 {CPU}")
    r("tagger conll", f"attend -m tagger test.conll {CPU}", status=(0, 2, 3))
    r("reader file", f"attend -m reader qa-dev.json {CPU}", status=(0, 2, 3))
    r("han sentence", f"attend -m han --kind sentence --columns parts docs-new.jsonl {CPU}")
    r("han word", f"attend -m han --kind word --columns parts docs-new.jsonl --words {CPU}", status=(0, 2))
    for name, options in {"captioner tokens": "--kind decoder photos/test.tsv", "captioner encoder": "--kind encoder --pairs photos/test.tsv", "captioner png": "-o drawn/captioner/c.png photos/test.tsv"}.items():
        r(name, f"attend -m captioner {options} {CPU}", status=(0, 2), made=("drawn/captioner/c*",) if "png" in name else ())
    for name, options in {"nodes": "", "nodes all": "--layer all --head all", "nodes heat": "--format heat --layer 1", "nodes svg": "-o drawn/nodes.svg", "nodes png": "-o drawn/nodes.png", "nodes pdf": "-o drawn/nodes.pdf", "nodes html": "-o drawn/nodes.html"}.items():
        r(name, f"attend -m nodes graph {options} {CPU}", status=(0, 2), made=(options.split()[-1],) if "drawn" in options else ())
    for name, options in {"no kind": "-m translator --kind crss few.txt", "no layer": "-m translator --layer 9 few.txt", "no head": "-m translator --head 9 few.txt", "no ensemble": "-m translator,rnn few.txt", "no ending": "-m translator -o x.txt few.txt", "no folder": "-m translator -o nowhere/x.svg few.txt"}.items():
        r(name, f"attend {options} {CPU}", status=(1, 2, 3))


@section
def embed(r: Recorder) -> None:
    r.models("bert", "gpt", "bilm", "classifier", "han", "rnntext", "translator", "tagger", "nodes")
    Path("vectors").mkdir()
    for model in ("bert", "gpt", "bilm", "classifier", "rnntext"):
        fine = 0 if model in ("bert", "gpt", "classifier") else (0, 2, 3)
        for name, options in {"plain": "new.txt", "max": "--pool max new.txt", "none": "--pool none new.txt", "words": "--words new.txt", "normalize": "--normalize few.txt", "layer 0": "--layer 0 few.txt", "layer 1": "--layer 1 few.txt", "all": "--layer all few.txt", "words all": "--words --layer all few.txt", "long": "--stride 5 long.txt", "buffer": "--buffer 2 --batch-tokens 60 new.txt"}.items():
            r(f"{model} {name}", f"embed -m {model} {options} {CPU}", status=fine)
        r(f"{model} cls", f"embed -m {model} --pool cls new.txt {CPU}", status=(0, 2))
        r(f"{model} sum4", f"embed -m {model} --layer sum4 few.txt {CPU}", status=(0, 2))
        r(f"{model} concat4", f"embed -m {model} --layer concat4 --words few.txt {CPU}", status=(0, 2))
        r(f"{model} npy", f"embed -m {model} --format npy -o vectors/{model}.npy new.txt {CPU}", made=(f"vectors/{model}.npy",), status=fine)
    r("npy normalize all", f"embed -m bert --format npy --layer all --normalize -o vectors/all.npy new.txt {CPU}", made=("vectors/all.npy",), status=(0, 2))
    r("columns", f"embed -m bert --columns text columns.tsv {CPU}")
    r("passing", f"embed -m bert test.tsv {CPU}")
    r("json lines", f"embed -m bert --columns en new.jsonl {CPU}", status=3)
    r("bad", f"embed -m bert bad.txt {CPU}", status=3)
    r("bad skipped", f"embed -m bert bad.txt --skip-bad --words {CPU}")
    r("bad npy", f"embed -m bert bad.txt --skip-bad --format npy -o vectors/bad.npy {CPU}", made=("vectors/bad.npy",))
    r("stdin gz", f"embed -m bert new.txt.gz {CPU}")
    for model in ("han", "translator", "tagger", "nodes"):
        r(f"{model}", f"embed -m {model} few.txt {CPU}", status=(0, 1, 2, 3))
        r(f"{model} words", f"embed -m {model} few.txt --words {CPU}", status=(0, 1, 2, 3))
    r("layer 9", f"embed -m bert --layer 9 few.txt {CPU}", status=2)


@section
def convert(r: Recorder) -> None:
    r.models("huggingface", "hfbert", "bert", "gpt", "translator")
    for kind in ("Model", "ForPreTraining", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering", "ForNextSentencePrediction"):
        ours, back = f"conv/{kind}", f"back/{kind}"
        r(kind, f"convert hf/Bert{kind} -o {ours}", model=ours)
        r(f"{kind} embed", f"embed -m {ours} --layer all few.txt {CPU}")
        r(f"{kind} words", f"embed -m {ours} --words new.txt {CPU}")
        r(f"{kind} attend", f"attend -m {ours} --layer all --head all few.txt {CPU}", status=(0, 2, 3))
        r(f"{kind} attend words", f"attend -m {ours} --words few.txt {CPU}", status=(0, 2, 3))
        r(f"{kind} back", f"convert {ours} --to huggingface -o {back}", model=back, keep_names=True)
    r("classifier decode", f"decode -m conv/ForSequenceClassification clean.txt --scores {CPU}")
    r("tagger decode", f"decode -m conv/ForTokenClassification tag.txt {CPU}")
    r("reader decode", f"decode -m conv/ForQuestionAnswering qa-dev.json {CPU}")
    r("as pair", "convert hf/BertForSequenceClassification --task pair -o conv/pair", model="conv/pair")
    r("pair decode", f"decode -m conv/pair couples.txt {CPU}", status=(0, 3))
    r("as multilabel", "convert hf/BertForSequenceClassification --task multilabel -o conv/multi", model="conv/multi")
    for kind in ("LMHeadModel", "Model"):
        ours, back = f"conv/GPT2{kind}", f"back/GPT2{kind}"
        r(f"GPT2{kind}", f"convert hf/GPT2{kind} -o {ours}", model=ours)
        r(f"GPT2{kind} decode", f"decode -m {ours} --max-len 6 --scores new.txt {CPU}")
        r(f"GPT2{kind} embed", f"embed -m {ours} --words new.txt {CPU}")
        r(f"GPT2{kind} attend", f"attend -m {ours} --words few.txt {CPU}")
        r(f"GPT2{kind} ppl", f"score --ppl -m {ours} new.txt {CPU}")
        r(f"GPT2{kind} back", f"convert {ours} --to huggingface -o {back}", model=back, keep_names=True)
    r("tune converted", tune("conv/tuned", "labels.tsv", "--task classify --max-len 24", INIT.replace("bert", "conv/ForMaskedLM")), model="conv/tuned")
    r("tag converted", tune("conv/tagged", "train.conll", "--task tag --max-len 24", INIT.replace("bert", "conv/GPT2LMHeadModel")), model="conv/tagged")
    r("tag decode", f"decode -m conv/tagged tag.txt {CPU}")
    r("tuned back", "convert conv/tuned --to huggingface -o back/tuned", model="back/tuned", keep_names=True, status=(0, 1, 2, 3))
    r("go on", f"pretrain text.txt --init conv/ForPreTraining -o conv/on --max-len 24 --batch-tokens 300 --max-steps 4 --validate-every 2 --dev devtext.txt {CPU}", model="conv/on")
    r("go on gpt", f"pretrain text.txt --init conv/GPT2LMHeadModel --objective clm -o conv/ongpt --max-len 24 --batch-tokens 300 --max-steps 4 --validate-every 2 --dev devtext.txt {CPU}", model="conv/ongpt")
    r("ours out", "convert hfbert --to huggingface -o back/ours", model="back/ours", keep_names=True)
    r("ours in again", "convert back/ours -o conv/ours", model="conv/ours")
    r("exists", "convert hf/BertModel -o conv/Model", status=2)
    r("overwrite", "convert hf/BertModel -o conv/Model --overwrite", model="conv/Model")
    for name, source in {"rotary": "bert", "own gpt": "gpt", "translator": "translator", "none": "nowhere", "no model": "hf"}.items():
        r(f"refuses {name}", f"convert {source} --to huggingface -o back/no", status=(1, 2, 3))
    r("refuses ours in", "convert bert -o conv/no", status=(1, 2, 3))


@section
def tokenize(r: Recorder) -> None:
    kinds = {"unigram": "--vocab-size 70", "bpe": "--vocab-size 70", "wordpiece": "--vocab-size 90", "char": "", "word": "", "unigram-lossless": "--type unigram --lossless --vocab-size 330", "bpe-bytes": "--type bpe --byte-fallback --vocab-size 330", "bpe-coverage": "--type bpe --coverage 0.985 --vocab-size 320",
             "wordpiece-lower": "--type wordpiece --lowercase --vocab-size 90", "sampled": "--type bpe --vocab-size 60 --sample-lines 50 --seed 4", "columns": "--type bpe --vocab-size 60 --columns 2", "char-lossless": "--type char --lossless", "unigram-no-bytes": "--type unigram --coverage 0.99 --no-byte-fallback --vocab-size 60"}
    Path("tok").mkdir()
    for name, options in kinds.items():
        path = f"tok/{name}.{'txt' if 'wordpiece' in name else 'model'}"
        kind = options if "--type" in options else f"--type {name} {options}"
        r(f"train {name}", f"tokenize train train.tsv {kind} -o {path} --threads 1", made=(path,))
        for unit in ("pieces", "ids"):
            run = r(f"encode {name} {unit}", f"tokenize encode -t {path} --as {unit} new.txt")
            Path("tok/coded.txt").write_text(run["stdout"])
            shutil.copy("tok/coded.txt", f"tok/{name}.{unit}")
            r(f"decode {name} {unit}", f"tokenize decode -t {path} --as {unit} tok/{name}.{unit}")
    r("train unigram default", "tokenize train train.tsv train.en --threads 1 -o tok/default.model", made=("tok/default.model",), status=(0, 1, 2, 3))
    r("train stdin", "tokenize train --type bpe --vocab-size 60 -o tok/stdin.model --threads 1", stdin="train.en", made=("tok/stdin.model",))
    r("train json", "tokenize train train.jsonl --columns en,fr --type bpe --vocab-size 60 -o tok/json.model --threads 1", made=("tok/json.model",))
    for name in ("unigram", "bpe", "unigram-lossless"):
        for alpha in ("0", "0.3", "1"):
            r(f"sample {name} {alpha}", f"tokenize encode -t tok/{name}.model --sample {alpha} --seed 3 new.txt")
    r("sample ids", "tokenize encode -t tok/bpe.model --sample 0.2 --as ids --seed 9", stdin="new.txt")
    r("sample wordpiece", "tokenize encode -t tok/wordpiece.txt --sample 0.2 new.txt", status=2)
    r("passing", "tokenize encode -t tok/bpe.model test.tsv")
    r("columns", "tokenize encode -t tok/bpe.model --columns text columns.tsv")
    r("json lines", "tokenize encode -t tok/bpe.model --columns en new.jsonl", status=3)
    r("two files", "tokenize encode -t tok/bpe.model few.txt new.txt")
    r("bad", "tokenize encode -t tok/bpe.model bad.txt", status=3)
    r("bad skipped", "tokenize encode -t tok/bpe.model bad.txt --skip-bad")
    lines("tok/bad.ids", ["3 4 5", "x 4", "99999", "-1", "", "4 4"])
    r("bad ids", "tokenize decode -t tok/bpe.model --as ids tok/bad.ids", status=3)
    r("bad pieces", "tokenize decode -t tok/wordpiece.txt --skip-bad tok/bad.ids")
    r.models("translator", "bert", "gpt", "huggingface")
    for model in ("translator", "bert", "gpt", "hf/BertModel", "hf/GPT2Model"):
        for unit in ("pieces", "ids"):
            r(f"{model} {unit}", f"tokenize encode -t {model} --as {unit} new.txt", status=(0, 2, 3))


@section
def usage(r: Recorder) -> None:
    """Wrong usages and damaged input: messages count. Help: the flags alone."""
    r.models("translator", "bert", "classifier")
    wrong = (1, 2, 3)
    Path("u").mkdir()
    tomls = {"unknown": "beem_size = 3\n", "type": 'beam = "x"\n', "broken": "beam = = 3\n", "bound": "n_best = 0\n", "choice": 'format = "jsn"\n', "command-line": 'beam = 3\nas = "ids"\noutput = "x"\n', "fine": "beam = 2\nscores = true\n"}
    for name, text in tomls.items():
        Path(f"u/{name}.toml").write_text(text)
        r(f"toml {name}", f"decode -m translator few.txt --config u/{name}.toml {CPU}", status=(0, *wrong))
    for name in ("tokenizer-type = \"bpe\"\n", "\"chrf++\" = true\n", "max-stps = 3\n", "label_smoothing = 2\n", "share_vocab = 1\n"):
        file = f"u/t{len(list(Path('u').iterdir()))}.toml"
        Path(file).write_text(name)
        command = "score score/hyps.tsv" if "chrf" in name else "train-mt train.tsv -o u/no --dry-run --max-steps 1"
        r(f"toml {name.strip()}", f"{command} --config {file}", status=(0, *wrong))
    for damage in ("config", "weights", "cut", "tokenizer", "empty", "format"):
        shutil.copytree("translator", f"u/{damage}")
    Path("u/config/config.json").write_text("{")
    Path("u/weights/model.safetensors").unlink()
    raw = Path("translator/model.safetensors").read_bytes()
    Path("u/cut/model.safetensors").write_bytes(raw[: len(raw) // 2])
    for path in Path("u/tokenizer").glob("*.model"):
        path.unlink()
    shutil.rmtree("u/empty")
    Path("u/empty").mkdir()
    config = json.loads(Path("translator/config.json").read_text())
    key = next((k for k in config if "format" in k or "version" in k), None)
    Path("u/format/config.json").write_text(json.dumps({**config, **({key: 99} if key else {"arch": "perceptron"})}))
    for damage in ("config", "weights", "cut", "tokenizer", "empty", "format", "nowhere"):
        r(f"damaged {damage}", f"decode -m u/{damage} few.txt {CPU}", status=wrong)
    Path("u/empty.txt").write_text("")
    lines("u/one.tsv", ["one column only", "and again"])
    train = f"{SIZES} {HEADS} {PIECES} {FEW} {CPU} -o u/no"
    table = {
        "no command": "", "unknown command": "trian-mt x", "unknown option": "decode --beem 5", "unknown option train": "train-mt --layers 3 train.tsv", "bad number": "decode --beam x", "bad choice": "train-mt --arch rnnn train.tsv", "below": "decode --beam 0 few.txt", "above": "train-mt --label-smoothing 3 train.tsv", "missing file": "decode -m translator nofile.txt", "missing corpus": f"train-mt nofile.tsv {train}",
        "missing config": "decode --config no.toml few.txt", "empty corpus": f"train-mt u/empty.txt {train}", "one column": f"train-mt u/one.tsv {train}", "src alone": f"train-mt --src train.en {train}", "missing dev": f"train-mt train.tsv --dev no.tsv {train}", "missing vectors": f"train-mt train.tsv --embeddings no.txt {train}", "missing tokenizer": f"train-mt train.tsv --tokenizer no.model -o u/no {CPU}", "missing init": f"train-mt train.tsv --init nowhere -o u/no {CPU}",
        "cnn rotary": f"train-mt train.tsv --arch cnn --positions rotary -o u/no {CPU}", "cnn cell": f"train-mt train.tsv --arch cnn --cell gru -o u/no {CPU}", "transformer hard": f"train-mt train.tsv --normalize hard {train}", "transformer none": f"train-mt train.tsv --attention none {train}", "rnn heads": f"train-mt train.tsv --arch rnn --n-heads 2 -o u/no {CPU}", "mask rnn": f"train-mt train.tsv --arch rnn --decoder mask-predict -o u/no {CPU}", "heads do not fit": f"train-mt train.tsv --d-model 30 --n-heads 4 -o u/no --type bpe --vocab-size 80 {CPU}",
        "professor transformer": f"train-mt train.tsv --professor-forcing 1 {train}", "professor risk": f"train-mt train.tsv --arch rnn --professor-forcing 1 --criterion risk -o u/no {CPU}", "head penalty rnn": f"train-mt train.tsv --arch rnn --head-penalty 1 {SIZES} {PIECES} -o u/no {CPU}", "sampling mask": f"train-mt train.tsv --decoder mask-predict --scheduled-sampling linear {train}", "risk mask": f"train-mt train.tsv --decoder mask-predict --criterion risk {train}", "risk sampling": f"train-mt train.tsv --criterion risk --scheduled-sampling linear {train}",
        "samples in vain": f"train-mt train.tsv --samples 3 {train}", "average": f"train-mt train.tsv --average 3 {train}", "time": f"train-mt train.tsv --max-time soon {train}", "init other": f"train-mt train.tsv --init translator --d-model 64 --arch rnn -o u/no {CPU}", "init itself": f"train-mt train.tsv --init translator -o translator {CPU}", "init bert": f"train-mt train.tsv --init bert -o u/no {CPU}", "image options": f"train-mt train.tsv --region-size 8 {train}", "lowercase bpe": f"train-mt train.tsv --lowercase {train}",
        "vocab too large": f"train-mt train.tsv {SIZES} {HEADS} {FEW} {CPU} -o u/no --type bpe --vocab-size 9000", "vectors width": f"train-mt train.tsv --embeddings vectors128.txt {train.replace(PIECES, '--type word')}", "columns unknown": f"train-mt header.tsv --columns src,target {train}", "columns number": f"train-mt train.tsv --columns 1,5 {train}", "columns zero": f"train-mt train.tsv --columns 0,1 {train}",
        "top-k": "decode -m translator --top-k 3 few.txt", "sample greedy": "decode -m translator --sample --greedy few.txt", "n-best beam": "decode -m translator --beam 2 --n-best 3 few.txt", "groups": "decode -m translator --diversity-groups 3 --beam 4 few.txt", "min max": "decode -m translator --min-len 9 --max-len 3 few.txt", "iterations": "decode -m translator --iterations 3 few.txt", "ensemble other": "decode -m translator,classifier few.txt", "task": "decode -m translator --task x few.txt", "moses prefix": "decode -m translator --prefix few.txt",
        "decode directory": "decode -m translator translator", "encoder decode": "decode -m bert few.txt", "score nothing": "score --ppl --log-prob pairs.tsv", "score per line f1": "score --per-line --f1 score/labels.tsv", "score missing ref": "score few.txt --ref no.txt", "score report": "score --report --bleu score/hyps.tsv", "score model": "score --ppl -m nowhere pairs.tsv", "score ref model": "score --ppl -m translator --bleu pairs.tsv", "labels as numbers": "score --pearson score/labels.tsv", "squad no ref": "score --squad score/hyps.tsv",
        "embed npy": "embed -m bert --format npy few.txt", "embed words pool": "embed -m bert --words --pool mean few.txt", "embed layer": "embed -m bert --layer x few.txt", "embed output": "embed -m bert -o v.npy few.txt", "finetune no task": "finetune labels.tsv -o u/no", "finetune task": "finetune labels.tsv --task clasify -o u/no", "finetune gat": "finetune labels.tsv --task classify --arch gat -o u/no", "finetune graph options": "finetune labels.tsv --task classify --d-head 3 -o u/no", "nodes text options": "finetune graph --task nodes --size tiny -o u/no", "nodes no graph": "finetune labels.tsv --task nodes -o u/no",
        "finetune init translator": f"finetune labels.tsv --task classify --init translator -o u/no {CPU}", "finetune init arch": f"finetune labels.tsv --task classify --init bert --arch gpt -o u/no {CPU}", "finetune two tasks one name": "finetune --task a=classify:labels.tsv --task a=pair:couples.tsv -o u/no", "finetune columns": f"finetune labels.tsv --task pair -o u/no --size tiny {CPU}", "finetune numbers": f"finetune labels.tsv --task rate -o u/no --size tiny {CPU}", "finetune metric": f"finetune labels.tsv --task classify --metric pearson -o u/no --size tiny --type bpe --vocab-size 60 {CPU}", "finetune lora freeze": f"finetune labels.tsv --task classify --lora 2 --size tiny -o u/no {CPU}",
        "finetune han tag": f"finetune train.conll --task tag --arch han -o u/no {CPU}", "finetune han pair": f"finetune couples.tsv --task pair --arch han -o u/no {CPU}", "finetune qa json": f"finetune labels.tsv --task qa --size tiny -o u/no {CPU}", "finetune init missing": f"finetune labels.tsv --task classify --init nowhere -o u/no {CPU}", "pretrain empty": f"pretrain u/empty.txt -o u/no {CPU}", "pretrain bilm": f"pretrain text.txt --objective bilm --positions rotary -o u/no {CPU}", "pretrain span nsp": f"pretrain text.txt --whole-word --span -o u/no {PRE}", "pretrain clm mask": f"pretrain text.txt --objective clm --mask 0.3 -o u/no {PRE}", "pretrain clm whole": f"pretrain text.txt --objective clm --whole-word -o u/no {PRE}",
        "pretrain init translator": f"pretrain text.txt --init translator -o u/no {CPU}", "pretrain max-len": f"pretrain text.txt --max-len 600 -o u/no {PRE.replace('--max-len 48', '')}", "tokenize": "tokenize", "tokenize no": "tokenize encode few.txt", "tokenize type": "tokenize train train.tsv --type bpee", "tokenize missing": "tokenize encode -t no.model few.txt", "tokenize small": "tokenize train train.tsv --type bpe --vocab-size 10 -o u/x.model", "tokenize wordpiece lossless": "tokenize train train.tsv --type wordpiece --lossless -o u/x", "convert nothing": "convert", "convert missing": "convert nowhere -o u/no", "device": "decode -m translator --device cuda few.txt", "threads": "decode -m translator --threads 0 few.txt", "version": "--version",
    }
    for name, command in table.items():
        shutil.rmtree("u/no", ignore_errors=True)
        if command.startswith(("train-mt", "finetune", "pretrain")) and "--max-steps" not in command:
            command += " --max-steps 1"  # some are not refused
        r(name, command, status=(0, *wrong))
    for command in ("train-mt", "pretrain", "finetune", "decode", "score", "attend", "embed", "convert", "tokenize train", "tokenize encode", "tokenize decode"):
        entry = r(f"flags {command}", f"{command} --help-all", status=(0, 2))
        if entry["status"]:
            del r.found[r.section][f"flags {command}"]
            entry = r(f"flags {command}", f"{command} --help")
        entry["stdout"] = "\n".join(sorted(set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w+-]*", entry["stdout"]))))
        entry["argv"] = [command]


# ---------------------------------------------------------------- recording and comparing


def record(checkout: Path, outdir: Path, only: set[str] | None, keep: bool) -> int:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    os.environ |= {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "SOURCE_DATE_EPOCH": "0", "MPLBACKEND": "agg", "LC_ALL": "C.UTF-8"}
    for name in ("ATTN_MODEL", "FORCE_COLOR", "WORLD_SIZE", "RANK"):
        os.environ.pop(name, None)
    begun = time.time()
    sys.path.insert(0, str(checkout))
    os.environ["PYTHONPATH"] = str(checkout)
    import torch

    import attn_cli

    assert Path(attn_cli.__file__).resolve().is_relative_to(checkout), attn_cli.__file__
    print(f"attn_cli: {attn_cli.__file__}, torch {torch.__version__}", file=sys.stderr)
    for found in pkgutil.walk_packages(attn_cli.__path__, "attn_cli."):
        if not found.name.endswith("__main__"):
            try:
                importlib.import_module(found.name)
            except Exception as error:  # noqa: BLE001
                print(f"!! {found.name}: {error!r}", file=sys.stderr)
    # what commands load at their first use, so that children need not
    for name in ("torch._dynamo", "torch._inductor.config", "torch._refs", "torch._decomp", "torch._prims", "torch._meta_registrations", "torch.func", "sentencepiece", "tokenizers", "safetensors.torch", "sacrebleu", "jiwer", "rouge_score.rouge_scorer", "matplotlib.figure", "matplotlib.font_manager", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg", "matplotlib.backends.backend_pdf", "PIL.Image", "rich.console", "rich.progress", "sklearn.manifold", "torch.distributed"):
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001
            print(f"(not loaded before: {name}: {error!r})", file=sys.stderr)
    from attn_cli.cli import main

    if outdir.exists():
        for old in outdir.glob("*.json") if not only else ():
            old.unlink()
        shutil.rmtree(outdir / "work", ignore_errors=True)
    work = outdir / "work" / "here"
    work.mkdir(parents=True)
    os.chdir(work)
    write_text_data()
    write_labelled_data()
    r = Recorder(main, outdir, only)
    gc.freeze()  # children do not touch what they share
    print(f"ready after {time.time() - begun:.1f} s", file=sys.stderr, flush=True)
    seconds = {}
    for name, function in SECTIONS.items():
        if only and name not in only:
            continue
        r.section, since = name, time.time()
        function(r)
        seconds[name] = round(time.time() - since, 1)
        print(f"{name}: {len(r.found[name])} commands, {seconds[name]} s", file=sys.stderr, flush=True)
    before = json.loads((outdir / "meta.json").read_text()) if (outdir / "meta.json").exists() else {}
    failures = [f for f in before.get("failures", ()) if f.split("/")[0] not in r.found] + r.failures
    for name, own in r.found.items():
        file = outdir / f"{name}.json"
        if name == "models" and only and file.exists():
            own = {**json.loads(file.read_text()), **own}
        file.write_text(json.dumps(own, indent=1, ensure_ascii=False))
    meta = {"checkout": str(checkout), "torch": torch.__version__, "seconds": {**before.get("seconds", {}), **seconds}, "all": only is None or before.get("all", False), "failures": failures, "commands": sum(map(len, r.found.values()))}
    (outdir / "meta.json").write_text(json.dumps(meta, indent=1))
    os.chdir("/")
    if not keep:
        shutil.rmtree(outdir / "work")
    print(f"{meta['commands']} commands recorded in {outdir}, {time.time() - begun:.0f} s, {len(r.failures)} not as they are meant to be", file=sys.stderr)
    return 1 if r.failures else 0


NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")


def text_difference(one: str, other: str) -> str:
    rows, others = one.split("\n"), other.split("\n")
    at = next((i for i, (a, b) in enumerate(zip(rows, others)) if a != b), min(len(rows), len(others)))
    count = sum(a != b for a, b in zip(rows, others)) + abs(len(rows) - len(others))
    a, b = (rows + [""])[at] if at < len(rows) else "<end>", (others + [""])[at] if at < len(others) else "<end>"
    common = len(os.path.commonprefix([a, b]))
    cut = max(0, common - 30)
    more = ""
    if NUMBER.sub("#", one) == NUMBER.sub("#", other):
        pairs = [(float(x), float(y)) for x, y in zip(NUMBER.findall(one), NUMBER.findall(other))]
        more = f"; numbers alone, by {max(abs(x - y) / max(abs(x), abs(y), 1e-9) for x, y in pairs):.1e} at most"
    return f"{count} of {len(rows)} lines (line {at + 1}: {a[cut:cut + 110]!r} -> {b[cut:cut + 110]!r}{more})"


def weights_difference(one: list, other: list) -> str:
    def key(row):
        return json.dumps([cell for cell in row if not isinstance(cell, float)])

    a, b = Counter(map(key, one)), Counter(map(key, other))
    gone, new = list((a - b).elements()), list((b - a).elements())
    if not gone and not new:
        return ""
    norms = {key(row): row[-1] for row in [*one, *other]}

    def by_shape(keys):
        found: dict[str, list[float]] = {}
        for k in keys:
            row = json.loads(k)
            found.setdefault(f"{row[0]} {row[-3]}{row[-2]}", []).append(norms[k])
        return {k: sorted(v) for k, v in found.items()}

    left, right = by_shape(gone), by_shape(new)
    same = {k for k in left if len(left[k]) == len(right.get(k, ()))}
    worst = max((abs(x - y) / max(x, y, 1e-12) for k in same for x, y in zip(left[k], right[k])), default=math.nan)
    odd = sorted(({*left} | {*right}) - same)
    return f"{len(gone)} of {len(one)} tensors gone, {len(new)} new (sums of magnitudes differ by {worst:.1e} at most{'; shapes differ: ' + ', '.join(odd[:6]) if odd else ''})"


def difference(kind: str, one, other) -> str:
    if kind == "weights":
        return weights_difference(one, other)
    if one == other:
        return ""
    if kind in ("stdout", "stderr") and isinstance(one, str) and isinstance(other, str):
        return text_difference(one, other)
    if kind == "log" and one and other:
        return text_difference("\n".join(map(json.dumps, one)), "\n".join(map(json.dumps, other)))
    if isinstance(one, dict) and isinstance(other, dict):
        keys = [k for k in {**one, **other} if one.get(k, "<none>") != other.get(k, "<none>")]
        short = [f"{k}: {str(one.get(k, '<none>'))[:40]} -> {str(other.get(k, '<none>'))[:40]}" for k in keys[:4]]
        return f"{len(keys)} of {len(one)}: {'; '.join(short)}"
    if isinstance(one, list) and isinstance(other, list):
        return f"gone {sorted(set(map(str, one)) - set(map(str, other)))[:5]}, new {sorted(set(map(str, other)) - set(map(str, one)))[:5]}"
    return f"{str(one)[:100]} -> {str(other)[:100]}"


def compare(one: Path, other: Path, ignore: set[str], only: set[str] | None, most: int) -> int:
    names = [{path.stem for path in place.glob("*.json")} - {"meta"} for place in (one, other)]
    metas = [json.loads((place / "meta.json").read_text()) for place in (one, other)]
    partial = not all(meta["all"] for meta in metas)
    counts: Counter[str] = Counter()
    compared = differing = 0
    shown: Counter[str] = Counter()
    for name in [*[n for n in ("models", *SECTIONS) if n in names[0] | names[1]]]:
        if only and name not in only:
            continue
        if name not in names[0] & names[1]:
            if not partial:
                print(f"{name}: recorded in one of them alone")
                counts["missing"] += 1
            continue
        a, b = (json.loads((place / f"{name}.json").read_text()) for place in (one, other))
        for command in {**a, **b}:
            if command not in a or command not in b:
                if not (partial and name == "models"):
                    print(f"{name}/{command}: recorded in one of them alone")
                    counts["missing"] += 1
                continue
            compared += 1
            found = False
            for kind in ("argv", "status", "stdout", "stderr", "weights", "log", "tokenizer", "config", "files", "made"):
                if kind in ignore or (kind not in a[command] and kind not in b[command]):
                    continue
                empty = {"weights": [], "log": [], "files": []}.get(kind, {})
                if said := difference(kind, a[command].get(kind, empty), b[command].get(kind, empty)):
                    counts[kind] += 1
                    found = True
                    shown[f"{name} {kind}"] += 1
                    if shown[f"{name} {kind}"] <= most:
                        print(f"{name}/{command}: {kind}: {said}")
            differing += found
        for key, count in shown.items():
            if key.startswith(f"{name} ") and count > most:
                print(f"{name}: {count - most} more that differ in {key.split()[-1]} (--most)")
    kinds = ", ".join(f"{kind} {count}" for kind, count in counts.items())
    print(f"{compared} commands compared, {differing} differ{f' ({kinds})' if kinds else ': the same bytes'}")
    return 1 if counts else 0


def main_() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    p = commands.add_parser("record")
    p.add_argument("checkout", type=Path)
    p.add_argument("outdir", type=Path)
    p.add_argument("--only", default="")
    p.add_argument("--keep", action="store_true", help="keep the working directory (OUTDIR/work)")
    p = commands.add_parser("compare")
    p.add_argument("one", type=Path)
    p.add_argument("other", type=Path)
    p.add_argument("--ignore", default="")
    p.add_argument("--only", default="")
    p.add_argument("--most", type=int, default=10, help="differences shown of each section and kind")
    commands.add_parser("sections")
    given = parser.parse_args()
    if given.command == "sections":
        print("\n".join(SECTIONS))
        return 0
    only = set(given.only.split(",")) - {""} or None
    if only and (strange := only - {*SECTIONS, "models"}):
        parser.error(f"no section {', '.join(strange)}; there are: {', '.join(SECTIONS)}")
    if given.command == "record":
        return record(given.checkout.resolve(), given.outdir.resolve(), only, given.keep)
    return compare(given.one, given.other, set(given.ignore.split(",")), only, given.most)


if __name__ == "__main__":
    sys.exit(main_())
