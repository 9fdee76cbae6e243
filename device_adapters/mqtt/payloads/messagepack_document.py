"""MessagePack, flat or nested, with whatever keys a wearable uses; https://msgpack.org."""

from typing import Any

import msgpack
from typing_extensions import override

from device_adapters.errors import PayloadError
from device_adapters.mqtt.payloads.document import DocumentFormat


class MessagePackFormat(DocumentFormat):
    """See `DocumentOptions`. Extension types are refused."""

    name = "messagepack"

    @override
    def _load(self, payload: bytes) -> object:
        try:
            # Lengths beyond the payload's own are refused before memory is taken for them.
            return msgpack.unpackb(payload, raw=False, ext_hook=_refuse, strict_map_key=True)
        except (ValueError, msgpack.UnpackException) as error:
            reason = str(error) or type(error).__name__
            raise PayloadError(self.name, f"it is no MessagePack: {reason}") from error

    @override
    def _dump(self, document: object) -> bytes:
        packed: bytes = msgpack.packb(document)
        return packed


def _refuse(code: int, _: bytes) -> Any:  # noqa: ANN401 - what msgpack asks for
    raise ValueError(f"extension type {code}")
