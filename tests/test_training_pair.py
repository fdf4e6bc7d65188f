"""Training on real encodes: shots, sets of coded crops, and finally a pair."""

import json
from dataclasses import asdict, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from material import ffmpeg, make, picture
from PIL import Image
from robustness import run_apart, run_here
from skimage import data
from torch.nn import functional as F

from vidscale.errors import ConfigError, TrainingError
from vidscale.models.cards import BACK_PROJECTION, read_card
from vidscale.models.fixed_pair import FixedPair
from vidscale.models.networks.compact import CompactUpscaler
from vidscale.models.networks.luma import Cell
from vidscale.models.pair_files import load_pair_dir
from vidscale.system.progress import Progress
from vidscale.training.clips import Clips
from vidscale.training.coded_crops import CodedCrops, CodedSettings, Coding, MotionLimits
from vidscale.training.coded_maker import Maker
from vidscale.training.collapsible import collapse, widen
from vidscale.training.downscaler_pair import DownscalerRecipe
from vidscale.training.loop import LoopSettings, train
from vidscale.training.material import CHUNKS, Material
from vidscale.training.motion import shot
from vidscale.training.pair import PairRecipe, train_pair
from vidscale.training.recipes import read_recipe
from vidscale.training.upscaler import CompactSizes, UpscalerTask

RECIPES = Path(__file__).parents[1] / "pipelines"
QUICK = RECIPES / "adaptive_quick_x2.toml"
GUIDE_RECIPES = sorted(RECIPES.glob("guide_*.toml"))
PAIR_RECIPES = sorted([*RECIPES.glob("adaptive_*.toml"), *RECIPES.glob("restore_*.toml")])
SHIPPED = Path(__file__).parents[1] / "vidscale" / "models" / "weights"
X264 = Coding(codec="x264", preset="ultrafast", crf=(20, 20))
TINY = CodedSettings(
    height=120, width=144, frames=4, taken=2, pieces=3, side=24, chunks=2, shots=3, codings=(X264,), clip_share=0.5
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for name in ("astronaut", "coffee", "rocket", "brick", "gravel"):
        Image.fromarray(getattr(data, name)()).save(folder / f"{name}.webp", lossless=True)
    return folder


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    folder = tmp_path_factory.mktemp("others")
    for name in ("chelsea", "camera"):
        Image.fromarray(getattr(data, name)()).save(folder / f"{name}.webp", lossless=True)
    return folder


def made(settings, photos, folder, clips=None):
    Maker(settings, photos, folder, clips).make(Progress(), jobs=2)
    return CodedCrops(folder)


def test_shot_shows_the_photograph_and_moves_smoothly():
    photo = data.coffee()
    motion = MotionLimits(pan=3.0, grain=0.0, passing=0.0, reduction=1.0)
    frames = [luma.astype(float) for luma, _, _ in shot(photo, photo, (96, 128), 8, np.random.default_rng(5), motion)]
    steps = [np.abs(after - before).mean() for before, after in pairwise(frames)]
    apart = np.abs(frames[-1] - frames[0]).mean()
    assert 0 < max(steps) < apart  # neighbours are alike, the ends are not
    assert max(steps) < 4 * min(steps)
    assert frames[0].std() > 5


def test_shot_keeps_colours():
    photo = np.empty((300, 300, 3), np.uint8)
    photo[:] = (200, 60, 30)
    luma, blue, red = next(shot(photo, photo, (48, 64), 1, np.random.default_rng(0), MotionLimits(grain=0.0)))
    pixel = ["-f", "lavfi", "-i", "color=0xC83C1E:s=64x48:r=1:d=1", "-vf", "scale=out_color_matrix=bt709:out_range=tv"]
    truth = ffmpeg(*pixel, "-pix_fmt", "yuv444p", "-f", "rawvideo", "-")
    want = np.frombuffer(truth, np.uint8).reshape(3, 48, 64)[:, 20, 20]
    got = [int(np.median(plane)) for plane in (luma, blue, red)]
    assert np.abs(np.array(got) - want).max() <= 1
    assert luma.shape == (48, 64)
    assert blue.shape == red.shape == (24, 32)


@pytest.mark.slow
@pytest.mark.parametrize("scale", ["1", "3/2", "2", "3"])
def test_pieces_lie_on_each_other(photos, tmp_path, scale):
    """A decoded crop, enlarged, matches the original at the same position, not next to it."""
    pieces = made(replace(TINY, scale=scale, chunks=1), photos, tmp_path)
    assert pieces.scale == Fraction(scale)
    lr, hr, strength = pieces.batch(12, torch.Generator().manual_seed(0))
    large = F.interpolate(lr, size=hr.shape[-2:], mode="bicubic")
    inner = slice(8, -8)

    def error(shift):
        moved = torch.roll(large, shift, (2, 3))
        return float((moved - hr)[..., inner, inner].square().mean())

    assert error((0, 0)) < 0.5 * min(error(s) for s in ((2, 0), (-2, 0), (0, 2), (0, -2)))
    assert set(strength.tolist()) == {20.0}


def test_set_resumes_where_it_stopped(photos, tmp_path):
    made(TINY, photos, tmp_path / "whole")
    made(TINY, photos, tmp_path / "stopped")
    (tmp_path / "stopped" / "chunk-0001.npy").unlink()
    made(TINY, photos, tmp_path / "stopped")
    for name in ("chunk-0000.npy", "chunk-0001.npy"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "stopped" / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "whole").iterdir()) == [
        *("chunk-0000.npy", "chunk-0001.npy", "recipe.json")
    ]
    with pytest.raises(TrainingError, match="other settings"):
        made(replace(TINY, sharpness=-0.3), photos, tmp_path / "whole")


