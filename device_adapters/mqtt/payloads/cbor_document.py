"""CBOR (RFC 8949), flat or nested, with whatever keys a wearable uses."""

from typing_extensions import override

from device_adapters.mqtt.payloads.cbor import dump_cbor, load_cbor
from device_adapters.mqtt.payloads.document import DocumentFormat


class CborFormat(DocumentFormat):
    """See `DocumentOptions`."""

    name = "cbor"

    @override
    def _load(self, payload: bytes) -> object:
        return load_cbor(self.name, payload)

    @override
    def _dump(self, document: object) -> bytes:
        return dump_cbor(document)
