"""Single updates and their time."""

import tiny_training as tiny

from scanloom.training import train_steps
from scanloom.updates import seconds_without_input


def test_timing_without_input_leaves_the_model_as_it_was():
    model, other = tiny.make_model(), tiny.make_model()
    assert 0 < seconds_without_input(model, tiny.batch_at(0), 3) < 1
    assert tiny.same_weights(model, other)
    for m in (model, other):
        train_steps(m, tiny.batch_at, lambda step: 0.1, 4)
    assert tiny.same_weights(model, other)