def test_strengths_are_on_one_scale(photos, tmp_path):
    codings = (
        Coding(codec="svtav1", preset="12", crf=(42, 42)),
        Coding(codec="x265", preset="ultrafast", crf=(34, 34)),
    )
    made(replace(TINY, codings=codings, chunks=1, shots=8), photos, tmp_path)
    records = np.load(tmp_path / "chunk-0000.npy")
    found = {(record["codec"].decode(), round(float(record["strength"]), 3)) for record in records}
    assert found == {("svtav1", 34.0), ("x265", 34.0)}
    assert set(records["pict_type"].tolist()) >= {b"I"}


def test_clips_are_read_in_parts(tmp_path):
    make(tmp_path / "a.mkv", *picture("150x98", 25, 2), "-c:v", "ffv1", "-pix_fmt", "yuv420p")
    make(tmp_path / "ten bits.mkv", *picture("150x98", 25, 1), "-c:v", "ffv1", "-pix_fmt", "yuv420p10le")
    (tmp_path / "text.txt").write_text("no movie")
    clips = Clips(tmp_path, 12, (96, 144))
    assert len(clips) == 1
    with av.open(str(tmp_path / "a.mkv")) as container:
        truth = [frame.to_ndarray(format="yuv420p")[:98] for frame in container.decode(video=0)]
    for seed in range(4):
        part = clips.part(np.random.default_rng(seed), 5, (96, 400))
        assert len(part) == 5
        assert part[0].planes[0].shape == (96, 144)
        assert part[0].planes[1].shape == (48, 72)
        places = [
            (number, top, left)
            for number, whole in enumerate(truth)
            for top in range(0, 3, 2)
            for left in range(0, 7, 2)
            if np.array_equal(whole[top : top + 96, left : left + 144], part[0].planes[0])
        ]
        assert places
        number, top, left = places[0]
        assert np.array_equal(truth[number + 4][top : top + 96, left : left + 144], part[4].planes[0])
    with pytest.raises(TrainingError, match="no 8-bit 4:2:0 videos of 144x108 or larger"):
        Clips(tmp_path, 12, (108, 144))
    with pytest.raises(TrainingError, match="no 8-bit 4:2:0 videos"):
        Clips(tmp_path / "nothing", 12, (96, 144))


@pytest.mark.parametrize("scale", ["3/2", "4"])
def test_clips_of_any_size_are_coded(photos, tmp_path, scale):
    """Sizes that are multiples of nothing: parts are cut so that they and their small pictures fit the encoder."""
    (tmp_path / "clips").mkdir()
    make(tmp_path / "clips" / "a.mkv", *picture("150x98", 25, 1), "-c:v", "ffv1", "-pix_fmt", "yuv420p")
    settings = replace(TINY, scale=scale, chunks=1, clip_share=1.0)
    records = made(settings, photos, tmp_path / "set", tmp_path / "clips")
    assert len(records) == settings.shots * settings.taken * settings.pieces


