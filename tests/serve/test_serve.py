"""`attn serve` in this process: what it answers is what the commands answer."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import struct
import sys
import threading
import time
from pathlib import Path

import drawn_models
import httpx
import pytest
from drawn_models import (
    TEXT,
    write_detector,
    write_encoder,
    write_language_model,
    write_nodes,
    write_questioned,
    write_reader,
    write_tagger,
    write_translator,
)
from program import inside
from served import CPU, open_desk, serving

from attn_cli.config.tokenizing import TokenizerOptions
from attn_cli.errors import AttnError, DataError
from attn_cli.serve.app import make_app
from attn_cli.serve.batcher import Batcher
from attn_cli.serve.meter import Meter
from attn_cli.serve.models import places_of
from attn_cli.serve.refusal import Refusal
from attn_cli.serve.texts import marked_up, plain
from attn_cli.serve.writing import Written
from attn_cli.tokenizers.tokenizer_files import load_tokenizer, write_tokenizers
from attn_cli.tokenizers.tokenizer_training import train_tokenizer

STACK = {"d_ff": 16, "n_heads": 2, "n_layers": 1}
LINES = [*TEXT, "a mat", "the dog sat"]
TAG = re.compile(r"<[^>]*>")


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("served")
    found = {
        "en-de": write_translator(place / "en-de"),
        "de-en": write_translator(place / "de-en", "recurrent"),
        "writer": write_language_model(place / "writer"),
        "mood": write_reader(place / "mood", "bert", **STACK),
        "qa": write_questioned(place / "qa"),
        "detector": write_detector(place / "detector"),
        "encoder": write_encoder(place / "encoder"),
    }
    tokenizer = load_tokenizer(str(found["mood"]))
    return {**found, "tags": write_tagger(place / "tags", tokenizer)}


@pytest.fixture(scope="module")
def client(models):
    spec = ",".join(f"{name}={path}" for name, path in models.items())
    with serving(spec) as found:
        yield found


def decoded(model: Path, lines: list[str], *options: object) -> list[str]:
    text = "".join(f"{line}\n" for line in lines).encode()
    return inside("decode", "-m", model, *CPU, *options, stdin=text).lines


def entries(model: Path, lines: list[str], *options: object) -> list[dict]:
    """What `decode --format json` says of lines, without their places."""
    found = [json.loads(line) for line in decoded(model, lines, "--format", "json", *options)]
    return [{k: v for k, v in each.items() if k not in ("line", "columns")} for each in found]


def n_best(model: Path, lines: list[str], *options: object) -> list[list[str]]:
    return [[one["text"] for one in each["hypotheses"]] for each in entries(model, lines, *options)]


# --- LibreTranslate ---


def translate(client, **fields: object) -> dict:
    answer = client.post("/translate", json={"source": "en", "target": "de", **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_list_of_texts_is_translated_as_decode_does(client, models):
    found = translate(client, q=LINES)
    assert found == {"translatedText": decoded(models["en-de"], LINES)}


def test_lines_of_a_text_are_translated_one_by_one(client, models):
    first, second = decoded(models["en-de"], LINES[:2])
    text = f"{LINES[0]}\n\n{LINES[1]}\r\n"
    assert translate(client, q=text) == {"translatedText": f"{first}\n\n{second}\r\n"}
    assert translate(client, q="") == {"translatedText": ""}


def test_a_long_line_is_cut_at_sentences_and_joined(client, models):
    line = " ".join(f"{text}." for text in TEXT * 12)
    assert translate(client, q=line)["translatedText"] == decoded(models["en-de"], [line])[0]


def test_a_form_is_as_good_as_json(client, models):
    fields = {"q": LINES[0], "source": "en", "target": "de", "alternatives": "1"}
    answer = client.post("/translate", data=fields)
    assert answer.status_code == 200
    assert answer.json() == translate(client, q=LINES[0], alternatives=1)


@pytest.mark.parametrize("alternatives", [1, 3, 7])
def test_alternatives_are_the_n_best(client, models, alternatives):
    n = 1 + alternatives
    wanted = n_best(models["en-de"], LINES, "--n-best", n, "--beam", max(n, 5))
    distinct = [list(dict.fromkeys(texts)) for texts in wanted]
    found = translate(client, q=LINES, alternatives=alternatives)
    assert found["translatedText"] == [texts[0] for texts in distinct]
    assert found["alternatives"] == [texts[1:] for texts in distinct]
    one = translate(client, q=LINES[0], alternatives=alternatives)
    assert one == {"translatedText": distinct[0][0], "alternatives": distinct[0][1:]}


def test_the_pair_says_which_model_answers(client, models):
    back = client.post("/translate", json={"q": LINES[0], "source": "de", "target": "en"})
    assert back.json() == {"translatedText": decoded(models["de-en"], LINES[:1])[0]}
    auto = client.post("/translate", json={"q": LINES[0], "source": "auto", "target": "de"}).json()
    assert auto["detectedLanguage"] == {"confidence": 0, "language": "en"}
    for pair in (("en", "fr"), ("en", "en"), ("auto", "it")):
        answer = client.post("/translate", json={"q": "a", "source": pair[0], "target": pair[1]})
        assert answer.status_code == 400
        assert "here are en to de, de to en" in answer.json()["error"]
    answer = client.post("/translate", json={"q": "a"})
    assert "name both" in answer.json()["error"]


def test_a_model_without_a_pair_is_asked_for_any(models):
    with serving(models["en-de"]) as client:  # whose directory's name says one
        assert client.get("/languages").json()[1]["targets"] == ["de"]
    with serving(f"any={models['en-de']}") as client:
        wanted = decoded(models["en-de"], LINES[:1])[0]
        for source, target in (("en", "de"), ("xx", "yy"), ("auto", "zz")):
            found = translate(client, q=LINES[0], source=source, target=target)
            assert found["translatedText"] == wanted
        assert [entry["code"] for entry in client.get("/languages").json()] == ["src", "tgt"]


def test_what_clients_ask_first(client):
    assert client.get("/languages").json() == [
        {"code": "de", "name": "German", "targets": ["en"]},
        {"code": "en", "name": "English", "targets": ["de"]},
    ]
    settings = client.get("/frontend/settings").json()
    assert settings["keyRequired"] is False and settings["charLimit"] == 50_000
    assert settings["language"]["source"]["code"] == "de"
    assert client.get("/health").json() == {"status": "ok"}


def test_html_is_translated_as_decode_does(client, models):
    pages = [
        '<p class="a>b">the cat  <b>sat</b> on the mat. A <i>dog</i> ran.</p>\n<!-- the <b> -->',
        "<script>var x = 'a < b';</script><b>a dog</b> &amp; <br/> a <code>mat</code>\r\n<p>12</p>",
        "",
    ]
    asked = ("-m", models["en-de"], *CPU, "--markup", "html")
    wanted = [inside("decode", *asked, stdin=page.encode()).out.decode() for page in pages]
    assert translate(client, q=pages, format="html")["translatedText"] == wanted
    assert "<b>" in wanted[0] and "var x = 'a < b';" in wanted[1] and wanted[2] == ""
    several = translate(client, q=pages[0], format="html", alternatives=2)
    assert several["translatedText"] == wanted[0]
    for page in several["alternatives"]:
        assert sorted(TAG.findall(page)) == sorted(TAG.findall(pages[0]))


def test_hostile_markup_is_read_in_no_time():
    begun = time.monotonic()
    for text in ("<a" * 50_000, "<a '" * 25_000, "<a\"'" * 25_000, "<!--" * 25_000, "<" * 100_000):
        page = marked_up(text)
        assert "".join(piece.raw for piece in page.pieces) == text
        page.filled([Written("a b", True, 1, 1) for _ in page.read])
    assert time.monotonic() - begun < 20
    lines = [Written(text, True, 1, 1) for text in "xy"]
    assert plain("a\r\nb").filled(lines) == "x\r\ny"
    assert plain("a\nb").filled([lines[0], None]) == "x\n"


def _latin_tokenizer(place: Path) -> object:
    place.mkdir(parents=True)
    options = TokenizerOptions(type="char", vocab_size=40)
    tokenizer = train_tokenizer(TEXT[:2] * 3, options, seed=1, threads=1, say=lambda text: None)
    write_tokenizers(place, tokenizer, tokenizer)
    return tokenizer


def test_a_line_that_cannot_be_read_does_not_take_others_along(tmp_path, monkeypatch):
    monkeypatch.setattr(drawn_models, "_tokenizer", _latin_tokenizer)
    model = write_translator(tmp_path / "latin")
    texts = ["the cat", "漢字", "a dog\n漢字"]
    wanted = decoded(model, ["the cat", "漢字", "a dog", "漢字"], "--skip-bad")
    assert wanted[1] == ""
    with serving(model) as client:
        found = translate(client, q=texts)
        assert found["translatedText"] == [wanted[0], "", f"{wanted[2]}\n"]
        places = [(error["q"], error["line"]) for error in found["errors"]]
        assert places == [(1, 1), (2, 2)]
        assert all("no character of it is known" in e["error"] for e in found["errors"])
        answer = client.post("/translate", json={"q": "漢字"})
        assert answer.status_code == 400 and "no character" in answer.json()["error"]


def test_the_server_s_own_options_are_the_defaults_of_requests(models):
    with serving(models["en-de"], n_best=3, length_penalty=0.0) as client:
        (wanted,) = n_best(models["en-de"], LINES[:1], "--n-best", 3, "--length-penalty", 0)
        found = translate(client, q=LINES[0])
        assert [found["translatedText"], *found["alternatives"]] == list(dict.fromkeys(wanted))


# --- OpenAI ---


def complete(client, **fields: object) -> dict:
    answer = client.post("/v1/completions", json={"model": "writer", **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


def continued(model: Path, prompts: list[str], *options: object) -> list[str]:
    """What `decode` adds to prompts, prompt by prompt."""
    found = n_best(model, prompts, *options)
    return [
        text.removeprefix(prompt)
        for prompt, texts in zip(prompts, found, strict=True)
        for text in texts
    ]


def test_completions_are_what_decode_adds(client, models):
    found = complete(client, prompt=LINES[:3], max_tokens=8)
    texts = [choice["text"].replace("\n", " ") for choice in found["choices"]]
    assert texts == continued(models["writer"], LINES[:3], "--max-len", 8)
    assert [choice["index"] for choice in found["choices"]] == [0, 1, 2]
    assert found["object"] == "text_completion" and found["id"].startswith("cmpl-")
    usage = found["usage"]
    tokenizer = load_tokenizer(str(models["writer"]))
    assert usage["prompt_tokens"] == sum(map(len, tokenizer.encode(LINES[:3])))
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["completion_tokens"] <= 24


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({"temperature": 0}, ("--greedy",)),
        ({"temperature": 0.7, "seed": 5}, ("--sample", "--temperature", 0.7, "--seed", 5)),
        ({"top_p": 0.5, "n": 3}, ("--sample", "--top-p", 0.5, "--n-best", 3)),
        ({"n": 4}, ("--n-best", 4)),
    ],
)
def test_what_a_completion_asks_for_are_options_of_decode(client, models, fields, options):
    found = complete(client, prompt=LINES[0], max_tokens=6, **fields)
    texts = [choice["text"].replace("\n", " ") for choice in found["choices"]]
    assert texts == continued(models["writer"], LINES[:1], "--max-len", 6, *options)


def test_a_stop_text_ends_an_output_and_echo_repeats_the_prompt(client):
    asked = {"prompt": "the cat", "max_tokens": 12, "temperature": 1.5, "seed": 3}
    text = complete(client, **asked)["choices"][0]["text"]
    assert len(text) > 2
    stop = text[2]
    (choice,) = complete(client, **asked, stop=[stop])["choices"]
    assert choice["text"] == text[: text.index(stop)] and choice["finish_reason"] == "stop"
    (choice,) = complete(client, **asked, echo=True)["choices"]
    assert choice["text"] == f"the cat{text}"


def test_a_stream_says_what_an_answer_says_and_that_it_is_done(client):
    asked = {"prompt": LINES[:2], "max_tokens": 6, "temperature": 0.9, "n": 2}
    whole = complete(client, **asked)
    fields = {"model": "writer", **asked, "stream": True, "stream_options": {"include_usage": True}}
    answer = client.post("/v1/completions", json=fields)
    assert answer.headers["content-type"].startswith("text/event-stream")
    *events, done, rest = answer.text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    told = [json.loads(event.removeprefix("data: ")) for event in events]
    assert told[-1]["usage"] == whole["usage"]
    texts: dict[int, str] = {}
    for choice in (choice for event in told for choice in event["choices"]):
        texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
    assert texts == {choice["index"]: choice["text"] for choice in whole["choices"]}
    assert len({event["id"] for event in told}) == 1


def test_an_output_that_is_searched_alone_is_sent_as_it_is_written(client):
    for more in (
        {"temperature": 1.3, "seed": 8},
        {"temperature": 0},
        {"temperature": 2, "echo": True},
    ):
        asked = {"model": "writer", "prompt": "the cat", "max_tokens": 20, **more}
        text = complete(client, **asked)["choices"][0]["text"]
        answer = client.post("/v1/completions", json={**asked, "stream": True})
        events = answer.text.removesuffix("\n\ndata: [DONE]\n\n").split("\n\n")
        told = [json.loads(event.removeprefix("data: "))["choices"][0] for event in events]
        assert "".join(choice["text"] for choice in told) == text
        assert len(told) > 4 or len(text) < 4
        assert [choice["finish_reason"] for choice in told[:-1]] == [None] * (len(told) - 1)
        assert told[-1]["finish_reason"] in ("stop", "length")
    stop = text[len(text) // 2 :][:3]
    answer = client.post("/v1/completions", json={**asked, "stream": True, "stop": stop})
    said = "".join(
        json.loads(event.removeprefix("data: "))["choices"][0]["text"]
        for event in answer.text.split("\n\n")[:-2]
    )
    assert said == "the cat" + text.removeprefix("the cat").split(stop)[0]


def test_embeddings_are_what_embed_gives(client, models):
    text = "".join(f"{line}\n" for line in LINES).encode()
    run = inside("embed", "-m", models["encoder"], *CPU, stdin=text)
    wanted = [json.loads(line)["vector"] for line in run.lines]
    answer = client.post("/v1/embeddings", json={"input": LINES, "model": "encoder"}).json()
    assert [entry["index"] for entry in answer["data"]] == list(range(len(LINES)))
    for entry, vector in zip(answer["data"], wanted, strict=True):
        assert entry["embedding"] == pytest.approx(vector, abs=1e-5)
    asked = {"input": LINES[0], "encoding_format": "base64"}
    packed = client.post("/v1/embeddings", json=asked).json()["data"][0]["embedding"]
    numbers = struct.unpack(f"<{len(wanted[0])}f", base64.b64decode(packed))
    assert numbers == pytest.approx(wanted[0], abs=1e-5)


def test_models_are_listed(client, models):
    listed = client.get("/v1/models").json()
    assert [entry["id"] for entry in listed["data"]] == sorted(models)


# --- tasks ---


def predict(client, **fields: object) -> list[dict]:
    answer = client.post("/predict", json=fields)
    assert answer.status_code == 200, answer.text
    return answer.json()["answers"]


def same(found: dict, wanted: dict) -> None:
    """Entries that are the same but for the last digits of their numbers."""
    assert found.keys() >= wanted.keys()
    for key, value in wanted.items():
        if isinstance(value, str):
            assert found[key] == value
        else:
            assert json.dumps(found[key])[:4] == json.dumps(value)[:4]


def test_labels_tags_and_replaced_words_are_those_of_decode(client, models):
    for name in ("mood", "tags", "detector"):
        lines = [line for line in LINES if len(line.split()) > 1]
        wanted = entries(models[name], lines)
        for found, entry in zip(predict(client, model=name, inputs=lines), wanted, strict=True):
            same(found, entry)


def test_words_of_a_list_are_tagged(client):
    (found,) = predict(client, model="tags", inputs=[["the", "cat"]])
    assert found["words"] == ["the", "cat"] and len(found["tags"]) == 2
    (same_text,) = predict(client, model="tags", inputs=["the cat"])
    assert same_text == found


def test_questions_are_answered_as_decode_does(client, models):
    context = "a dog ran to the cat"
    wanted = entries(models["qa"], [f"the cat\t{context}"])[0]
    asked = [{"question": "the cat", "context": context}, ["the cat", context]]
    for found in predict(client, model="qa", inputs=asked):
        same(found, wanted)


def test_what_is_wrong_with_an_input_stands_in_its_place(client):
    good, blank, pair = predict(client, model="mood", inputs=["the cat", " ", ["a", "b"]])
    assert good["answer"] in ("bad", "good")
    assert "nothing to answer" in blank["error"] and "a text" in pair["error"]


# --- attention ---


def test_words_are_joined_as_decode_aligns_them(client, models):
    text = "\n".join(["the cat sat on the mat", "a dog ran"])
    answer = client.post("/attention", json={"q": text, "source": "en", "target": "de"}).json()
    wanted = decoded(models["en-de"], text.split("\n"), "--align")
    assert answer["translatedText"].split("\n") == [line.split("\t")[0] for line in wanted]
    for line, found in zip(wanted, answer["lines"], strict=True):
        links = " ".join(f"{i}-{j}" for i, j in found["links"])
        assert links == line.split("\t")[1]
        assert len(found["weights"]) == max(j for _, j in found["links"]) + 1
        for i, j in found["links"]:
            row = found["weights"][j]
            assert sum(row) == pytest.approx(1, abs=0.01) and row[i] == max(row)


def test_a_model_without_attention_translates_all_the_same(tmp_path):
    model = write_translator(tmp_path / "deaf", "recurrent", attention="none")
    with serving(model) as client:
        answer = client.post("/attention", json={"q": "the cat"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["lines"][0]["links"] == []


# --- what is refused ---

COMPLETE, EMBED = "/v1/completions", "/v1/embeddings"
REFUSED = [
    ("/translate", "{", 400, "not JSON"),
    ("/translate", "[1]", 400, "JSON object"),
    ("/translate", "[" * 100_000, 400, "not JSON"),
    ("/translate", b"\xff\xfe", 400, "not JSON"),
    ("/translate", {}, 400, "q is missing"),
    ("/translate", {"q": 3}, 400, "a text is needed, not 3"),
    ("/translate", {"q": ["a", None]}, 400, "not None in a list"),
    ("/translate", {"q": "a", "format": "htm"}, 400, "did you mean html"),
    ("/translate", {"q": "a", "alternatives": True}, 400, "a number is needed"),
    ("/translate", {"q": "a", "alternatives": -1}, 400, "not from 0 to 20"),
    ("/translate", '{"q": "\\ud800"}', 400, "surrogate"),
    ("/translate", '{"q": "a", "alternatives": NaN}', 400, "NaN"),
    ("/translate", '{"q": "a", "alternatives": 1e999}', 400, "finite"),
    ("/translate", '{"q": "a", "alternatives": ' + "9" * 9000 + "}", 400, ""),
    (COMPLETE, {"prompt": "a", "model": "writre"}, 404, "did you mean writer"),
    (COMPLETE, {"prompt": " "}, 400, "blank"),
    (COMPLETE, {"prompt": [1, 2]}, 400, "a text or a list of texts"),
    (COMPLETE, {"prompt": "a", "temperature": -1}, 400, "not from 0"),
    (COMPLETE, {"prompt": "a", "max_tokens": 0}, 400, "not from 1"),
    (COMPLETE, {"prompt": "a", "logprobs": 3}, 400, "not done here"),
    (COMPLETE, {"prompt": "a", "stop": ["x"] * 9}, 400, "stop"),
    (COMPLETE, {"prompt": "a", "stream": "yes"}, 400, "true or false"),
    (COMPLETE, {"prompt": "a", "n": 2, "best_of": 3}, 400, "best_of"),
    (EMBED, {"input": []}, 400, "at least one"),
    (EMBED, {"input": ["a", ""]}, 400, "input[1]"),
    (EMBED, {"input": "a", "dimensions": 3}, 400, "dimensions"),
    ("/predict", {"inputs": "a"}, 400, "model is missing"),
    ("/predict", {"inputs": "a", "model": "mood"}, 400, "a list is needed"),
    ("/predict", {"inputs": [[["a"]]], "model": "mood"}, 400, "inputs[0]"),
    ("/attention", {"q": ["a"]}, 400, "a text is needed"),
    ("/nothing", {}, 404, "nothing is at /nothing"),
    ("/languages", {}, 405, "is not asked by POST"),
]


@pytest.mark.parametrize(("path", "body", "status", "cause"), REFUSED)
def test_what_is_wrong_is_said_in_the_client_s_shape(client, path, body, status, cause):
    sent = {"json": body} if isinstance(body, dict) else {"content": body}
    answer = client.post(path, **sent)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    if path.startswith("/v1/"):
        assert set(error) == {"message", "type", "param", "code"}
        error = error["message"]
    assert cause in error and "Traceback" not in answer.text and "\n" not in error


def test_multipart_is_refused_with_what_is_read(client):
    answer = client.post("/translate", files={"q": b"a"})
    assert answer.status_code == 415 and "urlencoded" in answer.json()["error"]


def test_what_is_too_much_is_refused(models):
    limits = {"max_body": 3000, "max_lines": 4, "max_chars": 100, "max_queue": 4}
    with serving(models["en-de"], **limits) as client:
        many = client.post("/translate", json={"q": ["a"] * 5})
        assert many.status_code == 400 and "--max-lines" in many.json()["error"]
        lines = client.post("/translate", json={"q": "a\n" * 4})
        assert lines.status_code == 400 and "5 lines" in lines.json()["error"]
        tags = client.post("/translate", json={"q": "<p>a" * 5, "format": "html"})
        assert tags.status_code == 400 and "texts between tags" in tags.json()["error"]
        long = client.post("/translate", json={"q": "a" * 101})
        assert long.status_code == 400 and "--max-chars" in long.json()["error"]
        big = client.post("/translate", content=b" " * 3001)
        assert big.status_code == 413 and "--max-body" in big.json()["error"]
        parts = client.post("/translate", content=iter([b" " * 1000] * 4))  # of no said length
        assert parts.status_code == 413
        assert client.post("/translate", json={"q": "a"}).status_code == 200


def test_keys_are_asked_for(models):
    spec = f"en-de={models['en-de']},writer={models['writer']}"
    with serving(spec, keys=frozenset([b"one", "zwei€".encode()])) as client:
        assert client.get("/health").status_code == 200
        assert client.get("/frontend/settings").json()["keyRequired"] is True
        refused = client.post("/translate", json={"q": "a"})
        assert refused.status_code == 401 and "api_key" in refused.json()["error"]
        assert refused.headers["www-authenticate"] == "Bearer"
        assert client.post("/translate", json={"q": "a", "api_key": "two"}).status_code == 401
        assert client.post("/translate", json={"q": "a", "api_key": "zwei€"}).status_code == 200
        assert client.post("/translate", data={"q": "a", "api_key": "one"}).status_code == 200
        asked = {"prompt": "the", "max_tokens": 2}
        for path in ("/v1/models", "/metrics"):
            assert client.get(path).status_code == 401
        assert client.post("/v1/completions", json=asked).json()["error"]["code"]
        client.headers["Authorization"] = "Bearer one"
        for path in ("/v1/models", "/metrics"):
            assert client.get(path).status_code == 200
        assert client.post("/v1/completions", json=asked).status_code == 200


# --- batches ---


class Gate:
    """Answers once it is opened; keeps what it was asked together."""

    def __init__(self, **bounds: int) -> None:
        self.open, self.entered = threading.Event(), threading.Event()
        self.batches: list[tuple[str, list[str]]] = []
        limits = {"most": 8, "room": 20, **bounds}
        self.batcher = Batcher("gate", self.answer, size=len, meter=Meter(), **limits)

    def answer(self, how: str, items: list[str]) -> list[str | AttnError]:
        self.entered.set()
        assert self.open.wait(30)
        self.batches.append((how, list(items)))
        if "crash" in items:
            raise ZeroDivisionError
        return [DataError(item) if item == "bad" else item.upper() for item in items]

    async def first(self) -> asyncio.Task[object]:
        """An item that is being answered."""
        task = asyncio.ensure_future(self.batcher.answered("x", ["first"]))
        await asyncio.to_thread(self.entered.wait, 30)
        return task


def test_what_waits_is_answered_together():
    async def run() -> None:
        gate = Gate()
        first = await gate.first()
        asked = [("x", ["a", "b"]), ("y", ["c"]), ("x", ["d"]), ("x", list("efghijk"))]
        tasks = [asyncio.ensure_future(gate.batcher.answered(*each)) for each in asked]
        await asyncio.sleep(0)
        gate.open.set()
        assert await first == ["FIRST"]
        assert await asyncio.gather(*tasks) == [[i.upper() for i in items] for _, items in asked]
        assert gate.batches[1:] == [("x", list("abdefghi")), ("y", ["c"]), ("x", ["j", "k"])]
        gate.batcher.close(5)

    asyncio.run(run())


def test_one_that_fails_does_not_take_others_along():
    async def run() -> None:
        gate = Gate()
        gate.open.set()
        answers = await asyncio.gather(
            *(gate.batcher.answered("x", [item]) for item in ("a", "crash", "bad", "b")),
            return_exceptions=True,
        )
        assert answers[0] == ["A"] and answers[3] == ["B"]
        assert isinstance(answers[1], ZeroDivisionError)
        assert isinstance(answers[2][0], DataError)
        gate.batcher.close(5)

    asyncio.run(run())


def test_too_many_are_turned_away_and_who_gives_up_is_not_answered():
    async def run() -> None:
        gate = Gate(room=3)
        first = await gate.first()
        waiting = asyncio.ensure_future(gate.batcher.answered("x", ["a", "b", "c"]))
        await asyncio.sleep(0)
        with pytest.raises(Refusal) as refused:
            await gate.batcher.answered("x", ["d"])
        assert refused.value.status == 503 and refused.value.headers["Retry-After"]
        waiting.cancel()
        await asyncio.sleep(0)
        gate.open.set()
        await first
        gate.batcher.close(5)
        assert gate.batches == [("x", ["first"])]
        with pytest.raises(Refusal):
            await gate.batcher.answered("x", ["late"])

    asyncio.run(run())


def test_many_requests_at_once_are_answered_in_few_batches_and_counted(models):
    desk = open_desk(models["en-de"])
    wanted = decoded(models["en-de"], LINES)

    async def run() -> str:
        transport = httpx.ASGITransport(make_app(desk))
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            asked = [{"q": LINES[i % len(LINES)]} for i in range(60)]
            answers = await asyncio.gather(
                *(client.post("/translate", json=each) for each in asked)
            )
            assert [answer.json()["translatedText"] for answer in answers] == [
                wanted[i % len(LINES)] for i in range(60)
            ]
            await client.get("/wp-admin")
            return (await client.get("/metrics")).text

    text = asyncio.run(run())
    desk.models.close(5)
    figures = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[:1] != "#")
    assert figures['attn_requests_total{route="/translate",status="200"}'] == "60"
    assert figures['attn_requests_total{route="other",status="404"}'] == "1"
    assert figures['attn_queue_lines{model="en-de"}'] == "0"
    assert float(figures['attn_batch_lines_sum{model="en-de"}']) == 60
    assert int(figures['attn_batch_lines_count{model="en-de"}']) < 30
    assert figures['attn_request_seconds_count{route="/translate"}'] == "60"
    buckets = [line for line in figures if line.startswith("attn_batch_lines_bucket")]
    counts = [int(figures[line]) for line in buckets]
    assert counts == sorted(counts) and "+Inf" in buckets[-1]


def test_what_takes_too_long_is_given_up(models, monkeypatch):
    desk = open_desk(models["en-de"], timeout=0.3)
    gate = Gate()
    writer = next(iter(desk.models.translators.values()))
    monkeypatch.setattr(writer.batcher, "_answer", gate.answer)

    async def slow() -> object:
        yield b'{"q": '
        await asyncio.sleep(5)

    async def run() -> None:
        transport = httpx.ASGITransport(make_app(desk))
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            answer = await client.post("/translate", json={"q": "a"})
            assert answer.status_code == 504 and "--timeout" in answer.json()["error"]
            answer = await client.post("/translate", content=slow())
            assert answer.status_code == 408
        gate.open.set()

    asyncio.run(run())
    desk.models.close(5)


def test_a_mistake_of_the_server_is_an_answer(models, monkeypatch):
    with serving(models["en-de"]) as client:
        desk_models = client.app._desk.models
        writer = next(iter(desk_models.translators.values()))
        monkeypatch.setattr(writer.batcher, "_answer", lambda how, items: 1 // 0)
        answer = client.post("/translate", json={"q": "a"})
        assert answer.status_code == 500 and "ZeroDivision" not in answer.text
        assert "its log" in answer.json()["error"]


# --- the command ---


def test_models_are_named():
    assert [(p.name, p.path, p.pair) for p in places_of("en-de=a/b,x=c")] == [
        ("en-de", "a/b", ("en", "de")),
        ("x", "c", None),
    ]
    assert places_of("some/where")[0].name == "where"
    assert places_of("pt_BR-en=x")[0].pair == ("pt_BR", "en")


@pytest.mark.parametrize(
    ("spec", "options", "status", "cause"),
    [
        ("{en-de},{en-de}", (), 2, "two models are called en-de"),
        ("x={en-de},", (), 2, "an empty name"),
        ("=a", (), 2, "NAME=DIR"),
        ("x=nowhere", (), 2, "no such model directory"),
        ("{mood}", ("--beam", 3), 2, "--beam: no model here reads that"),
        ("{en-de}", ("--task", "x"), 2, "--task: no model here reads that"),
        ("{nodes}", (), 2, "asked about a whole file"),
        ("{en-de}", ("--max-lines", 9, "--max-queue", 8), 2, "could never wait"),
        ("{en-de}", ("--host", "192.0.2.1"), 1, "--host another address"),
        ("{en-de}", ("--api-keys", "nowhere"), 2, "no such file"),
        ("{en-de}", ("--n-best", 9), 2, "--beam 9"),
        ("{en-de}", ("--n-best", 3), 0, ""),
    ],
)
def test_what_cannot_be_served_is_said_before_anything_is(
    models, tmp_path, spec, options, status, cause, monkeypatch
):
    from attn_cli.serve import server

    monkeypatch.setattr(server, "run", lambda app, bound, limits: 0)
    places = {**models, "nodes": tmp_path / "nodes"}
    if "nodes" in spec:
        write_nodes(places["nodes"], tmp_path / "graph")
    spec = spec.format_map(places)
    run = inside("serve", "-m", spec, "--port", 0, *CPU, *options, status=status)
    assert cause in run.said
    assert run.out.startswith(b"http://127.0.0.1:") == (status == 0)


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"# none\n\n", "holds no key"),
        (b"one\n\x80\0\n", "no file of keys"),
        (b"\x1b[1m", "of keys"),
    ],
)
def test_a_file_of_keys_that_holds_none_is_refused(models, tmp_path, content, cause):
    keys = tmp_path / "keys"
    keys.write_bytes(content)
    run = inside("serve", "-m", models["en-de"], "--api-keys", keys, status=3)
    assert cause in run.said


@pytest.mark.parametrize("name", ["starlette", "uvicorn"])
def test_a_missing_extra_is_named(models, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    run = inside("serve", "-m", models["en-de"], status=2)
    assert "pip install '.[serve]'" in run.said
