from collections.abc import Callable, Mapping


class ScriptedGatt:
    """Characteristics that answer as told, and keep what was written."""

    def __init__(
        self,
        values: Mapping[str, bytes] | None = None,
        answers: Callable[[bytes], bytes] | None = None,
        characteristics: tuple[str, ...] | None = None,
    ) -> None:
        self.written: list[tuple[str, bytes]] = []
        self._values = values or {}
        self._answers = answers
        self._characteristics = characteristics

    def has(self, characteristic: str) -> bool:
        return self._characteristics is None or characteristic in self._characteristics

    async def read(self, characteristic: str) -> bytes:
        return self._values[characteristic]

    async def write(self, characteristic: str, payload: bytes) -> None:
        self.written.append((characteristic, payload))

    async def request(
        self,
        characteristic: str,
        payload: bytes,
        *,
        answer_on: str,
        is_answer: Callable[[bytes], bool],
    ) -> bytes:
        await self.write(characteristic, payload)
        assert self._answers is not None
        answer = self._answers(payload)
        assert self.has(answer_on)
        assert is_answer(answer), f"{answer.hex(' ')} does not answer {payload.hex(' ')}"
        return answer
