"""Rows of a source: the same rows as in memory, well shuffled, continued anywhere, in memory that doesn't grow."""

import copy

import numpy as np
import pytest
import torch

from lowerbound import MLP, PPCA, VAE, BernoulliLikelihood
from lowerbound.data import sources, stream
from lowerbound.data.batches import RowsInMemory
from lowerbound.data.checks import DataError
from lowerbound.data.sources import ArrayFile, MappedArray, Source, as_source
from lowerbound.data.stream import streamed
from lowerbound.distributions.noise import Noise, make_generator
from lowerbound.parallel import Processes
from lowerbound.training.watch import Watch

CPU = torch.device("cpu")
N = 1000
TABLE = np.arange(3 * N, dtype=np.float32).reshape(N, 3)  # x[i, 0] = 3i: a row says which it is


class Counting(Source):
    """An array in memory as a source that remembers what was read of it."""

    def __init__(self, X, runs=None, runs_at_once=1):
        super().__init__("X", X.shape, X.dtype)
        self.X, self.seen = X, []
        self.runs, self.runs_at_once = runs, runs_at_once

    def read(self, ranges):
        self.seen.append(ranges)
        return MappedArray(self.X, "X").read(ranges)

    @property
    def n_read(self):
        return sum(int((ranges[:, 1] - ranges[:, 0]).sum()) for ranges in self.seen)


def hold(X):
    return RowsInMemory(torch.from_numpy(X), lambda raw, noise: raw, torch.ones(X.shape[1:], dtype=torch.bool), CPU)


def rows_of(X=TABLE, **options):
    return streamed(Counting(X, **options), hold, X.shape[1:], CPU)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(sources, "BLOCK_BYTES", 12 * 100)  # 100 rows of the table
    monkeypatch.setattr(stream, "SLICES", 20)  # of 5 rows


def order(seed=0):
    return make_generator(seed, "order")


RUNS = np.array([0, 130, 400, 777, 1000])
SHAPES = {"anywhere": {}, "in runs": {"runs": RUNS, "runs_at_once": 2}}


