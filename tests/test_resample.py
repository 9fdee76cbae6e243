import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import EPOCH, counted_samples, cut
from device_adapters.samples import SampleBatch
from streamer.interpolation import KERNEL_TABLES, _kernel_table
from streamer.resample import GridRuns, Resampler

MODEL_RATE_HZ = 50.0


def sine(rate_hz: float, frequency_hz: float, seconds: float = 20.0) -> SampleBatch:
    times = EPOCH + np.arange(int(seconds * rate_hz)) / rate_hz
    values = np.sin(2 * np.pi * frequency_hz * (times - EPOCH))[:, None]
    return SampleBatch("wrist", times, values.astype(np.float32))


def resampled(batches: list[SampleBatch], rate_hz: float) -> list[GridRuns]:
    resampler = Resampler(MODEL_RATE_HZ, batches[0].values.shape[1])
    resampler.start(0, rate_hz)
    return [run for batch in batches for run in resampler.push([0], [batch]).each()]


def first_of(run: GridRuns) -> int:
    return int(run.first[0])


def values_of(runs: list[GridRuns]) -> np.ndarray:
    return np.concatenate([run.values for run in runs])


def without(batch: SampleBatch, gone: range) -> SampleBatch:
    keep = ~np.isin(np.arange(len(batch)), gone)
    return SampleBatch(batch.device, batch.times[keep], batch.values[keep])


def test_what_was_lost_is_counted_though_its_stream_is_begun_anew() -> None:
    batch = sine(50.0, 1.0)
    resampler = Resampler(MODEL_RATE_HZ, 1)
    resampler.start(0, 50.0)
    # Between the grid's points, the newest samples wait for others.
    resampler.push([0], [SampleBatch("wrist", batch.times + 0.007, batch.values, lost=3)])
    late = SampleBatch("wrist", batch.times[:1] + 20.007, batch.values[:1], lost=4)
    assert resampler.push([0], [late]).lost.sum() == 0
    resampler.start(0, 50.0)
    assert resampler.untold == 4


def test_a_stream_on_the_grid_passes_unchanged_and_at_once() -> None:
    batch = counted_samples(500)
    runs = resampled(cut(batch, [1]), 50.0)
    assert np.array_equal(values_of(runs), batch.values)
    assert first_of(runs[0]) == round(EPOCH * MODEL_RATE_HZ)
    assert [first_of(run) for run in runs] == list(
        range(first_of(runs[0]), first_of(runs[0]) + 500)
    )


@pytest.mark.parametrize("rate_hz", [50.0, 52.0, 100.0, 104.0, 62.5, 48.0, 208.0])
@pytest.mark.parametrize("frequency_hz", [0.5, 2.0, 8.0, 12.0])
def test_motion_keeps_its_shape(rate_hz: float, frequency_hz: float) -> None:
    runs = resampled([sine(rate_hz, frequency_hz)], rate_hz)
    points = first_of(runs[0]) + np.arange(len(values_of(runs)))
    expected = np.sin(2 * np.pi * frequency_hz * (points / MODEL_RATE_HZ - EPOCH))
    inside = slice(20, -20)
    assert np.abs(values_of(runs)[inside, 0] - expected[inside]).max() < 0.01


def test_devices_that_tell_ever_other_rates_do_not_fill_memory() -> None:
    for rate_hz in range(51, 52 + KERNEL_TABLES):
        resampled([sine(rate_hz, 2.0, seconds=1.0)], rate_hz)
    assert _kernel_table.cache_info().currsize == KERNEL_TABLES


@pytest.mark.parametrize(("rate_hz", "frequency_hz"), [(100.0, 35.0), (100.0, 40.0), (208.0, 90.0)])
def test_what_the_grid_cannot_hold_is_filtered_out(rate_hz: float, frequency_hz: float) -> None:
    residue = values_of(resampled([sine(rate_hz, frequency_hz)], rate_hz))[20:-20]
    assert np.abs(residue).max() < 0.003


