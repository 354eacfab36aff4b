"""The report page as text, and its pictures."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from markupsafe import escape
from report_makers import (
    accuracy,
    attack,
    attack_results,
    detector,
    gate_counts,
    make_pairs,
    results,
    robust_results,
    write_json,
    write_results,
)
from scene_makers import make_scene

from perception.core.provenance import Environment
from perception.core.structures import DataError
from perception.evaluation.robustness.results import GateResult
from perception.evaluation.robustness.tables import INEFFECTIVE
from perception.visualization.pairs import draw_pair, write_pair
from perception.visualization.report.gallery import read_gallery
from perception.visualization.report.page import FEW_OBJECTS, write_report
from perception.visualization.scene import Judge

EVIL = "<script>alert('x')</script>\"'&"


@pytest.fixture
def page(tmp_path):
    """The page of files with these contents."""

    def page_of(*contents, **more):
        paths = [
            write_results(tmp_path / f"{number}.json", content)
            for number, content in enumerate(contents)
        ]
        write_report(paths, tmp_path / "report.html", **more)
        return (tmp_path / "report.html").read_text(encoding="utf-8")

    return page_of


def section(text, name):
    """The section of a page."""
    (body,) = re.findall(rf'<section id="{name}".*?</section>', text, re.DOTALL)
    return body


def test_everything_is_there(page, tmp_path):
    text = page(robust_results(), gallery=[make_pairs(tmp_path / "seen", 2)])
    sections = ("worst", "attacks", "curves", "gate", "failures", "pictures", "threats")
    for anchor in (*sections, "repeat"):
        assert f'id="{anchor}"' in text and f'href="#{anchor}"' in text
    assert "cd" * 32 in text and "python tools/attack.py" in text
    assert "16 grey levels" in text and text.count('<figure class="pair"') == 2
    # Two attacks have budgets, one detector a gate, three kinds of failure.
    charts = ("worst", "curves", "gate", "failures")
    assert [section(text, name).count("<svg") for name in charts] == [1, 2, 1, 4]


def test_gains_are_no_drops(page):
    """Detectors with several baselines: signs are changes, up is plus."""
    content = robust_results()
    better = replace(content.detectors[1], clean=accuracy(82.6))
    text = section(
        page(replace(content, detectors=(content.detectors[0], better))), "worst"
    )
    assert ">+2.6<" in text and "drop" not in text and "from the baseline" in text
    assert ">−1.5<" in section(page(content), "worst")


def test_detectors_on_other_frames_are_not_compared(page):
    other = detector(attack("camera_pgd", "camera", 30.0), checkpoint_sha256="ef" * 32)
    same, apart = (
        page(attack_results(), results(other, frame_ids=ids))
        for ids in (("000001", "000002"), ("000007",))
    )
    assert "not with the others" in apart and "not with the others" not in same
    assert ">+0.0<" in section(same, "worst") and "+0.0" not in section(apart, "worst")
    assert 'class="num worst"' in section(same, "attacks")
    assert 'class="num worst"' not in section(apart, "attacks")


def test_few_objects_are_marked(page):
    few = attack("camera_pgd", "camera", 40.0, objects=21)
    marked = page(results(detector(few, objects=21)))
    assert "Car 21\N{NO-BREAK SPACE}†, Cyclist 21\N{NO-BREAK SPACE}†" in marked
    assert "21\N{NO-BREAK SPACE}† objects" in section(marked, "attacks")
    for name in ("worst", "attacks", "threats"):
        assert FEW_OBJECTS in section(marked, name)
    plain = page(attack_results())
    assert "Car 50, Cyclist 50" in plain and "†" not in plain


def test_a_gate_that_accuses_in_clean_frames_is_told_of(page):
    gate = GateResult(gate_counts((6, 0, 4)), gate_counts((6, 0, 4)), 0.5, None, None)
    told = page(
        results(detector(replace(attack("camera_pgd", "camera", 40.0), gate=gate)))
    )
    assert "of 10 clean frames the gate accuses camera in 6" in told
    assert "tools/calibrate.py" in told
    assert "the gate accuses" not in page(attack_results())


def test_every_attack_has_the_figures_of_its_classes(page):
    one = detector(attack("camera_pgd", "camera", 40.0))
    cells = one.attacks["camera_pgd"].ap.attacked.headline.classes
    cells["Cyclist"]["moderate"] = replace(cells["Cyclist"]["moderate"], r40=12.3)
    alone = section(page(results(one)), "attacks")
    assert 'data-value="12.3">12.3</td>' in alone and ">Cyclist</button>" in alone
    other = replace(one, name="other", checkpoint_sha256="ef" * 32)
    assert "40.0 / 12.3" in section(page(results(one, other)), "attacks")


def stars(text, name):
    """Values with a star in a section's table, and the notes that explain it."""
    body = section(text, name)
    found = re.findall(r"([\d.]+)\N{NO-BREAK SPACE}\*", body)
    return found, body.count(str(escape(f"* {INEFFECTIVE}")))


