# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""Foreign text (of images, guests, files, options) in every output: shown, never obeyed."""

import io
import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

from bootprof.commands.inputs import load_build
from bootprof.report.as_json import as_json
from bootprof.report.comparison import Comparison, compare
from bootprof.report.details import Details, gather
from bootprof.report.page import report
from bootprof.report.plot import write_plots
from bootprof.report.table import print_table
from optimizer.drives.models import CD_24X
from tests.report.test_page import Page

HOSTILE = "--></script><svg onload=alert(1)>\x1b]0;title\x07\x1b[2J\u202e\u2066\x00\r\n\x85'\"&amp;"


def hostile(profile: Path) -> tuple[Comparison, list[Details]]:
    """Two builds of which every text that is not ours is hostile."""
    described = json.loads((profile / "profile.json").read_text())
    texts = ("accelerator", "backend", "kernel", "bootprof", "date")
    described.update(dict.fromkeys(texts, HOSTILE))
    described["machine"] = dict.fromkeys(("arch", "processors", "firmware", "medium"), HOSTILE)
    described["drive"] = {"name": HOSTILE, "scale": HOSTILE}
    (profile / "profile.json").write_text(json.dumps(described))
    name = HOSTILE.replace("\0", "").replace("\n", "").replace("\r", "").encode()
    events = (profile / "bootlog.events").read_bytes()
    events = events.replace(b"/etc/small", b"/etc/" + name).replace(b"\tsh\t", b"\t" + name + b"\t")
    (profile / "bootlog.events").write_bytes(events)
    build = load_build(profile, HOSTILE)
    trace = replace(build.trace, image=HOSTILE)
    drive = replace(CD_24X, title=HOSTILE)
    gone = replace(build, path=Path("/nowhere") / HOSTILE / "x", trace=trace)
    comparison = compare([build, gone], [drive])
    return comparison, [gather(each, [drive]) for each in comparison.builds]


def test_a_table_holds_no_character_that_a_terminal_obeys(profile: Path) -> None:
    comparison, _ = hostile(profile)
    stream = io.StringIO()
    print_table(comparison, stream, bounds=True)
    lines = stream.getvalue().split("\n")
    assert all(line.isprintable() for line in lines)
    assert sum("</script>" in line for line in lines) > 5


def test_a_page_holds_no_markup_of_others(profile: Path) -> None:
    text = report(*hostile(profile))
    page = Page(text)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "iframe", "img", "object"})
    assert all(not name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert all(letter.isprintable() or letter == "\n" for letter in text)
    assert page.words().count("</script>") > 5


def test_json_is_plain_ascii_without_control_characters(profile: Path) -> None:
    text = json.dumps(as_json(*hostile(profile), [], None), allow_nan=False)
    assert text.isascii() and text.isprintable()


def test_plots_are_drawn_from_any_text(profile: Path, tmp_path: Path) -> None:
    comparison, _ = hostile(profile)
    _, svg = write_plots(comparison, tmp_path / "seek", ("light",))
    text = svg.read_text()
    elements = list(ElementTree.fromstring(text).iter())
    assert not any(element.tag.endswith("script") for element in elements)
    assert not any(name.startswith("on") for element in elements for name in element.attrib)
    assert all(letter.isprintable() or letter == "\n" for letter in text)
