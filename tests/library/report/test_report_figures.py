"""Figures, pictures and words of the report: colours, thumbnails, overlays, how a number is written."""

import numpy as np
import pytest

from scanloom.report import image_tiles, strip_figure, wording
from scanloom.report.figure_style import FREE, GREY, inline_svg, method_styles, panel
from scanloom.report.section import Panel
from scanloom.report.sections import contact_sheet, grad_cam


def test_the_baseline_is_grey_and_colours_do_not_depend_on_order_or_company():
    alone = method_styles(["from_scratch", "vicreg"])
    many = method_styles(["vicreg", "barlow_twins", "supervised", "from_scratch"])
    assert alone["from_scratch"].colour == GREY
    assert all(many[name] == style for name, style in alone.items())
    assert method_styles(["a", "b", "c", "d"]) == method_styles(["d", "c", "b", "a"])


def test_as_many_methods_as_free_colours_are_all_different():
    styles = method_styles([f"method_{k}" for k in range(len(FREE))])
    assert len({style.colour for style in styles.values()}) == len(FREE)
    assert GREY not in {style.colour for style in styles.values()}


def test_panel_follows_the_page_and_keeps_its_text():
    drawn = panel("p-1", 'a "quoted" line', lambda axes: (axes.plot([0, 1], [0, 1]), axes.set_title("Rising")))
    assert isinstance(drawn, Panel)
    assert 'aria-label="a &quot;quoted&quot; line"' in drawn.svg
    assert ">Rising</text>" in drawn.svg
    assert "currentColor" in drawn.svg
    assert "var(--muted)" in drawn.svg
    assert "#20242b" not in drawn.svg
    assert "http" not in drawn.svg
    assert drawn.png.startswith(b"\x89PNG")


def test_ids_of_a_panel_are_prefixed_with_their_references():
    svg = '<?xml?><svg viewBox="0 0 1 1" xmlns="x"><path id="m"/><use xlink:href="#m"/><g clip-path="url(#c)"/></svg>'
    inlined = inline_svg(svg, "a.b", "words")
    assert 'id="a_b-m"' in inlined
    assert 'href="#a_b-m"' in inlined
    assert "url(#a_b-c)" in inlined


def test_overlay_of_nothing_is_the_image_and_the_maximum_is_coloured():
    image = np.full((8, 8), 100, np.uint8)
    heat = np.zeros((8, 8))
    assert (image_tiles.overlay(image, heat) == 100).all()
    heat[2, 3] = 5
    coloured = image_tiles.overlay(image, heat)
    changed = np.argwhere((coloured != 100).any(axis=-1))
    assert changed.tolist() == [[2, 3]]
    with pytest.raises(ValueError, match="differ in shape"):
        image_tiles.overlay(image, np.zeros((4, 4)))


def test_thumbnails_are_bounded_and_small_images_are_enlarged_without_new_values():
    assert image_tiles.thumbnail(np.zeros((512, 256), np.uint8)).shape == (160, 80)
    small = np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)
    shown = image_tiles.thumbnail(small)
    assert shown.shape == (140, 140)
    assert (shown[::5, ::5] == small).all()
    with pytest.raises(ValueError, match=r"\(4, 4, 2\)"):
        image_tiles.to_uint8(np.zeros((4, 4, 2)))


def test_images_are_scaled_by_their_type():
    assert image_tiles.to_uint8(np.array([[0, 65535]], np.uint16)).tolist() == [[0, 255]]
    assert image_tiles.to_uint8(np.array([[0.0, 1.0, 2.0]])).tolist() == [[0, 255, 255]]


def test_of_a_volume_the_slice_with_the_strongest_map_is_shown():
    maps = np.zeros((1, 4, 6, 6))
    maps[0, 2, 3, 3] = 1
    images = np.arange(4)[None, :, None, None, None] * np.ones((1, 4, 6, 6, 1))
    arrays = {"images": images, "masks": np.zeros((1, 4, 6, 6), bool), "maps_a": maps}
    image, mask, [heat] = grad_cam._flat(arrays, 0, ["a"])
    assert (image == 2).all()
    assert mask.shape == heat.shape == (6, 6)


def test_colour_channels_are_shown_as_one_picture():
    sheet = {"before": np.zeros((1, 4, 4), np.uint8), "after": np.zeros((1, 4, 4, 3), np.uint8)}
    sheet |= {"item_id": np.array(["0123456789abcdef-0001"]), "label": np.array([""])}
    [colour] = contact_sheet._cards({**sheet, "channels": np.array(["red", "green", "blue"])})
    assert [label for label, _ in colour.images] == ["before", "after"]
    assert colour.title == "no label"
    [windows] = contact_sheet._cards({**sheet, "channels": np.array(["brain", "subdural", "bone"])})
    assert [label for label, _ in windows.images] == ["before", "Brain", "Subdural", "Bone"]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (wording.interval(0.9123, 0.88, 0.9412), "0.912 (0.880 to 0.941)"),
        (wording.interval(float("nan"), 0, 1), "–"),
        (wording.signed(-0.0123), "−0.012"),
        (wording.signed(-0.0001), "0.000"),
        (wording.fraction(0.01), "1 %"),
        (wording.fraction(0.001), "0.1 %"),
        (wording.percent(0.004), "0.4 %"),
        (wording.p_value(0.0004), "< 0.001"),
        (wording.duration(9.96), "10.0 s"),
        (wording.duration(59.7), "1 min 00 s"),
        (wording.duration(3599.7), "1 h 00 min"),
        (wording.megabytes(2104), "2.1 GB"),
        (wording.title("from_scratch"), "From scratch"),
        (wording.title("vae"), "VAE"),
        (wording.short("0123456789abcdef-0007"), "01234567-0007"),
        (wording.plural(1, "pair"), "1 pair"),
    ],
)
def test_numbers_and_names_are_written_in_one_way(said, expected):
    assert said == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (strip_figure._number(-1024.0), "−1024"),
        (strip_figure._number(0.488281), "0.49"),
        (strip_figure._number(-0.2), "−0.2"),
        (strip_figure._number(65535), "65535"),
        (strip_figure._size(np.array([28, 512, 512])), "28 × 512²"),
        (strip_figure._size(np.array([1, 150, 200])), "150 × 200"),
    ],
)
def test_numbers_below_a_strip_are_short(said, expected):
    assert said == expected


def test_a_strip_shows_the_picture_without_the_frame_that_makes_it_square():
    square = np.zeros((8, 8), np.uint8)
    square[2:6] = 9
    assert (strip_figure._without_frame(square, np.array([1, 30, 60])) == 9).all()
