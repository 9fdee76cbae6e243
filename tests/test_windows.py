from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamer.resample import GridRuns
from streamer.windows import HopBuffers, Hops


def runs_of(slot: int, numbers: np.ndarray, *, fresh: bool) -> GridRuns:
    return GridRuns(
        slots=np.array([slot]),
        first=numbers[:1],
        lengths=np.array([len(numbers)]),
        fresh=np.array([fresh]),
        values=np.repeat(numbers[:, None], 2, axis=1).astype(np.float32),
        observed=numbers % 10 != 0,
        lost=(numbers % 10 == 0).astype(np.int64),
    )


def together(*runs: GridRuns) -> GridRuns:
    fields = ("slots", "first", "lengths", "fresh", "values", "observed", "lost")
    return GridRuns(*(np.concatenate([getattr(run, field) for run in runs]) for field in fields))


def pushed(buffers: HopBuffers, count: int, sizes: list[int]) -> list[Hops]:
    hops: list[Hops] = []
    start, turn = 0, 0
    while start < count:
        stop = min(count, start + sizes[turn % len(sizes)])
        hops += buffers.push(runs_of(0, np.arange(start, stop), fresh=start == 0))
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
    hops = pushed(buffers, count, sizes)
    filling = -window % hop
    joined = np.concatenate([np.empty(0), *(made.samples[0, :, 0] for made in hops)])
    assert joined.tolist() == ([0] * filling + list(range(count)))[: len(joined)]
    assert len(joined) > filling + count - hop
    assert [bool(made.fresh[0]) for made in hops] == [number == 0 for number in range(len(hops))]
    whole = [made for made in hops if made.complete[0]]
    assert [made.first[0] for made in whole] == list(range(0, count - window + 1, hop))
    for made in whole:
        numbers = np.arange(made.first[0], made.first[0] + window)
        assert made.lost[0] == (numbers % 10 == 0).sum()
        assert np.isclose(made.observed[0], (numbers % 10 != 0).mean())


def test_many_streams_do_not_mix() -> None:
    buffers = HopBuffers(8, 4, 2)
    runs = together(*(runs_of(slot, np.arange(8) + 1000 * slot, fresh=True) for slot in range(50)))
    early, late = buffers.push(runs)
    for hops, offset in ((early, 0), (late, 4)):
        assert hops.slots.tolist() == list(range(50))
        assert hops.samples[:, 0, 0].tolist() == [1000 * slot + offset for slot in range(50)]
    assert not early.complete.any()
    assert late.complete.all()


def test_runs_of_one_stream_in_one_call_follow_each_other() -> None:
    buffers = HopBuffers(8, 4, 2)
    runs = together(
        runs_of(3, np.arange(9), fresh=True),
        runs_of(3, np.arange(50, 58), fresh=True),
        runs_of(5, np.arange(4), fresh=True),
    )
    hops = list(buffers.push(runs))
    assert [made.slots.tolist() for made in hops] == [[3, 5], [3], [3], [3]]
    assert [made.samples[0, 0, 0] for made in hops] == [0, 4, 50, 54]
    assert [bool(made.fresh[0]) for made in hops] == [True, False, True, False]


def test_a_fresh_run_empties_the_window() -> None:
    buffers = HopBuffers(8, 4, 2)
    early = buffers.push(runs_of(0, np.arange(7), fresh=True))
    assert not any(hops.complete.any() for hops in early)
    (again,) = buffers.push(runs_of(0, np.arange(100, 107), fresh=True))
    assert (again.fresh.tolist(), again.complete.tolist()) == ([True], [False])
    (made,) = buffers.push(runs_of(0, np.arange(107, 108), fresh=False))
    assert (made.first[0], made.complete[0], made.fresh[0]) == (100, True, False)


def test_a_fresh_run_forgets_what_the_stream_before_it_lacked() -> None:
    buffers = HopBuffers(8, 4, 2)
    flawed = runs_of(0, np.arange(5, 13), fresh=True)
    whole = replace(flawed, observed=np.ones(8, dtype=bool), lost=np.zeros(8, dtype=np.int64))
    *_, before = buffers.push(flawed)
    *_, after = buffers.push(whole)
    assert (before.observed[0], before.lost[0]) == (7 / 8, 1)
    assert (after.observed[0], after.lost[0]) == (1, 0)


def test_hops_are_copies() -> None:
    buffers = HopBuffers(4, 4, 2)
    (first,) = buffers.push(runs_of(0, np.arange(4), fresh=True))
    list(buffers.push(runs_of(0, np.arange(4, 8), fresh=False)))
    assert first.samples[0, :, 0].tolist() == [0, 1, 2, 3]
