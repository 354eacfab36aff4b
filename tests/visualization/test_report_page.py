"""The report page as text, and its pictures."""

import json
import re

import numpy as np
import pytest
from markupsafe import escape
from report_makers import (
    attack,
    attack_results,
    figures,
    make_pairs,
    named,
    robust_results,
    write_results,
)
from scene_makers import make_scene

from perception.core.structures import DataError
from perception.evaluation.robustness.figures import IN_VAIN
from perception.visualization.pairs import draw_pair, write_pair
from perception.visualization.report.gallery import read_gallery
from perception.visualization.report.page import render, write_report
from perception.visualization.report.results import read_results
from perception.visualization.scene import Judge

EVIL = "<script>alert('x')</script>\"'&"


@pytest.fixture
def page(tmp_path):
    """The page of a content."""

    def page_of(content, **more):
        path = write_results(tmp_path / "results.json", content)
        write_report([path], tmp_path / "report.html", **more)
        return (tmp_path / "report.html").read_text(encoding="utf-8")

    return page_of


def test_everything_is_there(page, tmp_path):
    text = page(robust_results(), gallery=[make_pairs(tmp_path / "seen", 2)])
    sections = ("worst", "attacks", "curves", "gate", "failures", "pictures", "threats")
    for anchor in (*sections, "repeat"):
        assert f'id="{anchor}"' in text
    assert "cd" * 32 in text and "python tools/attack.py" in text
    assert "16 grey levels" in text and text.count("<figure class=") == 2


def test_doubt_has_a_column_where_it_is_known(page):
    content = robust_results()
    plain = page(content)
    assert "doubt" not in plain and "trusted all" not in plain
    assert "blamed none" in plain and 'class="half"' not in plain
    for entry in content["detectors"][1]["attacks"].values():
        if entry["gate"]:
            entry["gate"]["clean"]["in_doubt"] = 1
            entry["gate"]["attacked"]["in_doubt"] = 0
    content["detectors"][1]["attacks"]["lidar_pgd"]["gate"]["attacked"]["in_doubt"] = 2
    text = page(content)
    assert text.count("trusted all") == 1 and "blamed none" not in text
    assert "In doubt: some sensor lies" in text
    (row,) = re.findall(r">lidar</span>\s*</th>\s*(<td class=\"\".*\s*<td.*)", text)
    cells = re.findall(r'<td class="(\w*)"[^>]*>(\d+)</td>', row)
    assert cells == [
        ("", "20"),
        ("right", "50"),
        ("half", "20"),
        ("", "10"),
        ("none", "10"),
    ]


def stars(text, section):
    """Values with a star in a section, and the notes that explain it."""
    (body,) = re.findall(rf'<section id="{section}".*?</section>', text, re.DOTALL)
    return re.findall(r"([\d.]+)&nbsp;\*", body), body.count(escape(f"* {IN_VAIN}"))


@pytest.mark.parametrize("alone", [True, False], ids=["one detector", "two"])
def test_attacks_in_vain_have_a_star(page, alone):
    """In the worst cases, among all attacks and at the class's figures."""
    content = robust_results()
    vain = content["detectors"][1]["attacks"]["camera_pgd"]
    plain = page(content)
    vain["damage"]["attacked"] = 1.02
    if alone:
        content["detectors"] = content["detectors"][1:]
    text = page(content)
    assert stars(text, "worst") == (["62.0"], 1)
    assert stars(text, "attacks") == (["62.0"], 1)
    assert stars(text, "threats") == (["62.0", "62.0"], 1)  # its class and the mean
    assert 'data-value="62.0"><span class="value">62.0&nbsp;*</span>' in text  # sorts
    assert "&nbsp;*" not in plain and IN_VAIN not in plain


def test_what_attacked_is_told(page):
    content = attack_results()
    assert "attacked on" not in page(content)
    here, there = {"device": "cpu", "torch": "2.9"}, {"device": "GPU", "torch": "2.9"}
    for entry in content["attacks"].values():
        entry["made_on"] = [here]
    assert "<dt>attacked on</dt><dd>cpu, torch 2.9</dd>" in page(content)
    content["attacks"]["all_pgd"]["made_on"] = [here, there]
    assert "cpu, torch 2.9; GPU, torch 2.9 (all_pgd)</dd>" in page(content)


def test_damaged_doubt_is_an_error(page):
    content = attack_results(named(attack("a", "camera", 40.0, gate=(9, 0, 1))))
    for when in ("clean", "attacked"):
        content["attacks"]["a"]["gate"][when]["in_doubt"] = 7
    with pytest.raises(DataError, match="7 frames in doubt of 1"):
        page(content)


def test_attacks_alone_need_no_other_section(page):
    text = page(attack_results(named(attack("camera_pgd", "camera", 40.0))))
    assert 'id="attacks"' in text
    for absent in ("curves", "gate", "failures", "pictures"):
        assert f'id="{absent}"' not in text and f'href="#{absent}"' not in text


