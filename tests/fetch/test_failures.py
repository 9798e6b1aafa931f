"""The report of failed downloads: JSON, whatever names and reasons hold, and little memory however many there are."""

import json
import tracemalloc

import pytest

from datapack.download import Failure
from datapack.download.model import Answer
from datapack.errors import FetchError
from datapack.fetch.failures import report_failures
from datapack.fetch.payload import WantedFile
from datapack.reference import Reference

REEF = Reference("reef", "v1")


def failed(count: int, name: str = "images/{}.png") -> dict[WantedFile, Failure]:
    answers = (Answer("http://a.example/x", "404 Not Found", True, 1),)
    files = (WantedFile(name.format(number), "row", f"http://a.example/{number}?sig=s") for number in range(count))
    return {file: Failure(number, answers) for number, file in enumerate(files)}


@pytest.mark.parametrize("name", ['a "{}"\n', "\u2028{}\u0085 é", "{}"])
@pytest.mark.parametrize("count", [1, 3])
def test_the_report_is_the_json_of_all_failures(tmp_path, name, count):
    """Line ends of any kind in a name stay what they are."""
    path, failures = tmp_path / "v1.failures.json", failed(count, name)
    with pytest.raises(FetchError, match=f"{count} of 9 files could not be fetched"):
        report_failures(REEF, failures, 9, path)
    answers = [{"url": "http://a.example/x", "reason": "404 Not Found", "tries": 1}]
    rows = [
        {"path": name.format(number), "url": f"http://a.example/{number}", "answers": answers}
        for number in range(count)
    ]
    text = path.read_bytes().decode()
    assert json.loads(text) == {"reference": "reef@v1", "failures": rows}
    assert text == json.dumps(json.loads(text), indent=2, ensure_ascii=False) + "\n"


def test_many_failures_take_little_memory(tmp_path):
    """A report of all the files of a list is written a failure at a time."""
    failures = failed(20_000)
    tracemalloc.start()
    with pytest.raises(FetchError):
        report_failures(REEF, failures, 20_000, tmp_path / "v1.failures.json")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
