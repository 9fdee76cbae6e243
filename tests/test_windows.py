import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamer.resample import GridRun
from streamer.windows import Hop, HopBuffers


def run_of(numbers: np.ndarray, *, fresh: bool) -> GridRun:
    return GridRun(
        first=int(numbers[0]) if len(numbers) else 0,
        values=np.repeat(numbers[:, None], 2, axis=1).astype(np.float32),
        observed=numbers % 10 != 0,
        lost=(numbers % 10 == 0).astype(np.int64),
        fresh=fresh,
    )


def pushed(buffers: HopBuffers, stream: str, count: int, sizes: list[int]) -> list[Hop]:
    hops, start, turn = [], 0, 0
    while start < count:
        stop = min(count, start + sizes[turn % len(sizes)])
        hops += buffers.push(stream, run_of(np.arange(start, stop), fresh=start == 0))
        start, turn = stop, turn + 1
    return hops


@given(
    window=st.integers(1, 40),
    hop=st.integers(1, 60),
    count=st.integers(0, 300),
    sizes=st.lists(st.integers(1, 100), min_size=1, max_size=5),
)
def test_hops_join_to_the_stream_and_end_its_windows(
    window: int, hop: int, count: int, sizes: list[int]
) -> None:
    buffers = HopBuffers(window, hop, 2)
    buffers.add("a")
    hops = pushed(buffers, "a", count, sizes)
    filling = -window % hop
    joined = np.concatenate([np.empty(0), *(made.samples[:, 0] for made in hops)])
    assert joined.tolist() == ([0] * filling + list(range(count)))[: len(joined)]
    assert len(joined) > filling + count - hop
    assert [made.fresh for made in hops] == [number == 0 for number in range(len(hops))]
    whole = [made for made in hops if made.complete]
    assert [made.first for made in whole] == list(range(0, count - window + 1, hop))
    for made in whole:
        numbers = np.arange(made.first, made.first + window)
        assert made.lost == (numbers % 10 == 0).sum()
        assert np.isclose(made.observed, (numbers % 10 != 0).mean())


def test_many_streams_do_not_mix() -> None:
    buffers = HopBuffers(8, 4, 2)
    names = [f"device-{number}" for number in range(50)]
    for name in names:
        buffers.add(name)
    for number, name in enumerate(names):
        made = buffers.push(name, run_of(np.arange(8) + 1000 * number, fresh=True))
        assert [hop.samples[0, 0] for hop in made] == [1000 * number, 1000 * number + 4]
        assert {hop.slot for hop in made} == {number}
    assert len(buffers) == 50


def test_a_fresh_run_empties_the_window() -> None:
    buffers = HopBuffers(8, 4, 2)
    buffers.add("a")
    assert not any(hop.complete for hop in buffers.push("a", run_of(np.arange(7), fresh=True)))
    again = buffers.push("a", run_of(np.arange(100, 107), fresh=True))
    assert [(hop.fresh, hop.complete) for hop in again] == [(True, False)]
    (made,) = buffers.push("a", run_of(np.arange(107, 108), fresh=False))
    assert (made.first, made.complete, made.fresh) == (100, True, False)


def test_a_slot_that_was_given_back_starts_empty() -> None:
    buffers = HopBuffers(8, 4, 2)
    buffers.add("a")
    buffers.push("a", run_of(np.arange(7), fresh=True))
    buffers.remove("a")
    for name in "bcdefghijklmnopqrs":
        buffers.add(name)
        assert not buffers.push(name, run_of(np.arange(1), fresh=True))


def test_hops_are_copies() -> None:
    buffers = HopBuffers(4, 4, 2)
    buffers.add("a")
    (first,) = buffers.push("a", run_of(np.arange(4), fresh=True))
    buffers.push("a", run_of(np.arange(4, 8), fresh=False))
    assert first.samples[:, 0].tolist() == [0, 1, 2, 3]