def test_text_from_files_is_escaped(page, tmp_path):
    classes = (EVIL, "Car")
    evil = attack(EVIL, "camera", 10.0, classes=classes)
    content = attack_results(
        {EVIL: evil},
        config=f"configs/{EVIL}/a.py",
        data_root=EVIL,
        split=EVIL,
        clean_ap=figures(80.0, classes),
        checkpoint=EVIL,
        frame_ids=[EVIL],
        attacks_file=EVIL,
    )
    seen = make_pairs(tmp_path / "seen", 1)
    (file,) = (seen / "pairs").glob("*.json")
    described = json.loads(file.read_text())
    described |= {"frame_id": EVIL, "attack": EVIL, "detectors": [EVIL]}
    write_results(file, described)
    text = page(content, gallery=[seen], title=EVIL)
    assert text.count("<script>") == 1  # the page's own
    assert "alert('x')" not in text
    assert str(escape(EVIL)) in text


def test_no_request_leaves_the_page(page, tmp_path):
    text = page(robust_results(), gallery=[make_pairs(tmp_path / "seen", 1)])
    assert "default-src 'none'" in text
    addresses = re.findall(r'(?:src|href)="([^"]{0,20})', text)
    assert addresses and all(one.startswith(("#", "data:")) for one in addresses)
    assert "://" not in text and "@import" not in text and "url(" not in text


def test_nothing_detected_is_a_page(page):
    nothing = named(attack("camera_pgd", "camera", None, clean=None))
    text = page(attack_results(nothing, clean_ap=figures(None)))
    assert "–" in text and "None" not in text


def test_no_attacks_is_a_page(page):
    text = page(attack_results({}))
    assert "0 attacks" in text and "not attacked" in text


def test_damaged_summary_is_an_error(tmp_path):
    content = robust_results()
    content["detectors"][0]["curves"] = {"camera_pgd": [{"mAP": 1.0}]}
    path = write_results(tmp_path / "robustness.json", content)
    with pytest.raises(DataError, match="eps_scale"):
        render(read_results([path]))


def test_same_results_same_page(page):
    assert page(robust_results()) == page(robust_results())


# --- pictures -------------------------------------------------------------------------


def test_pictures_are_spread_evenly_over_many_frames(tmp_path):
    gallery = read_gallery([make_pairs(tmp_path, 30)], most=3)
    assert [pair.frame_id for pair in gallery.pairs] == ["000000", "000010", "000020"]
    assert gallery.available == 30


def test_pictures_shrink_until_they_fit(tmp_path):
    folder = make_pairs(tmp_path, 3, size=(640, 200), noisy=True)
    gallery = read_gallery([folder], budget_bytes=60_000)
    used = sum(len(p.clean.uri) + len(p.attacked.uri) for p in gallery.pairs) * 3 / 4
    assert used < 60_000 and gallery.pairs[0].clean.width < 640
    assert len(gallery.pairs) == 3


def test_folder_without_pairs(tmp_path):
    with pytest.raises(DataError, match="detect CONFIG CHECKPOINT"):
        read_gallery([tmp_path])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "000000_camera_pgd_clean.webp",
            None,
            "000000_camera_pgd_clean.webp: .*No such",
        ),
        ("000000_camera_pgd_attacked.webp", "text", "attacked.webp: .* no picture"),
        ("000000_camera_pgd.json", "{", "cannot read"),
        ("000000_camera_pgd.json", "{}", "expected a 'perception picture pair'"),
        (
            "000000_camera_pgd.json",
            '{"format": "perception picture pair", "version": 9}',
            "expected version 1, got 9",
        ),
        (
            "000000_camera_pgd.json",
            '{"format": "perception picture pair", "version": 1}',
            "damaged description",
        ),
    ],
)
def test_missing_and_damaged_pictures(tmp_path, name, content, message):
    make_pairs(tmp_path, 1)
    file = tmp_path / "pairs" / name
    file.unlink() if content is None else file.write_text(content)
    with pytest.raises(DataError, match=message):
        read_gallery([tmp_path])


def test_pair_of_a_scene(tmp_path):
    scene = make_scene(attacked="lidar")
    judge = Judge.at_half_overlap(("Car", "Pedestrian"))
    before = scene.clean.inputs["lidar"].copy()
    clean, attacked = draw_pair([scene], judge, width=320)
    assert clean.shape == attacked.shape and clean.shape[1] == 320
    assert not np.array_equal(clean, attacked)
    assert np.array_equal(scene.clean.inputs["lidar"], before)
    write_pair(tmp_path / "pairs", "a", [scene, scene], judge)
    (pair,) = read_gallery([tmp_path]).pairs
    assert pair.frame_id == scene.frame_id and len(pair.clean.found) == 2