@pytest.mark.parametrize("batch_size", [1, 7, 100, 128, 3000])
@pytest.mark.parametrize("shuffled", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_row_comes_once_and_says_its_place(batch_size, shuffled, shape):
    batches = list(rows_of(**SHAPES[shape]).batches(batch_size, order=order() if shuffled else None))
    assert [len(batch.x) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    index = torch.cat([batch.index for batch in batches])
    assert torch.equal(index.sort().values, torch.arange(N))
    assert torch.equal(index, torch.arange(N)) != shuffled
    assert torch.equal(torch.cat([batch.x for batch in batches]), torch.from_numpy(TABLE)[index])


@pytest.mark.parametrize("shape", SHAPES)
def test_in_order_the_batches_and_their_noise_are_those_in_memory(shape):
    def drawn(rows):
        noise = Noise(make_generator(0, "noise"))
        return [(batch.x, noise.normal((2, *batch.x.shape), batch.x)) for batch in rows.batches(7, noise)]

    for here, there in zip(drawn(rows_of(**SHAPES[shape])), drawn(hold(TABLE)), strict=True):
        assert all(map(torch.equal, here, there))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("start", [0, 1, 13, 14, 15, 100, 142, 143])
def test_an_epoch_can_be_continued_anywhere(start, shape):
    whole = list(rows_of(**SHAPES[shape]).batches(7, order=order()))
    rest = list(rows_of(**SHAPES[shape]).batches(7, order=order(), start=start))
    assert len(rest) == len(whole) - start
    for here, there in zip(rest, whole[start:], strict=True):
        assert torch.equal(here.index, there.index)
        assert torch.equal(here.x, there.x)


def test_the_order_of_the_next_epoch_depends_on_no_batch():
    whole, cut = order(), order()
    list(rows_of().batches(7, order=whole))
    next(rows_of().batches(7, order=cut, start=50))
    assert torch.equal(whole.get_state(), cut.get_state())


def test_what_is_done_is_not_read_again():
    rows = rows_of()
    list(rows.batches(10, order=order(), start=55))
    assert rows.source.n_read == N - 550


def test_epochs_differ():
    generator = order()
    first, second = ([b.index for b in rows_of().batches(100, order=generator)] for _ in range(2))
    assert not torch.equal(torch.cat(first), torch.cat(second))


def test_a_batch_holds_a_row_of_every_part_of_the_window():
    window = torch.cat([batch.index for batch in rows_of().batches(10, order=order())][:10])
    batches = window.reshape(10, 10)
    slices = {int(i) // 5 for i in window}
    assert len(slices) == 20  # of the 200, whole
    by_slice = [len({int(i) // 5 for i in batch}) for batch in batches]
    assert min(by_slice) == 10  # all rows of a batch from different slices


@pytest.mark.parametrize("runs_at_once", [1, 2, 4])
def test_runs_are_read_from_their_start_a_few_side_by_side(runs_at_once):
    rows = rows_of(runs=RUNS, runs_at_once=runs_at_once)
    list(rows.batches(10, order=order()))
    firsts = np.concatenate([ranges[:, 0] for ranges in rows.source.seen])
    run = np.searchsorted(RUNS, firsts, "right") - 1
    for k in range(4):
        assert np.all(np.diff(firsts[run == k]) > 0)
    open_at_once = [len(set(run[:i]) & set(run[i:])) for i in range(1, len(run))]
    assert max(open_at_once) == runs_at_once


@pytest.mark.parametrize("n_processes", [2, 3, 4])
@pytest.mark.parametrize("shuffled", [True, False])
def test_processes_share_every_batch_and_read_only_their_own_rows(n_processes, shuffled):
    whole = list(rows_of().batches(12, order=order() if shuffled else None))
    shares, read = [], 0
    for rank in range(n_processes):
        rows = rows_of()
        processes = Processes(rank, n_processes)
        shares.append(list(rows.batches(12, order=order() if shuffled else None, processes=processes)))
        read += rows.source.n_read
    for i, batch in enumerate(whole):
        assert torch.equal(torch.cat([share[i].index for share in shares]), batch.index)
        assert torch.equal(torch.cat([share[i].x for share in shares]), batch.x)
    assert read == N


def test_parts_are_the_rows_in_order_and_whole_batches():
    parts = list(rows_of().parts(30))
    assert [len(part) for part in parts] == [90] * 11 + [10]
    assert torch.equal(torch.cat([part.raw for part in parts]), torch.from_numpy(TABLE))


def test_the_split_holds_out_slices():
    training, held_out = rows_of().split(0.1, order())
    assert held_out is not None
    assert len(held_out) == 100
    places = [torch.cat([b.x[:, 0] for b in rows.batches(50)]) / 3 for rows in (training, held_out)]
    assert torch.equal(torch.cat(places).sort().values, torch.arange(N, dtype=torch.float32))
    assert torch.equal(places[1], places[1].sort().values)
    shuffled = torch.cat([b.index for b in training.batches(50, order=order())])
    assert torch.equal(shuffled.sort().values, torch.arange(900))
    assert rows_of().split(0.001, order())[1] is None


def test_few_rows_come_from_all_over():
    for generator in (None, order()):
        few = rows_of().few(200, generator)
        assert len(few) == 200
        assert len(few.raw.unique(dim=0)) == 200
        assert len({int(x) // 100 for x in few.raw[:, 0] / 3}) == 10
    assert len(rows_of().few(5000)) == N


def test_few_rows_by_chance_are_the_same_in_memory():
    whole = RowsInMemory(
        torch.from_numpy(TABLE), lambda raw, noise: raw, torch.ones(TABLE.shape[1:], dtype=torch.bool), CPU
    )
    assert torch.equal(whole.few(30, order()).raw, rows_of().few(30, order()).raw)
    assert torch.equal(whole.few(4).raw, whole.raw[[N // 8, 3 * N // 8, 5 * N // 8, 7 * N // 8]])
    assert torch.equal(whole.few(2 * N).raw, whole.raw)


# --- files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["?", "u1", "<i2", ">i4", "f2", "<f4", ">f8"])
def test_ranges_of_an_array_file(tmp_path, dtype):
    X = (np.arange(600).reshape(100, 3, 2) % 7).astype(dtype)
    path = tmp_path / "x.npy"
    np.save(path, X)
    source = ArrayFile(path, "x.npy", X.shape, X.dtype, path.stat().st_size - X.nbytes)
    read = source.read(np.array([[90, 100], [0, 1], [5, 7]])).X
    assert np.array_equal(read, np.concatenate([X[90:], X[:1], X[5:7]]))
    assert read.dtype.isnative
    assert np.array_equal(np.concatenate(list(source)), X)
    assert np.array_equal(source.take([99, 3]).X, X[[99, 3]])


def test_an_infinite_value_is_named_where_it_is(tmp_path):
    X = TABLE.copy()
    X[321, 1] = np.inf
    np.save(tmp_path / "x.npy", X)
    source = ArrayFile(tmp_path / "x.npy", "x.npy", X.shape, X.dtype, 128)
    with pytest.raises(DataError, match=r"x\.npy has 1 infinite value, the first at row 321, column 1"):
        source.read(np.array([[10, 20], [300, 400]]))


def test_a_file_that_shrinks_is_cut_short(tmp_path):
    np.save(tmp_path / "x.npy", TABLE)
    source = ArrayFile(tmp_path / "x.npy", "x.npy", TABLE.shape, TABLE.dtype, 128)
    (tmp_path / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-100])
    with pytest.raises(DataError, match=r"x\.npy is cut short"):
        list(source)


def test_large_maps_are_sources(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "IN_MEMORY", 1000)
    np.save(tmp_path / "x.npy", TABLE)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    whole, part, small = (as_source(X) for X in (mapped, mapped[100:], mapped[:10]))
    assert isinstance(whole, ArrayFile)
    assert isinstance(part, MappedArray)
    assert small is not None
    assert not isinstance(small, Source)
    assert np.array_equal(np.concatenate(list(whole)), TABLE)
    assert np.array_equal(np.concatenate(list(part)), TABLE[100:])
    assert as_source(TABLE) is TABLE


# --- fitting -----------------------------------------------------------------------------------------------------

SMALL = {"latent_dim": 2, "network": MLP((8,)), "max_epochs": 3, "batch_size": 50, "random_state": 0}


def data():
    rng = np.random.default_rng(0)
    z = rng.standard_normal((N, 2))
    return (z @ rng.standard_normal((2, 6)) + 0.1 * rng.standard_normal((N, 6))).astype(np.float32)


def test_an_estimator_of_a_source_scores_as_that_of_the_array():
    X = data()
    vae = VAE(**SMALL).fit(Counting(X))
    source = Counting(X)
    assert np.array_equal(vae.transform(source), vae.transform(X))
    assert np.array_equal(vae.score_samples(source, 5), vae.score_samples(X, 5))
    streamed, whole = vae.log_likelihood(source, 10), vae.log_likelihood(X, 10)
    assert streamed.value == pytest.approx(whole.value, rel=1e-12)
    assert streamed.standard_error == pytest.approx(whole.standard_error, rel=1e-12)
    np.testing.assert_allclose(vae.schema_.unit, X.std(0, dtype=np.float64), rtol=1e-12)


def test_gaps_are_gaps_in_a_source_too():
    X = data()
    X[np.random.default_rng(0).random(X.shape) < 0.1] = np.nan
    vae = VAE(**SMALL).fit(Counting(X))
    assert np.array_equal(vae.score_samples(Counting(X), 5), vae.score_samples(X, 5))
    np.testing.assert_allclose(vae.schema_.location, np.nanmean(X, 0, dtype=np.float64), rtol=1e-12)
    assert vae.schema_.gaps


def test_the_same_seed_gives_the_same_fit():
    first, second = (VAE(**SMALL).fit(Counting(data())).model_.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


class StopAt(Watch):
    def __init__(self, step):
        self.step = step

    def on_start(self, training, data, validation):
        self.training = training

    def should_stop(self):
        return self.training.progress.objective.step >= self.step

    def on_stop(self, training):  # the best weights are put back afterwards
        self.state = copy.deepcopy(training.state())


@pytest.mark.parametrize("step", [1, 7, 18, 25, 40])
def test_a_fit_that_is_stopped_anywhere_goes_on_to_the_same_weights(step):
    watch = StopAt(step)
    VAE(**SMALL).fit(Counting(data()), watch=watch)
    state = watch.state
    assert state[1]["progress"]["objective"]["step"] == step
    resumed = VAE(**SMALL).fit(Counting(data()), resume=state)
    whole = VAE(**SMALL).fit(Counting(data()))
    for here, there in ((resumed.model_, whole.model_), (resumed.posterior_, whole.posterior_)):
        first, second = here.state_dict(), there.state_dict()
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_map_larger_than_memory_is_fitted_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "IN_MEMORY", 1000)
    np.save(tmp_path / "x.npy", data())
    mapped = VAE(**SMALL).fit(np.load(tmp_path / "x.npy", mmap_mode="r"))
    of_source = VAE(**SMALL).fit(Counting(data()))
    assert mapped.history_[-1]["validation_elbo"] == of_source.history_[-1]["validation_elbo"]


def test_estimators_that_need_all_rows_say_so():
    with pytest.raises(ValueError, match="PPCA needs all rows in memory"):
        PPCA(2).fit(Counting(data()))


@pytest.mark.filterwarnings("ignore::lowerbound.CollapsedPosteriorWarning")
def test_dark_parts_keep_the_scale_of_the_whole():
    X = np.zeros((N, 4), np.uint8)
    X[:500] = np.random.default_rng(0).integers(0, 2, (500, 4))  # nothing above 1 in the first blocks
    X[500:] = np.random.default_rng(1).integers(0, 256, (500, 4))
    vae = VAE(**SMALL, likelihood=BernoulliLikelihood("threshold")).fit(Counting(X))
    dark = next(vae.fitted_.rows(Counting(X)).batches(100))
    assert vae.schema_.grey_levels == 255
    assert dark.x.max() == 0
