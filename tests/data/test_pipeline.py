import json

import numpy as np
import pytest

from cdcd_jax.data.batch import TokenExamples, check_batch, take_rows
from cdcd_jax.data.pipeline import iterate_in_order, make_train_dataset, make_train_iterator
from cdcd_jax.data.toy.digits import VOCAB_SIZE, load_digits


def numbered_examples(count=10, num_classes=3):
    """Return examples whose tokens are their number, so that a batch shows what it holds."""
    number = np.arange(count, dtype=np.int32)
    group = number % num_classes
    return TokenExamples(tokens=np.stack([number, number], axis=1), cond=group, group=group)


def assert_same(first, second):
    assert first.keys() == second.keys()
    for key in first:
        np.testing.assert_array_equal(first[key], second[key])


class _Dances:
    """Ten examples and twenty shuffled ones behind them, as prepared music has them."""

    length = 2

    def __init__(self, number, cond):
        self.number, self.cond, self.group = number, cond, number[:10] % 3

    def __len__(self):
        return 10

    def draw_cond(self, indices, rng):
        return take_rows(self.cond, indices)

    def take(self, indices):
        return np.stack([self.number[indices]] * 2, -1)


def test_batches_of_digits_satisfy_the_contract():
    batches = make_train_dataset(load_digits("train"), batch_size=16, seed=1, num_negatives=5)
    check_batch(batches[0], vocab_size=VOCAB_SIZE, length=64, num_negatives=5)


def test_without_negatives_the_key_is_absent():
    batch = make_train_dataset(numbered_examples(), batch_size=4, seed=0)[0]
    assert set(batch) == {"tokens", "cond"}


def test_a_batch_keeps_tokens_condition_and_negatives_together():
    batches = make_train_dataset(numbered_examples(), batch_size=4, seed=0, num_negatives=6)
    for step in range(20):
        batch = batches[step]
        assert np.array_equal(batch["tokens"][:, 0] % 3, batch["cond"])
        assert np.all(batch["negatives"][:, :, 0] % 3 != batch["cond"][:, None])


def test_conditions_of_several_arrays_and_prepared_negatives_stay_with_their_examples():
    class Own:
        def draw(self, rng, indices, *, num_negatives):
            return indices[:, None] + 10 * rng.integers(1, 3, (len(indices), num_negatives))

    number = np.arange(30, dtype=np.int32)
    cond = {"motion": np.stack([number] * 3, 1)[:, :, None], "genre": number % 3}
    examples = _Dances(number, cond)
    whole = make_train_dataset(
        examples, batch_size=4, seed=0, num_negatives=2, own=Own(), num_own=3
    )[7]
    check_batch(whole, vocab_size=30, length=2, num_negatives=2)
    z0 = whole["tokens"][:, 0]
    assert np.array_equal(whole["cond"]["motion"][:, 0, 0], z0)
    assert np.array_equal(whole["cond"]["genre"], z0 % 3)
    assert whole["intra_negatives"].shape == (4, 3, 2)
    assert np.array_equal(whole["intra_negatives"][:, :, 1] % 10, np.stack([z0] * 3, 1))
    assert (whole["negatives"][:, :, 0] % 3 != z0[:, None] % 3).all()
    halves = [
        make_train_dataset(
            examples, batch_size=4, seed=0, num_negatives=2, own=Own(), num_own=3,
            process_index=rank, num_processes=2,
        )[7]
        for rank in range(2)
    ]  # fmt: skip
    for key in ("tokens", "negatives", "intra_negatives"):
        np.testing.assert_array_equal(np.concatenate([half[key] for half in halves]), whole[key])
    motion = np.concatenate([half["cond"]["motion"] for half in halves])
    np.testing.assert_array_equal(motion, whole["cond"]["motion"])


def test_positives_and_negatives_are_read_in_one_call():
    """Examples on disk are then read together, and by index: nothing needs them all in memory."""

    class Recorded:
        cond = group = np.arange(10) % 3
        length = 2

        def __init__(self):
            self.calls = []

        def __len__(self):
            return 10

        def draw_cond(self, indices, rng):
            return self.cond[indices]

        def take(self, indices):
            self.calls.append(np.array(indices))
            return numbered_examples().take(indices)

    recorded = Recorded()
    arguments = {"batch_size": 4, "seed": 0, "num_negatives": 6}
    batch = make_train_dataset(recorded, **arguments)[3]
    assert [call.size for call in recorded.calls] == [4 * 7]
    assert_same(batch, make_train_dataset(numbered_examples(), **arguments)[3])
    assert len(list(iterate_in_order(recorded, batch_size=5))) == 2


