"""How a broker is reached: address, credentials and certificates."""

import os
import ssl
from pathlib import Path
from typing import Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from device_adapters.errors import BrokerAddressError

DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883}
TIMEOUT_SECONDS = 10.0

NOT_AUTHORISED = (4, 5, 134, 135)
"""CONNACK codes for credentials that are wrong; which of the two a broker does not tell."""

REFUSALS = {
    1: "it does not speak MQTT 3.1.1",
    2: "it does not take our client identifier",
    3: "it is unavailable",
    132: "it does not speak MQTT 3.1.1",
    133: "it does not take our client identifier",
    136: "it is unavailable",
    137: "it is busy",
    138: "we are banned",
}


class BrokerAddress(BaseModel):
    """Where a broker is and who connects to it.

    Attributes:
        url: `mqtt://host[:port]`, or `mqtts://` for TLS.
        username: if the broker asks for one.
        password_file: a file that holds the password, if the broker asks for one.
        password_env: or the environment variable that does.
        ca_file: the certificates of who vouches for the broker; the system's own by default.
        cert_file: our certificate, if the broker asks for one.
        key_file: its private key, if that is not in `cert_file`.
        client: the library that speaks to it; `gmqtt` comes with the extra `fast`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = "mqtt://127.0.0.1:1883"
    username: str | None = None
    password_file: Path | None = None
    password_env: str | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    client: Literal["aiomqtt", "gmqtt"] = "aiomqtt"

    @field_validator("url")
    @classmethod
    def _is_address(cls, url: str) -> str:
        split_url(url)
        return url

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.password_file is not None and self.password_env is not None:
            raise ValueError("either password_file or password_env, not both")
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("key_file needs cert_file, the certificate that it is the key of")
        for name in ("ca_file", "cert_file"):
            if getattr(self, name) is not None and not self.url.startswith("mqtts:"):
                raise ValueError(f"{name} needs an encrypted connection: mqtts://{self.host}")
        return self

    @property
    def host(self) -> str:
        """The broker's host name or address."""
        return split_url(self.url)[1]

    @property
    def port(self) -> int:
        """The broker's TCP port."""
        return split_url(self.url)[2]

    def tls(self) -> ssl.SSLContext | None:
        """Return what an encrypted connection needs, None for a plain one.

        Raises:
            BrokerAddressError: a certificate or key can't be read.
        """
        if not self.url.startswith("mqtts:"):
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except OSError as error:
            raise BrokerAddressError(self.url, f"ca_file {self.ca_file}: {_why(error)}") from error
        if self.cert_file is not None:
            try:
                context.load_cert_chain(self.cert_file, self.key_file)
            except OSError as error:
                files = " and ".join(map(str, filter(None, (self.cert_file, self.key_file))))
                raise BrokerAddressError(self.url, f"{files}: {_why(error)}") from error
        return context

    def password(self) -> str | None:
        """Return the password in the file or the environment.

        Raises:
            BrokerAddressError: it is not there.
        """
        if self.password_env is not None:
            if self.password_env not in os.environ:
                raise BrokerAddressError(
                    self.url, f"environment variable {self.password_env} (password_env) is not set"
                )
            return os.environ[self.password_env]
        if self.password_file is None:
            return None
        try:
            return self.password_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise BrokerAddressError(
                self.url, f"password file {self.password_file}: {_why(error)}"
            ) from error

    def refusal(self, code: int) -> str:
        """Return what a CONNACK's code means (MQTT 3.1.1, table 3.1, or MQTT 5, table 3-1)."""
        if code in NOT_AUTHORISED:
            who = "no username" if self.username is None else f"username {self.username!r}"
            return f"refused: username or password is wrong (sent {who})"
        return f"refused: {REFUSALS.get(code, f'code {code}')}"

    def explanation(self, error: BaseException) -> str:
        """Return why a connection failed, from the error that it was in the first place."""
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ssl.SSLCertVerificationError):
                return f"its certificate is not accepted: {cause.verify_message}"
            if isinstance(cause, OSError) and not isinstance(cause, TimeoutError):
                return _why(cause)
            cause = cause.__cause__ or cause.__context__
        if isinstance(error, TimeoutError) or "timed out" in str(error):
            return f"no answer for {TIMEOUT_SECONDS:g} s{self._hint()}"
        return str(error)

    def _hint(self) -> str:
        """Return what a broker may want that says nothing (TLS 1.3 tells refusals too late)."""
        if self.url.startswith("mqtts:"):
            return "" if self.cert_file else "; it may ask for a certificate of ours (cert_file)"
        return "; it may want an encrypted connection (mqtts://)"


def _why(error: OSError | UnicodeDecodeError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"TLS does not take it ({error.reason or error})"
    return str(getattr(error, "strerror", None) or error)


def split_url(url: str) -> tuple[str, str, int, str]:
    """Return scheme, host, port and topic (the path, may be empty) of an `mqtt://` URL.

    Raises:
        BrokerAddressError: it is not one.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:  # of brackets around what is no IPv6 address
        raise BrokerAddressError(url, str(error)) from error
    if "@" in parts.netloc:  # a password is not told again
        shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        told = "username and password don't stand in the URL; give username and password_file"
        raise BrokerAddressError(shown, told)
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise BrokerAddressError(url, "expected mqtt://host[:port] or mqtts://host[:port]")
    try:
        port = parts.port or DEFAULT_PORTS[parts.scheme]
    except ValueError as error:
        raise BrokerAddressError(url, "the port must be a number from 1 to 65535") from error
    # A topic filter may hold '?' and '#', which a URL takes for the start of something else.
    topic = url.partition("//")[2].removeprefix(parts.netloc)
    return parts.scheme, parts.hostname, port, unquote(topic).removeprefix("/")
