"""Names that share words: measured, suggested from word vectors, and asked of a server."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands import streamer
from conftest import free_port
from streamer.datasets import DATASETS
from streamer.datasets.names import read_names
from streamer.errors import ChatError
from streamer.training.chat import MAX_ANSWER_BYTES, ChatEndpoint, suggest_by_chat
from streamer.training.renaming import (
    MAX_WORDS,
    MOTIONS,
    Structure,
    find_faults,
    suggest_by_vectors,
    write_names,
)
from streamer.training.word_vectors import Vectors

PUBLISHED = ("walking", "running", "sitting")
GOOD = {"walking": "leg walk", "running": "leg run", "sitting": "leg"}
NAMES = Path(__file__).parent.parent / "configs" / "labels"


def test_structure_counts_what_is_shared() -> None:
    structure = Structure.of(["walk", "walk up stairs", "walk down stairs", "sit"])
    assert structure == Structure(labels=4, words=8, vocabulary=5, shared=2, sharing=3, nodes=6)
    assert "3 of 4 labels share a word" in str(structure)
    assert "(1.33 to 1)" in str(structure)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (GOOD, None),
        ({"walking": "Leg-Walk", "running": "leg run", "sitting": "leg"}, None),
        ({"walking": "leg walk", "running": "leg run"}, "no name for 'sitting'"),
        ({**GOOD, "flying": "arm fly"}, "'flying' is none of the labels"),
        ({**GOOD, "sitting": "LEG walk"}, "have the same name 'leg walk'"),
        ({**GOOD, "sitting": "走"}, "must have 1 to 7 words"),
        ({**GOOD, "sitting": "a b c d e f g h"}, "must have 1 to 7 words"),
        ({**GOOD, "sitting": "the end"}, "'end'"),
        ({"walking": "walk", "running": "run", "sitting": "sit"}, "only 0 of 3 names"),
    ],
)
def test_faults_of_names_are_found(names: dict[str, str], told: str | None) -> None:
    faults = find_faults(PUBLISHED, names)
    assert (faults == []) if told is None else any(told in fault for fault in faults)


@pytest.mark.parametrize("path", sorted(NAMES.glob("*.toml")), ids=lambda path: path.stem)
def test_the_files_of_names_fit_their_data_sets(path: Path) -> None:
    published = DATASETS["wisdm-watch" if path.stem == "wisdm" else path.stem].labels
    names = read_names(path, published)
    assert find_faults(published, names) == []
    before = Structure.of(published)
    after = Structure.of([names[label] for label in published])
    assert after.sharing > before.sharing
    assert after.words / after.nodes > before.words / before.nodes


def by_letters(words: Sequence[str]) -> Vectors:
    """Return vectors of which letters a word has: stand-ins that need no model."""
    vectors = np.zeros((len(words), 26))
    for row, word in enumerate(words):
        for letter in word:
            if letter.isalpha() and letter.isascii():
                vectors[row, ord(letter) - 97] += 1
        if not vectors[row].any():
            vectors[row] = np.nan
    return vectors


def knowing_nothing(words: Sequence[str]) -> Vectors:
    return np.full((len(words), 3), np.nan)


@pytest.mark.parametrize("name", DATASETS)
def test_suggested_names_can_be_used(name: str) -> None:
    published = DATASETS[name].labels
    names = suggest_by_vectors(published, by_letters)
    assert find_faults(published, names) == []
    assert names == suggest_by_vectors(published, by_letters)
    assert {name.split()[0] for name in names.values()} <= {*MOTIONS, "do"}


def test_motions_are_named_by_what_moves() -> None:
    labels = ["jogging", "jumping jacks", "walking upstairs", "eating soup", "raising of arms"]
    assert suggest_by_vectors(labels, knowing_nothing) == {
        "jogging": "leg jog",
        "jumping jacks": "leg jump jacks",
        "walking upstairs": "leg walk up stairs",
        "eating soup": "hand eat soup",
        "raising of arms": "arm raise arms",
    }


WORDS = st.sampled_from([*"ab", "walk", "walking", "run", "the", "of", "7", "upstairs", "qqqq"])
LABELS = st.lists(
    st.lists(WORDS, min_size=1, max_size=9).map(" ".join), min_size=1, max_size=9, unique=True
)


@given(LABELS)
def test_suggestions_are_always_distinct_and_short(labels: list[str]) -> None:
    names = suggest_by_vectors(labels, by_letters)
    assert list(names) == labels
    assert len(set(names.values())) == len(labels)
    assert all(1 <= len(name.split()) <= MAX_WORDS for name in names.values())


def test_a_written_file_of_names_is_read_back(tmp_path: Path) -> None:
    write_names(tmp_path / "deep" / "names.toml", GOOD, "a test")
    assert read_names(tmp_path / "deep" / "names.toml", PUBLISHED) == GOOD
    assert (tmp_path / "deep" / "names.toml").read_text().startswith("# Suggested by a test.")


Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class ChatServer:
    """A server that gives these answers, one after the other, and keeps what it was asked."""

    answers: list[Answer]
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def chat() -> Iterator[ChatServer]:
    state = ChatServer([])

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/v1/chat/completions"
            state.asked.append(json.loads(body))
            state.keys.append(self.headers["Authorization"])
            state.answers.pop(0)(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_port}/v1"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield state
        server.shutdown()
        thread.join()


def reply(body: bytes, status: int = 200) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def says(text: object) -> Answer:
    return reply(json.dumps({"choices": [{"message": {"content": text}}]}).encode())


def silent(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(1.5)
    handler.close_connection = True


def trickling(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.close_connection = True
    try:
        for _ in range(30):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.1)
    except OSError:
        pass


def hanging_up(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.close()


def ask(server: ChatServer, **options: Any) -> dict[str, str]:
    return suggest_by_chat(PUBLISHED, ChatEndpoint(server.url, "small", **options))


def test_good_names_are_taken_at_once(chat: ChatServer) -> None:
    chat.answers = [says(f"<think>{{no}}</think>\n```json\n{json.dumps(GOOD)}\n```\nDone.")]
    assert ask(chat, key="secret") == GOOD
    assert chat.keys == ["Bearer secret"]
    assert chat.asked[0]["model"] == "small"
    assert json.loads(chat.asked[0]["messages"][-1]["content"]) == list(PUBLISHED)


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (says("I would rather not."), "no JSON object of names"),
        (says('{"walking": 3}'), "no JSON object of names"),
        (says(json.dumps({**GOOD, "sitting": "leg run"})), "same name 'leg run'"),
        (says(json.dumps({"walking": "leg walk"})), "no name for 'running'"),
    ],
)
def test_a_fault_is_told_and_the_next_answer_taken(
    bad: Answer, told: str, chat: ChatServer
) -> None:
    chat.answers = [bad, says(json.dumps(GOOD))]
    assert ask(chat) == GOOD
    assert told in chat.asked[1]["messages"][-1]["content"]
    assert chat.asked[1]["messages"][-2]["role"] == "assistant"
    assert chat.keys == [None, None]


@pytest.mark.parametrize("thought", ["Maybe {} ...", 'e.g. {"walking": "leg"}, no', "{"])
def test_what_is_thought_before_the_answer_is_passed_over(thought: str, chat: ChatServer) -> None:
    chat.answers = [says(f"<think>{thought}</think>{json.dumps(GOOD)}")]
    assert ask(chat) == GOOD


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (reply(b"\xff\x00 garbage"), "no chat completion"),
        (reply(b'{"choices": []}'), "no chat completion"),
        (reply(b"[" * 200_000), "no chat completion"),
        (says(None), "without text"),
        (reply(b"busy", 503), "status 503"),
        (reply(b"slow down", 429), "status 429"),
        (reply(b"x" * (MAX_ANSWER_BYTES + 1)), "over 1000000 bytes"),
        (says("{" * 3000), "no JSON object"),
        (says('{"a":' * 100_000), "no JSON object"),
        (silent, "no whole answer in 0.5 s"),
        (trickling, "no whole answer in 0.5 s"),
    ],
)
def test_a_broken_answer_is_asked_again_and_then_given_up(
    broken: Answer, told: str, chat: ChatServer
) -> None:
    chat.answers = [broken, says(json.dumps(GOOD))]
    assert ask(chat, timeout_s=0.5) == GOOD
    chat.answers = [broken, broken]
    with pytest.raises(ChatError, match="gave no usable names in 2 answers") as error:
        ask(chat, timeout_s=0.5, attempts=2)
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (reply(b'{"error": "bad key"}', 401), "status 401: .*bad key"),
        (hanging_up, "can't be asked"),
    ],
)
def test_a_refusal_is_told_at_once(answer: Answer, told: str, chat: ChatServer) -> None:
    chat.answers = [answer]
    with pytest.raises(ChatError, match=told) as error:
        ask(chat, key="secret")
    assert len(chat.asked) == 1
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    "url",
    [f"http://127.0.0.1:{free_port()}/v1", "nonsense", "http://[::"],
    ids=("away", "no", "odd"),
)
def test_a_server_that_is_not_there_is_told(url: str) -> None:
    with pytest.raises(ChatError, match="can't be asked"):
        suggest_by_chat(PUBLISHED, ChatEndpoint(url, "small", timeout_s=5))


def test_the_command_asks_a_server_and_writes_a_file(chat: ChatServer, tmp_path: Path) -> None:
    published = DATASETS["mhealth"].labels
    wanted = read_names(NAMES / "mhealth.toml", published)
    chat.answers = [says(json.dumps(wanted))]
    environment = {"STREAMER_CHAT_URL": chat.url, "STREAMER_CHAT_KEY": "secret"}
    out = tmp_path / "names.toml"
    done = streamer("labels", "suggest", "mhealth", "--out", out, environment=environment)
    assert done.returncode == 0, done.stderr
    assert chat.keys == ["Bearer secret"]
    assert read_names(out, published) == wanted
    assert "as published: 2 of 12 labels share a word" in done.stdout
    assert "as named:     12 of 12 labels share a word" in done.stdout
    again = streamer("labels", "suggest", "mhealth", "--out", out, environment=environment)
    assert again.returncode == 2
    assert "is there already" in again.stderr
    chat.answers = [reply(b"no", 403)]
    new = tmp_path / "new.toml"
    done = streamer("labels", "suggest", "mhealth", "--out", new, environment=environment)
    assert done.returncode == 1
    assert done.stderr == f"error: {chat.url} refused with status 403: no\n"


def test_the_command_suggests_from_a_file_of_vectors(tmp_path: Path) -> None:
    lines = ["walking 1 0", "walk 1 0.1", "stairs 0 1", "ironing 0 -1"]
    (tmp_path / "vectors.txt").write_text("\n".join(lines))
    arguments = ["--out", str(tmp_path / "n.toml"), "--vectors", str(tmp_path / "vectors.txt")]
    done = streamer("labels", "suggest", "pamap2", *arguments)
    assert done.returncode == 0, done.stderr
    assert "nordic walking -> leg nordic walk" in done.stdout
    shown = streamer("labels", "show", "pamap2", "--labels", tmp_path / "n.toml").stdout
    assert shown in done.stdout
    assert "did you mean 'pamap2'" in streamer("labels", "show", "pamap").stderr


def test_nothing_is_suggested_for_plain_numbers(tmp_path: Path) -> None:
    rows = [f"{n},{n % 2},{who}" for who in "abc" for n in range(200)]
    (tmp_path / "all.csv").write_text("\n".join(["x,what,who", *rows]))
    (tmp_path / "dataset.toml").write_text(
        'rate_hz = 50\n[csv]\nlabel = "what"\nsubject = "who"\n'
        '[csv.channels]\nx = { column = "x", unit = "g" }\n'
    )
    done = streamer("labels", "suggest", tmp_path, "--out", tmp_path / "names.toml")
    assert done.returncode == 1
    assert done.stderr.startswith("error: label '0' is a plain number, as all of them are")
    assert not (tmp_path / "names.toml").exists()


def test_names_are_not_suggested_for_a_label_without_letters(tmp_path: Path) -> None:
    shipped = (NAMES.parent / "train" / "waist.toml").read_text()
    path = tmp_path / "config.toml"
    path.write_text(re.sub(r"labels = \[[^]]*\]", 'labels = ["歩く"]', shipped, count=1))
    done = streamer("labels", "suggest", str(path), "--out", str(tmp_path / "names.toml"))
    assert done.returncode == 1
    assert "label '歩く' has the word '歩く'" in done.stderr
