"""Scores of generated images against closed forms, definitions written out, and sets made for the purpose."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from scanloom.pretraining.generative_metrics import fid, frechet_distance, kid, memorised, precision_recall

RNG = np.random.default_rng(0)


def test_fid_of_a_set_and_itself_is_zero_and_does_not_depend_on_order():
    rows = RNG.normal(size=(50, 8))
    assert fid(rows, rows) == pytest.approx(0.0, abs=1e-9)
    other = RNG.normal(1.0, size=(40, 8))
    assert fid(rows, other) == pytest.approx(fid(other[::-1], rows))


def test_frechet_distance_of_normals_with_common_axes_is_the_closed_form():
    """|m1 - m2|^2 + sum (s1 - s2)^2 for covariances with the same eigenvectors (Dowson & Landau 1982)."""
    turn, _ = np.linalg.qr(RNG.normal(size=(4, 4)))
    s1, s2 = np.array([0.5, 1.0, 2.0, 0.0]), np.array([1.5, 1.0, 0.1, 0.3])
    means = RNG.normal(size=(2, 4))
    covariances = [turn @ np.diag(s**2) @ turn.T for s in (s1, s2)]
    expected = np.sum((means[0] - means[1]) ** 2) + np.sum((s1 - s2) ** 2)
    assert frechet_distance(means[0], covariances[0], means[1], covariances[1]) == pytest.approx(expected)


def test_frechet_distance_of_any_normals_is_that_of_scipys_matrix_root():
    a, b = RNG.normal(size=(2, 5, 5))
    c1, c2, m1, m2 = a @ a.T, b @ b.T, RNG.normal(size=5), RNG.normal(size=5)
    expected = np.sum((m1 - m2) ** 2) + np.trace(c1 + c2 - 2 * sqrtm(c1 @ c2).real)
    assert frechet_distance(m1, c1, m2, c2) == pytest.approx(expected, rel=1e-8)


def test_fid_of_large_samples_is_near_that_of_their_distributions():
    real, made = RNG.normal(size=(20_000, 3)), 0.5 + 2.0 * RNG.normal(size=(20_000, 3))
    assert fid(real, made) == pytest.approx(3 * 0.25 + 3 * 1.0, rel=0.03)


def test_kid_is_the_definition_written_out():
    """Binkowski et al., section 3: means of the kernel without the diagonal, minus twice the mean across."""
    real, made = RNG.normal(size=(7, 3)), RNG.normal(0.5, size=(5, 3))

    def kernel(x, y):
        return (x @ y / 3 + 1) ** 3

    def within(rows):
        n = len(rows)
        return np.mean([kernel(rows[i], rows[j]) for i in range(n) for j in range(n) if i != j])

    across = np.mean([kernel(x, y) for x in real for y in made])
    assert kid(real, made) == pytest.approx(within(real) + within(made) - 2 * across)


def test_kid_of_equal_distributions_is_zero_on_average_where_one_with_bias_is_not():
    found = np.array([kid(*RNG.normal(size=(2, 20, 4))) for _ in range(400)])
    assert abs(found.mean()) < 3 * found.std() / np.sqrt(len(found))
    assert found.min() < 0 < found.max()
    assert kid(RNG.normal(size=(200, 4)), RNG.normal(1.0, size=(200, 4))) > 5 * found.std()


def test_a_generator_that_makes_one_mode_only_has_full_precision_and_half_the_recall():
    near, far = RNG.normal(size=(200, 2)), RNG.normal(100.0, size=(200, 2))
    precision, recall = precision_recall(np.concatenate([near, far]), RNG.normal(size=(400, 2)) * 0.9)
    assert precision > 0.9
    assert 0.4 < recall <= 0.5


def test_a_generator_with_every_second_image_of_nothing_real_has_half_the_precision():
    real = RNG.normal(size=(300, 2))
    made = np.concatenate([RNG.normal(size=(150, 2)), RNG.normal(50.0, 0.1, size=(150, 2))])
    precision, recall = precision_recall(real, made)
    assert 0.4 < precision <= 0.5
    assert recall > 0.8


def test_precision_and_recall_are_the_definition_written_out():
    real, made, k = RNG.normal(size=(12, 2)), RNG.normal(0.7, size=(9, 2)), 3

    def among(row, others):
        for i, other in enumerate(others):
            radius = sorted(np.linalg.norm(other - o) for j, o in enumerate(others) if j != i)[k - 1]
            if np.linalg.norm(row - other) <= radius:
                return True
        return False

    expected = np.mean([among(row, real) for row in made]), np.mean([among(row, made) for row in real])
    assert precision_recall(real, made, k) == pytest.approx(expected)
    with pytest.raises(ValueError, match="3 neighbours need more rows than 3"):
        precision_recall(real, made[:3])


def test_planted_copies_are_found_and_nothing_else_is():
    training, made = RNG.normal(size=(400, 6)), RNG.normal(size=(300, 6))
    made[[17, 203]] = training[[5, 399]] + 1e-3
    made[42] = training[8]
    found = memorised(training, made)
    assert found["copies"][0][:2] == (42, 8)
    assert {pair[:2] for pair in found["copies"][:3]} == {(42, 8), (17, 5), (203, 399)}
    assert found["copies"][2][2] < 0.1 * found["threshold"]
    assert 3 / 300 <= found["share"] < 0.04
    assert np.allclose(found["distances"][17], np.linalg.norm(made[17] - training[5]))


def test_new_images_of_the_same_distribution_are_called_copies_as_often_as_the_quantile_says():
    shares = [memorised(*RNG.normal(size=(2, 400, 3)), quantile=0.1)["share"] for _ in range(10)]
    assert np.mean(shares) == pytest.approx(0.1, abs=0.03)


def test_nearest_rows_of_many_are_those_of_all_and_the_threshold_is_near_that_of_all_pairs():
    training, made = RNG.normal(size=(2600, 4)), RNG.normal(size=(40, 4))
    patients = np.arange(2600) // 2
    found = memorised(training.astype(np.float32), made, patients, quantile=0.2)
    apart = np.linalg.norm(made[:, None] - training[None], axis=2)
    assert np.array_equal(found["nearest"], apart.argmin(axis=1))
    assert np.allclose(found["distances"], apart.min(axis=1), rtol=1e-4)
    between = np.linalg.norm(training[:, None] - training[None], axis=2)
    between[patients[:, None] == patients[None]] = np.inf
    assert found["threshold"] == pytest.approx(np.quantile(between.min(axis=1), 0.2), rel=0.1)


def test_slices_of_one_patient_are_no_reason_to_expect_near_copies():
    patients = RNG.normal(size=(60, 4))
    training = np.repeat(patients, 5, axis=0) + 1e-3 * RNG.normal(size=(300, 4))
    made = np.concatenate([RNG.normal(size=(90, 4)), patients[:10] + 0.02])
    groups = [f"p{i // 5}" for i in range(300)]
    assert memorised(training, made)["share"] < 0.02
    grouped = memorised(training, made, groups)
    assert set(range(90, 100)) <= {row for row, _, _ in grouped["copies"]}


@pytest.mark.parametrize(
    ("real", "made", "message"),
    [
        (np.zeros((5, 2)), np.zeros((5, 3)), r"\(5, 2\) and \(5, 3\) must be \[n, D\] of the same D"),
        (np.zeros((1, 2)), np.zeros((5, 2)), "at least 2 rows"),
        (np.full((5, 2), np.nan), np.zeros((5, 2)), "not all finite"),
    ],
)
def test_features_that_cannot_be_compared_are_errors(real, made, message):
    with pytest.raises(ValueError, match=message):
        fid(real, made)


def test_one_patient_alone_gives_no_threshold():
    with pytest.raises(ValueError, match="5 groups of which 1 differ, for 5 rows"):
        memorised(RNG.normal(size=(5, 2)), RNG.normal(size=(5, 2)), ["p"] * 5)