@settings(max_examples=60)
@given(
    rate_hz=st.sampled_from([48.0, 50.0, 52.0, 100.0]),
    sizes=st.lists(st.integers(1, 80), min_size=1, max_size=6),
    seed=st.integers(0, 2**32 - 1),
)
def test_results_do_not_depend_on_the_cut(rate_hz: float, sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    times = EPOCH + np.cumsum(rng.normal(1 / rate_hz, 0.0005, 400))
    values = rng.normal(size=(400, 3)).astype(np.float32)
    keep = np.ones(400, dtype=bool)
    for _ in range(4):
        start = rng.integers(400)
        keep[start : start + rng.integers(1, 12)] = False
    batch = SampleBatch("wrist", times[keep], values[keep])
    whole, pieces = resampled([batch], rate_hz), resampled(cut(batch, sizes), rate_hz)
    assert values_of(whole).tobytes() == values_of(pieces).tobytes()
    for field in ("observed", "lost"):
        one, other = (np.concatenate([getattr(r, field) for r in runs]) for runs in (whole, pieces))
        assert np.array_equal(one, other)
    assert [first_of(r) for r in whole if r.fresh] == [first_of(r) for r in pieces if r.fresh]


def rough_stream(rng: np.random.Generator, rate_hz: float) -> SampleBatch:
    """Return samples with jitter and gaps; one comes late, one is no number."""
    times = EPOCH + rng.random() + np.cumsum(rng.normal(1 / rate_hz, 0.0005, 300))
    values = rng.normal(size=(300, 3)).astype(np.float32)
    values[rng.integers(300), 1] = np.nan
    times[rng.integers(1, 300)] -= 0.5
    keep = np.ones(300, dtype=bool)
    for _ in range(3):
        start = rng.integers(300)
        keep[start : start + rng.integers(1, 15)] = False
    return SampleBatch("wrist", times[keep], values[keep])


@settings(max_examples=30)
@given(streams=st.integers(2, 40), size=st.integers(1, 90), seed=st.integers(0, 2**32 - 1))
def test_results_do_not_depend_on_the_company(streams: int, size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rates = rng.choice([48.0, 50.0, 52.0, 100.0, 208.0], streams).tolist()
    pieces = [cut(rough_stream(rng, rate), [size]) for rate in rates]
    crowd = Resampler(MODEL_RATE_HZ, 3)
    for slot, rate in enumerate(rates):
        crowd.start(slot, rate)
    together: list[list[GridRuns]] = [[] for _ in rates]
    while any(pieces):
        coming = [slot for slot, left in enumerate(pieces) for _ in left[: rng.integers(0, 4)]]
        batches = [pieces[slot].pop(0) for slot in coming]
        for run in crowd.push(coming, batches).each() if batches else ():
            together[run.slots[0]].append(run)
    rng = np.random.default_rng(seed)
    assert rng.choice([48.0, 50.0, 52.0, 100.0, 208.0], streams).tolist() == rates
    for slot, rate in enumerate(rates):
        alone = resampled(cut(rough_stream(rng, rate), [size]), rate)
        assert b"".join(r.values.tobytes() for r in alone) == b"".join(
            r.values.tobytes() for r in together[slot]
        )
        for field in ("observed", "lost"):
            one, other = (
                [x for r in runs for x in getattr(r, field).tolist()]
                for runs in (alone, together[slot])
            )
            assert one == other
        assert [first_of(r) for r in alone if r.fresh] == [
            first_of(r) for r in together[slot] if r.fresh
        ]


@pytest.mark.parametrize("missing", [1, 3, 5])
def test_a_short_gap_is_interpolated_and_marked(missing: int) -> None:
    batch = without(counted_samples(200), range(100, 100 + missing))
    runs = resampled(cut(batch, [9]), 50.0)
    assert sum(int(run.fresh[0]) for run in runs) == 1
    assert np.allclose(values_of(runs)[:, 0], np.arange(200), atol=1e-4)
    observed = np.concatenate([run.observed for run in runs])
    assert np.flatnonzero(~observed).tolist() == list(range(100, 100 + missing))
    assert sum(int(run.lost.sum()) for run in runs) == missing


def test_a_long_gap_starts_the_stream_afresh() -> None:
    batch = without(counted_samples(200), range(100, 106))
    runs = resampled(cut(batch, [9]), 50.0)
    fresh = [run for run in runs if run.fresh]
    assert [run.values[0, 0] for run in fresh] == [0, 106]
    assert int(fresh[1].lost[0]) == 6
    assert all(run.observed.all() for run in runs)


@given(lost=st.integers(0, 500), missing=st.integers(0, 60))
def test_no_lost_sample_goes_uncounted(lost: int, missing: int) -> None:
    first, second = counted_samples(300), counted_samples(300)
    start = 150 + missing
    after = SampleBatch("wrist", second.times[start:], second.values[start:], lost)
    before = SampleBatch("wrist", first.times[:150], first.values[:150])
    runs = resampled([before, after], 50.0)
    assert sum(int(run.lost.sum()) for run in runs) == max(lost, missing)


@given(lost=st.integers(0, 500), missing=st.integers(0, 60))
def test_what_a_batch_says_is_lost_may_lie_between_its_samples(lost: int, missing: int) -> None:
    every = counted_samples(300)
    before = SampleBatch("wrist", every.times[:150], every.values[:150])
    kept = np.r_[150:200, 200 + missing : 300]
    after = SampleBatch("wrist", every.times[kept], every.values[kept], lost)
    runs = resampled([before, after], 50.0)
    assert sum(int(run.lost.sum()) for run in runs) == max(lost, missing)


def test_samples_that_are_no_use_are_counted() -> None:
    batch = counted_samples(100)
    values = batch.values.copy()
    values[40, 2] = np.nan
    values[70, 1] = -3e38
    values[80, 5] = 2e6
    times = batch.times.copy()
    times[60] = times[59]
    resampler = Resampler(MODEL_RATE_HZ, 6)
    resampler.start(0, 50.0)
    runs = list(resampler.push([0], [SampleBatch("wrist", times, values)]).each())
    assert resampler.impossible == 3
    assert resampler.out_of_order == 1
    assert np.isfinite(values_of(runs)).all()
    assert np.flatnonzero(~runs[0].observed).tolist() == [40, 60, 70, 80]
    assert not len(resampler.push([0], [batch]).slots)
    assert resampler.out_of_order == 101


def test_an_empty_batch_is_no_event() -> None:
    resampler = Resampler(MODEL_RATE_HZ, 6)
    resampler.start(0, 50.0)
    assert not len(resampler.push([0], [counted_samples(0)]).slots)
