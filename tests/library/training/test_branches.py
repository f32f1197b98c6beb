"""Draws of several branches live in one dict."""

from scanloom.training.branches import branch_prefix, of_branch


def test_each_branch_gets_back_its_own_draws_only():
    batch = {"images": 0} | {branch_prefix(b) + "0.flip.flipped": b for b in (0, 1, 10)}
    assert of_branch(batch, 1) == {"0.flip.flipped": 1}
    assert of_branch(batch, 10) == {"0.flip.flipped": 10}
