"""The cache never changes what is trained on, whatever happens to its file, and jobs share scratch in peace."""

import fcntl
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.trainers.havens import PROJECT, png
from trainers.config import ImageSection
from trainers.dataset.cache import Cached, CacheWriter, cache_path, remove_partials
from trainers.dataset.coco_file import parse_coco
from trainers.dataset.pixels import Decoded, Layout
from trainers.dataset.verify import open_dataset
from trainers.errors import MismatchError

FILES = Path("/proc/self/fd")


class Job:
    """One job's view of the cache of a haven."""

    def __init__(self, haven):
        coco = parse_coco(haven.files["train.json"], "train.json")
        dataset = open_dataset(haven.bag, haven.digest, haven.data)
        names = tuple(f"data/images/{name}" for name in coco.file_names)
        hashes = [dataset.manifest.hashes[name] for name in names]
        layout = Layout.of(coco, hashes, ImageSection(min_size=24, max_size=64))
        self.scratch, self.source, self.notes = haven.scratch, Decoded(dataset, names, layout), []
        self.path = cache_path(haven.scratch, layout)

    def create(self):
        writer = CacheWriter.create(self.scratch, self.source.layout)
        assert isinstance(writer, CacheWriter)
        return writer

    def fill(self, writer):
        for index in reversed(range(12)):
            writer.write(index, self.source.read(index))
        return writer

    def open(self):
        return Cached.open(self.scratch, self.source, self.notes.append)

    def assert_exact(self, cached):
        for index in range(12):
            pixels = cached.read(index)
            assert pixels.shape == (24, 32, 3)
            assert (pixels == self.source.read(index)).all()


@pytest.fixture
def job(haven):
    return Job(haven)


@pytest.fixture
def written(job):
    """Give a job whose cache is complete."""
    assert job.fill(job.create()).finish()
    return job


def files(job):
    return sorted(path.name for path in job.scratch.iterdir())


def test_cached_and_decoded_pixels_are_equal(job):
    """The file appears only once it is complete; then an image read from it has exactly the pixels of a decoded one."""
    writer = job.fill(job.create())
    assert writer.path.stat().st_size == job.source.layout.bytes + 13 * 32
    assert job.open() is None
    assert writer.finish()
    assert files(job) == [job.path.name]
    job.assert_exact(job.open())
    assert not job.notes


def test_a_file_without_all_images_gets_no_name(job):
    """A file in which an image is missing is removed."""
    writer = job.create()
    writer.write(0, job.source.read(0))
    assert not writer.finish()
    assert not files(job)


def planted(content):
    """Another file of the right name and size."""
    return bytes(len(content))


def changed_hashes(content):
    return content[:-40] + b"\1" + content[-39:]


@pytest.mark.parametrize("change", [planted, changed_hashes, lambda content: content[:-1], lambda _: b""])
def test_a_file_that_is_not_complete_or_not_ours_is_not_opened(written, change):
    """The right name and size are not enough: the hashes at its end must be intact."""
    written.path.write_bytes(change(written.path.read_bytes()))
    assert written.open() is None


def test_a_file_of_another_kind_is_not_opened(written):
    """A link or a FIFO at its place is not followed or waited for."""
    written.path.rename(written.scratch / "elsewhere")
    written.path.symlink_to("elsewhere")
    assert written.open() is None
    written.path.unlink()
    os.mkfifo(written.path)
    assert written.open() is None


def test_a_file_of_another_user_is_not_opened(written):
    """Who owns the file could have written any pixels with their hashes."""
    if os.geteuid():
        pytest.skip("only root gives files away")
    os.chown(written.path, 12345, -1)
    assert written.open() is None


