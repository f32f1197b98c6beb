"""Searches as trials: which there are, what each of them does, and what is wrong with a bad search."""

import collections
import copy
import math

import pytest
import yaml
from scipy import stats

from scanloom import config, dataset_config, planning, preflight
from scanloom.searches import studies
from scanloom.searches.search_settings import Drawn
from scanloom.spoken_values import spoken_value
from scanloom.strict_models import ConfigError

GRID = {"kind": "grid", "vary": {"pretraining.learning_rate": [0.001, 0.002], "encoder.width": [8, 16, 32]}}


@pytest.fixture
def values(root):
    return yaml.safe_load((root / "config.yaml").read_text())


def study_with(values, **searches):
    return config.study_from(copy.deepcopy(values) | {"studies": searches})


def test_a_trial_that_varies_nothing_is_what_the_study_does(values):
    study = study_with(values, again={"kind": "grid", "vary": {"pretraining.learning_rate": [0.002]}})
    [trial] = studies.trials(study, "again")
    dump = study.model_dump(mode="json")
    expected = {"encoder": dump["encoder"], "views": dump["views"], "seed": study.seed, "method": "barlow_twins"}
    assert expected.items() <= trial.job.items()
    assert trial.job["method_settings"] == study.pretraining.methods["barlow_twins"]
    assert trial.job["budget"] == {key: dump["pretraining"][key] for key in trial.job["budget"]}
    assert trial.job["splits"] == planning.corpus_splits(study, "heads") == {"phantom": ["train"]}


def test_a_grid_is_every_combination_and_changes_nothing_else(values):
    study = study_with(values, grid=GRID | {"seeds": [0, 1]})
    trials = studies.trials(study, "grid")
    found = collections.Counter(
        (t.job["budget"]["learning_rate"], t.job["encoder"]["settings"]["width"]) for t in trials
    )
    assert found == {(rate, width): 2 for rate in (0.001, 0.002) for width in (8, 16, 32)}
    assert len({t.setting for t in trials}) == 6
    assert len({t.id for t in trials}) == 12
    assert {t.job["seed"] for t in trials} == {study.seed, study.seed + 1}
    assert len({str(t.job["views"]) for t in trials}) == 1
    assert trials[0].name == "learning_rate 0.001, width 8"


def test_a_network_that_begins_anew_with_each_draw_of_labels_is_tried_once(values):
    vary = {"encoder.width": [8, 16, 32]}
    study = study_with(values, baseline={"kind": "grid", "vary": vary, "method": "from_scratch", "seeds": [0, 1]})
    assert len(studies.trials(study, "baseline")) == 3


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        ("encoder", {"small_cnn": {"width": 8}}, ("encoder", "settings", "width", 8)),
        ("encoder.resnet.width", 8, ("encoder", "settings", "width", 8)),
        ("methods.barlow_twins.projector", [32], ("method_settings", "projector", [32])),
        ("pretraining.methods.barlow_twins.scale", 0.5, ("method_settings", "scale", 0.5)),
        ("views", ["flip"], ("views", 0, "name", "flip")),
        ("views.flip.p", 0.25, ("views", 1, "settings", "p", 0.25)),
        ("arms.frozen.l2.0", 0.5, ("arms", "frozen", "l2", 0, 0.5)),
        ("method", "simclr", ("method", "simclr")),
    ],
)
def test_a_path_reaches_its_setting(values, path, value, where):
    [trial] = studies.trials(study_with(values, one={"kind": "grid", "vary": {path: [value]}}), "one")
    found = trial.job
    for key in where[:-1]:
        found = found[key]
    assert found == where[-1]


def test_a_schedule_comparison_trains_each_schedule(values):
    given = ["constant", {"cosine": {}}, {"step": {"factor": 0.5}}, {"exponential": {}}]
    search = {"kind": "grid", "vary": {"pretraining.schedule": given, "pretraining.warmup_updates": [0, 4]}}
    trials = studies.trials(study_with(values, schedules=search), "schedules")
    budgets = [trial.job["budget"] for trial in trials]
    schedules = [(budget["schedule"]["name"], budget["warmup_updates"]) for budget in budgets]
    names = ("constant", "cosine", "step", "exponential")
    assert schedules == [(name, warm_up) for name in names for warm_up in (0, 4)]
    assert {b["schedule"]["settings"]["factor"] for b in budgets if b["schedule"]["name"] == "step"} == {0.5}


