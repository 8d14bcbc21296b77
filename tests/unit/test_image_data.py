"""Sets of images: formats, downloads, damaged files, batches by counters."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import io
import pickle
import struct
import tarfile
import threading

import numpy as np
import pytest
from dask.local import get_sync
from PIL import Image

from daskgnn.errors import DatasetError, InputError
from daskgnn.kernels.images import NOTHING, Changes, epoch_key, image_values
from daskgnn.vision import ArrayPixels, ImageSet, load_images
from daskgnn.vision.data import cifar, datasets
from daskgnn.vision.data.batches import Batches, BatchPlan, parse_changes
from daskgnn.vision.data.idx import read_idx

COUNTS = {"train": 12, "t10k": 5}


def drawn(count, *shape, seed=0):
    return np.random.RandomState(seed).randint(0, 256, (count, *shape), np.uint8)


def write_idx(path, array):
    """Write an idx file of bytes, as its inventors describe it."""
    head = struct.pack(">BBBB", 0, 0, 8, array.ndim)
    head += struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(head + array.tobytes()))


@pytest.fixture
def idx(tmp_path):
    """Return a folder of idx files, and what is in them."""
    folder = tmp_path / "fashion-mnist"
    folder.mkdir()
    images = {n: drawn(c, 6, 6, seed=c) for n, c in COUNTS.items()}
    labels = {n: np.arange(c, dtype=np.uint8) % 3 for n, c in COUNTS.items()}
    for name in COUNTS:
        write_idx(folder / f"{name}-images-idx3-ubyte.gz", images[name])
        write_idx(folder / f"{name}-labels-idx1-ubyte.gz", labels[name])
    return folder, images, labels


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Return a function that serves a folder: its address, and what is asked for."""
    monkeypatch.delenv("DASKGNN_DATA_DIR", raising=False)
    monkeypatch.setenv("DASKGNN_CACHE_DIR", str(tmp_path / "cache"))
    servers = []

    def start(folder):
        asked = []

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *args):
                asked.append(self.path)

        handler = functools.partial(Handler, directory=str(folder))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}", asked

    yield start
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


def know(monkeypatch, folder, *names):
    """Have the files of a folder be the published ones."""
    for name in names:
        digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        monkeypatch.setitem(datasets.SHA256, name, digest)


def idx_names():
    return [name for name in datasets.SHA256 if name != datasets.CIFAR_ARCHIVE]


def assert_same(found, images, labels):
    count = COUNTS["train"]
    assert found.splits["train"].tolist() == list(range(count))
    assert found.splits["test"].tolist() == list(range(count, count + COUNTS["t10k"]))
    ids = np.array([count + 1, 0, count - 1, 3])
    both = np.concatenate(list(images.values()))
    assert np.array_equal(found.pixels.read(ids)[:, 0], both[ids])
    assert np.array_equal(found.labels, np.concatenate(list(labels.values())))


def test_idx_files_of_a_folder(idx):
    folder, images, labels = idx
    found = load_images(folder)
    assert_same(found, images, labels)
    assert (found.num_classes, found.pixels.shape) == (3, (1, 6, 6))
    again = pickle.loads(pickle.dumps(found))
    assert np.array_equal(
        again.pixels.read(np.arange(17)), found.pixels.read(np.arange(17))
    )
    assert len(pickle.dumps(found.pixels)) < 1000  # names, no pixels
    plain = folder / "train-images-idx3-ubyte"
    plain.write_bytes(gzip.decompress((folder / f"{plain.name}.gz").read_bytes()))
    told = found.fingerprint
    (folder / f"{plain.name}.gz").unlink()
    assert load_images(folder).fingerprint == told


def test_a_download_is_checked_and_kept(idx, serve, monkeypatch, capsys):
    folder, images, labels = idx
    address, asked = serve(folder)
    know(monkeypatch, folder, *idx_names())
    monkeypatch.setenv("DASKGNN_FASHION_MNIST_URL", f"{address}/")
    found = load_images("Fashion-MNIST")
    assert_same(found, images, labels)
    assert found.class_names[0] == "t-shirt"
    assert len(asked) == 4
    assert capsys.readouterr().err.count("downloading") == 4
    load_images("fashion-mnist")
    assert len(asked) == 4
    monkeypatch.setitem(datasets.SHA256, idx_names()[0], "0" * 64)
    with pytest.raises(DatasetError, match=r"cannot download .*train-images"):
        load_images("fashion-mnist")


def test_the_data_folder_is_searched_first(idx, monkeypatch):
    folder, images, labels = idx
    know(monkeypatch, folder, *idx_names())
    assert_same(load_images("fashion-mnist", folder.parent), images, labels)
    monkeypatch.setenv("DASKGNN_DATA_DIR", str(folder))
    assert_same(load_images("fashion-mnist"), images, labels)
    path = folder / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(DatasetError, match=f"{path} is damaged"):
        load_images("fashion-mnist")


