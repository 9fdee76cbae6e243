"""Asking a language model for label names, over the chat protocol that most servers speak.

OpenAI's `POST <url>/chat/completions`, which Ollama, llama.cpp's server and vLLM offer as well.
"""

import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from streamer.errors import ChatError, TrainingError
from streamer.training.renaming import MAX_WORDS, find_faults

MAX_ANSWER_BYTES = 1_000_000
"""Names of a hundred labels take a hundredth of it."""

TOO_MANY_REQUESTS = 429

TASK = f"""You name human activities for a model that recognises them from worn motion sensors and
writes their names word by word. Find for each label below a short phrase of 1 to {MAX_WORDS}
lower-case English words that tells which part of the body moves and how, such that activities with
similar movements share words, best their first ones ("leg walk", "leg jump", "leg jump fast"). No
two labels may get the same phrase. Answer with one JSON object and nothing else: its keys are the
labels exactly as given, its values are the phrases."""


@dataclass(frozen=True, slots=True)
class ChatEndpoint:
    """A server that speaks the chat protocol.

    Attributes:
        url: its base, such as `http://127.0.0.1:11434/v1`.
        model: the model to ask.
        key: sent as bearer token, where the server wants one.
        timeout_s: for a whole answer.
        attempts: answers to ask for before giving up.
    """

    url: str
    model: str
    key: str | None = field(default=None, repr=False)
    timeout_s: float = 120.0
    attempts: int = 3


class _UnusableAnswerError(Exception):
    """What came is no answer of the protocol; asking again may help."""


def suggest_by_chat(published: Sequence[str], endpoint: ChatEndpoint) -> dict[str, str]:
    """Ask for names until they can be used, telling what is wrong with those that can't.

    Args:
        published: the labels, as plain words.
        endpoint: whom to ask.

    Raises:
        ChatError: the server can't be reached, refuses, or gave no usable names.
        TrainingError: the HTTP client is not installed.
    """
    messages = [
        {"role": "system", "content": TASK},
        {"role": "user", "content": json.dumps(list(published))},
    ]
    told = ""
    for _ in range(endpoint.attempts):
        try:
            answer = _ask(endpoint, messages)
        except _UnusableAnswerError as error:
            told = str(error)
            continue
        told = "no JSON object of names"
        for names in _names_in(answer):
            faults = find_faults(published, names)
            if not faults:
                return {label: names[label] for label in published}
            told = "; ".join(faults)
        messages += [
            {"role": "assistant", "content": answer},
            {"role": "user", "content": f"This can't be used: {told}. Answer again, all labels."},
        ]
    raise ChatError(
        endpoint.url, f"gave no usable names in {endpoint.attempts} answers; the last: {told}"
    )


def _ask(endpoint: ChatEndpoint, messages: Sequence[dict[str, str]]) -> str:
    try:
        import httpx2  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise TrainingError(
            f"{error.name} is not installed; run: pip install 'share-streamer[words]'"
        ) from error
    headers = {"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}
    body = {"model": endpoint.model, "messages": messages, "temperature": 0, "stream": False}
    deadline = time.monotonic() + endpoint.timeout_s
    try:
        with (
            httpx2.Client(timeout=endpoint.timeout_s) as client,
            client.stream(
                "POST",
                f"{endpoint.url.rstrip('/')}/chat/completions",
                json=body,
                headers=headers,
            ) as response,
        ):
            content = b""
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > MAX_ANSWER_BYTES:
                    raise _UnusableAnswerError(f"an answer of over {MAX_ANSWER_BYTES} bytes")
                # The client's own limit starts afresh with every byte that arrives.
                if time.monotonic() > deadline:
                    raise _UnusableAnswerError(f"no whole answer in {endpoint.timeout_s:g} s")
            status = response.status_code
    except httpx2.TimeoutException as error:
        raise _UnusableAnswerError(f"no whole answer in {endpoint.timeout_s:g} s") from error
    except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError) as error:
        raise ChatError(endpoint.url, f"can't be asked: {error or type(error).__name__}") from error
    if status >= 500 or status == TOO_MANY_REQUESTS:
        raise _UnusableAnswerError(f"status {status}")
    if status != 200:
        raise ChatError(endpoint.url, f"refused with status {status}: {_shortened(content)}")
    return _text(content)


def _text(content: bytes) -> str:
    try:
        text = json.loads(content)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise _UnusableAnswerError(f"no chat completion: {_shortened(content)}") from error
    if not isinstance(text, str):
        raise _UnusableAnswerError("a chat completion without text")
    return text


def _names_in(answer: str) -> Iterator[dict[str, str]]:
    """Return the JSON objects of an answer, which may have fences, thoughts or drafts around it."""
    for start in (match.start() for match in re.finditer(r"\{", answer)):
        try:
            found: Any = json.JSONDecoder().raw_decode(answer, start)[0]
        except RecursionError:
            return
        except ValueError:
            continue
        if isinstance(found, dict) and all(isinstance(name, str) for name in found.values()):
            yield found


def _shortened(content: bytes) -> str:
    text = " ".join(content.decode(errors="replace").split())
    return text if len(text) <= 200 else f"{text[:200]} ..."
