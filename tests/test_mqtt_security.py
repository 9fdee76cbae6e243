"""TLS, passwords and permissions: what works, and that a refusal says why; against mosquitto."""

import asyncio
import datetime as dt
import gc
import json
import os
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from conftest import Mosquitto, needs
from device_adapters.errors import MqttConnectionError
from device_adapters.mqtt.client import connection
from device_adapters.mqtt.connection import BrokerAddress
from device_adapters.mqtt.subscriber import MqttAdapter, MqttOptions
from mqtt_wearables import message, numbers_of, publish, receive, sample_numbers
from streamer import subscribe
from streamer.publishers.mqtt import MqttPublisher
from test_mqtt import label

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""For the sockets that `refusal` tells of."""

PASSWORD = "walk up stairs"
DYNAMIC_SECURITY = Path("/usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so")


class Pki:
    """Who vouches for the broker, and the broker's and a client's certificates."""

    def __init__(self, folder: Path, expired: bool = False) -> None:
        self.folder = folder
        folder.mkdir()
        authority = trustme.CA()
        yesterday = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
        server = authority.issue_cert("127.0.0.1", not_after=yesterday if expired else None)
        client = authority.issue_cert("gateway@example.org")
        authority.cert_pem.write_to_path(folder / "ca.pem")
        for name, certificate in (("server", server), ("client", client)):
            certificate.private_key_pem.write_to_path(folder / f"{name}.key")
            certificate.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")

    def listener(self) -> str:
        return (
            f"cafile {self.folder}/ca.pem\ncertfile {self.folder}/server.pem\n"
            f"keyfile {self.folder}/server.key\n"
        )

    def client(self) -> dict[str, Path]:
        return {"cert_file": self.folder / "client.pem", "key_file": self.folder / "client.key"}


Start = Callable[..., Mosquitto]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a broker with these settings."""
    brokers: list[Mosquitto] = []

    def start_broker(settings: str = "", **options: Any) -> Mosquitto:
        brokers.append(Mosquitto(tmp_path, settings, **options))
        brokers[-1].start()
        return brokers[-1]

    yield start_broker
    for broker in brokers:
        broker.close()


@pytest.fixture(params=["aiomqtt", "gmqtt"])
def client(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def credentials(tmp_path: Path) -> str:
    """Return the broker's settings for one user."""
    passwords = tmp_path / "passwords"
    subprocess.run([needs("mosquitto_passwd"), "-b", "-c", passwords, "har", PASSWORD], check=True)
    return f"password_file {passwords}\n"


async def refusal(address: BrokerAddress, topic: str = "wearables/+/imu") -> str:
    with pytest.raises(MqttConnectionError) as caught:
        async with connection(address) as broker:
            await broker.subscribe(topic)
    reason = caught.value.reason
    del caught
    gc.collect()  # paho leaves the socket of a failed handshake to the collector
    return reason


@pytest.fixture
def guarded(start: Start, credentials: str, tmp_path: Path) -> tuple[Mosquitto, dict[str, Any]]:
    """Return a broker that asks for a certificate and a password, and what it is to be told."""
    pki = Pki(tmp_path / "pki")
    settings = pki.listener() + credentials + "require_certificate true\n"
    broker = start(settings, anonymous=False, scheme="mqtts")
    password_file = tmp_path / "password"
    password_file.write_text(PASSWORD + "\n")
    return broker, {
        "username": "har",
        "password_file": password_file,
        "ca_file": tmp_path / "pki" / "ca.pem",
        **pki.client(),
    }


async def test_samples_come_over_tls_with_password_and_client_certificate(
    guarded: tuple[Mosquitto, dict[str, Any]], client: str, no_leaked_tasks: None
) -> None:
    broker, asked = guarded
    known = {"url": broker.url, "client": client} | asked
    async with MqttAdapter(MqttOptions.model_validate(known)) as adapter:
        await adapter.subscribed()
        await publish(BrokerAddress.model_validate(known), [message(0), message(1)])
        assert sample_numbers(await receive(adapter, 2)) == numbers_of(0, 1)


async def test_labels_are_read_over_tls_with_password_and_client_certificate(
    guarded: tuple[Mosquitto, dict[str, Any]], client: str, no_leaked_tasks: None
) -> None:
    broker, known = guarded
    options = [part for name, value in known.items() for part in (f"--{name}", str(value))]
    watching = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "streamer", "watch", broker.url),
        *(part.replace("_", "-") if part.startswith("--") else part for part in options),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"COLUMNS": "100", "PYTHONUNBUFFERED": "1"},
    )
    assert watching.stdout is not None
    url = f"{broker.url}/har/home/+/activity"
    ready = asyncio.Event()
    labels = subscribe(
        BrokerAddress.model_validate({"url": url, "client": client} | known), ready=ready
    )
    first = asyncio.ensure_future(anext(labels))
    try:
        async with asyncio.timeout(30):
            await ready.wait()
            address = BrokerAddress.model_validate({"url": broker.url} | known)
            async with MqttPublisher(address, "home") as publisher:
                await publisher.publish(label(7))
                assert await first == label(7)
                seen = asyncio.ensure_future(watching.stdout.readline())
                while not seen.done():  # it takes a while to start
                    await publisher.publish(label(8))
                    await asyncio.wait((seen,), timeout=0.2)
                assert label(8).wearer in seen.result().decode()
    finally:
        await labels.aclose()
        watching.terminate()
        await watching.wait()


