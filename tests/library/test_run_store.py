"""The run store: same job, same run; damaged or unfinished runs are not reused."""

from scanloom.run_store import fingerprint, open_run


def test_fingerprint_ignores_the_order_of_keys_and_sees_every_value():
    assert fingerprint({"a": 1, "b": [1, 2]}) == fingerprint({"b": [1, 2], "a": 1})
    assert fingerprint({"a": 1, "b": [1, 2]}) != fingerprint({"a": 1, "b": [2, 1]})


def test_finished_run_is_found_again_and_publishes_its_results(tmp_path):
    run = open_run(tmp_path, {"kind": "pretrain", "seed": 1})
    assert run.finished() is None
    (run.folder / "encoder.keras").write_bytes(b"weights")
    (run.folder / "checkpoints").mkdir()
    run.finish(["encoder.keras"])
    again = open_run(tmp_path, {"seed": 1, "kind": "pretrain"})
    assert set(again.finished()) == {"encoder.keras"}
    assert not (run.folder / "checkpoints").exists()
    again.publish("encoder.keras", tmp_path / "results" / "encoder.keras")
    assert (tmp_path / "results" / "encoder.keras").read_bytes() == b"weights"


def test_run_with_a_damaged_result_is_not_finished(tmp_path):
    run = open_run(tmp_path, {"seed": 1})
    (run.folder / "encoder.keras").write_bytes(b"weights")
    run.finish(["encoder.keras"])
    (run.folder / "encoder.keras").write_bytes(b"weightz")
    assert run.finished() is None
