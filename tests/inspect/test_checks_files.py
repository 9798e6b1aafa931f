"""Each rule about files, images, tables and pixels finds the fault that it is for, and nothing else."""

import gzip
import io
import json
import pickle
import zipfile
from random import Random

import numpy as np
import pytest
import yaml
from PIL import Image, ImageFilter

from datapack.bag.bagit import IDENTIFIER, Bag
from datapack.catalog.patterns import Patterns
from datapack.inspect.checks import deep, files, images, tables
from datapack.inspect.deep import read_deep
from datapack.inspect.images import read_files
from datapack.inspect.model import Survey
from datapack.inspect.survey import payload_files, read_cocos
from datapack.inspect.tables import read_tables
from datapack.progress import Silent
from tests.bags import write_bag
from tests.inspect.test_deep import REEF, natural
from tests.inspect.test_images import encode, exif

MODULES = (files, images, tables, deep)
RULES = {rule.code: rule for module in MODULES for rule in module.RULES}


@pytest.fixture
def check(tmp_path):
    """Return a function that makes a bag of some files, and returns what is found in it, by code."""

    def check(contents, decode=False):
        write_bag(tmp_path, {name: one.encode() if isinstance(one, str) else one for name, one in contents.items()})
        bag, silent = Bag.open(tmp_path), Silent()
        files = payload_files(bag)
        found, others = read_files(bag, silent, files)
        survey = Survey(
            digest=bag.manifest.digest,
            files=files,
            images=found,
            cocos=read_cocos(bag, silent),
            tables=read_tables(bag, silent, files),
            missing={},
            deep=read_deep(bag, found, silent) if decode else (),
            reference=bag.info[IDENTIFIER],
            contents=others,
        )
        findings = [one for module in MODULES for check in module.CHECKS for one in check(survey)]
        codes = [finding.rule.code for finding in findings]
        assert len(set(codes)) == len(codes)
        for finding in findings:
            assert finding.files <= survey.files.keys()
            assert 1 <= len(finding.examples) <= 5
            yaml.safe_load(finding.catalog)
        return {finding.rule.code: finding for finding in findings}

    return check


def photo(form="JPEG", mode="RGB", size=(64, 48), seed=1, **options):
    out = io.BytesIO()
    natural(seed, size).convert(mode).save(out, form, **options)
    return out.getvalue()


def archive():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        packed.writestr(zipfile.ZipInfo("a.png"), b"x")  # without the time of now
    return out.getvalue()


def array_of_objects():
    out = io.BytesIO()
    np.save(out, np.array([{}, None], object), allow_pickle=True)
    return out.getvalue()


