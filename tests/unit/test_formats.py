# SPDX-License-Identifier: Apache-2.0
"""Files say what they are by their content, and what they say of themselves is read or refused, never believed."""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from holdfast.errors import OperatorNeeded
from holdfast.formats import fits
from holdfast.formats.kinds import HEAD, format_named, format_of
from holdfast.formats.reading import Found, Reader
from holdfast.model.agreement import Agreement

DATA = Path(__file__).parents[1] / "data"


def header(*cards: str) -> bytes:
    text = "".join(card.ljust(80) for card in (*cards, "END"))
    return text.ljust(-(-len(text) // 2880) * 2880).encode()


PRIMARY = ("SIMPLE  =                    T", "BITPIX  =                    8", "NAXIS   =                    0")
EXTENSION = ("XTENSION= 'IMAGE   '", *PRIMARY[1:])


def read(*cards: str) -> dict[str, Any]:
    return dict(fits.read(io.BytesIO(header(*PRIMARY, *cards))))


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    with Reader() as made:
        yield made


def look(reader: Reader, path: Path) -> Found | None:
    file = os.open(path, os.O_RDONLY)
    try:
        kind = format_of(os.pread(file, HEAD, 0))
        return reader.read(file, kind) if kind else None
    finally:
        os.close(file)


def test_cards_become_typed_values() -> None:
    assert read(
        "OBJECT  = 'O''Brien  '          / whose",
        "EXPTIME =               1.5D1 / [s] how long",
        "N       =                   -3",
        "OK      =                    F",
        "DATE-OBS= '2013-11-04'",
        "DATE-END= '2013-11-04T05:06:07.1234567'",
        "HIERARCH ESO INS  NAME = 'x / y' / c",
        "LONG    = 'one &'",
        "CONTINUE  'two&'",
        "CONTINUE  ' three' / c",
        "NONE    =                      / undefined",
        "COMMENT = 'no value'",
        "HISTORY   long ago",
    ) == {
        "fits:OBJECT": "O'Brien",
        "fits:EXPTIME": {"value": 15.0, "unit": "s"},
        "fits:N": -3,
        "fits:OK": False,
        "fits:DATE-OBS": {"date": "2013-11-04"},
        "fits:DATE-END": {"date": "2013-11-04T05:06:07.123456Z"},
        "fits:ESO INS NAME": "x / y",
        "fits:LONG": "one two three",
    }


def test_moments_that_are_not_utc_are_no_dates() -> None:
    assert read("TIMESYS = 'TT'", "DATE-OBS= '2013-11-04T05:06:07'")["fits:DATE-OBS"] == "2013-11-04T05:06:07"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (header(*PRIMARY)[:2000], "ends inside the header"),
        (header(*PRIMARY[:2]), "NAXIS"),
        (header(PRIMARY[0], "BITPIX  =                    7", PRIMARY[2]), "BITPIX"),
        (header(PRIMARY[0], PRIMARY[1], "NAXIS   =  1", "NAXIS1  = -5"), "NAXIS1 of HDU 0"),
        (header(PRIMARY[0], PRIMARY[1], "NAXIS   =  1", f"NAXIS1  = {10**30}"), "larger than a file can be"),
        (header(PRIMARY[0], PRIMARY[1], "NAXIS   =  1", "NAXIS1  = 100") + bytes(99), "it is cut"),
        (b"SIMPLE  =" + b" " * 2880 * 1001, "has no end"),
        (header(*PRIMARY).replace(b"BITPIX  = ", b"BITPIX\n = "), "control characters"),
    ],
)
def test_what_is_not_as_the_standard_has_it_is_told(content: bytes, why: str) -> None:
    with pytest.raises(fits.BadFits, match=why):
        list(fits.read(io.BytesIO(content)))


def test_a_cut_gzip_file_is_seen_wherever_it_is_cut() -> None:
    whole = gzip.compress(gzip.decompress((DATA / "fits/valid/obs-index.fits.gz").read_bytes()))
    assert dict(fits.read(io.BytesIO(whole)))["fits:TELESCOP"] == "FACT"
    for share in (0.3, 0.6, 0.9, 0.99, 0.999):
        with pytest.raises((EOFError, fits.BadFits)):
            list(fits.read(io.BytesIO(whole[: int(len(whole) * share)])))


def test_the_content_says_the_format_and_not_the_name() -> None:
    found = {
        name: format_of((DATA / name).read_bytes()[:HEAD])
        for name in (
            "misnamed/fits_named_as.h5", "misnamed/hdf5_named_as.fits", "fits/valid/obs-index.fits.gz", "odd-names.tar",
            "hdf5/valid/test_userblock_latest.hdf5", "fits/invalid/not_actually_fits.fits", "fits/invalid/empty.fits",
        )
    }  # fmt: skip
    assert list(found.values()) == ["FITS", "HDF5", "FITS", None, "HDF5", None, None]
    assert format_of(b"\x1f\x8b" + b"\xff" * 100) is None
    assert [format_named(name) for name in (b"a.FITS", b"b/c.nxs", b"fits", b"a.txt")] == ["FITS", "HDF5", None, None]