async def test_who_may_not_read_labels_is_told_why(
    start: Start, credentials: str, caplog: pytest.LogCaptureFixture
) -> None:
    broker = start(credentials, anonymous=False)
    labels = subscribe(BrokerAddress(url=broker.url))
    first = asyncio.ensure_future(anext(labels))
    async with asyncio.timeout(10):
        while "username or password is wrong (sent no username)" not in caplog.text:
            await asyncio.sleep(0.05)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await labels.aclose()


@pytest.mark.parametrize("username", [None, "har"])
async def test_a_wrong_password_is_told(
    start: Start,
    credentials: str,
    client: str,
    username: str | None,
    monkeypatch: pytest.MonkeyPatch,
    no_leaked_tasks: None,
) -> None:
    broker = start(credentials, anonymous=False)
    monkeypatch.setenv("HAR_PASSWORD", "fall down stairs")
    address = BrokerAddress.model_validate(
        {"url": broker.url, "client": client, "username": username, "password_env": "HAR_PASSWORD"}
    )
    told = await refusal(address)
    assert "username or password is wrong" in told
    assert ("'har'" if username else "no username") in told


async def test_an_authority_that_is_not_ours_is_told(
    start: Start, tmp_path: Path, client: str, no_leaked_tasks: None
) -> None:
    broker = start(Pki(tmp_path / "pki").listener(), scheme="mqtts")
    Pki(tmp_path / "other")
    for ca_file in (None, tmp_path / "other" / "ca.pem"):
        address = BrokerAddress.model_validate(
            {"url": broker.url, "client": client, "ca_file": ca_file}
        )
        told = await refusal(address)
        assert "certificate is not accepted" in told
        assert "issuer" in told or "self-signed" in told or "self signed" in told


async def test_an_expired_certificate_is_told(
    start: Start, tmp_path: Path, client: str, no_leaked_tasks: None
) -> None:
    broker = start(Pki(tmp_path / "pki", expired=True).listener(), scheme="mqtts")
    address = BrokerAddress.model_validate(
        {"url": broker.url, "client": client, "ca_file": tmp_path / "pki" / "ca.pem"}
    )
    assert "certificate has expired" in await refusal(address)


async def test_a_certificate_of_another_host_is_told(
    start: Start, tmp_path: Path, client: str, no_leaked_tasks: None
) -> None:
    broker = start(Pki(tmp_path / "pki").listener(), scheme="mqtts")
    address = BrokerAddress.model_validate(
        {
            "url": f"mqtts://localhost:{broker.port}",
            "client": client,
            "ca_file": tmp_path / "pki" / "ca.pem",
        }
    )
    assert "not valid for 'localhost'" in await refusal(address)


async def test_a_client_certificate_that_is_asked_for_is_told(
    start: Start, tmp_path: Path, client: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("aiomqtt_client", "gmqtt_client"):
        monkeypatch.setattr(f"device_adapters.mqtt.{module}.TIMEOUT_SECONDS", 0.5)
    pki = Pki(tmp_path / "pki")
    broker = start(pki.listener() + "require_certificate true\n", scheme="mqtts")
    address = BrokerAddress.model_validate(
        {"url": broker.url, "client": client, "ca_file": tmp_path / "pki" / "ca.pem"}
    )
    assert "cert_file" in await refusal(address)


async def test_a_refused_subscription_is_told(
    start: Start, tmp_path: Path, client: str, no_leaked_tasks: None
) -> None:
    if not DYNAMIC_SECURITY.exists():
        pytest.skip("mosquitto's plugin for permissions is not installed")
    permissions = tmp_path / "permissions.json"
    permissions.write_text(
        json.dumps({"defaultACLAccess": {"subscribe": False, "unsubscribe": True}})
    )
    settings = f"plugin {DYNAMIC_SECURITY}\nplugin_opt_config_file {permissions}\n"
    broker = start(settings)
    address = BrokerAddress.model_validate({"url": broker.url, "client": client})
    assert await refusal(address) == "refused to send 'wearables/+/imu'"


async def test_a_refused_gateway_tells_so_once_and_tries_again(
    start: Start, credentials: str, caplog: pytest.LogCaptureFixture, client: str
) -> None:
    broker = start(credentials, anonymous=False)
    options = MqttOptions.model_validate({"url": broker.url, "client": client})
    async with MqttAdapter(options):
        await asyncio.sleep(1.2)
    assert caplog.text.count("username or password is wrong") == 1


def test_a_key_of_another_certificate_is_told(tmp_path: Path) -> None:
    pki = Pki(tmp_path / "pki")
    address = BrokerAddress(
        url="mqtts://127.0.0.1",
        cert_file=pki.folder / "client.pem",
        key_file=pki.folder / "server.key",
    )
    with pytest.raises(ValueError, match="KEY_VALUES_MISMATCH"):
        address.tls()
    assert isinstance(
        BrokerAddress.model_validate({"url": "mqtts://h"} | pki.client()).tls(), ssl.SSLContext
    )
