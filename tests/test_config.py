from pathlib import Path

import pytest

from device_adapters.adapter import DeviceAdapter
from device_adapters.errors import UnknownPartError
from device_adapters.synthetic import SyntheticAdapter
from streamer.config import GatewayConfig, read_gateway_config
from streamer.config_file import read_config
from streamer.errors import ConfigError

CONFIGS = Path(__file__).parent.parent / "configs"
BLE = '[[adapters]]\ntype = "ble"\n[[adapters.wearables]]\nname = "anna"\n'
ADAPTER = '[[adapters]]\ntype = "synthetic"\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "gateway.toml"
    path.write_text(text)
    return path


def test_everything_but_the_adapters_has_a_default(tmp_path: Path) -> None:
    config, adapters = read_gateway_config(written(tmp_path, ADAPTER))
    assert config.name == "gateway"
    assert config.mqtt.embedded
    assert config.mqtt.broker.url == "mqtt://127.0.0.1:1883"
    assert [type(adapter) for adapter in adapters] == [SyntheticAdapter]


def test_a_real_broker_replaces_the_embedded_one(tmp_path: Path) -> None:
    text = f'[mqtt]\nurl = "mqtts://broker.lan"\nusername = "har"\n{ADAPTER}'
    config, _ = read_gateway_config(written(tmp_path, text))
    assert not config.mqtt.embedded
    assert (config.mqtt.broker.host, config.mqtt.broker.port) == ("broker.lan", 8883)


@pytest.mark.parametrize(
    ("text", "key", "told"),
    [
        ("name = ", "", "not valid TOML"),
        (f"name = {'[' * 2000}{']' * 2000}", "", "nested too deeply"),
        (f"[model]\nhop_s = nan\n{ADAPTER}", "model.hop_s", "nan"),
        (f'nmae = "x"\n{ADAPTER}', "nmae", "did you mean 'name'?"),
        (f'name = "a/b"\n{ADAPTER}', "name", "'a/b'"),
        (f"[model]\nhop_s = -1\n{ADAPTER}", "model.hop_s", "-1"),
        (f'[model]\nhopp_s = "1"\n{ADAPTER}', "model.hopp_s", "did you mean 'hop_s'?"),
        (f'[mqtt]\nurl = "http://x"\n{ADAPTER}', "mqtt.url", "expected mqtt://host"),
        (f'[mqtt]\nurl = "mqtt://x:99999"\n{ADAPTER}', "mqtt.url", "1 to 65535"),
        (f'[mqtt]\nlisten = ":1883"\n{ADAPTER}', "mqtt.listen", "expected"),
        (f'[mqtt]\nurl = "mqtt://u:p@x"\n{ADAPTER}', "mqtt.url", "mqtt://x': username and pass"),
        (f'[mqtt]\nurl = "mqtt://x/a"\n{ADAPTER}', "mqtt", "the topic 'a'; labels go to har/"),
        (f'[mqtt]\nusername = "u"\n{ADAPTER}', "mqtt", "username without url"),
        (f'[mqtt]\nurl = "mqtt://x"\nlisten = ":1"\n{ADAPTER}', "mqtt.listen", "expected"),
        (f'[mqtt]\nurl = "mqtt://x"\nlisten = "x:1"\n{ADAPTER}', "mqtt", "either url or listen"),
        ("", "adapters", "is missing"),
        ("adapters = []", "adapters", "at least 1"),
        ('[[adapters]]\ntype = "blue"\n', "adapters.0.type", "installed are ble,"),
        (f"{ADAPTER}devices = 0\n", "adapters.0.devices", "0"),
        (f"{ADAPTER}device = 3\n", "adapters.0.device", "did you mean 'devices'?"),
        (f"{BLE}address = 1", "adapters.0.wearables.0.address", "1 is not right"),
        (f'{BLE}address = "A0:9E"', "adapters.0.wearables.0.address", "six pairs"),
        (f'{BLE}format = "pola"', "adapters.0.wearables.0.format", "installed are generic,"),
        (f'{BLE}format = "polar"\nrate = 52', "adapters.0.wearables.0.rate", "rate_hz"),
        (f'{BLE}format = "polar"\nrate_hz = 0', "adapters.0.wearables.0.rate_hz", "0 is not"),
        (BLE, "adapters.0.wearables.0", "set address, advertised, service or format"),
        (2 * f'{BLE}format = "polar"\n', "adapters.1.type", "'ble', as that of adapters.0 is"),
        ('[[adapters]]\ntype = "replay"\n', "adapters.0.file", "is missing"),
    ],
)
def test_a_fault_is_told_with_file_key_and_remedy(
    tmp_path: Path, text: str, key: str, told: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        read_gateway_config(path)
    message = str(caught.value)
    assert caught.value.key == key
    assert message.startswith(f"{path}: ")
    assert told in message
    assert "\n" not in message


def test_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_config(tmp_path / "missing.toml", GatewayConfig)
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_config(binary, GatewayConfig)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.name)
def test_the_configurations_that_come_along_are_sound(path: Path) -> None:
    _, adapters = read_gateway_config(path)
    assert all(isinstance(adapter, DeviceAdapter) for adapter in adapters)


def test_an_unknown_adapter_names_the_known_ones() -> None:
    error = UnknownPartError("adapter", "x", ["b", "a"])
    assert error.known == ("a", "b")
