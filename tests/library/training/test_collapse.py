"""Signs of collapse and their causes; the numbers are those that benchmarks/collapse_rule.py measured."""

import math
import re

import pytest

from scanloom.pretraining.watch import weight_gain
from scanloom.training.collapse import INTERVALS, SETTLED, collapsing, lasting_collapse, signs
from scanloom.training.initial_weights import kernels

HEALTHY = {
    "embedding_spread": 0.36,
    "projection_spread": 0.84,
    "projection_scale": 0.63,
    "projection_redundancy": 0.62,
    "projection_kept": 0.9,
    "dead_units": 0.0,
    "weight_gain": 0.69,
}
PLANTED = {
    "point": {"embedding_spread": 0.015, "projection_spread": 0.008, "dead_units": 0.4},
    "constant": {"embedding_spread": 0.0002},
    "redundant": {"projection_redundancy": 0.84, "projection_kept": 0.6},
    "overshot": {"weight_gain": 5.9, "dead_units": 0.2},
    "not finite": {"embedding_spread": math.nan, "projection_spread": math.nan},
    "dead": {"dead_units": 0.8},
}
CAUSES = {
    "point": r"spread 0\.008 of projections.*batch normalisation",
    "constant": r"same features \(spread 0\.0002",
    "redundant": r"correlation 0\.84.*lambda",
    "overshot": r"5\.9 times.*20%.*learning rate is far too high",
    "not finite": r"not finite.*learning rate is too high",
    "dead": r"80% of the features never change",
}


def rows(count: int, first: int = SETTLED, **changed) -> list[dict]:
    return [{"step": first + 10 * i} | HEALTHY | changed for i in range(count)]


@pytest.mark.parametrize("name", PLANTED)
def test_a_sign_must_last_and_comes_with_its_cause(name):
    spoilt = rows(INTERVALS, **PLANTED[name])
    assert signs(spoilt[0], True)[0] == name
    assert collapsing(spoilt[0], True) is True
    assert lasting_collapse(spoilt[:-1], True) is None
    assert lasting_collapse([*spoilt[:-1], *rows(1)], True) is None
    assert re.search(CAUSES[name], lasting_collapse(rows(1) + spoilt, True))


def test_healthy_rows_and_those_before_normalisations_have_settled_show_nothing():
    assert lasting_collapse(rows(9), True) is None
    assert lasting_collapse(rows(INTERVALS, first=1, **PLANTED["point"]), True) is None


def test_redundancy_counts_only_for_losses_against_it():
    byol = rows(INTERVALS, projection_redundancy=0.86, projection_kept=0.6)
    assert lasting_collapse(byol, decorrelates=False) is None
    assert lasting_collapse(byol, decorrelates=True)


def history(**columns) -> list[dict]:
    given = zip(*columns.values(), strict=True)
    return [row | dict(zip(columns, values, strict=True)) for row, values in zip(rows(99), given, strict=False)]


def ended(decorrelates=True, **columns) -> str | None:
    """The first reason to end a training with these columns."""
    found = history(**columns)
    return next((why for i in range(len(found)) if (why := lasting_collapse(found[: i + 1], decorrelates))), None)


def test_redundancy_that_falls_is_a_loss_at_work():
    """VICReg with one linear layer of 64 on the 16 features of a U-Net; its probe went from 0.89 to 1.00."""
    redundancy = [0.893, 0.916, 0.789, 0.720, 0.700, 0.706, 0.680]
    assert ended(projection_redundancy=redundancy, projection_kept=[0.6] * 7) is None
    assert "correlation 0.92" in ended(projection_redundancy=[0.893, 0.916, 0.92], projection_kept=[0.6] * 3)


def test_projections_of_features_that_vary_in_one_way_are_not_the_losss_fault():
    """Barlow Twins on a small ViT, whose redundancy fell to 0.6 after 200 updates; and lambda 0 on a small CNN."""
    vit = {
        "projection_redundancy": [0.91, 0.95, 0.89, 0.93, 0.94, 0.94],
        "projection_kept": [0.79, 0.91, 0.94, 0.93, 0.9, 0.89],
    }
    assert ended(**vit) is None
    without = {"projection_redundancy": [0.80, 0.81, 0.81, 0.81], "projection_kept": [0.73, 0.66, 0.63, 0.6]}
    assert "lambda" in ended(**without)