@pytest.fixture
def binary(tmp_path):
    """Return a folder of CIFAR-10's binary files, its archive, and what is in them."""
    folder = tmp_path / cifar.FOLDER
    folder.mkdir()
    names = [*cifar.TRAIN, cifar.TEST]
    images = {n: drawn(3, *cifar.SHAPE, seed=i) for i, n in enumerate(names)}
    labels = {n: np.arange(3) + i for i, n in enumerate(names)}
    for name in names:
        rows = [
            bytes([label]) + image.tobytes()
            for label, image in zip(labels[name], images[name], strict=True)
        ]
        (folder / name).write_bytes(b"".join(rows))
    (folder / cifar.META).write_text("\n".join("abcdefghij") + "\n\n")
    archive = tmp_path / "site" / datasets.CIFAR_ARCHIVE
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, cifar.FOLDER)
        evil = tarfile.TarInfo("../evil")
        evil.size = 4
        tar.addfile(evil, io.BytesIO(b"evil"))
    return folder, archive, images, labels


def test_cifar_in_its_binary_form(binary):
    folder, _, images, labels = binary
    for place in (folder, folder.parent):
        found = load_images(place)
        assert found.class_names == tuple("abcdefghij")
        assert np.array_equal(found.labels, np.concatenate(list(labels.values())))
        everything = np.concatenate(list(images.values()))
        ids = np.array([17, 3, 0, 8])
        assert np.array_equal(found.pixels.read(ids), everything[ids])
        assert [len(found.splits[n]) for n in ("train", "test")] == [15, 3]
    path = folder / cifar.TRAIN[2]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DatasetError, match=rf"{path} is damaged: it has 9218 bytes"):
        load_images(folder)


def test_cifar_is_downloaded_and_only_its_files_are_unpacked(
    binary, serve, monkeypatch, tmp_path
):
    _, archive, images, _ = binary
    address, asked = serve(archive.parent)
    know(monkeypatch, archive.parent, archive.name)
    monkeypatch.setenv("DASKGNN_CIFAR10_URL", address)
    found = load_images("cifar10")
    assert np.array_equal(found.pixels.read(np.arange(3)), images[cifar.TRAIN[0]])
    load_images("cifar10")
    assert len(asked) == 1
    assert not list(tmp_path.rglob("evil*"))
    shop = tmp_path / "shop"
    (shop / "cifar10").mkdir(parents=True)
    archive.rename(shop / "cifar10" / archive.name)
    assert load_images("cifar10", shop).fingerprint == found.fingerprint
    (shop / "cifar10" / archive.name).write_bytes(b"x")
    with pytest.raises(DatasetError, match="is damaged"):
        load_images("cifar10", shop)


def picture(path, size, colour):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    picture(folder / "train" / "cat" / "a.jpg", (40, 20), (200, 0, 0))
    picture(folder / "train" / "cat" / "b.png", (20, 30), (0, 200, 0))
    picture(folder / "train" / "dog" / "c.JPEG", (8, 8), (0, 0, 200))
    picture(folder / "valid" / "dog" / "d.png", (16, 16), (9, 9, 9))
    picture(folder / "test" / "cat" / "e.png", (16, 16), (1, 2, 3))
    (folder / "train" / "dog" / "notes.txt").write_text("no image")
    return folder


def test_folders_of_images(photos):
    found = load_images(photos, image_size=16)
    assert found.class_names == ("cat", "dog")
    assert found.labels.tolist() == [0, 0, 1, 1, 0]
    assert {n: len(i) for n, i in found.splits.items()} == {
        "train": 3,
        "val": 1,
        "test": 1,
    }
    pixels = found.pixels.read(np.array([4, 0, 2]))
    assert pixels.shape == (3, 3, 16, 16)
    assert pixels[0, :, 5, 5].tolist() == [1, 2, 3]
    assert np.abs(pixels[1].astype(int) - [[[200]], [[0]], [[0]]]).max() < 12  # JPEG
    some = pickle.loads(pickle.dumps(found.pixels.only(np.array([4, 0, 2]))))
    assert np.array_equal(some.read(np.arange(3)), pixels)
    assert len(some) == len(some.names) == 3
    assert load_images(photos).pixels.shape == (3, 224, 224)
    flat = load_images(photos / "train", image_size=16)
    assert flat.splits.keys() == {"train"}
    assert len(flat.labels) == 3


def test_the_middle_of_an_image_is_taken(tmp_path):
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 250
    (tmp_path / "a").mkdir()
    Image.fromarray(wide).save(tmp_path / "a" / "x.png")
    assert (
        load_images(tmp_path, image_size=10).pixels.read(np.zeros(1, int)).min() == 250
    )