@pytest.mark.slow
def test_training_beats_bicubic_and_lanczos(photos, others, tmp_path, one_thread):
    """A few steps of the quick recipe, on a small set."""
    settings = replace(TINY, chunks=1, shots=16, taken=3, pieces=4, side=32, frames=3)
    recipe = read_recipe(PairRecipe, QUICK)
    loop = replace(recipe.loop, steps=600, validate_every=200, warmup_steps=20, ema=0.98)
    held_out = made(replace(settings, seed=1, shots=8), others, tmp_path / "held-out")
    task = UpscalerTask(recipe.network, loop, made(settings, photos, tmp_path / "set"), held_out)
    lanczos = task.validate_lanczos()
    first = task.losses(torch.Generator().manual_seed(1)).total.item()
    trained = train(task, loop, tmp_path / "run")
    assert trained.best_db > lanczos
    assert task.losses(torch.Generator().manual_seed(1)).total.item() < first
    lr, hr, _ = held_out.batch(64, torch.Generator().manual_seed(0))
    bicubic = F.interpolate(lr, scale_factor=2, mode="bicubic")
    third = slice(64 // 3 + 1, -(64 // 3) - 1)
    errors = (bicubic - hr)[..., third, third].square().mean((1, 2, 3)).clamp(min=1e-7)
    assert trained.best_db > float((-10 * errors.log10()).mean())


@pytest.mark.parametrize("recipe", PAIR_RECIPES, ids=lambda path: path.stem)
def test_shipped_recipes_can_be_read(recipe):
    settings = read_recipe(PairRecipe, recipe)
    assert Fraction(settings.name.rpartition("-x")[2]) == settings.coded.ratio
    assert Fraction(settings.network.large, settings.network.small) == settings.coded.ratio


@pytest.mark.parametrize("path", [path for path in PAIR_RECIPES if path != QUICK], ids=lambda path: path.stem)
def test_recipe_of_an_installed_pair_makes_its_networks(path):
    """Whatever a recipe leaves to defaults, its command must reproduce this pair."""
    recipe = read_recipe(PairRecipe, path)
    card = read_card(SHIPPED / recipe.name)
    assert recipe.network.network().sizes == {"first": 3} | dict(card.upscaler)  # older cards do not tell the first
    filter_sizes = FixedPair(recipe.coded.family, recipe.coded.ratio, sharpness=recipe.coded.sharpness).sizes
    if card.downscaler["network"] == BACK_PROJECTION:  # trained afterwards, over the filter
        second = read_recipe(DownscalerRecipe, path.with_name(f"downscaler_{_of_scale(card)}.toml"))
        filter_sizes |= {"network": BACK_PROJECTION} | asdict(second.network)
    own = {name: size for name, size in card.downscaler.items() if not name.startswith("guide_")}
    assert filter_sizes == own


def _of_scale(card):
    """As in the names of recipes: "x1_5"."""
    return f"x{float(card.scale):g}".replace(".", "_")


@pytest.mark.parametrize("recipe", GUIDE_RECIPES, ids=lambda path: path.stem)
def test_recipe_of_a_guide_makes_that_of_the_pairs(recipe):
    settings = read_recipe(PairRecipe, recipe)
    scale = settings.name.rpartition("-x")[2]
    pairs = [SHIPPED / f"{family}-x{scale}" for family in ("adaptive", "adaptive-vmaf")]
    for folder in filter(Path.exists, pairs):
        pair = load_pair_dir(folder)
        assert (pair.quick_downscaler or pair.downscaler).guide.sizes == settings.network.network().sizes


def test_recipe_refuses_nonsense(tmp_path):
    path = tmp_path / "recipe.toml"
    for wrong, message in (
        ('[coded]\nscale = "9"', "scale 9 is outside 1 to 8"),
        ('[coded]\nscale = "1/0"', "is not a number"),
        ("[coded]\nside = 7", "side 7 is not a multiple of 2"),
        ("[coded]\ncodings = []", "codings is empty"),
        ("[coded]\ntaken = 30", "taken at most frames"),
        ("[coded]\npreset = 1", "coded.preset is unknown; there are "),
        ("[network]\nexpansion = -1", "expansion -1 is negative"),
        ("[network]\nwidth = 0", "no CompactUpscaler"),
        ("[network]\nreach = 4", "even support"),
        ("[network]\nreach = 19", "no CompactUpscaler"),
        ('[coded]\nscale = "1.5"', "shots of 512x384: sides must be multiples of 6, at least 96x72"),
        ('[coded]\nscale = "1.5"\nwidth = 480', "the crops have scale 3/2, the network has 2"),
        ("[coded]\nside = 22", "needs crops of 24 or more"),
        ("[coded]\nheight = 382", "multiples of 4"),
        ("[coded]\nwidth = 124", "at least 128x96"),
        ("[coded]\nclip_share = 7", "clip_share 7.0 is outside 0 to 1"),
        ("[coded]\nsharpness = 9", "sharpness 9.0 is outside"),
        ('[coded]\nfamily = "foo"', "unknown filter 'foo'"),
        (
            '[[coded.codings]]\ncodec = "x264"\npreset = "medium"\ncrf = [40, 18]',
            "crf 40 to 18: x264 takes 0 to 51",
        ),
        (
            '[[coded.codings]]\ncodec = "x264"\npreset = "slow"\ncrf = [18, 40]\nshare = -1',
            "share -1.0 is not a positive number",
        ),
        ('[[coded.codings]]\ncodec = "x264"\npreset = "swift"\ncrf = [18, 40]', "preset swift: x264 has"),
        ("held_out_chunks = 0", "held_out_chunks 0"),
        ('name = "my pair"', "invalid pair name 'my pair'"),
    ):
        path.write_text(wrong)
        with pytest.raises(ConfigError, match=message):
            read_recipe(PairRecipe, path)


@pytest.mark.slow
def test_train_pair_command(photos, others, tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        'name = "mine-x2"\nlicence = "CC0"\nheld_out_chunks = 1\n[coded]\nheight = 120\nwidth = 144\nframes = 3\n'
        "taken = 2\npieces = 8\nside = 32\nchunks = 1\nshots = 4\n"
        'codings = [{ codec = "x264", preset = "ultrafast", crf = [20, 30] }]\n'
        "[network]\nwidth = 8\ndepth = 2\nreach = 3\n[loop]\nsteps = 4\nbatch = 2\n"
    )
    command = ["train", "pair", recipe, "--photos", photos, "--validation", others, "-o", tmp_path / "run", "--json"]
    done = run_apart(*command, timeout_s=240)
    assert done.code == 0, done.stderr
    record = json.loads(done.stdout)
    assert (record["event"], record["steps"]) == ("trained", 4)
    card = load_pair_dir(tmp_path / "run" / "pair").card
    assert (card.name, card.licence) == ("mine-x2", "CC0")
    assert "4 steps" in card.training
    assert "plotly" in (tmp_path / "run" / "training.html").read_text()
    shared = run_here(*command[:3], "-o", tmp_path / "again", "--coded", tmp_path / "run" / "coded", "--json")
    assert shared.code == 0, shared.stderr  # needs no photographs any more
    assert json.loads(shared.stdout)["validation_db"] == record["validation_db"]
    alone = run_here(*command[:3], "-o", tmp_path / "alone")
    assert alone.code == 1
    assert "is incomplete; name the photographs" in alone.stderr
    assert alone.stderr.count("\n") == 1
    other = run_here(*command, "--set", "network.width=9")
    assert "other settings (network.width = 8)" in other.stderr
    renamed = run_here(*command, "--set", "name=yours-x2")
    assert renamed.code == 0, renamed.stderr
    assert load_pair_dir(tmp_path / "run" / "pair").card.name == "yours-x2"


def test_what_is_missing_is_reported_before_anything_is_coded(photos, others, tmp_path):
    recipe = PairRecipe(coded=TINY, network=CompactSizes(width=4, depth=2, reach=3), loop=LoopSettings(steps=1))
    folder = tmp_path / "run"
    for wrong, words in (
        (None, r"is incomplete; name the photographs .*--validation"),
        (tmp_path / "none", "no pictures"),
    ):
        material = Material(photos=photos, validation=wrong, clips=None, sets=folder / "coded")
        with pytest.raises(TrainingError, match=words):
            train_pair(recipe, material, folder)
        assert not list(folder.rglob("*.npy"))
    material = replace(material, validation=others)
    changed = replace(recipe, loop=LoopSettings(steps=2))  # nothing is made yet that would be of other settings
    assert train_pair(changed, material, folder).steps == 2
    with pytest.raises(TrainingError, match=r"other settings \(loop\.steps = 2\)"):
        train_pair(recipe, material, folder)


def test_sets_made_earlier_are_read(photos, tmp_path):
    """They also have chroma, which is not used."""
    made(replace(TINY, chunks=1), photos, tmp_path)
    (path,) = tmp_path.glob(CHUNKS)
    records = np.load(path)
    old = np.zeros(len(records), [*records.dtype.descr, ("chroma", np.uint8, (2, 12, 12))])
    for name in records.dtype.names:
        old[name] = records[name]
    luma = CodedCrops(tmp_path).batch(4, torch.Generator().manual_seed(0))
    np.save(path, old)
    again = CodedCrops(tmp_path).batch(4, torch.Generator().manual_seed(0))
    assert all(torch.equal(one, other) for one, other in zip(luma, again, strict=True))


@pytest.mark.slow
def test_lanczos_is_the_filter_of_ffmpeg(photos, tmp_path):
    """The baseline of reported gains: zscale's Lanczos, on crops whose middle the edges do not affect."""
    pieces = made(replace(TINY, chunks=1, shots=8, pieces=4), photos, tmp_path)
    task = UpscalerTask(CompactSizes(small=1, large=2), LoopSettings(), pieces, pieces)
    assert len(pieces) == 64
    batch = pieces.batch(64, torch.Generator().manual_seed(0))
    errors = []
    for small, large in zip(batch[0], batch[1], strict=True):
        codes = (small[0].numpy() * 255).round().astype(np.uint8)
        side = codes.shape[0]
        command = ["-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{side}x{side}", "-i", "pipe:0", "-vf"]
        enlarge = f"zscale={2 * side}:{2 * side}:filter=lanczos"
        restored = ffmpeg(*command, enlarge, "-f", "rawvideo", "-", data=codes.tobytes())
        restored = np.frombuffer(restored, np.uint8).reshape(2 * side, 2 * side)
        middle = slice(side - side // 3, side + side // 3)
        difference = restored[middle, middle] / 255 - large[0].numpy()[middle, middle]
        errors.append(max(np.square(difference).mean(), 1e-7))
    want = float(np.mean(-10 * np.log10(errors)))
    assert task.validate_lanczos() == pytest.approx(want, abs=0.01)


def test_wide_convolutions_collapse_to_what_they_compute():
    torch.manual_seed(3)
    network = CompactUpscaler(Cell(1, 2), width=4, depth=4)
    luma, strength = torch.rand(2, 1, 20, 22), torch.tensor([20.0, 35.0])
    plain = sum(weights.numel() for weights in network.parameters())
    interpolated = network(luma, strength)
    widen(network.convs, 6)
    assert torch.equal(network(luma, strength), interpolated)  # the last one gives nothing yet
    assert sum(weights.numel() for weights in network.parameters()) > 4 * plain
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        network(luma, strength).square().mean().backward()
        optimizer.step()
    learnt = network(luma, strength)
    assert not torch.allclose(learnt, interpolated, atol=1e-3)
    collapse(network.convs)
    assert torch.allclose(network(luma, strength), learnt, atol=1e-5)
    again = CompactUpscaler.from_state_dict(network.state_dict())
    assert torch.equal(again(luma, strength), network(luma, strength))


def test_network_of_another_scale_is_refused(photos, tmp_path):
    pieces = made(replace(TINY, chunks=1), photos, tmp_path)
    with pytest.raises(TrainingError, match="crops have scale 2, the network has 3/2"):
        UpscalerTask(CompactSizes(small=2, large=3), LoopSettings(), pieces, pieces)
