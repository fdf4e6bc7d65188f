"""Training a downscaler: triples, the task, and the pair that it writes."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from vidscale.errors import ConfigError, TrainingError
from vidscale.media.frames import PixelFormat, YuvImage
from vidscale.models.fixed_pair import FixedPair
from vidscale.models.networks.back_projection import BackProjection
from vidscale.models.networks.compact import CompactUpscaler
from vidscale.models.networks.luma import Cell
from vidscale.models.pair_files import load_pair_dir, write_pair_dir
from vidscale.models.pairs import find_pair
from vidscale.system.progress import Progress
from vidscale.training.crops import turned
from vidscale.training.downscaler_pair import DownscalerRecipe, train_downscaler
from vidscale.training.loop import LoopSettings
from vidscale.training.material import Material
from vidscale.training.recipes import read_recipe
from vidscale.training.triple_maker import TripleMaker
from vidscale.training.triples import Triples, TripleSettings

SMALL = TripleSettings(inner=40, chunks=1, shots=4, clip_share=0)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for name in ("astronaut", "coffee"):
        Image.fromarray(getattr(data, name)()).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def made(photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("triples")
    TripleMaker(SMALL, photos, folder).make(Progress(), jobs=1)
    return folder


@pytest.mark.slow
def test_triples_hold_what_the_filter_makes(made):
    triples = Triples(made)
    batch = triples.batch([0, 3])
    assert len(triples) == 4
    assert triples.scale == 2
    assert batch.hr.shape == (2, 3, 160, 160)
    luma = (batch.hr[1, 2] * 255).byte().numpy()
    expected = FixedPair("lanczos", Fraction(2)).downscale(YuvImage((luma,), PixelFormat("gray", 8)))[0]
    np.testing.assert_array_equal((batch.lr[1, 2] * 255).round().byte().numpy(), expected)


@pytest.mark.slow
@pytest.mark.parametrize("turn", range(8))
def test_vectors_turn_with_their_picture(turn, made):
    """Where vectors are whole samples, the prediction of the turned picture is the turned prediction, exactly."""
    triples = Triples(made)
    plain, other = triples.batch([1]), triples.batch([1], [turn])

    def predicted(batch):
        fraction, place = np.divmod(batch.motion.p_from_i[0].numpy(), batch.lr.shape[-1] ** 2)
        return batch.lr[0, 0].flatten()[place].reshape(40, 40).numpy(), fraction.reshape(40, 40) == 0

    expected, whole = (turned(part, turn) for part in predicted(plain))
    result, whole_too = predicted(other)
    np.testing.assert_array_equal(whole_too, whole)
    assert whole.sum() > 64
    np.testing.assert_array_equal(result[whole], expected[whole])


@pytest.mark.slow
def test_training_writes_a_pair_that_downscales(photos, tmp_path):
    loop = LoopSettings(steps=6, batch=2, learning_rate=5e-3, warmup_steps=1, validate_every=3, checkpoint_every=3)
    recipe = DownscalerRecipe(name="mine-x2", held_out_shots=2, triples=SMALL, loop=loop)
    material = Material(photos=photos, validation=photos, clips=None, sets=tmp_path / "material")
    trained = train_downscaler(recipe, material, tmp_path / "run")
    assert trained.steps == 6
    assert trained.best_db > -1
    written = load_pair_dir(tmp_path / "run" / "pair")
    shipped = load_pair_dir(find_pair("adaptive-x2", None).folder)
    assert isinstance(written.downscaler, BackProjection)
    for name, weights in written.upscaler.state_dict().items():
        assert torch.equal(weights, shipped.upscaler.state_dict()[name])
    pair = find_pair(str(tmp_path / "run" / "pair"), None, "cpu")
    image = YuvImage((np.ascontiguousarray(data.camera()[:121, :203]),), PixelFormat("gray", 8))
    plain, corrected = pair.downscale(image)[0], pair.downscale(image, 28.0)[0]
    np.testing.assert_array_equal(plain, FixedPair("lanczos", Fraction(2)).downscale(image)[0])
    change = abs(corrected.astype(int) - plain)
    assert 0 < change.max() < 64
    again = train_downscaler(recipe, replace(material, photos=None, validation=None), tmp_path / "run")
    assert again.steps == 6


@pytest.mark.slow
def test_training_starts_from_a_downscaler_of_another_guide(photos, tmp_path):
    guide = CompactUpscaler(Cell(1, 2), width=4, depth=3)
    lanczos = FixedPair("lanczos", Fraction(2))
    write_pair_dir(tmp_path / "guide", "guide-x2", lanczos, guide, licence="none", data="none", training="none")
    loop = LoopSettings(steps=1, batch=1, learning_rate=1e-9, warmup_steps=0)
    triples = replace(SMALL, shots=1)
    recipe = DownscalerRecipe(
        start="adaptive-x2",
        guide=str(tmp_path / "guide"),
        beside="adaptive-x2",
        held_out_shots=1,
        triples=triples,
        loop=loop,
    )
    material = Material(photos=photos, validation=photos, clips=None, sets=tmp_path / "material")
    train_downscaler(recipe, material, tmp_path / "run")
    pair = load_pair_dir(tmp_path / "run" / "pair")
    written, large = pair.quick_downscaler.state_dict(), pair.downscaler.state_dict()
    started = load_pair_dir(find_pair("adaptive-x2", None).folder).downscaler.state_dict()
    assert all(torch.equal(weights, started[name]) for name, weights in large.items())
    for name, weights in guide.state_dict().items():
        assert torch.equal(written.pop(f"guide.{name}"), weights)
    for name, weights in written.items():
        torch.testing.assert_close(weights, started[name], rtol=0, atol=1e-6)


def test_training_cannot_start_from_a_downscaler_of_other_cells(tmp_path):
    guide = CompactUpscaler(Cell(2, 4), width=4, depth=3)
    write_pair_dir(tmp_path / "guide", "guide-x2", FixedPair("lanczos", Fraction(2)), guide)
    recipe = DownscalerRecipe(start="adaptive-x2", guide=str(tmp_path / "guide"), triples=SMALL)
    with pytest.raises(TrainingError, match="adaptive-x2: its downscaler is not the one that the recipe describes"):
        train_downscaler(recipe, nothing(tmp_path), tmp_path / "run")


def nothing(folder):
    return Material(photos=None, validation=None, clips=None, sets=folder)


def test_what_is_missing_is_reported_before_anything_is_made(photos, tmp_path):
    with pytest.raises(TrainingError, match="--validation"):
        train_downscaler(DownscalerRecipe(triples=SMALL), replace(nothing(tmp_path), photos=photos), tmp_path)
    assert not list(tmp_path.rglob("*.npy"))


def test_incomplete_material_names_the_option(tmp_path):
    recipe = DownscalerRecipe(triples=SMALL)
    with pytest.raises(TrainingError, match="--photos"):
        train_downscaler(recipe, nothing(tmp_path), tmp_path)


@pytest.mark.parametrize("pair", ["espcn-x2", "progressive-x8"])
def test_other_upscalers_cannot_guide(pair, tmp_path):
    recipe = DownscalerRecipe(pair=pair, triples=SMALL)
    with pytest.raises(TrainingError, match="compact"):
        train_downscaler(recipe, nothing(tmp_path), tmp_path)


def test_recipes_in_the_repository_are_valid():
    recipes = sorted((Path(__file__).parents[1] / "pipelines").glob("downscaler_*.toml"))
    pairs = [read_recipe(DownscalerRecipe, path).pair for path in recipes]
    assert sorted(set(pairs)) == [f"adaptive-x{scale}" for scale in ("1.5", "2", "3", "4")]


def test_odd_settings_are_refused(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text("[triples]\ninner = 20\n")
    with pytest.raises(ConfigError, match="inner 20"):
        read_recipe(DownscalerRecipe, path)
    with pytest.raises(TrainingError, match="no triples"):
        Triples(Path(tmp_path))
