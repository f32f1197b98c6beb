"""The index of shards changes exactly when a shard does."""

import json

import numpy as np
import pytest
from chunk_shards import chunk, write

from scanloom.shards.records import BadShard, open_shards
from scanloom.shards.shard_index import manifests_of, write_index


@pytest.fixture
def manifests(tmp_path):
    return [write(tmp_path, *chunk(seed=number, prefix=prefix), number) for number, prefix in enumerate("st")]


def test_index_leads_to_the_same_images(manifests, tmp_path):
    index = write_index(manifests, tmp_path / "index.json")
    shards = open_shards(manifests_of(tmp_path / "index.json"))
    assert index["records"] == len(shards)
    np.testing.assert_array_equal(shards.images([0]), open_shards(manifests).images([0]))


def test_index_has_the_same_bytes_whatever_the_order(manifests, tmp_path):
    write_index(manifests, tmp_path / "index.json")
    first = (tmp_path / "index.json").read_bytes()
    write_index(manifests[::-1], tmp_path / "index.json")
    assert (tmp_path / "index.json").read_bytes() == first


def test_changed_manifest_is_refused(manifests, tmp_path):
    write_index(manifests, tmp_path / "index.json")
    manifest = json.loads(manifests[0].read_text())
    manifests[0].write_text(json.dumps(manifest))  # other bytes, same content
    with pytest.raises(BadShard, match=r"index\.json"):
        manifests_of(tmp_path / "index.json")