def test_every_sample_is_read_or_refused_and_none_stops_the_reader(reader: Reader) -> None:
    found = {path: look(reader, path) for path in sorted(DATA.rglob("*")) if path.is_file()}
    for path, said in found.items():
        if said and "invalid" not in path.parts:
            assert said.problem == "", path
    refused = {path.name for path, said in found.items() if said and said.problem}
    assert refused >= {
        "dl3_cut_in_data.fits", "dl3_cut_in_header.fits", "cve-2018-11206-new.h5", "cve-2021-45829.h5",
        "cve-2025-2153.h5", "nexus_cut_50pct.nxs", "nexus_cut_last_512.nxs", "signature_only.h5",
    }  # fmt: skip


GOOD = DATA / "fits/valid/20131104_183_dl3.fits"


def test_a_file_that_takes_too_much_computing_kills_its_reader_and_costs_only_itself(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.fits.gz"  # headers of 36,000 comments: megabytes that are kilobytes in gzip
    bomb.write_bytes(gzip.compress(header(*PRIMARY)) + gzip.compress(header(*EXTENSION, *["COMMENT"] * 35_000)) * 200)
    with Reader(computing=1) as reader:
        assert look(reader, bomb) == Found(problem="reading it took more than 1 seconds of computing")
        assert (look(reader, GOOD) or Found()).values


def test_a_file_that_keeps_its_reader_waiting_costs_only_itself() -> None:
    silent, nothing_comes = os.pipe()
    with Reader(wall=0.5) as reader:
        assert reader.read(silent, "FITS") == Found(problem="reading it took longer than 0.5 seconds")
        assert (look(reader, GOOD) or Found()).values
    os.close(silent)
    os.close(nothing_comes)


def test_a_reader_that_died_between_two_files_is_no_fault_of_the_next_one() -> None:
    with Reader() as reader:
        found = look(reader, GOOD)
        assert reader._process
        reader._process.kill()
        reader._process.wait()
        assert look(reader, GOOD) == found != Found()


def test_a_reader_that_does_not_start_is_no_fault_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "h5py.py").write_text("raise ImportError")
    monkeypatch.setenv("PYTHONPATH", os.fspath(tmp_path))
    with Reader() as reader, pytest.raises(OperatorNeeded, match=r"does not start \(status 1\)"):
        look(reader, GOOD)


def test_nothing_is_read_that_lies_in_other_files(reader: Reader, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"12345678")
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["word"] = "secret"
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["own"] = 3
        file["link"] = h5py.ExternalLink("other.h5", "/word")
        file["folder"] = h5py.ExternalLink("other.h5", "/")
        file["soft"] = h5py.SoftLink("/folder/word")
        file["round"] = file["/"]
        file.create_dataset("outside", (1,), "S8", external=[(os.fspath(secret), 0, 8)])
        layout = h5py.VirtualLayout((1,), "i8")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "word", (1,))
        file.create_virtual_dataset("virtual", layout)
    assert look(reader, tmp_path / "a.h5") == Found((("hdf5:own", 3),))


def test_values_of_hdf5_have_types_and_units(reader: Reader, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["ok"] = True
        entry = file.create_group("scan 7")
        entry.attrs["NX_class"] = "NXentry"
        entry["title"] = "LaB6"
        entry["start_time"] = "2026-03-01T10:00:00.123456789+0100"
        entry["energy"] = [12.5]
        entry["energy"].attrs["units"] = "keV"
        entry["array"] = [1, 2]
        entry["nan"] = float("nan")
        entry["long"] = "x" * 2000
    assert dict((look(reader, tmp_path / "a.h5") or Found()).values) == {
        "hdf5:@ok": True,
        "hdf5:NXentry/title": "LaB6",
        "hdf5:NXentry/start_time": {"date": "2026-03-01T09:00:00.123456Z"},
        "hdf5:NXentry/energy": {"value": 12.5, "unit": "keV"},
    }


def test_texts_of_hdf5_that_are_not_utf8_are_latin1_and_hide_nothing(reader: Reader, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset(b"gr\xf6\xdfe", data=1.5).attrs["units"] = np.bytes_(b"\xb5m")
        file.attrs[b"\xb0C"] = np.bytes_(b"21 \xb0C")
        file["after"] = 1
    assert dict((look(reader, tmp_path / "a.h5") or Found()).values) == {
        "hdf5:größe": {"value": 1.5, "unit": "µm"},
        "hdf5:@°C": "21 °C",
        "hdf5:after": 1,
    }


def test_one_value_where_all_agree_and_ranges_of_what_has_an_order() -> None:
    agreement = Agreement(6)
    for n in (2, 1, 3):
        agreement.add("same", "x")
        agreement.add("n", n)
        agreement.add("day", {"date": f"2026-03-0{n}"})
        agreement.add("energy", {"value": n, "unit": "keV"})
        agreement.add("text", f"{n}")
        agreement.add("mixed", n if n > 1 else True)
        agreement.add("too many", n)
    assert agreement.values() == {
        "same": "x",
        "n.min": 1,
        "n.max": 3,
        "day.min": {"date": "2026-03-01"},
        "day.max": {"date": "2026-03-03"},
        "energy.min": {"value": 1, "unit": "keV"},
        "energy.max": {"value": 3, "unit": "keV"},
    }
