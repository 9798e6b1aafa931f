"""`python -m trainers check`: the data is the dataset that was asked for, or is refused, before torch is imported."""

import os
import re
import signal
import subprocess

import pytest

from trainers.dataset.verify import Receipt, check_bytes, open_dataset
from trainers.errors import MismatchError, TrainingError


@pytest.fixture
def no_torch(tmp_path):
    """Return a folder with a torch that ends the process that imports it."""
    folder = tmp_path / "no-torch"
    (folder / "torch").mkdir(parents=True)
    (folder / "torch" / "__init__.py").write_text("import os; os.write(2, b'torch was imported'); os._exit(99)\n")
    return str(folder)


def without_torch(haven, no_torch, *arguments):
    return haven.run(*arguments, PYTHONPATH=f"{no_torch}:{haven.environment()['PYTHONPATH']}")


def last(done) -> str:
    return done.stdout.splitlines()[-1]


def test_an_intact_dataset_passes_without_torch(haven, no_torch):
    """Every byte is verified without importing torch; the receipt is in scratch only."""
    haven.configure()
    done = without_torch(haven, no_torch, "check")
    assert done.returncode == 0, done.stdout
    assert last(done) == f"CHECK OK reef@v1 {haven.digest}"
    assert "verified, every byte (verify: full): 13 files" in done.stdout
    assert [path.name.partition("-")[0] for path in haven.scratch.iterdir()] == ["checked"]
    assert not list(haven.outputs.iterdir())


def test_quick_is_never_called_verified(haven):
    """`verify: quick` checks names and the total size, says so, and does not say verified."""
    haven.configure(verify="quick")
    done = haven.run("check")
    assert done.returncode == 0
    assert "names and total size match, no byte was checked (verify: quick)" in done.stdout
    assert "verified" not in done.stdout
    assert not list(haven.scratch.iterdir())


def test_quick_mentions_an_earlier_full_check(haven):
    """After a full check in the same scratch, `quick` says when it was, unless a file has changed since."""
    haven.configure()
    haven.run("check")
    haven.configure(verify="quick")
    assert re.search(r"these files, .*, passed a full check here at 20", haven.run("check").stdout)
    os.utime(haven.image(), ns=(1, 1))
    assert "passed a full check" not in haven.run("check").stdout


def flip(haven):
    content = bytearray(haven.image().read_bytes())
    content[100] ^= 1
    haven.image().write_bytes(content)
    return ["changed  data/images/3.png"]


def remove(haven):
    haven.image().unlink()
    return ["missing  data/images/3.png"]


def add(haven):
    haven.image("new.png").write_bytes(b"x")
    return ["extra    data/images/new.png"]


def rename(haven):
    haven.image().rename(haven.image("third.png"))
    return ["missing  data/images/3.png", "extra    data/images/third.png"]


def cut(haven):
    haven.image().write_bytes(haven.image().read_bytes()[:-1])
    return ["changed  data/images/3.png"]


def link(haven):
    haven.image().unlink()
    haven.image().symlink_to(haven.image("4.png"))
    return ["changed  data/images/3.png"]


def change_list(haven):
    path = haven.bag / "data" / "train.json"
    path.write_bytes(path.read_bytes() + b" ")
    return ["changed  data/train.json"]


def remove_list(haven):
    (haven.bag / "data" / "train.json").unlink()
    return ["missing  data/train.json"]


def fifo(haven):
    remove_list(haven)
    os.mkfifo(haven.bag / "data" / "train.json")
    return ["changed  data/train.json"]


def several(haven):
    return [*remove(haven), *add(haven), f"changed  {_cut_other(haven)}"]


def _cut_other(haven):
    haven.image("4.png").write_bytes(b"")
    return "data/images/4.png"


@pytest.mark.parametrize("command", ["check", "train"])
@pytest.mark.parametrize("spoil", [flip, remove, add, rename, cut, link, change_list, remove_list, fifo, several])
def test_any_difference_is_refused_before_torch(haven, no_torch, spoil, command):
    """Any changed, missing, extra or linked file: exit 3 and a sorted list of differences, without torch."""
    haven.configure()
    expected = spoil(haven)
    done = without_torch(haven, no_torch, command)
    assert done.returncode == 3, done.stdout
    lines = [line[10:].strip() for line in done.stdout.splitlines()]
    assert [line for line in lines if re.match(r"(missing|extra|changed) ", line)] == expected
    word = {"check": "CHECK", "train": "TRAINING"}[command]
    assert last(done).startswith(f"{word} FAILED: {haven.bag}: the data does not match its manifest")
    assert not list(haven.scratch.iterdir())


