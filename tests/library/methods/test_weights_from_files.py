"""imagenet and frozen_25d: encoders from files, through pretraining, finetuning and the checks before the first job."""

from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest
import small_encoders
import tiny_corpus as tiny
import yaml

from scanloom import config, dataset_config, planning, plugins, preflight
from scanloom.downstream.arms import Finetuned
from scanloom.downstream.downstream_task import Arm, Task
from scanloom.downstream.finetuning import finetune
from scanloom.pretraining.view_pipeline import Pipeline
from scanloom.strict_models import ConfigError

VOLUME = (8, 8, 8, 1)


class TinyVolumes(tiny.TinyCorpus):
    """Volumes of the same patients, every second with a bright half."""

    def __init__(self):
        super().__init__()
        random = np.random.default_rng(0)
        self.label = np.arange(48) // 4 % 2
        self._images = random.integers(0, 150, (48, *VOLUME)).astype(np.uint8)
        self._images[self.label == 1, :4] += 100
        self.image_spec = {"shape": list(VOLUME), "dtype": "uint8"}


@pytest.fixture
def flat_file(tmp_path):
    """A 2D encoder that somebody pretrained."""
    small_encoders.build("resnet", (16, 16, 1), seed=9).save(tmp_path / "flat.keras")
    return tmp_path / "flat.keras"


def test_imagenet_gives_the_encoder_of_the_file_and_trains_nothing(flat_file, tmp_path):
    about = tiny.run("imagenet", tmp_path / "run", method_settings={"file": str(flat_file)})
    assert about["trains"] is False
    assert about["epochs"] == 0
    made, given = (keras.saving.load_model(p) for p in (tmp_path / "run" / "encoder.keras", flat_file))
    assert all(np.array_equal(a, b) for a, b in zip(made.get_weights(), given.get_weights(), strict=True))


def test_a_file_of_another_network_stops_the_run(flat_file, tmp_path):
    with pytest.raises(ValueError, match=r"does not fit 'resnet'.*Check the encoder's settings"):
        tiny.run(
            "imagenet",
            tmp_path / "run",
            method_settings={"file": str(flat_file)},
            encoder_settings={"depth": 10, "width": 5},
        )


def test_frozen_25d_brings_its_own_network_which_can_be_finetuned(tmp_path):
    """In a study of rank 3 whose encoder is another; the finetuned model keeps the layer for explanations."""
    shards = TinyVolumes()
    small_encoders.build("small_cnn", VOLUME[1:], seed=9).save(tmp_path / "small.keras")
    inside = {"encoder": "small_cnn", "settings": small_encoders.SETTINGS["small_cnn"]}
    settings = {"file": str(tmp_path / "small.keras"), **inside}
    tiny.run("frozen_25d", tmp_path / "run", corpus=shards, method_settings=settings, views=[("flip", {})])
    made = keras.saving.load_model(tmp_path / "run" / "encoder.keras")
    assert made.output.shape == (None, 3 * 16)

    patient = np.arange(48) // 4
    shards.table = shards.table.assign(
        split=np.array(["train", "train", "validation", "validation", "test", "test"])[patient % 6],
        series_id=[f"s{p}" for p in patient],
        bleed=shards.label.astype(float),
    )
    train = sorted(set(shards.table.patient_id[shards.table.split == "train"]))
    result = finetune(
        SimpleNamespace(table=shards.table, images=shards.images),
        1.0,
        pd.DataFrame({"seed": 0, "patient_id": train}),
        Task("bleed", ("no", "yes"), "binary"),
        Arm("frozen_25d", None, None, tmp_path / "run" / "encoder.keras"),
        Pipeline([("flip", {})], VOLUME),
        Finetuned(updates=2, warmup_updates=2, batch=8, learning_rates=[1e-4], validate_every=2),
        [0],
        tmp_path / "finetuned",
    )
    model = keras.saving.load_model(result.model_path)
    assert model.get_layer("feature_map").output.shape == (None, 2, 2, 2, 48)
    assert np.isfinite(result.predictions[["p0", "p1"]]).all(axis=None)


def test_settings_of_the_network_inside_are_checked_with_the_study():
    with pytest.raises(plugins.BadSettings, match=r"encoders/resnet: unknown key 'widht'"):
        plugins.settings("methods", "frozen_25d", {"file": "a.npz", "settings": {"widht": 4}})
    with pytest.raises(plugins.BadSettings, match=r"no encoder 'resnot'.*Did you mean 'resnet'"):
        plugins.settings("encoders", "slices_25d", {"encoder": "resnot"})


def test_weight_files_and_ranks_are_checked_before_the_first_job(root, tmp_path):
    study = yaml.safe_load((root / "config.yaml").read_text())
    study["pretraining"]["methods"] |= {"imagenet": {"file": "absent.npz"}, "frozen_25d": {"file": "absent.npz"}}
    study["encoder"] = {"slices_25d": {"encoder": "unet"}}
    checked = config.study_from(study)
    assert planning.weight_files(checked, "imagenet") == ["absent.npz"]
    assert planning.weight_files(checked, "from_scratch") == []
    assert planning.encoder_names(checked) == ["slices_25d", "resnet", "unet"]
    with pytest.raises(ConfigError) as error:
        preflight.check(
            checked, {n: dataset_config.load_dataset(n, root / "datasets", u) for n, u in checked.datasets.items()}
        )
    for part in (
        "pretraining.methods.imagenet.file: there is no file absent.npz; weights are never downloaded",
        "pretraining.methods.frozen_25d: is for rank 3, and the study has rank 2",
        "encoder.slices_25d: is for rank 3, and the study has rank 2",
    ):
        assert part in str(error.value)
