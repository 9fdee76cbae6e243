"""How a broker is reached: its address and credentials."""

import ssl
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, field_validator

from device_adapters.errors import BrokerAddressError

DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883}
TIMEOUT_SECONDS = 10.0


class BrokerAddress(BaseModel):
    """Where a broker is and who connects to it.

    Attributes:
        url: `mqtt://host[:port]`, or `mqtts://` for TLS.
        username: if the broker asks for one.
        password_file: a file that holds the password, if the broker asks for one.
        client: the library that speaks to it; `gmqtt` comes with the extra `fast`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = "mqtt://127.0.0.1:1883"
    username: str | None = None
    password_file: Path | None = None
    client: Literal["aiomqtt", "gmqtt"] = "aiomqtt"

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

    def tls(self) -> ssl.SSLContext | None:
        """Return what an encrypted connection needs, None for a plain one."""
        return ssl.create_default_context() if self.url.startswith("mqtts:") else None

    def password(self) -> str | None:
        """Return the password in the file.

        Raises:
            BrokerAddressError: the file can't be read.
        """
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