def test_more_values_and_more_draws_leave_the_trials_that_are_there(values):
    wider = copy.deepcopy(GRID)
    wider["vary"]["encoder.width"] = [4, 8, 16, 32]
    drawn = {"kind": "random", "vary": {"pretraining.learning_rate": {"log_uniform": [1e-4, 1e-2]}}, "trials": 5}
    few = study_with(values, grid=GRID, drawn=drawn)
    many = study_with(values, grid=wider, drawn=drawn | {"trials": 8})
    for name in ("grid", "drawn"):
        before, after = ({t.id for t in studies.trials(study, name)} for study in (few, many))
        assert before < after


def test_another_path_leaves_the_draws_of_the_first(values):
    vary = {"pretraining.learning_rate": {"log_uniform": [1e-4, 1e-2]}}
    search = {"kind": "random", "trials": 6}
    one = study_with(values, s=search | {"vary": vary})
    two = study_with(values, s=search | {"vary": {"encoder.width": {"integers": [4, 32]}} | vary})
    rates = [[t.job["budget"]["learning_rate"] for t in studies.trials(study, "s")] for study in (one, two)]
    assert rates[0] == rates[1]
    other = study_with(values, s=search | {"vary": vary, "seed": 1})
    assert rates[0] != [t.job["budget"]["learning_rate"] for t in studies.trials(other, "s")]


def test_draws_have_the_distribution_they_are_named_after(values):
    vary = {
        "pretraining.learning_rate": {"log_uniform": [1e-4, 1e-1]},
        "views.flip.p": {"uniform": [0.2, 0.6]},
        "encoder.width": {"integers": [4, 7]},
        "pretraining.batch": [16, 32],
    }
    study = study_with(values, s={"kind": "random", "vary": vary, "trials": 200})
    drawn = [t.values for t in studies.trials(study, "s")]
    rates, shares = ([one[path] for one in drawn] for path in ("pretraining.learning_rate", "views.flip.p"))
    assert stats.kstest(rates, stats.loguniform(1e-4, 1e-1).cdf).pvalue > 0.01
    assert stats.kstest(shares, stats.uniform(0.2, 0.4).cdf).pvalue > 0.01
    for path, expected in (("encoder.width", {4, 5, 6, 7}), ("pretraining.batch", {16, 32})):
        counts = collections.Counter(one[path] for one in drawn)
        assert set(counts) == expected
        assert stats.chisquare(list(counts.values())).pvalue > 0.01


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [
        ("uniform", 0.999, 0.99999),
        ("uniform", 0.99995, 0.99999),
        ("uniform", 100_000, 100_009),
        ("uniform", -3, 50_000),
        ("log_uniform", 1.23456e-4, 1e-3),
        ("log_uniform", 0.9991, 0.99999),
        ("log_uniform", 1.2345e-4, 1.2349e-4),
    ],
)
def test_draws_stay_in_their_range_and_are_many_and_short(kind, low, high):
    """Of 2000 even draws from a thousand steps or more, 865 differ on average: 1000 (1 - 0.999^2000)."""
    drawn = [studies._drawn(Drawn(**{kind: (low, high)}), 0, "path", number) for number in range(2000)]
    assert low <= min(drawn)
    assert max(drawn) <= high
    assert len(set(drawn)) > 800
    assert max(len(str(value)) for value in drawn) <= 13
    assert len({spoken_value(value) for value in drawn}) == len(set(drawn))


def test_a_draw_is_the_same_everywhere_and_always():
    """Trials are found by their values: other roundings would train them all again."""
    rate, p = Drawn(log_uniform=(1e-5, 1e-2)), Drawn(uniform=(0.2, 0.6))
    assert [studies._drawn(rate, 0, "pretraining.learning_rate", n) for n in range(3)] == [0.002429, 0.001071, 0.005423]
    assert [studies._drawn(p, 0, "views.flip.p", n) for n in range(3)] == [0.4633, 0.5073, 0.5106]


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_a_transformation_scan_is_the_base_and_every_choice_of_candidates(values, at_once):
    scan = {
        "kind": "transformation_scan",
        "base": ["flip"],
        "candidates": ["cutout", "gaussian_blur", "gaussian_noise"],
    }
    trials = studies.trials(study_with(values, scan=scan | {"at_once": at_once}), "scan")
    assert len(trials) == sum(math.comb(3, n) for n in range(at_once + 1))
    used = [[view["name"] for view in t.job["views"]] for t in trials]
    assert used[:4] == [["flip"], *[["flip", name] for name in scan["candidates"]]]
    assert [t.name for t in trials[:2]] == ["base", "base + cutout"]


