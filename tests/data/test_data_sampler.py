"""The order of examples: exact shuffles, no seams, the same whatever the number of processes."""

from __future__ import annotations

import numpy as np
import pytest

from mamo.data.batches.sampler import batch_indices, epoch_order, example_generator


def stream(steps: int, **options: int) -> np.ndarray:
    return np.concatenate([batch_indices(step=step, **options) for step in range(steps)])


@pytest.mark.parametrize(("n", "batch", "block"), [(10, 4, 1), (10, 4, 3), (7, 16, 2), (64, 8, 4), (1, 3, 1)])
def test_every_record_once_an_epoch_and_none_dropped_between(n: int, batch: int, block: int) -> None:
    steps = -(-5 * n // batch)
    taken = stream(steps, seed=3, batch_size=batch, n=n, block=block)
    assert len(taken) == steps * batch
    for epoch in range(5):
        assert sorted(taken[epoch * n : (epoch + 1) * n]) == list(range(n))


def test_blocks_stay_together_and_are_shuffled() -> None:
    shuffled = epoch_order(0, 0, 1000, 4)
    assert (shuffled.reshape(-1, 4) == shuffled.reshape(-1, 4)[:, :1] + np.arange(4)).all()
    assert (shuffled[::4] % 4 == 0).all()
    assert list(shuffled) != list(range(1000))
    partial = epoch_order(0, 0, 10, 4)  # the last block is shorter and moves as one
    place = list(partial).index(8)
    assert list(partial[place : place + 2]) == [8, 9]


def test_epochs_and_seeds_differ_and_repeat() -> None:
    first = epoch_order(1, 0, 500).copy()
    assert not np.array_equal(first, epoch_order(1, 1, 500))
    assert not np.array_equal(first, epoch_order(2, 0, 500))
    epoch_order.cache_clear()
    assert np.array_equal(first, epoch_order(1, 0, 500))


def test_ranks_take_slices_of_the_same_global_batch() -> None:
    whole = [batch_indices(5, step, 12, 31, 2) for step in range(9)]
    for world in (1, 2, 3, 4):
        for step, batch in enumerate(whole):
            slices = [batch_indices(5, step, 12, 31, 2, rank, world) for rank in range(world)]
            assert np.array_equal(np.concatenate(slices), batch)
    with pytest.raises(ValueError, match="not a multiple"):
        batch_indices(5, 0, 12, 31, 1, 0, 5)
    with pytest.raises(ValueError, match="no records"):
        batch_indices(5, 0, 12, 0)


def test_first_places_are_uniform() -> None:
    firsts = np.array([epoch_order(seed, 0, 8)[0] for seed in range(2000)])
    counts = np.bincount(firsts, minlength=8)
    assert counts.min() > 180 and counts.max() < 325  # 250 expected, 5 standard deviations


def test_example_generators_depend_on_seed_step_and_position() -> None:
    draws = {
        (seed, step, position): example_generator(seed, step, position).random()
        for seed in (0, 1)
        for step in (0, 1, 7)
        for position in (0, 1, 63)
    }
    assert len(set(draws.values())) == len(draws)
    assert draws[1, 7, 63] == example_generator(1, 7, 63).random()
    # Neighbouring positions do not run into each other's numbers.
    long = example_generator(0, 0, 0).random(10_000)
    assert example_generator(0, 0, 1).random() not in long
    with pytest.raises(ValueError, match="seed"):
        example_generator(-1, 0, 0)