@pytest.mark.parametrize("alone", [True, False], ids=["one detector", "two"])
def test_ineffective_attacks_have_a_star(page, alone):
    """In the worst cases, among all attacks and at the class's figures."""
    vain = attack("camera_pgd", "camera", 62.0, ineffective=True)
    one = detector(vain, attack("lidar_pgd", "lidar", 5.0))
    other = detector(attack("lidar_pgd", "lidar", 5.0), checkpoint_sha256="ef" * 32)
    text = page(results(one) if alone else results(one, other))
    assert stars(text, "worst") == (["62.0"], 1)
    assert "62.0 * camera attacked" in section(text, "worst")  # in the chart
    assert stars(text, "attacks") == (["62.0"], 1)
    assert stars(text, "threats") == (["62.0"] * 3, 1)  # its classes and the mean
    assert (
        'data-value="62.0"><span class="value">62.0\N{NO-BREAK SPACE}*</span>' in text
    )
    plain = page(attack_results())
    assert "\N{NO-BREAK SPACE}*" not in plain and str(escape(INEFFECTIVE)) not in plain


def test_environment_is_told(page):
    one, two = Environment("cpu", torch="2.9"), Environment("GPU", torch="2.9")
    first = attack("camera_pgd", "camera", 40.0)
    text = page(results(detector(first, attack("all_pgd", "camera+lidar", 1.0))))
    assert "<dt>environment</dt><dd>cpu, torch 2.9</dd>" in text
    second = attack("all_pgd", "camera+lidar", 1.0, environments=(one, two))
    text = page(results(detector(first, second)))
    assert "cpu, torch 2.9; GPU, torch 2.9 (all_pgd)</dd>" in text
    unknown = attack("camera_pgd", "camera", 40.0, environments=())
    assert "environment</dt>" not in page(results(detector(unknown)))


def test_contradicting_alarms_are_an_error(page):
    gate = {"gate": (9, 0, 1), "alarms": (7, 7)}
    with pytest.raises(DataError, match="7 unattributed ones in 1 frames"):
        page(results(detector(attack("a", "camera", 40.0, **gate))))


def test_attacks_alone_need_no_other_section(page):
    text = page(results(detector(attack("camera_pgd", "camera", 40.0))))
    assert 'id="attacks"' in text
    for absent in ("curves", "gate", "failures", "pictures"):
        assert f'id="{absent}"' not in text and f'href="#{absent}"' not in text


def test_text_from_files_is_escaped(page, tmp_path):
    classes = (EVIL, "Car")
    evil = [
        attack(EVIL, "camera", 10.0, classes=classes, description={EVIL: EVIL}),
        attack("curved", "camera", 10.0, classes=classes, gate=(3, 1, 1)),
    ]
    one = detector(*evil, name=EVIL, config=EVIL, checkpoint=EVIL, failed={EVIL: EVIL})
    content = results(
        replace(one, clean=accuracy(80.0, classes)),
        command=EVIL,
        data_root=EVIL,
        split=EVIL,
        attacks_file=EVIL,
        frame_ids=(EVIL,),
        classes=classes,
    )
    seen = make_pairs(tmp_path / "seen", 1)
    (file,) = (seen / "pairs").glob("*.json")
    described = json.loads(file.read_text())
    described |= {"frame_id": EVIL, "attack": EVIL, "detectors": [EVIL]}
    write_json(file, described)
    text = page(content, gallery=[seen], title=EVIL)
    tags = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: tags.append((tag, attributes))
    parser.feed(text)
    assert [tag for tag, _ in tags].count("script") == 1  # the page's own
    assert not [key for _, keys in tags for key, _ in keys if key.startswith("on")]
    assert EVIL not in text and "<script>alert" not in text
    assert str(escape(EVIL)) in text


def test_text_that_cannot_be_shown_is_a_page(page, tmp_path):
    seen = make_pairs(tmp_path / "seen", 1)
    (file,) = (seen / "pairs").glob("*.json")
    write_json(file, json.loads(file.read_text()) | {"attack": "\x00\ud800"})
    one = detector(attack("\x00", "camera", 10.0, gate=(3, 1, 1)), name="\x00")
    assert "camera attacked" in page(results(one), gallery=[seen])


def test_no_request_leaves_the_page(page, tmp_path):
    text = page(robust_results(), gallery=[make_pairs(tmp_path / "seen", 1)])
    assert "default-src 'none'" in text
    addresses = re.findall(r'(?:src|href)="([^"]{0,20})', text)
    assert addresses and all(one.startswith(("#", "data:")) for one in addresses)
    assert "://" not in text and "@import" not in text and "url(" not in text


def test_pictures_show_without_scrolling(page, tmp_path):
    text = page(attack_results(), gallery=[make_pairs(tmp_path / "seen", 1)])
    for late in ('loading="lazy"', "decoding=", "content-visibility"):
        assert late not in text


def test_nothing_detected_is_a_page(page):
    nothing = attack("camera_pgd", "camera", None, clean=None, objects=0)
    text = page(results(detector(nothing, clean=None)))
    assert "–" in text and "None" not in text


def test_no_attacks_is_a_page(page):
    text = page(results(detector()))
    assert "0 attacks" in text and "not attacked" in text
    text = page(results(replace(detector(), clean=None, failed={"a": "out of memory"})))
    assert "a was not measured</dt><dd>out of memory" in text


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
        ("000000_camera_pgd.json", "[]", "expected a 'perception picture pair'"),
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


def test_figures_have_their_intervals(page):
    one = attack("camera_pgd", "camera", 40.0)
    headline = replace(one.ap.attacked.headline, interval=(31.25, 47.8))
    attacked = replace(one.ap.attacked, headline=headline)
    text = page(results(detector(replace(one, ap=replace(one.ap, attacked=attacked)))))
    for name in ("worst", "attacks"):
        assert "<small>[31.2, 47.8]</small>" in section(text, name)
    assert "<small></small>" not in text