def test_a_loss_that_does_not_see_the_mean_may_leave_it_far_off():
    """Barlow Twins with one linear layer on a small ViT; and on a ConvNeXt, where the spread rose to 0.35."""
    vit = {
        "projection_spread": [0.13, 0.044, 0.071, 0.12, 0.12],
        "projection_redundancy": [0.90, 0.69, 0.69, 0.75, 0.68],
    }
    assert ended(**vit) is None
    assert "nearly one embedding" in ended(decorrelates=False, **vit)
    convnext = {"projection_spread": [0.09, 0.12, 0.14, 0.21], "projection_redundancy": [0.63, 0.81, 0.90, 0.94]}
    assert ended(**convnext) is None


def test_a_small_spread_that_stays_is_a_point_where_embeddings_are_redundant_or_all_but_equal():
    """Barlow Twins without batch normalisation; and VICReg without variance and covariance on a ViT."""
    without = {
        "projection_spread": [0.012, 0.049, 0.104, 0.096, 0.093],
        "projection_redundancy": [0.99, 0.98, 0.97, 0.98, 0.99],
    }
    assert "nearly one embedding" in ended(**without)
    constant = {"projection_spread": [0.009, 0.007, 0.006], "projection_redundancy": [0.33] * 3}
    assert "nearly one embedding" in ended(**constant)


def test_an_encoder_without_projections_is_judged_by_its_features():
    plain = {key: value for key, value in HEALTHY.items() if not key.startswith("projection")}
    row = {"step": 100} | plain
    assert signs(row, False) == []
    assert signs(row | {"embedding_spread": 0.0005}, False) == ["constant"]


def test_features_that_point_one_way_are_healthy_as_long_as_they_differ():
    """WGAN-GP with the residual discriminator of its paper, whose features' linear probe reached 0.85."""
    assert lasting_collapse(rows(9, embedding_spread=0.0036), True) is None


def test_projections_that_shrink_towards_a_point_are_seen_by_their_size():
    scales = [0.12, 0.10, 0.09, 0.07, 0.053, 0.051, 0.048]
    history = [row | {"projection_scale": scale} for row, scale in zip(rows(7), scales, strict=True)]
    assert lasting_collapse(history[:6], False) is None
    assert "standard deviation 0.048" in lasting_collapse(history, False)


def test_weight_gain_is_one_for_kernels_of_variance_one_over_fan_in():
    import keras
    import numpy as np

    model = keras.Sequential([keras.Input((400,)), keras.layers.Dense(300), keras.layers.Dense(200)])
    for layer in model.layers:
        shape = layer.kernel.shape
        layer.kernel.assign(np.random.default_rng(0).normal(0, shape[0] ** -0.5, shape))
    assert math.isclose(weight_gain(model), 1, rel_tol=0.01)
    for layer in model.layers:
        layer.kernel.assign(layer.kernel * 7)
    assert math.isclose(weight_gain(model), 7, rel_tol=0.01)


def test_a_kernel_of_variance_one_over_fan_in_keeps_the_variance_of_its_input():
    """Which is what says what the fan-in of attention's and of depthwise kernels is."""
    import keras
    import numpy as np

    rng = np.random.default_rng(0)
    tokens, maps = keras.Input((50, 64)), keras.Input((40, 40, 16))
    attention = keras.layers.MultiHeadAttention(4, 16)
    layers = [keras.layers.DepthwiseConv2D(5), keras.layers.Conv2D(32, 3, groups=4), keras.layers.Conv2D(8, 3)]
    models = [keras.Model(maps, layer(maps)) for layer in layers] + [keras.Model(tokens, attention(tokens, tokens))]
    inner = (attention.query_dense, attention.key_dense, attention.value_dense, attention.output_dense)
    parts = [*((layer, (20, 40, 40, 16)) for layer in layers), *((dense, (20, 50, 64)) for dense in inner[:3])]
    parts.append((inner[3], (20, 50, 4, 16)))
    found = [pair for model in models for pair in kernels(model)]
    for (layer, shape), (kernel, fan_in) in zip(parts, found, strict=True):
        assert kernel is layer.kernel
        kernel.assign(rng.standard_normal(kernel.shape) / math.sqrt(fan_in))
        assert np.std(layer(rng.standard_normal(shape).astype(np.float32))) == pytest.approx(1, abs=0.15), layer.name
