"""The ERP's files: faults of form are refused with file and line; what is odd but whole is read as it is written."""

import re
from pathlib import Path

import pandas as pd
import pytest

from imagesync_pipelines.products.erp_files import ErpError, look_at_file, parse_csv, read_file

HEADER = "id,sku,name\n"
FORTY = [f"{at},{100000 + at},Tisch {at}" for at in range(1, 41)]


def lines(*changed: tuple[int, str]) -> str:
    """A file of forty products in which some rows are other ones."""
    rows = [*FORTY]
    for at, row in changed:
        rows[at - 1] = row
    return HEADER + "\n".join(rows) + "\n"


FAULTS = {
    "a comma too many in one row": (lines((7, "7,100007,Tisch, 7")), 8, "4 values, but the header names 3 columns"),
    "a comma at the end of every row": (HEADER + "1,100001,Tisch,\n", 2, "4 values"),
    "a comma too few": (lines((40, "40,100040")), 41, "2 values"),
    "cut off inside the last SKU": ("id,name,sku\n1,Tisch,100001\n2,Stuhl,1000", 3, "cut off"),
    "cut off at 96 %": (lines()[: int(len(lines()) * 0.96)], 40, "cut off"),
    "an empty file": ("", 1, "no header"),
    "a column twice": ("id,sku,SKU\n1,2,3\n", 1, "the column sku twice"),
    "a quotation mark that is never closed": (lines((20, '20,100020,"19 Zoll')), 21, "is not closed"),
    "one that another closes in mid-value": (
        lines((20, '20,100020,"19 Zoll'), (23, '23,100023,24" Rad')), 21, "closed too early",
    ),
    "one that swallows three rows": (
        lines((20, '20,100020,"19 Zoll'), (23, '23,100023,24"')), 21, "swallows the rows up to line 24",
    ),
    "one that swallows one row": (
        lines((20, '20,100020,"19 Zoll'), (21, '21,100021,24"')), 21, "swallows the rows up to line 22",
    ),
    "two files in one": (lines((20, HEADER.strip())), 21, "the header stands here once more"),
    "one in the first column": (
        'name,id,sku\nTisch,1,A\n"19 Zoll,2,B\nStuhl,3,C\n24",4,D\n', 3, "swallows the rows up to line 5",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "line", "said"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_of_form_is_refused_with_file_and_line(text: str, line: int, said: str, tmp_path: Path) -> None:
    with pytest.raises(ErpError, match=re.escape(said)) as caught:
        parse_csv(text, tmp_path / "parents.csv")
    assert f"parents.csv line {line}: " in str(caught.value)
    assert "nothing was changed" in str(caught.value)
    (tmp_path / "parents.csv").write_bytes(text.encode())
    with pytest.raises(ErpError) as looked:
        look_at_file(tmp_path / "parents.csv", needed=())
    assert str(looked.value) == str(caught.value)


WHOLE = {
    "as it should be": (lines(), 40),
    "lines as Windows ends them": (lines().replace("\n", "\r\n"), 40),
    "a name of two lines": (lines((5, '5,100005,"Tisch,\nrund, 3 Teile"')), 40),
    "an inch in a plain value": (lines((5, '5,100005,24" Rad')), 40),
    "quotation marks in quotation marks": (lines((5, '5,100005,"24"" Rad, rot"')), 40),
    "empty lines and rows of commas": (HEADER + "\n1,2,3\n,,\n\n", 1),
    "a header alone": (HEADER, 0),
    "more columns in another order": ("name,new,sku,id\nTisch,,00450,1\n", 1),
    "an empty line before the header": ("\n" + lines(), 40),
    "lines as an old Mac ends them": (lines().replace("\n", "\r"), 40),
    "a column's name of two lines": ('"long\nname",id,sku\nTisch,1,00450\n', 1),
}


@pytest.mark.parametrize(("text", "rows"), WHOLE.values(), ids=WHOLE.keys())
def test_what_is_whole_is_read(text: str, rows: int, tmp_path: Path) -> None:
    assert len(parse_csv(text, Path("p.csv"))) == rows
    (tmp_path / "p.csv").write_bytes(text.encode())
    assert look_at_file(tmp_path / "p.csv", needed=("id", "sku")) == rows


def test_a_column_that_only_the_next_line_names_is_lacking(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_bytes(b"id\r,sku\n")
    with pytest.raises(ErpError, match=r"p\.csv line 2: this row has 2 values"):
        look_at_file(tmp_path / "p.csv", needed=("id", "sku"))
    (tmp_path / "p.csv").write_bytes(b"id\rsku\n")
    with pytest.raises(ErpError, match=r"p\.csv line 1: the header.* lacks sku"):
        look_at_file(tmp_path / "p.csv", needed=("id", "sku"))


def test_a_parquet_file_is_looked_at_whole(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    pd.DataFrame({"id": range(2000), "SKU": [f"{at * 7919 % 104729:x}" for at in range(2000)]}).to_parquet(path)
    assert look_at_file(path, needed=("id", "sku")) == 2000
    with pytest.raises(ErpError, match=r"p\.parquet: the file lacks name"):
        look_at_file(path, needed=("id", "name"))
    body = path.read_bytes()
    for broken in (body[:-9], body[:200] + b"\xff" * 900 + body[1100:]):
        path.write_bytes(broken)
        with pytest.raises(ErpError, match=r"p\.parquet could not be read: .*nothing was changed"):
            look_at_file(path, needed=("id", "sku"))


def test_text_stays_as_written_and_every_row_knows_its_line() -> None:
    read = parse_csv(HEADER + '1,007450,"a\nb"\n2, 214808.00 ,NA\n', Path("erp/p.csv"))
    assert read["sku"].tolist() == ["007450", " 214808.00 "]
    assert read["name"].tolist() == ["a\nb", "NA"]
    assert list(read.index) == ["p.csv line 2", "p.csv line 4"]


def test_a_program_that_never_ends_the_last_line_has_a_setting(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(lines().rstrip("\n"))
    with pytest.raises(ErpError, match="ERP_FILES_END_OPEN"):
        read_file(tmp_path / "p.csv")
    assert len(read_file(tmp_path / "p.csv", end_open=True)) == 40