def test_a_transformation_scan_may_start_from_a_preset(values):
    scan = {"kind": "transformation_scan", "base": {"preset": "chest_xray"}, "candidates": ["cutout"]}
    trials = studies.trials(study_with(values, scan=scan), "scan")
    listed = study_with(values | {"views": {"preset": "chest_xray"}}).model_dump(mode="json")["views"]
    assert trials[0].job["views"] == listed
    assert [view["name"] for view in trials[1].job["views"]] == [*(view["name"] for view in listed), "cutout"]


def test_one_view_in_two_strengths_makes_two_candidates(values):
    candidates = [{"gaussian_noise": {"relative_std_high": high}} for high in (0.1, 0.2)]
    scan = {"kind": "transformation_scan", "base": ["flip"], "candidates": candidates}
    assert len(studies.trials(study_with(values, scan=scan), "scan")) == 3


def test_an_arm_that_the_probe_runs_can_be_varied(values):
    vary = {"arms.finetuned.learning_rates.0": [0.001, 0.002, 0.004]}
    search = {"kind": "grid", "vary": vary, "probe": {"arms": ["frozen", "finetuned"]}}
    assert len(studies.trials(study_with(values, arms=search), "arms")) == 3


def test_a_draw_that_comes_again_is_no_slip_and_one_trial(values):
    search = {"kind": "random", "vary": {"encoder.width": [8, 16]}, "trials": 20}
    assert len(studies.trials(study_with(values, s=search), "s")) == 2


def test_fewer_updates_keep_the_share_of_warm_up(values):
    study = study_with(values, short=GRID | {"updates": 60})  # of 300, with 50 of warm-up
    assert {
        (t.job["budget"]["updates"], t.job["budget"]["warmup_updates"]) for t in studies.trials(study, "short")
    } == {(60, 10)}


def test_fixed_values_hold_for_all_trials(values):
    study = study_with(values, grid=GRID | {"fixed": {"methods.barlow_twins.projector": [8], "pretraining.batch": 32}})
    trials = studies.trials(study, "grid")
    assert all(t.job["method_settings"]["projector"] == [8] and t.job["budget"]["batch"] == 32 for t in trials)
    assert "projector" not in trials[0].name


def test_a_method_that_the_study_does_not_use_has_its_defaults(values):
    study = study_with(values, s={"kind": "grid", "method": "vicreg", "vary": {"encoder.width": [8]}})
    [trial] = studies.trials(study, "s")
    assert trial.job["method"] == "vicreg"
    assert "vicreg" not in study.pretraining.methods


def test_settings_of_a_method_make_no_trials_of_the_others(values):
    vary = {"method": ["simclr", "vicreg"], "methods.simclr.temperature": [0.1, 0.2]}
    trials = studies.trials(study_with(values, s={"kind": "grid", "vary": vary}), "s")
    assert collections.Counter(t.job["method"] for t in trials) == {"simclr": 2, "vicreg": 1}


def test_what_a_method_does_not_use_makes_no_trials_of_it(values):
    """From scratch nothing is pretrained, and the frozen arm sees no views: by its definition one trial remains."""
    vary = {"method": ["from_scratch", "barlow_twins"], "pretraining.learning_rate": [0.001, 0.01]}
    trials = studies.trials(study_with(values, s={"kind": "grid", "vary": vary}), "s")
    assert collections.Counter(t.job["method"] for t in trials) == {"from_scratch": 1, "barlow_twins": 2}
    scan = {"kind": "grid", "vary": {"views.flip.p": [0.1, 0.2]}, "method": "from_scratch"}
    both = studies.trials(study_with(values, s=scan | {"probe": {"arms": ["finetuned"]}}), "s")
    assert len(both) == 2


def test_settings_of_the_study_that_a_trial_does_not_use_leave_it_alone(values):
    searches = {
        "baseline": {"kind": "grid", "method": "from_scratch", "vary": {"encoder.width": [8]}},
        "rates": {"kind": "learning_rate_range"},
        "grid": GRID,
    }
    other = copy.deepcopy(values)
    other["pretraining"] |= {"interval": 7, "schedule": "constant", "warmup_updates": 3}
    before, after = (study_with(v, **searches) for v in (values, other))
    changed = {
        name: {t.id for t in studies.trials(before, name)} != {t.id for t in studies.trials(after, name)}
        for name in searches
    }
    assert changed == {"baseline": False, "rates": False, "grid": True}


