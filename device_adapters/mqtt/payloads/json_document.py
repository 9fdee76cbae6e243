"""JSON (RFC 8259), flat or nested, with whatever keys a wearable uses."""

import orjson
from typing_extensions import override

from device_adapters.errors import PayloadError
from device_adapters.mqtt.payloads.document import DocumentFormat


class JsonFormat(DocumentFormat):
    """See `DocumentOptions`."""

    name = "json"

    @override
    def _load(self, payload: bytes) -> object:
        try:
            return orjson.loads(payload)
        except orjson.JSONDecodeError as error:
            raise PayloadError(self.name, f"it is no JSON: {error}") from error

    @override
    def _dump(self, document: object) -> bytes:
        return orjson.dumps(document)
