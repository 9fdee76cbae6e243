"""A connected wearable as its format sees it: bleak behind the `Gatt` that formats ask for."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from bleak import BleakClient
from bleak.backends.characteristic import BleakGATTCharacteristic

from device_adapters import host_clock
from device_adapters.ble.bluez import BLEAK_FAULTS
from device_adapters.errors import LinkError

ANSWER_SECONDS = 5.0
"""A wearable answers a command within a few connection events of 50 ms."""


@contextmanager
def told_as_link_errors(attempt: str) -> Iterator[None]:
    """Turn what bleak raises into a `LinkError` that names what was attempted."""
    try:
        yield
    except BLEAK_FAULTS as error:
        raise LinkError(f"{attempt} failed: {str(error) or type(error).__name__}") from error


class Connection:
    """The characteristics of a connected wearable; a `Gatt`.

    Args:
        client: is connected.
        ended: gets the reason when the link ends.
        notice: is called with characteristic, value and arrival (seconds since the epoch) of every
            notification, from the event loop.
    """

    def __init__(
        self,
        client: BleakClient,
        ended: asyncio.Future[str],
        notice: Callable[[str, bytes, float], None],
    ) -> None:
        self._client = client
        self._ended = ended
        self._notice = notice
        self._requests: list[tuple[str, Callable[[bytes], bool], asyncio.Future[bytes]]] = []

    async def subscribe(self, characteristics: Iterable[str]) -> int:
        """Ask for the notifications of those that the wearable has; returns how many these are.

        Raises:
            LinkError: it can't be asked.
        """
        present = [characteristic for characteristic in characteristics if self.has(characteristic)]
        for characteristic in present:
            with told_as_link_errors("subscribing"):
                async with asyncio.timeout(ANSWER_SECONDS):
                    # bleak's default, StartNotify, keeps what comes while the event loop is busy.
                    await self._client.start_notify(characteristic, self._notified)
        return len(present)

    def has(self, characteristic: str) -> bool:
        """Tell whether the wearable has the characteristic."""
        return self._find(characteristic) is not None

    async def read(self, characteristic: str) -> bytes:
        """Return a characteristic's value.

        Raises:
            LinkError: the wearable does not tell it.
        """
        with told_as_link_errors("reading"):
            async with asyncio.timeout(ANSWER_SECONDS):
                return bytes(await self._client.read_gatt_char(characteristic))

    async def write(self, characteristic: str, payload: bytes) -> None:
        """Write a value, with response where the characteristic offers that.

        Raises:
            LinkError: the wearable does not take it.
        """
        found = self._find(characteristic)
        if found is None:
            raise LinkError(f"the wearable has no characteristic {characteristic}")
        with told_as_link_errors("writing"):
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._client.write_gatt_char(
                    found, payload, response="write" in found.properties
                )

    async def request(
        self,
        characteristic: str,
        payload: bytes,
        *,
        answer_on: str,
        is_answer: Callable[[bytes], bool],
    ) -> bytes:
        """Write a command and return the first notification on `answer_on` that answers it.

        Raises:
            LinkError: the wearable does not take or answer it, or goes.
        """
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        waiting = (answer_on, is_answer, answer)
        self._requests.append(waiting)
        try:
            await self.write(characteristic, payload)
            await asyncio.wait(
                (answer, self._ended),
                timeout=ANSWER_SECONDS,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            self._requests.remove(waiting)
        if answer.done():
            return answer.result()
        if self._ended.done():
            raise LinkError(self._ended.result())
        raise LinkError(f"no answer to {payload.hex(' ')} in {ANSWER_SECONDS:g} s")

    def _find(self, characteristic: str) -> BleakGATTCharacteristic | None:
        with told_as_link_errors("looking for characteristics"):
            return self._client.services.get_characteristic(characteristic)

    def _notified(self, characteristic: BleakGATTCharacteristic, value: bytearray) -> None:
        arrival = host_clock.now()
        payload = bytes(value)
        for answer_on, is_answer, answer in self._requests:
            if answer_on == characteristic.uuid and not answer.done() and is_answer(payload):
                answer.set_result(payload)
        self._notice(characteristic.uuid, payload, arrival)
