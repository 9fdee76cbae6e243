"""The gateway's configuration file."""

from pathlib import Path
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from device_adapters.adapter import AdapterOptions, DeviceAdapter, adapter_class
from device_adapters.errors import UnknownPartError
from device_adapters.mqtt.connection import BrokerAddress, split_url
from device_adapters.mqtt.subscriber import MqttOptions
from device_adapters.samples import check_name
from streamer.config_file import Section, read_config, validate
from streamer.errors import ConfigError
from streamer.recognizer import LONGEST_HOP_SECONDS
from streamer.share.packaged import DEFAULT_BUNDLE
from streamer.wearers import WearerConfig

DEFAULT_LISTEN = "127.0.0.1:1883"


class ModelConfig(Section):
    """What recognises.

    Attributes:
        bundle: the bundle, by its path or a packaged one's name.
        hop_s: seconds between two labels; the bundle's default if not set.
        check_streams: whether streams are refused whose first samples show that units or gravity
            are not what they are said to be.
    """

    bundle: Path = Path(DEFAULT_BUNDLE)
    hop_s: float | None = Field(default=None, gt=0, le=LONGEST_HOP_SECONDS)
    check_streams: bool = True


class MqttConfig(BrokerAddress):
    """Where labels are published; without a `url` the gateway runs a broker of its own.

    Attributes:
        listen: where the gateway's own broker listens, `host:port`.
    """

    listen: str = DEFAULT_LISTEN

    @field_validator("listen")
    @classmethod
    def _can_be_listened_on(cls, listen: str) -> str:
        split_url(f"mqtt://{listen}")
        return listen

    @model_validator(mode="after")
    def _is_of_one_broker(self) -> Self:
        if self.embedded:
            others = sorted(self.model_fields_set - {"listen", "client"})
            if others:
                raise ValueError(
                    f"{', '.join(others)} without url: the gateway's own broker takes everybody "
                    "in; give the url of a broker that asks for it"
                )
        elif "listen" in self.model_fields_set:
            raise ValueError("either url or listen, which is for the gateway's own broker")
        elif topic := split_url(self.url)[3]:
            raise ValueError(f"url has the topic {topic!r}; labels go to har/<name>")
        return self

    @property
    def embedded(self) -> bool:
        """Whether the gateway runs its own broker."""
        return "url" not in self.model_fields_set

    @property
    def broker(self) -> BrokerAddress:
        """The broker that labels go to."""
        if self.embedded:
            return self.model_copy(update={"url": f"mqtt://{self.listen}"})
        return self


class AdapterSection(Section, extra="allow"):
    """A source of samples; its further keys are the adapter's own options.

    Attributes:
        type: the adapter's name.
    """

    type: str

    @property
    def options(self) -> dict[str, Any]:
        """The adapter's own keys."""
        return dict(self.model_extra or {})


class GatewayConfig(Section):
    """A gateway configuration file.

    Attributes:
        name: the gateway's; topics begin with `har/<name>`.
        model: what recognises.
        mqtt: where labels are published.
        adapters: the sources of samples.
        wearers: those of several devices, by name.
    """

    name: str = "gateway"
    model: ModelConfig = ModelConfig()
    mqtt: MqttConfig = MqttConfig()
    adapters: tuple[AdapterSection, ...] = Field(min_length=1)
    wearers: dict[str, WearerConfig] = Field(default_factory=dict)

    @field_validator("name")
    @classmethod
    def _fits_a_topic(cls, name: str) -> str:
        return check_name(name)

    @field_validator("wearers")
    @classmethod
    def _share_no_device(cls, wearers: dict[str, WearerConfig]) -> dict[str, WearerConfig]:
        worn: dict[str, str] = {}
        for name, wearer in wearers.items():
            check_name(name)
            for device in wearer.devices:
                if device in worn:
                    raise ValueError(
                        f"device {device!r} is worn by {worn[device]!r} and {name!r}; "
                        "a device has one wearer"
                    )
                worn[device] = name
        return wearers


def read_gateway_config(path: Path) -> tuple[GatewayConfig, list[DeviceAdapter]]:
    """Read a gateway's configuration and make its adapters, which are not opened yet.

    Raises:
        ConfigError: the file can't be used.
    """
    config = read_config(path, GatewayConfig)
    adapters = [
        _adapter(path, f"adapters.{number}", section)
        for number, section in enumerate(config.adapters)
    ]
    types = [section.type for section in config.adapters]
    for number, (adapter, own) in enumerate(zip(adapters, types, strict=True)):
        first = types.index(own)
        if adapter.alone and first < number:
            raise ConfigError(
                path,
                f"adapters.{number}.type",
                f"is {own!r}, as that of adapters.{first} is; a gateway has one adapter of this "
                "type: name all its wearables in one",
            )
    return config, adapters


def read_mqtt_options(path: Path, chosen: dict[str, Any]) -> MqttOptions:
    """Return the options of a configuration's first MQTT adapter, with some chosen anew.

    Raises:
        ConfigError: the file can't be used, or has no MQTT adapter.
    """
    for number, section in enumerate(read_config(path, GatewayConfig).adapters):
        if section.type == "mqtt":
            content = section.options | chosen
            return validate(path, MqttOptions, content, prefix=f"adapters.{number}")
    raise ConfigError(path, "adapters", "has no adapter of type 'mqtt'")


def _adapter(path: Path, key: str, section: AdapterSection) -> DeviceAdapter:
    try:
        adapter = adapter_class(section.type)
    except UnknownPartError as error:
        raise ConfigError(path, f"{key}.type", str(error)) from error
    options: AdapterOptions = validate(path, adapter.Options, section.options, prefix=key)
    return adapter(options)
