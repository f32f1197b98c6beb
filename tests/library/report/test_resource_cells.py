"""Resource checks on the page: cells whose numbers hardly differ can be told apart and look alike."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from scanloom.report import heat_map, resource_cells


def cells(host_mb):
    """One size, rising batches; the memory of each is given, the seconds double."""
    return pd.DataFrame(
        {
            "encoder": "small_cnn",
            "encoder_settings": "{}",
            "channels": 1,
            "size_px": 16,
            "batch": [8 * 2**k for k in range(len(host_mb))],
            "outcome": "ok",
            "reason": "",
            "seconds": [0.01 * 2**k for k in range(len(host_mb))],
            "feeding_s": 0.001,
            "host_mb": host_mb,
            "device_mb": np.nan,
            "parameters": 1000.0,
            "device": "cpu",
        }
    )


def shown(table, monkeypatch):
    """Panels' words, and the opacity of each cell as it was drawn."""
    drawn = []
    real = heat_map.opacity
    monkeypatch.setattr(heat_map, "opacity", lambda *given: drawn.append(real(*given)) or drawn[-1])
    _, figure, rows = resource_cells.blocks(SimpleNamespace(frame=lambda name: table), "fits")
    return [panel.svg for panel in figure.panels], drawn, rows.rows


def test_memory_that_differs_by_two_percent_has_texts_of_its_own_and_nearly_one_shade(monkeypatch):
    """1026 to 1047 MB, as an audit found them: all `1.0 GB`, from palest to darkest. Two decimals tell 10 MB apart."""
    panels, drawn, rows = shown(cells([1026.0, 1036.0, 1047.0]), monkeypatch)
    assert all(f">{text} GB</text>" in panels[1] for text in ("1.03", "1.04", "1.05"))
    assert [row[7] for row in rows] == ["1.03 GB", "1.04 GB", "1.05 GB"]
    assert [row[8] for row in rows] == ["–"] * 3
    seconds, memory = drawn
    whole = heat_map.MOST - heat_map.LEAST
    assert np.ptp(seconds) == pytest.approx(whole)  # a factor of four
    assert np.ptp(memory) == pytest.approx(whole * np.log2(1047 / 1026))  # 3 % of a factor of two
    assert memory.mean() == pytest.approx(heat_map.LEAST + whole / 2, abs=0.01)


def test_shades_rise_with_the_values_from_least_to_most_and_nothing_has_none():
    made = heat_map.opacity(np.array([[1.0, 3.0, np.nan, 2.0]]))
    assert made[0, [0, 3, 1]] == pytest.approx([heat_map.LEAST, (heat_map.LEAST + heat_map.MOST) / 2, heat_map.MOST])
    assert np.isnan(made[0, 2])
    assert heat_map.opacity(np.array([[7.0, 7.0]])) == pytest.approx((heat_map.LEAST + heat_map.MOST) / 2)
    assert np.isnan(heat_map.opacity(np.array([[np.nan]]))).all()