def test_each_epoch_holds_every_example_once_in_another_order():
    """Batches of 4 straddle the epochs of 10: nothing is dropped between them."""
    batches = make_train_dataset(numbered_examples(), batch_size=4, seed=0)
    order = np.concatenate([batches[step]["tokens"][:, 0] for step in range(10)])
    epochs = order.reshape(4, 10)
    assert np.array_equal(np.sort(epochs, axis=1), np.tile(np.arange(10), (4, 1)))
    assert len(np.unique(epochs, axis=0)) == 4


def test_the_seed_decides_order_and_negatives():
    def first(seed):
        return make_train_dataset(numbered_examples(40), batch_size=40, seed=seed, num_negatives=4)[
            0
        ]

    assert_same(first(3), first(3))
    one, two = first(3), first(4)
    assert not np.array_equal(one["tokens"], two["tokens"])
    by_example = [batch["negatives"][np.argsort(batch["tokens"][:, 0])] for batch in (one, two)]
    assert not np.array_equal(*by_example)


def test_negatives_differ_between_epochs():
    batches = make_train_dataset(numbered_examples(40), batch_size=40, seed=0, num_negatives=4)
    sorted_negatives = [
        batches[epoch]["negatives"][np.argsort(batches[epoch]["tokens"][:, 0])]
        for epoch in range(3)
    ]
    assert not np.array_equal(sorted_negatives[0], sorted_negatives[1])
    assert not np.array_equal(sorted_negatives[1], sorted_negatives[2])


@pytest.mark.parametrize("num_threads", [0, 1, 3])
@pytest.mark.parametrize("stop", [0, 1, 7])
def test_a_restored_iterator_goes_on_with_exactly_the_next_batch(num_threads, stop):
    def make(threads=num_threads):
        return make_train_iterator(
            numbered_examples(), batch_size=4, seed=5, num_negatives=2, num_threads=threads
        )

    whole = make()
    expected = [next(whole) for _ in range(12)]
    interrupted = make()
    for _ in range(stop):
        next(interrupted)
    # A checkpoint holds the state as JSON; the thread count may change at the restart.
    state = json.loads(json.dumps(interrupted.get_state()))
    for threads in (num_threads, 2):
        resumed = make(threads)
        resumed.set_state(state)
        for batch in expected[stop:]:
            assert_same(next(resumed), batch)


def test_setting_the_state_of_a_running_iterator_rewinds_it():
    iterator = make_train_iterator(numbered_examples(), batch_size=4, seed=0)
    state = iterator.get_state()
    first = next(iterator)
    next(iterator)
    iterator.set_state(state)
    assert_same(next(iterator), first)


@pytest.mark.parametrize("num_processes", [2, 4])
def test_processes_share_the_batch_of_one(num_processes):
    arguments = {"batch_size": 8, "seed": 2, "num_negatives": 3}
    whole = make_train_dataset(numbered_examples(), **arguments)
    parts = [
        make_train_dataset(
            numbered_examples(), **arguments, process_index=index, num_processes=num_processes
        )
        for index in range(num_processes)
    ]
    for step in (0, 5):
        together = {key: np.concatenate([part[step][key] for part in parts]) for key in whole[step]}
        assert_same(together, whole[step])


def test_in_order_yields_every_example_once():
    batches = list(iterate_in_order(numbered_examples(10), batch_size=4))
    assert [len(batch["tokens"]) for batch in batches] == [4, 4, 2]
    assert np.concatenate([batch["tokens"][:, 0] for batch in batches]).tolist() == list(range(10))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"num_negatives": -1}, "num_negatives must be at least 0, got -1"),
        ({"seed": -1}, "seed must be in 0"),
        ({"num_processes": 3}, "batch_size 4 does not divide by the 3 processes"),
        ({"process_index": 2, "num_processes": 2}, "process_index must be in 0"),
    ],
)
def test_numbers_out_of_range_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        make_train_dataset(numbered_examples(), **{"batch_size": 4, "seed": 0} | changes)


def test_one_class_has_no_inter_negatives_but_trains_without():
    examples = numbered_examples(num_classes=1)
    make_train_dataset(examples, batch_size=4, seed=0)
    with pytest.raises(ValueError, match="inter negatives need at least two classes"):
        make_train_dataset(examples, batch_size=4, seed=0, num_negatives=1)


def test_an_empty_set_is_refused():
    with pytest.raises(ValueError, match="the training set is empty"):
        make_train_dataset(numbered_examples(0), batch_size=4, seed=0)


def test_an_empty_batch_is_refused():
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        next(iterate_in_order(numbered_examples(), batch_size=0))


@pytest.mark.parametrize("num_threads", [0, 2])
def test_a_batch_may_be_one_example(num_threads):
    arguments = {"batch_size": 1, "seed": 0, "num_negatives": 2}
    batches = make_train_iterator(numbered_examples(), num_threads=num_threads, **arguments)
    expected = make_train_dataset(numbered_examples(), **arguments)
    for step in range(3):
        np.testing.assert_array_equal(next(batches)["tokens"], expected[step]["tokens"])
