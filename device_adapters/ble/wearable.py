"""Which wearable is meant, and what it is to send: what a user sets for each."""

import re
from collections.abc import Collection, Mapping
from functools import cache, cached_property
from typing import Self

from bleak.uuids import normalize_uuid_str
from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from device_adapters.adapter import AdapterOptions
from device_adapters.ble.formats.format import (
    BleFormat,
    FormatOptions,
    format_classes,
    recognises,
)
from device_adapters.errors import UnknownPartError, UnrecognisedWearableError
from device_adapters.samples import check_name

ADDRESS = re.compile(r"([0-9A-F]{2}:){5}[0-9A-F]{2}")
DEFAULT_SILENCE_SECONDS = 10.0
"""Wearables send several times a second, the laziest about once."""


@cache
def known_formats() -> Mapping[str, type[BleFormat]]:
    """Return every registered format by name; looked up once, for it reads files."""
    return format_classes()


class WearableOptions(AdapterOptions, extra="allow"):
    """A wearable; its further keys are its format's own options.

    It is known by address, advertised name or advertised service, whichever are set; by any
    advertisement of its format if none is.

    Attributes:
        name: the device's name in topics.
        address: such as `A0:9E:1A:00:00:01`.
        advertised: the name that it advertises, such as `Polar Sense A1B2C3D4`.
        service: UUID of a service that it advertises.
        format: what it speaks; known from what it advertises if not set.
        adapter: name (`hci0`) or address of the Bluetooth adapter to use; if not set, the first
            that is switched on.
        silence_s: without samples for so long the link is made anew.
    """

    name: str
    address: str | None = None
    advertised: str | None = None
    service: str | None = None
    format: str | None = None
    adapter: str | None = None
    silence_s: float = Field(default=DEFAULT_SILENCE_SECONDS, gt=0, le=3600)

    @field_validator("name")
    @classmethod
    def _fits_a_topic(cls, name: str) -> str:
        return check_name(name)

    @field_validator("address")
    @classmethod
    def _is_address(cls, address: str | None) -> str | None:
        if address is not None and not ADDRESS.fullmatch(address.upper()):
            raise ValueError("expected six pairs of hexadecimal digits, as in A0:9E:1A:00:00:01")
        return address.upper() if address is not None else None

    @field_validator("service")
    @classmethod
    def _is_uuid(cls, service: str | None) -> str | None:
        return normalize_uuid_str(service) if service is not None else None

    @field_validator("format")
    @classmethod
    def _is_known(cls, name: str | None) -> str | None:
        if name is not None and name not in known_formats():
            raise ValueError(str(UnknownPartError("format", name, known_formats())))
        return name

    @model_validator(mode="after")
    def _says_enough(self) -> Self:
        if not (self.address or self.advertised or self.service or self.format):
            raise ValueError("set address, advertised, service or format")
        _ = self.spoken  # tells what is wrong with the format's options
        return self

    @cached_property
    def spoken(self) -> BleFormat | None:
        """The format that is set, if one is."""
        if self.format is None:
            self._read_options(FormatOptions)
            return None
        spoken = known_formats()[self.format]
        return spoken(self._read_options(spoken.Options))

    @property
    def description(self) -> str:
        """What is looked for, in words."""
        told = {
            "address": self.address,
            "name": self.advertised,
            "service": self.service,
        }
        marks = [f"{what} {value}" for what, value in told.items() if value]
        return f"wearable with {' and '.join(marks)}" if marks else f"{self.format} wearable"

    def matches(self, address: str, advertised: str, services: Collection[str]) -> bool:
        """Tell whether a device with this advertisement is the one that is meant."""
        marked = self.address or self.advertised or self.service
        if self.spoken is not None and not marked:
            return recognises(self.spoken, advertised, services)
        return (
            self.address in {None, address}
            and self.advertised in {None, advertised}
            and (self.service is None or self.service in services)
        )

    def spoken_by(self, advertised: str, services: Collection[str]) -> BleFormat:
        """Return the format that is set, or the one that the advertisement tells.

        Raises:
            UnrecognisedWearableError: none is set and the advertisement tells none.
        """
        if self.spoken is not None:
            return self.spoken
        for known in known_formats().values():
            if recognises(known, advertised, services):
                return known(known.Options())
        raise UnrecognisedWearableError(self.description, known_formats())

    def _read_options(self, options: type[FormatOptions]) -> FormatOptions:
        """Return the further keys as the format's options.

        Raises:
            ValidationError: they are not.
        """
        given = self.model_extra or {}
        for key, value in given.items():
            if key not in options.model_fields:
                known = [*type(self).model_fields, *options.model_fields]
                reason = f"unknown key; known are {', '.join(known)}"
                fault = PydanticCustomError("unknown_key", "{reason}", {"reason": reason})
                details = InitErrorDetails(type=fault, loc=(key,), input=value)
                raise ValidationError.from_exception_data(type(self).__name__, [details])
        return options.model_validate(given)