def test_a_damaged_image_is_decoded_again(written):
    """A changed byte costs time, once said, and changes no pixel; if the dataset has changed too, the job stops."""
    cached = written.open()
    content = bytearray(written.path.read_bytes())
    for index in (3, 5):
        content[written.source.layout.offsets[index] + 7] ^= 1
    with written.path.open("r+b") as file:  # the open file, as another process could
        file.write(content)
    written.assert_exact(cached)
    assert written.notes == [f"{written.path} has changed since it was written: what is damaged in it is decoded again"]
    written.source.dataset.path("data/images/5.png").write_bytes(png(64, 48, seed=99))
    with pytest.raises(MismatchError, match=r"5\.png"):
        cached.read(5)


def test_a_file_that_is_cut_off_kills_nobody(written):
    """Another process cuts the file off while it is in use: a memory map would end the process with SIGBUS."""
    cached = written.open()
    os.truncate(written.path, 100)
    written.assert_exact(cached)
    written.path.unlink()
    written.assert_exact(cached)


def test_equal_file_names_share_no_pixels(haven, tmp_path):
    """Datasets with equal names and sizes but other images have other files of decoded images."""
    first = Job(haven)
    other = type(haven)(tmp_path, haven.files | {f"images/{i}.png": png(64, 48, seed=50 + i) for i in range(12)})
    second = Job(other)
    assert first.path.name != second.path.name


def test_two_jobs_write_at_once(job, haven):
    """Neither removes or overwrites what the other is writing; both end with a complete file."""
    first, other = job.create(), Job(haven)
    second = other.create()
    assert len(files(job)) == 2
    job.fill(first)
    assert second.path.exists()
    assert first.finish()
    job.assert_exact(job.open())
    used = job.open()
    other.fill(second)
    assert second.finish()
    for cached in (used, other.open()):
        job.assert_exact(cached)
    assert files(job) == [job.path.name]
    third = job.create()
    third.discard()
    assert files(job) == [job.path.name]


WRITER = """
import sys, time
from pathlib import Path
from trainers.dataset.cache import CacheWriter
from trainers.dataset.pixels import Layout
import numpy as np
sizes = np.full((1, 2), 8, np.int32)
writer = CacheWriter.create(Path(sys.argv[1]), Layout("0" * 32, sizes, sizes, np.array([0, 192])))
print(writer.path.name, flush=True)
time.sleep(60)
"""


def test_the_file_of_a_killed_job_is_removed_and_no_other(job):
    """While a job lives, its partial file stays; once it is killed, the next job removes the file."""
    command = [sys.executable, "-c", WRITER, str(job.scratch)]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(PROJECT)}, stdout=subprocess.PIPE) as process:
        try:
            name = process.stdout.readline().decode().strip()
            job.create().discard()
            assert files(job) == [name]
        finally:
            process.kill()
    job.create().discard()
    assert not files(job)


def test_a_file_that_was_taken_for_a_killed_jobs_is_replaced(job, monkeypatch):
    """A job removes the file of another one before that has its lock: the other one makes a new file."""
    lock, taken = fcntl.flock, []

    def late(descriptor, operation):
        if not taken:
            taken.append(descriptor)
            remove_partials(job.scratch)
        lock(descriptor, operation)

    monkeypatch.setattr("fcntl.flock", late)
    assert job.fill(job.create()).finish()
    job.assert_exact(job.open())


def test_what_removes_files_from_scratch_costs_only_the_cache(job):
    """If the unfinished file is removed, the job goes on without it and says so."""
    writer = job.fill(job.create())
    writer.path.unlink()
    assert not writer.finish()
    assert writer.problem.endswith("No such file or directory")


def test_threads_share_the_file(written):
    """Many threads read at the same time, and each gets its image."""
    cached, source = written.open(), [written.source.read(index) for index in range(12)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: (number % 12, cached.read(number % 12)), range(600)))
    assert all(np.array_equal(pixels, source[index]) for index, pixels in found)


def test_closing_frees_the_file(written):
    """A cache that nobody uses any more keeps no file open."""
    before = len(list(FILES.iterdir()))
    for _ in range(5):
        assert written.open()
    assert len(list(FILES.iterdir())) == before
