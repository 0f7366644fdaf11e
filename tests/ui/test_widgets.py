"""Pieces that pages share, drawn as a browser gets them."""

from streamlit.testing.v1 import AppTest

from tests.dashboard import check, tables


def short() -> None:
    import pandas as pd

    from ui import widgets

    widgets.table(pd.DataFrame([{"Model *a*": "> $x$ <i>y</i>", "Share": ">99.9 % (99.5 to 100.0 %)", "n": 1477}]), "A")


def test_no_cell_of_a_table_is_taken_for_markdown() -> None:
    app = check(AppTest.from_function(short).run(timeout=60))
    (raw,) = (table.value for table in app.table)
    # By CommonMark 2.4 a backslash before ASCII punctuation shows it; unescaped, ">" at the start makes a quotation.
    assert raw.iloc[0].tolist()[1] == r"\>99\.9 % \(99\.5 to 100\.0 %\)".replace(" %", "\N{NO-BREAK SPACE}%")
    assert tables(app)[0].to_dict("records") == [
        {"Model *a*": "> $x$ <i>y</i>", "Share": ">99.9 % (99.5 to 100.0 %)", "n": "1,477"}
    ]