def test_an_arm_that_the_study_switches_off_can_be_switched_on_by_the_trials(values):
    off = copy.deepcopy(values)
    off["arms"]["frozen"] = None
    assert "frozen is switched off" in problems_of(off, GRID)
    assert not problems_of(off, GRID | {"fixed": {"arms.frozen": {"l2": [1.0]}}})


def test_a_trial_reads_what_it_learns_from_and_a_range_test_no_labels(values):
    study = study_with(values, grid=GRID, rates={"kind": "learning_rate_range"})
    files = studies.inputs_of(study, studies.trials(study, "grid")[0])
    assert files["fraction"] == "results/bleed/fractions/1.parquet"
    assert files["indexes"] == ["results/phantom/shards/index.json"]
    assert "index" not in studies.inputs_of(study, studies.trials(study, "rates")[0])


def test_cells_of_a_resource_check_are_the_whole_product_with_rising_batches(values):
    check = {"kind": "resource_check", "sizes_px": [64, 32], "batches": [64, 16], "encoders": ["small_cnn", "resnet"]}
    cells = studies.cells(study_with(values, check=check), "check")
    found = [(c["encoder"]["name"], c["size_px"], c["budget"]["batch"]) for c in cells]
    assert found[:4] == [("small_cnn", 32, 16), ("small_cnn", 32, 64), ("small_cnn", 64, 16), ("small_cnn", 64, 64)]
    assert len(found) == 8


def test_searches_change_nothing_of_the_study_itself(values):
    plain, searched = study_with(values), study_with(values, grid=GRID)
    assert planning.prediction_stems(plain) == planning.prediction_stems(searched)
    more = set(planning.report_tables(searched)) - set(planning.report_tables(plain))
    assert more == {"studies/grid/ranking.parquet", "studies/grid/curves.parquet"}