AWS = "AKIA" + "IOSFODNN7EXAMPLE"
GITHUB = "ghp_" + "a1B2" * 9
KEY = "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE"
KAGGLE = json.dumps({"username": "me", "key": "0123456789abcdef" * 2})
PROGRAM = b"MZ" + bytes(58) + b"\x40\0\0\0PE\0\0"
FILES = [
    ("DP101", "keys/id_rsa", "x", "keys/id_rsa"),
    ("DP101", "Server.PEM", "x", "Server.PEM"),
    ("DP102", "a/.DS_Store", "x", "a/.DS_Store"),
    ("DP102", "~$report.docx", b"PK", "~$report.docx"),
    ("DP103", "notes.txt", f"login: {AWS}\n", "notes.txt: AWS access key"),
    ("DP103", "run.sh", f"export TOKEN={GITHUB}\n", "run.sh: GitHub token"),
    ("DP103", "x.txt", KEY, "x.txt: private key"),
    ("DP103", "k.json", KAGGLE, "k.json: Kaggle key"),
    ("DP106", "labels/a.txt", "", "labels/a.txt"),
    ("DP107", "images.zip", archive(), "images.zip"),
    ("DP107", "data", archive(), "data"),
    ("DP107", "x.tar.gz", gzip.compress(b"x", mtime=0), "x.tar.gz"),
    ("DP108", "b.json", "<!DOCTYPE html><html>", "b.json: a web page instead of the file"),
    ("DP108", "weights.bin", "<html><body>log in", "weights.bin: a web page instead of the file"),
    ("DP108", "c.zip", "hello", "c.zip: not a ZIP file"),
    ("DP108", "d.pdf", "hello", "d.pdf: not a .pdf file"),
    ("DP109", "tool.exe", PROGRAM, "tool.exe"),
    ("DP109", "tool", b"\x7fELF" + bytes(90), "tool"),
    ("DP110", "a.pkl", pickle.dumps([1, 2]), "a.pkl"),
    ("DP110", "renamed.dat", pickle.dumps({"a": 1}), "renamed.dat"),
    ("DP110", "objects.npy", array_of_objects(), "objects.npy"),
    ("DP110", "old.pth", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.", "old.pth"),  # of torch.save
    ("DP110", "model.pth", archive(), "model.pth"),
    ("DP111", "d/" * 99 + "abc.txt", "x", "205 characters: d/"),
    ("DP112", "a:b.txt", "x", "a:b.txt"),
    ("DP112", "con.txt/x", "x", "con.txt/x"),
    ("DP112", "end./x", "x", "end./x"),
]


@pytest.mark.parametrize(("code", "name", "content", "example"), FILES)
def test_a_file_that_should_not_be_there(check, code, name, content, example):
    """One finding, with the file and what is wrong with it; good files beside it are not named."""
    found = check({name: content, "README.md": "<title>A title</title>", "page.html": "<html>", "ok.npz": archive()})
    assert set(found) - {"DP105"} == {code}
    assert found[code].count == 1
    assert found[code].examples[0].startswith(example)
    assert found[code].files == {name}


def test_bytes_that_are_no_pickle_are_not_called_one(check):
    """One file in 256 begins with the first byte of a pickle, one in 16,384 with its first two."""
    random = Random(1)
    files = {f"{number}.bin": b"\x80" + random.randbytes(200) for number in range(200)}
    files |= {f"b{number}.dat": bytes([0x80, 2 + number % 4]) + random.randbytes(200) for number in range(200)}
    found = check(files)
    assert "DP110" not in found or (
        found["DP110"].count < 10 and not any(".bin" in name for name in found["DP110"].files)
    )


def test_secrets_are_never_shown(check):
    """Neither the findings nor what is kept of the file has the value."""
    found = check({"notes.txt": f"{AWS} {GITHUB} {KAGGLE}"})
    for secret in (AWS, GITHUB, "0123456789abcdef"):
        assert secret not in repr(found)
    assert found["DP103"].examples == ("notes.txt: AWS access key, GitHub token, Kaggle key",)


def test_what_only_looks_like_a_secret(check):
    """Words, hashes and documentation are none."""
    text = (
        "AKIA AKIAX ghp_short hf_model BEGIN PUBLIC KEY\n-----BEGIN CERTIFICATE-----\n" + "f" * 64 + '\n{"key": "abc"}'
    )
    assert check({"notes.txt": text}) == {}


def test_excluded_names_are_valid_patterns(check):
    """The line of the catalog leaves out just these files, whatever characters their names have."""
    names = ["[x].bak", "a*?.tmp", "# a.bak", "yes.bak", ".DS_Store", "'\".orig"]
    found = check(dict.fromkeys(names, "x") | {"a.csv": "id\n1\n"})
    assert found["DP102"].files == set(names)
    patterns = Patterns(yaml.safe_load(found["DP102"].catalog)["exclude"])
    assert [name for name in [*names, "x.bak", "ax.tmp", "a.csv"] if patterns.match(name)] == names


def test_names_that_collide(check):
    """In case, and in the form of an accent."""
    found = check({"A/x.txt": "1", "a/x.txt": "2", "caf\u00e9": "3", "cafe\u0301": "4", "b": "5"})
    assert found["DP104"].count == 2
    assert "A/x.txt and a/x.txt" in found["DP104"].examples


def test_copies(check):
    """Empty files are no copies of each other."""
    found = check({"a.txt": "same", "b.txt": "same", "c.txt": "same", "d": "", "e": ""})
    assert (found["DP105"].count, found["DP105"].files) == (2, {"b.txt", "c.txt"})
    assert found["DP105"].examples[0] == "b.txt is a.txt"
    assert found["DP106"].count == 2


IMAGES = [
    ("DP201", "a.jpg", b"<!DOCTYPE html><html>", "a.jpg: a web page instead of the file"),
    ("DP202", "a.psd", b"8BPS\0\1", "a.psd: Photoshop"),
    ("DP202", "a.dcm", bytes(128) + b"DICM", "a.dcm: DICOM"),
    ("DP203", "a.jpg", photo(exif=exif(6, "", "", position=False)), "a.jpg: orientation 6"),
    ("DP204", "a.jpg", photo(exif=exif(1, "", "")), "a.jpg"),
    ("DP205", "a.jpg", photo(exif=exif(1, "Bob", "123", position=False)), "a.jpg: Artist, BodySerialNumber"),
    ("DP206", "a.png", photo("JPEG"), "a.png: its content is JPEG"),
    ("DP208", "a.tif", photo("TIFF", "F"), "a.tif: fractions"),
    ("DP209", "a.png", encode("PNG", mode="I;16"), "a.png: PNG"),
    ("DP210", "a.jpg", photo(mode="CMYK"), "a.jpg: JPEG"),
    ("DP211", "a.png", photo("PNG", "RGBA"), "a.png: PNG"),
    (
        "DP212",
        "a.gif",
        encode("GIF", save_all=True, append_images=[Image.new("RGB", (64, 48), "red")], loop=0),
        "a.gif: G",
    ),
    ("DP213", "a.png", photo("PNG", size=(31, 90)), "a.png: 31 x 90"),
]


@pytest.mark.parametrize(("code", "name", "content", "example"), IMAGES)
def test_an_image_with_a_fault(check, code, name, content, example):
    """One finding, with the image; a good one beside it is not named."""
    found = check({name: content, "good.jpg": photo("JPEG", seed=2)})
    assert list(found) == [code]
    assert found[code].count == 1
    assert found[code].examples[0].startswith(example)
    assert found[code].files == {name}


def test_values_of_metadata_are_never_shown(check):
    """Only the names of fields."""
    found = check({f"{number}.jpg": photo(exif=exif(1, "Bob", "S4711")) for number in range(3)})
    assert found["DP205"].count == 3
    assert found["DP205"].examples[0] == "0.jpg: Artist, BodySerialNumber"
    assert "S4711" not in repr(found)
    assert yaml.safe_load(found["DP204"].catalog)["silence"].keys() == {"DP204"}


def test_sizes_that_differ_wildly(check):
    """Thumbnails among photos; twice the size is no finding."""
    sizes = {f"{number}.png": photo("PNG", size=(640, 480), seed=number) for number in range(10)}
    sizes |= {"large.png": photo("PNG", size=(1280, 960)), "thumb.png": photo("PNG", size=(64, 48))}
    found = check(sizes)
    assert list(found) == ["DP207"]
    assert found["DP207"].examples == ("thumb.png: 64 x 48",)


TABLES = [
    ("DP501", "t.csv", b"\0\1\2\3" * 9, "t.csv: not text"),
    ("DP501", "t.csv", "<!doctype html>", "t.csv: a web page instead of the file"),
    ("DP502", "t.csv", "a,b\n1,2\n1\n", "t.csv: 1 of 2 rows, the first in line 3"),
    ("DP503", "t.csv", "a,b,a\n1,2,3\n", "t.csv: a"),
    ("DP504", "t.csv", "a,\n1,2\n", "t.csv: 1 of 2"),
    ("DP504", "t.csv", "1,2\n3,4\n", "t.csv: 2 of 2: it has no header"),
    ("DP505", "t.csv", "a,b\n", "t.csv"),
    ("DP507", "t.csv", "a,b\n1,\n2,NA\n", "t.csv: b"),
]


@pytest.mark.parametrize(("code", "name", "content", "example"), TABLES)
def test_a_table_with_a_fault(check, code, name, content, example):
    """One finding, with the table; a good one beside it is not named."""
    found = check({name: content, "good.csv": "id,depth,species\n1,2,cod\n"})
    assert list(found) == [code]
    assert found[code].count == 1
    assert found[code].examples[0] == example


def test_columns_about_people(check):
    """Names that suggest it, however they are written; no value is shown."""
    header = ["email", "E-Mail address", "dateOfBirth", "NHS number", "Post Code", "Patient Name", "dob", "IP_address"]
    found = check({"t.csv": ",".join(header) + "\n" + ",".join(["secret"] * len(header)) + "\n"})
    assert list(found) == ["DP506"]
    assert found["DP506"].count == len(header)
    assert found["DP506"].rule.severity == "note"
    assert "secret" not in repr(found)


def test_columns_about_things(check):
    """Words that only contain such a name are none."""
    header = ["species_name", "filename", "sextant", "birth_rate", "index", "zipped", "phone_model", "dobson", "names"]
    assert check({"t.csv": ",".join(header) + "\n" + ",".join("x" * len(header)) + "\n"}) == {}


def png(image):
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def broken_png():
    content = bytearray(png(natural(3)))
    content[20_000:20_100] = bytes(100)
    return bytes(content)


PIXELS = [
    ("DP220", broken_png()),
    ("DP222", png(natural(3).filter(ImageFilter.GaussianBlur(6)))),
    ("DP223", png(natural(3, contrast=6, centre=5))),
    ("DP224", png(natural(3, contrast=6, centre=252))),
    ("DP225", png(Image.new("RGB", (640, 480), "teal"))),
]


@pytest.mark.parametrize(("code", "content"), PIXELS)
def test_pixels_with_a_fault(check, code, content):
    """One finding, and none without decoding."""
    contents = {"a.png": content, "good.png": png(natural(1)), "foggy.png": png(natural(2, contrast=8))}
    found = check(contents, decode=True)
    assert list(found) == [code]
    assert (found[code].count, found[code].files) == (1, {"a.png"})
    assert RULES[code].deep


def coco(*names):
    rows = [{"id": number, "file_name": name, "width": 640, "height": 480} for number, name in enumerate(names)]
    return json.dumps({"images": rows, "annotations": [], "categories": []})


def test_near_duplicates_in_a_list_and_between_lists(check):
    """Those of the larger of two lists are the ones to drop; identical files are another rule's."""
    one, two = natural(1), natural(2)
    contents = {
        "a.png": png(one),
        "b.jpg": photo("JPEG", size=(640, 480), seed=1, quality=60),
        "c.png": png(two),
        "d.png": png(two.resize((400, 300))),
        "e.png": png(natural(3)),
        "f.png": png(one),
        "train.json": coco("a.png", "b.jpg", "c.png", "e.png"),
        "val.json": coco("d.png"),
    }
    found = check(contents, decode=True)
    assert set(found) == {"DP105", "DP221", "DP410"}  # f.png is a.png
    assert found["DP221"].examples == ("b.jpg is like a.png",)
    assert (found["DP410"].examples, found["DP410"].files) == (("c.png is like d.png",), {"c.png"})


def test_a_list_within_another_leaks_nothing(check):
    """A sample of a list has images in common with it."""
    contents = {f"{seed}.png": png(natural(seed)) for seed in range(3)} | {"3.png": png(natural(0).resize((320, 240)))}
    contents |= {"all.json": coco(*contents), "sample.json": coco("0.png")}
    assert set(check(contents, decode=True)) == {"DP221"}


def test_the_reef_has_no_findings(check):
    """The example that everybody tries first."""
    contents = {str(path.relative_to(REEF)): path.read_bytes() for path in REEF.rglob("*.png")}
    assert check(contents, decode=True) == {}


def test_codes_and_texts():
    """Codes are in the ranges of these checks; each text is a sentence."""
    assert all(code.startswith(("DP1", "DP2", "DP41", "DP5")) for code in RULES)
    assert len(RULES) == sum(len(module.RULES) for module in MODULES)
    for rule in RULES.values():
        assert rule.why.endswith(".")
        assert rule.fix.endswith(".")
        assert not rule.title.endswith(".")
