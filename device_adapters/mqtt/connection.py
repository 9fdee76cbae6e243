"""How a broker is reached: address, credentials, socket options, and the pause between attempts."""

import asyncio
import logging
import socket
import ssl
from pathlib import Path
from urllib.parse import unquote, urlsplit

import aiomqtt
from pydantic import BaseModel, ConfigDict, field_validator

from device_adapters.errors import BrokerAddressError

DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883}
FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 30.0
TIMEOUT_SECONDS = 10.0
QUEUED_MESSAGES = 10_000
"""Received and not yet read; beyond it aiomqtt drops messages, with a warning for each."""

NO_DELAY = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)
"""Without it Nagle's algorithm holds small messages back for 40 ms."""

_log = logging.getLogger(__name__)


class BrokerAddress(BaseModel):
    """Where a broker is and who connects to it.

    Attributes:
        url: `mqtt://host[:port]`, or `mqtts://` for TLS.
        username: if the broker asks for one.
        password_file: a file that holds the password, if the broker asks for one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = "mqtt://127.0.0.1:1883"
    username: str | None = None
    password_file: Path | None = None

    @field_validator("url")
    @classmethod
    def _is_address(cls, url: str) -> str:
        split_url(url)
        return url

    @property
    def host(self) -> str:
        """The broker's host name or address."""
        return split_url(self.url)[1]

    @property
    def port(self) -> int:
        """The broker's TCP port."""
        return split_url(self.url)[2]

    def client(self, will: aiomqtt.Will | None = None) -> aiomqtt.Client:
        """Return a client that is not connected yet; to be entered.

        Raises:
            BrokerAddressError: the password file can't be read.
        """
        scheme, host, port, _ = split_url(self.url)
        return aiomqtt.Client(
            host,
            port,
            username=self.username,
            password=self._password(),
            will=will,
            timeout=TIMEOUT_SECONDS,
            tls_context=ssl.create_default_context() if scheme == "mqtts" else None,
            socket_options=NO_DELAY,
            max_queued_incoming_messages=QUEUED_MESSAGES,
        )

    def _password(self) -> str | None:
        if self.password_file is None:
            return None
        try:
            return self.password_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise BrokerAddressError(
                self.url, f"password file {self.password_file}: {error.strerror}"
            ) from error


def split_url(url: str) -> tuple[str, str, int, str]:
    """Return scheme, host, port and topic (the path, may be empty) of an `mqtt://` URL.

    Raises:
        BrokerAddressError: it is not one.
    """
    parts = urlsplit(url)
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise BrokerAddressError(url, "expected mqtt://host[:port] or mqtts://host[:port]")
    try:
        port = parts.port or DEFAULT_PORTS[parts.scheme]
    except ValueError as error:
        raise BrokerAddressError(url, "the port must be a number from 1 to 65535") from error
    # A topic filter may hold '#', which a URL takes for the start of its fragment.
    topic = parts.path + (f"#{parts.fragment}" if parts.fragment or url.endswith("#") else "")
    return parts.scheme, parts.hostname, port, unquote(topic).removeprefix("/")


class Backoff:
    """The pauses between attempts to connect: each twice the last, until one succeeds.

    The first fault after a success is told as a warning, the ones that repeat it are not.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._pause = FIRST_PAUSE_SECONDS

    async def wait(self, error: Exception) -> None:
        """Tell of a fault and sleep until the next attempt."""
        level = logging.WARNING if self._pause == FIRST_PAUSE_SECONDS else logging.DEBUG
        _log.log(level, "broker %s: %s; trying again", self._url, error)
        pause = self._pause
        self._pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        await asyncio.sleep(pause)

    def succeeded(self) -> None:
        """Begin anew."""
        if self._pause > FIRST_PAUSE_SECONDS:
            _log.warning("broker %s: connected again", self._url)
        self._pause = FIRST_PAUSE_SECONDS