def problems_of(values, search) -> str:
    try:
        return "\n".join(studies.problems(study_with(values, bad=search)))
    except ConfigError as error:
        return str(error)


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"kind": "grid", "vary": {"pretraining.learning_rat": [1]}}, "Did you mean 'learning_rate'"),
        ({"kind": "grid", "vary": {"views.flop.p": [1]}}, "Did you mean 'flip'"),
        ({"kind": "grid", "vary": {"encoder.widht": [1]}}, "Did you mean 'width'"),
        ({"kind": "grid", "vary": {"encodr.width": [1]}}, "Did you mean 'encoder'"),
        ({"kind": "grid", "vary": {"splits.test": [0.1]}}, "cannot be varied"),
        (
            {"kind": "grid", "vary": {"pretraining.learning_rate": [0.1, -1]}},
            "learning_rate -1: pretraining.learning_rate",
        ),
        ({"kind": "grid", "vary": {"encoder": ["vit"], "encoder.width": [8]}}, "lies within 'encoder'"),
        ({"kind": "grid", "vary": {"methods.simclr.temperature": [1]}}, "no setting of barlow_twins"),
        ({"kind": "grid", "method": "barlow", "vary": {"encoder.width": [8]}}, "no method 'barlow'"),
        (GRID | {"task": "blead"}, "Did you mean 'bleed'"),
        (GRID | {"probe": {"fraction": 0.3}}, "none of the study's fractions: 0.01, 0.1, 1"),
        (GRID | {"probe": {"draws": 9}}, "the study has 3 seeds"),
        (
            {"kind": "grid", "vary": {"arms.finetuned.learning_rates.0": [0.001, 0.002]}},
            "'arms.finetuned.learning_rates.0' changes nothing, the trials run frozen alone; say "
            "probe: {arms: [frozen, finetuned]}",
        ),
        (GRID | {"fixed": {"arms.finetuned.updates": 10}}, "'arms.finetuned.updates' changes nothing"),
        ({"kind": "learning_rate_range", "vary": {"arms.frozen.l2.0": [1, 2]}}, "a range test runs no arms"),
        ({"kind": "learning_rate_range", "fixed": {"pretraining.learning_rate": 1}}, "rises from low (1e-06) to high"),
        ({"kind": "learning_rate_range", "vary": {"pretraining.schedule": ["step"]}}, "rises from low (1e-06) to high"),
        ({"kind": "learning_rate_range", "vary": {"pretraining.interval": [1, 30]}}, "'pretraining.interval' changes"),
        ({"kind": "learning_rate_range", "vary": {"pretraining.updates": [30, 40]}}, "say updates: beside kind:"),
        ({"kind": "learning_rate_range", "vary": {"pretraining.batsh": [16]}}, "Did you mean 'batch'"),
        ({"kind": "learning_rate_range", "method": "from_scratch"}, "no learning rate of it can be tested"),
        (
            {"kind": "learning_rate_range", "vary": {"method": ["simclr", "from_scratch"]}},
            "from_scratch trains nothing before the labels come",
        ),
        *(
            (
                {"kind": "grid", "method": "from_scratch", "vary": vary},
                f"'{next(iter(vary))}' changes nothing, from_scratch trains nothing before the labels come",
            )
            for vary in (
                {"pretraining.learning_rate": [0.001, 0.01]},
                {"pretraining.batch": [16]},
                {"views.flip.p": [0.1, 0.2]},
            )
        ),
        (
            {"kind": "transformation_scan", "method": "from_scratch", "candidates": ["cutout"]},
            "'views' changes nothing, from_scratch trains nothing",
        ),
        ({"kind": "grid", "vary": {"arms.frozen": [{"l2": [1.0]}, None]}}, "frozen is switched off in arms"),
        ({"kind": "grid", "vary": {"method": [None, 3]}}, "'method' is a name"),
        ({"kind": "grid", "vary": {"pretraining.learning_rate": [math.inf]}}, "learning_rate = inf"),
        ({"kind": "grid", "vary": {"methods.barlow_twins.off_diagonal_weight": [math.nan]}}, "weight = nan"),
        (
            {"kind": "grid", "vary": {"encoder.width": [8, 16, 8]}},
            "settings 1 (width 8) and 3 (width 8) make the same trial",
        ),
        (
            {"kind": "grid", "vary": {"encoder": ["small_cnn", {"small_cnn": {}}, "resnet"]}},
            "settings 1 (encoder small_cnn) and 2 (encoder small_cnn) make the same trial",
        ),
        (GRID | {"seeds": [0, 1, 0]}, "seeds: 0 stands twice"),
        (
            {"kind": "transformation_scan", "base": ["flip"], "candidates": ["cutout", "gaussian_blur", "cutout"]},
            "settings 2 (base + cutout) and 4 (base + cutout) make the same trial",
        ),
        (
            {"kind": "transformation_scan", "base": {"preset": "natural_images"}, "candidates": ["cutout"]},
            "these views differ by branch (branch_1, branch_2)",
        ),
        (
            {"kind": "transformation_scan", "base": {"preset": "chest_xrey"}, "candidates": ["cutout"]},
            "Did you mean 'chest_xray'",
        ),
        ({"kind": "grid", "vary": {"encoder.width": list(range(1, 1100))}}, "at most 1000"),
        ({"kind": "gird", "vary": {}}, "'grid', 'random'"),
        ({"kind": "random", "trials": 2, "vary": {"encoder.width": {"log_uniform": [0, 1]}}}, "0 < low"),
        ({"kind": "random", "trials": 2, "vary": {"encoder.width": {"normal": [0, 1]}}}, "unknown key"),
        ({"kind": "learning_rate_range", "low": 1, "high": 0.1}, "must be below"),
        ({"kind": "resource_check", "sizes_px": [8], "batches": [4], "encoders": ["resnot"]}, "Did you mean 'resnet'"),
    ],
)
def test_a_bad_search_is_named_before_the_first_job(values, search, message):
    said = problems_of(values, search)
    assert "studies.bad" in said
    assert message in said


def test_preflight_sees_what_only_a_trial_lacks(values, root):
    search = {"kind": "grid", "method": "imagenet", "vary": {"methods.imagenet.file": ["absent.npz"]}}
    study = study_with(values, weights=search)
    datasets = {name: dataset_config.load_dataset(name, root / "datasets", use) for name, use in study.datasets.items()}
    with pytest.raises(ConfigError, match=r"studies.weights, file absent.npz: .*there is no file absent.npz"):
        preflight.check(study, datasets)