def test_a_damaged_image_is_named_and_can_be_skipped(photos):
    path = photos / "train" / "cat" / "a.jpg"
    path.write_bytes(path.read_bytes()[:300])
    found = load_images(photos, image_size=16)
    with pytest.raises(DatasetError, match=rf"image {path} cannot be read .*skip") as e:
        found.pixels.read(np.arange(3))
    assert "--damaged skip" in e.value.in_shell
    damaged = found.pixels.damaged(np.arange(5))
    assert [i for i, _ in damaged] == [0]
    left = found.without(damaged)
    assert left.splits["train"].tolist() == [1, 2]
    assert str(path) in left.skipped[0]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (lambda p: p, "is not an idx file: it does not begin like one"),
        (lambda p: b"\0\0\x08\x01\0\0\0\x09", "is damaged: it has 8 bytes, and 17"),
        (lambda p: gzip.compress(b"\0\0\x08\x01")[:-3], "cannot be read"),
    ],
)
def test_damaged_idx_files_are_named(tmp_path, data, words):
    path = tmp_path / "file.gz"
    found = data(b"nothing of that kind")
    path.write_bytes(found)
    with pytest.raises(DatasetError, match=words) as error:
        read_idx(path)
    assert str(path) in str(error.value)


def test_numbers_of_other_types_in_idx_files(tmp_path):
    array = np.array([[1, -2, 3], [4, 5, -6]], ">i4")
    head = b"\0\0\x0c\x02" + struct.pack(">II", 2, 3)
    (tmp_path / "a").write_bytes(head + array.tobytes())
    assert np.array_equal(read_idx(tmp_path / "a"), array)


def test_digits_need_no_file():
    found = load_images("digits")
    assert [len(found.splits[n]) for n in ("train", "val", "test")] == [1078, 359, 360]
    pixels = found.pixels.read(found.splits["test"])
    assert (pixels.dtype, pixels.shape[1:]) == (np.uint8, (1, 8, 8))
    assert (pixels.min(), pixels.max()) == (0, 255)
    assert repr(found) == (
        "ImageSet('digits', 1797 images of 1 x 8 x 8, 10 classes, 1078 train, 359 val, "
        "360 test)"
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fashion-mnst", "did you mean 'fashion-mnist'"),
        ("nowhere/at/all", "one of digits, fashion-mnist, cifar10"),
    ],
)
def test_unknown_images_are_refused(name, words):
    with pytest.raises(DatasetError, match=words):
        load_images(name)


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="has neither idx files"):
        load_images(tmp_path)
    with pytest.raises(DatasetError, match=r"8 x 8.*image_size=16 is for folders"):
        load_images("digits", image_size=16)