@pytest.mark.parametrize("spoil", [remove, add, rename, cut])
def test_quick_refuses_wrong_names_and_sizes(haven, spoil):
    """`verify: quick` refuses whatever names and the total size reveal."""
    haven.configure(verify="quick")
    spoil(haven)
    assert haven.run("check").returncode == 3


def test_a_digest_with_one_digit_wrong_is_refused(haven, no_torch):
    """Another digest is another dataset: exit 3, with both digests."""
    wrong = haven.digest[:-1] + ("0" if haven.digest[-1] != "0" else "1")
    haven.configure(digest=wrong)
    done = without_torch(haven, no_torch, "check")
    assert done.returncode == 3
    assert f"expected {wrong}, found {haven.digest}" in last(done)


def test_a_damaged_manifest_is_refused(haven):
    """A manifest that can't be parsed: exit 3."""
    haven.configure()
    path = haven.bag / "manifest-sha256.txt"
    path.write_bytes(path.read_bytes()[:-1])
    done = haven.run("check")
    assert done.returncode == 3
    assert "the last line is cut off" in last(done)


def test_a_missing_safe_data_says_what_to_mount(haven):
    """Without /safe_data the last line says which folder to mount: exit 2."""
    haven.configure()
    haven.data.rename(haven.root / "elsewhere")
    done = haven.run("check")
    assert done.returncode == 2
    assert last(done).startswith("CHECK FAILED: ")
    assert f"mount the folder with your data at {haven.data}" in last(done)


def test_a_wrong_folder_lists_the_datasets(haven):
    """If `dataset` names no folder, the error lists the datasets below the configuration's folder."""
    haven.configure(dataset="reef/v2")
    done = haven.run("check")
    assert done.returncode == 2
    assert f"datasets below {haven.data}: reef/v1" in last(done)


def test_a_wrong_configuration_names_the_line(haven):
    """An unknown key ends the job with one line: exit 2."""
    haven.configure(epochs=3)
    done = haven.run("check")
    assert done.returncode == 2
    assert re.fullmatch(r"CHECK FAILED: .*train.yml:\d+: epochs: unknown key: expected one of .*", last(done))


@pytest.mark.parametrize("images", [(), ("data/images/3.png",)])
def test_a_file_that_cannot_be_read_is_named(haven, images):
    """A file that disappears during the check is named, whether it is hashed or decoded."""
    dataset = open_dataset(haven.bag, haven.digest, haven.data)
    haven.image().unlink()
    with pytest.raises(TrainingError, match=r"3\.png: can't read this file of the dataset: found No such file"):
        check_bytes(dataset, workers=2, images=images)


def test_sigterm_ends_a_check_with_a_last_line(haven):
    """A SIGTERM in the middle of a check ends it at once, with a last line that says so: exit 75."""
    haven.configure()
    command = haven.command("check")
    code = f"""
import itertools, sys, time, trainers.dataset.verify, trainers.__main__
calls = itertools.count()
def hash_file(*_, **__):
    if next(calls) == 0:  # the other threads stay silent: their output could come after the last line
        print("hashing", flush=True)
    time.sleep(0.2)
    return ""
trainers.dataset.verify.hash_file = hash_file
sys.exit(trainers.__main__.main({command[3:]!r}))
"""
    process = subprocess.Popen(
        [command[0], "-c", code], env=haven.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert any(line.startswith("hashing") for line in process.stdout)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 75, out
    assert out.splitlines()[-1].startswith("CHECK FAILED: stopped by SIGTERM")


def test_a_receipt_of_other_files_does_not_count(haven):
    """A receipt identifies files by size and time; one of other files, or a damaged one, is ignored."""
    dataset = open_dataset(haven.bag, haven.digest, haven.data)
    receipt = Receipt.of(dataset, haven.scratch)
    assert not receipt.checked(dataset)
    receipt.write(dataset)
    assert receipt.checked(dataset)
    receipt.path.write_text("{}")
    assert not receipt.checked(dataset)
    with pytest.raises(MismatchError):
        open_dataset(haven.bag, "sha256:" + "0" * 64, haven.data)
