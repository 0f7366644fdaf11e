from pathlib import Path

from dermlens.case.summary import DISCLAIMER
from tests.dashboard import HOME, open_page, text
from ui import pages


def test_every_page_stands_in_the_table_once_and_no_two_look_alike() -> None:
    files = sorted(str(path.relative_to(HOME.parent)) for path in (HOME.parent / "pages").glob("*.py"))
    every = (*pages.PAGES, pages.RECORD)
    assert sorted(page.path for page in every) == files
    for values in zip(*((page.title, page.icon, page.lede) for page in every), strict=True):
        assert len(set(values)) == len(every)


def test_home_leads_to_every_other_page_and_each_has_its_heading_and_sentence(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("DERMLENS_MODELS", str(tmp_path))
    monkeypatch.setenv("DERMLENS_RUNS", str(tmp_path))
    home = open_page("home")
    others = [page for page in pages.PAGES if page is not pages.HOME]
    links = [(link.proto.label, link.proto.icon, link.proto.page) for link in home.get("page_link")]
    assert links == [(f"**{page.title}**", page.icon, Path(page.path).stem) for page in others]
    assert all(page.teaser in text(home) for page in others)
    for page in pages.PAGES:
        app = open_page(Path(page.path).stem)
        assert app.title[0].value == (page.heading or page.title)
        assert app.caption[0].value == f"{page.lede} {DISCLAIMER}"