@pytest.mark.data
def test_the_published_fashion_mnist(data_dir):
    found = load_images("fashion-mnist", data_dir)
    assert [len(found.splits[n]) for n in ("train", "test")] == [60_000, 10_000]
    for ids in found.splits.values():
        counts = np.bincount(found.labels[ids])
        assert (counts == len(ids) // 10).all()
    ids = np.array([69_999, 0, 60_000])
    assert found.class_names[found.labels[0]] == "boot"
    assert found.pixels.read(ids).shape == (3, 1, 28, 28)


def small_set(count=20):
    pixels = ArrayPixels(drawn(count, 2, 5, 5))
    labels = np.arange(count) % 3
    splits = {"train": np.arange(count - 4), "test": np.arange(count - 4, count)}
    return ImageSet("small", pixels, labels, tuple("abc"), splits)


def test_validation_images_are_held_out_by_the_seed():
    images = small_set()
    held = images.with_validation(0.25, seed=1)
    assert len(held.splits["val"]) == 4
    together = np.sort(np.concatenate([held.splits["train"], held.splits["val"]]))
    assert np.array_equal(together, images.splits["train"])
    assert not np.array_equal(
        held.splits["val"], images.with_validation(0.25, seed=2).splits["val"]
    )
    assert held.with_validation(0.5, seed=3) is held
    assert images.with_validation(0, seed=1) is images
    assert held.fingerprint != images.fingerprint


def test_labels_are_checked():
    pixels = ArrayPixels(drawn(3, 1, 2, 2))
    with pytest.raises(DatasetError, match="label 2 of image 1 of x is none of its 2"):
        ImageSet("x", pixels, np.array([0, 2, 1]), ("a", "b"))
    with pytest.raises(DatasetError, match="3 images and 2 labels"):
        ImageSet("x", pixels, np.array([0, 1]), ("a", "b"))


def moved(image, most, down, right, mirrored):
    """Move and mirror an image with numpy."""
    rows, columns = image.shape[1:]
    wide = np.pad(image, [(0, 0), (most, most), (most, most)])
    down, right = most + down, most + right
    out = wide[:, down : down + rows, right : right + columns]
    return out[:, :, ::-1] if mirrored else out


def test_images_are_moved_and_mirrored():
    images = drawn(40, 2, 6, 7) | 1  # no pixel is black
    changes = Changes(shift=2, flip=True)
    out = image_values(images, np.arange(40), epoch_key(0, 0), changes)
    shifts = range(-2, 3)
    ways = [(d, r, m) for d in shifts for r in shifts for m in (False, True)]
    seen = []
    for image, found in zip(images, out, strict=True):
        made = (found + 1) * 127.5
        fitting = [w for w in ways if np.allclose(moved(image, 2, *w), made, atol=1e-3)]
        seen += fitting
        assert len(fitting) == 1
    assert {s[0] for s in seen} == {s[1] for s in seen} == set(shifts)
    assert {s[2] for s in seen} == {False, True}


def test_a_square_is_blackened_anywhere():
    images = drawn(30, 2, 6, 7) | 1
    changes = Changes(erase=3)
    out = image_values(images, np.arange(30), epoch_key(0, 0), changes)
    corners = set()
    for image, found in zip(images, out, strict=True):
        black = found == -1
        rows, columns = np.flatnonzero(black[0].any(1)), np.flatnonzero(black[0].any(0))
        assert black[:, rows][:, :, columns].all()
        assert black.sum() == 2 * len(rows) * len(columns)
        assert np.allclose(found[~black], image[~black] / 127.5 - 1, atol=1e-6)
        assert 2 <= len(rows) <= 3
        assert 2 <= len(columns) <= 3
        corners.add((rows[0], columns[0]))
    assert len(corners) > 8


def test_changes_belong_to_images_and_epochs():
    changes, images = Changes(shift=2, flip=True), drawn(9, 1, 8, 8)
    ids, key = np.arange(100, 109), epoch_key(3, 1)
    whole = image_values(images, ids, key, changes)
    order = np.array([4, 0, 8])
    assert np.array_equal(
        image_values(images[order], ids[order], key, changes), whole[order]
    )
    assert not np.array_equal(
        image_values(images, ids, epoch_key(3, 2), changes), whole
    )
    plain = image_values(images, ids, key)
    assert np.array_equal(plain, image_values(images, ids, key, NOTHING))
    assert np.allclose(plain, images / 127.5 - 1, atol=1e-6)
    assert (plain.min() >= -1) & (plain.max() <= 1)
    still = image_values(images, ids, key, Changes(flip=True))
    mirrored = [
        np.array_equal(a, b[:, :, ::-1]) for a, b in zip(still, plain, strict=True)
    ]
    same = [np.array_equal(a, b) for a, b in zip(still, plain, strict=True)]
    assert all(a or b for a, b in zip(mirrored, same, strict=True))


def test_an_epoch_has_every_image_once_in_an_order_of_its_own():
    images = small_set(25)
    plan = BatchPlan(images.splits["train"], 8, 3, seed=5)
    assert plan.steps_per_epoch == 3
    order = np.concatenate([plan.batch(2, step) for step in range(3)])
    assert sorted(order.tolist()) == images.splits["train"].tolist()
    assert not np.array_equal(order[:8], plan.batch(1, 0))
    cut = plan.micro(2, 0)
    assert [len(ids) for ids in cut] == [2, 3, 3]
    assert np.array_equal(np.concatenate(cut), plan.batch(2, 0))
    assert plan.remainder == 2
    assert plan.key(2, 0) != plan.key(2, 1)


def test_tasks_read_what_this_process_reads():
    images = small_set()
    batches = Batches(
        images, BatchPlan(images.splits["train"], 8, 2, 5, Changes(1, True))
    )
    graph, keys = batches.graph("run", 3, range(2))
    found = get_sync(graph, keys)
    for step in range(2):
        for ours, theirs in zip(batches.read(3, step), found[step], strict=True):
            assert np.array_equal(ours.x, theirs.x)
            assert np.array_equal(ours.labels, images.labels[ours.ids])
            assert np.array_equal(ours.ids, theirs.ids)
            assert ours.key == theirs.key
    assert {key[0] for step in keys for key in step} == {"images-run"}


def test_batches_that_cannot_be_cut_are_refused():
    ids = np.arange(17)
    with pytest.raises(
        InputError, match="a batch of 1 images cannot be cut into 2 mic"
    ):
        BatchPlan(ids, 8, 2, 0)
    with pytest.raises(InputError, match="no images to train on"):
        BatchPlan(ids[:0], 8, 2, 0)


def test_words_for_changes():
    assert parse_changes("none") == NOTHING
    assert parse_changes("shift:2, flip,erase:8") == Changes(2, True, 8)
    for text in ("shift", "flop", "shift:x", "flip:1"):
        with pytest.raises(InputError, match=r"expected none, or of shift:PIXELS"):
            parse_changes(text)
