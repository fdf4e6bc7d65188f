"""`vidscale.models.pair_files`, `cards` and ``vidscale models``: pairs written, read, found, damaged."""

import errno
import hashlib
import json
import os
import stat
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from robustness import documented
from safetensors.torch import save_file
from test_checkpoint import kgn, saved, usn
from typer.testing import CliRunner, Result

from vidscale.cli import models
from vidscale.errors import ConfigError, ModelError
from vidscale.models.cards import PairCard, find_pair_dir, installed, read_card, user_folder
from vidscale.models.networks.car import ResamplerNet
from vidscale.models.networks.edsr import EDSR
from vidscale.models.pair_files import load_pair_dir, write_pair_dir
from vidscale.models.weight_files import content_hash, read_arrays


@pytest.fixture
def networks() -> tuple[ResamplerNet, EDSR]:
    torch.manual_seed(0)
    return ResamplerNet(2, stem=2, body=2, trunk=2, blocks=1), EDSR(2, blocks=1, width=2, res_scale=0.1)


pytestmark = pytest.mark.usefixtures("home")


def test_content_hash_is_of_names_dtypes_shapes_and_bytes() -> None:
    arrays = {"b": np.float32([[1, 2]]), "a": np.array(3, np.float16)}
    expected = b'["a", "float16", []]\n\x00\x42' + b'["b", "float32", [1, 2]]\n\x00\x00\x80\x3f\x00\x00\x00\x40'
    assert content_hash(arrays) == hashlib.sha256(expected).hexdigest()
    assert content_hash({"a": arrays["a"], "b": np.float32([[1], [2]]).T}) == content_hash(arrays)


def test_content_hash_distinguishes_everything() -> None:
    zeros = np.zeros((2, 3), np.float32)
    variants = [
        {"a": zeros},
        {"b": zeros},
        {"a": zeros.T},
        {"a": zeros.flatten()},
        {"a": zeros.astype(np.int32)},
        {"a": zeros, "b": zeros},
        {"a": zeros + np.eye(3, dtype=np.float32)[:2]},
        {},
    ]
    assert len({content_hash(variant) for variant in variants}) == len(variants)


def test_weights_of_a_kind_that_is_not_known_are_named(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2, dtype=torch.bfloat16)}, tmp_path / "weights.safetensors")
    with pytest.raises(ModelError, match=r"weights\.safetensors cannot be read: data type 'bfloat16'"):
        read_arrays(tmp_path / "weights.safetensors")


def test_pair_comes_back_as_written(networks: tuple[ResamplerNet, EDSR], tmp_path: Path) -> None:
    folder = tmp_path / "some" / "car-x2"
    card = write_pair_dir(folder, "car-x2", *networks, licence="GPL-3.0", data="Ωmega photographs", training="train …")
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "weights.safetensors"]
    assert len({stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}) == 1  # who reads one reads both
    pair = load_pair_dir(folder)
    assert pair.card == card == read_card(folder)
    assert (card.name, card.scale, card.licence, card.source) == ("car-x2", Fraction(2), "GPL-3.0", "unknown")
    sizes = {"stem": 2, "body": 2, "trunk": 2, "heads": 2, "blocks": 1}
    assert card.downscaler == {"network": "resampler", "scale": 2} | sizes
    assert card.upscaler == {"network": "edsr", "scale": 2, "blocks": 1, "width": 2, "res_scale": 0.1}
    image = torch.rand(1, 3, 20, 20)
    assert torch.equal(pair.downscaler.downscale(image), networks[0].downscale(image))
    assert torch.equal(pair.upscaler.upscale(image), networks[1].upscale(image))
    again = write_pair_dir(folder, "car-x2", pair.downscaler, pair.upscaler, overwrite=True)
    assert again.sha256 == card.sha256


def test_pair_is_not_replaced_unasked(networks: tuple[ResamplerNet, EDSR], tmp_path: Path) -> None:
    write_pair_dir(tmp_path / "pair", "car-x2", *networks)
    with pytest.raises(ConfigError, match=r"pair already has a pair; -y replaces it$"):
        write_pair_dir(tmp_path / "pair", "car-x2", *networks)


def test_write_pair_dir_errors(networks: tuple[ResamplerNet, EDSR], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"^scales differ: 2 for the downscaler, 4 for the upscaler$"):
        write_pair_dir(tmp_path / "pair", "car-x2", networks[0], EDSR(4, blocks=1, width=2))
    with pytest.raises(ModelError, match=r"^invalid pair name 'a name': use at most 64 letters, digits"):
        write_pair_dir(tmp_path / "pair", "a name", *networks)
    assert not (tmp_path / "pair").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"^cannot write .*file: File exists$"):
        write_pair_dir(tmp_path / "file", "car-x2", *networks)


@pytest.mark.parametrize("folder", ["pair", "new/pair"])
def test_folder_of_a_pair_is_not_left_empty(
    networks: tuple[ResamplerNet, EDSR], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    def full(path: Path, _: object) -> None:
        path.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ConfigError, match=r"^cannot write .*pair: No space left on device$"):
        write_pair_dir(tmp_path / folder, "car-x2", *networks)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(ConfigError):
        write_pair_dir(tmp_path / folder, "car-x2", *networks)
    assert list((tmp_path / folder).iterdir()) == []


def test_load_pair_dir_errors(networks: tuple[ResamplerNet, EDSR], tmp_path: Path) -> None:
    folder = tmp_path / "pair"
    with pytest.raises(ModelError, match=r"no pair in .*pair: card.json: No such file or directory$"):
        load_pair_dir(folder)
    write_pair_dir(folder, "car-x2", *networks)
    weights, card = folder / "weights.safetensors", folder / "card.json"
    good_weights, good_card = weights.read_bytes(), json.loads(card.read_text())

    for damage, message in [
        (good_weights[:-1] + bytes([good_weights[-1] ^ 1]), r"is damaged: it does not match the card of car-x2$"),
        (good_weights[:-100], r"weights.safetensors cannot be read: "),
        (b"", r"weights.safetensors cannot be read: "),
    ]:
        weights.write_bytes(damage)
        with pytest.raises(ModelError, match=message):
            load_pair_dir(folder)
    weights.unlink()
    with pytest.raises(ModelError, match=r"weights.safetensors cannot be read: No such file"):
        load_pair_dir(folder)
    weights.write_bytes(good_weights)

    for change, message in [
        ({"scale": "4"}, r"pair: the networks have scales 2 and 2, the card 4$"),
        ({"upscaler": {"network": "other"}}, r"unknown kind of network: resampler, other; "),
        ({"scale": "two"}, r"card.json: broken card$"),
        ({"parameters": "12"}, r"card.json: broken card: parameters is '12'$"),
        ({"vidscale_pair": 2}, r"card.json: card format 2, this vidscale reads 1$"),
        ({"name": "../.."}, r"card.json: invalid pair name '../..'"),
        ({"sha256": "../../mine"}, r"card.json: invalid SHA-256 '../../mine'$"),
        ({"sha256": good_card["sha256"].upper()}, r"invalid SHA-256 '\S+'$"),
        *(({"scale": scale}, r"card.json: broken card$") for scale in ("0", "-2", "1/2", "9", "1e999999999")),
        ({"upscaler": {"network": ["edsr"]}}, r"card.json: broken card: upscaler is {'network': \['edsr'\]}$"),
        ({"downscaler": {"network": None}}, r"card.json: broken card: downscaler is {'network': None}$"),
        *(
            (
                {"downscaler": {"network": "filter", "family": "area", "sharpness": sharpness}},
                r"sharpness \S+ is outside",
            )
            for sharpness in ("much", 2.5, float("nan"))
        ),
    ]:
        card.write_text(json.dumps(good_card | change))
        with pytest.raises(ModelError, match=message):
            load_pair_dir(folder)
    for text in ("", "[]", "{}", "3"):
        card.write_text(text)
        with pytest.raises(ModelError, match=r"card.json: broken card$"):
            load_pair_dir(folder)
    card.write_text(json.dumps(good_card | {"later": 1}))
    assert load_pair_dir(folder).card == PairCard.from_json(json.dumps(good_card))


def test_pairs_are_found_by_name_and_by_folder(networks: tuple[ResamplerNet, EDSR], tmp_path: Path) -> None:
    assert installed() == {}
    with pytest.raises(ModelError, match=r"^unknown pair 'car-x2'; installed are none$"):
        find_pair_dir("car-x2")
    write_pair_dir(user_folder() / "car-x2", "car-x2", *networks)
    write_pair_dir(tmp_path / "elsewhere", "car-x2", *networks)
    assert installed() == {"car-x2": tmp_path / "home" / "vidscale" / "pairs" / "car-x2"}
    assert find_pair_dir("car-x2") == user_folder() / "car-x2"
    assert find_pair_dir("elsewhere") == Path("elsewhere")
    with pytest.raises(ModelError, match=r"^unknown pair 'car-x4'; installed are car-x2$"):
        find_pair_dir("car-x4")


def vidscale(*words: object) -> Result:
    app = typer.Typer()
    app.add_typer(models.app, name="models")
    return CliRunner().invoke(app, ["models", *map(str, words)])


def test_models_import_car_makes_a_pair(tmp_path: Path) -> None:
    torch.manual_seed(0)
    states = kgn(4), usn(4)
    checkpoints = saved(states[0], tmp_path / "kgn.pth"), saved(states[1], tmp_path / "usn.pth")
    count = sum(tensor.numel() for state in states for tensor in state.values())
    result = vidscale("import-car", *checkpoints, "--scale", 4, "--licence", "GPL-3.0 as published")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"car-x4: {count:,} parameters, in home/vidscale/pairs/car-x4\n"
    card = load_pair_dir(user_folder() / "car-x4").card
    assert card.licence == "GPL-3.0 as published"
    assert card.source == "imported from kgn.pth and usn.pth"

    assert vidscale("import-car", *checkpoints, "--scale", 4).exit_code == 1
    result = vidscale("import-car", *checkpoints, "--scale", 4, "-y", "-o", "other", "--family", "mine", "--json")
    record = json.loads(result.stdout)
    assert (record["event"], record["name"], record["sha256"]) == ("imported", "mine-x4", card.sha256)
    assert set(record) == documented("imported") | {"event"}


def test_models_list_and_show(networks: tuple[ResamplerNet, EDSR]) -> None:
    card = write_pair_dir(user_folder() / "car-x2", "car-x2", *networks, licence="CC0")
    lines = vidscale("list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["lanczos", "bicubic", "area", "gaussian", "sharp", "car-x2"]
    assert lines[-1].endswith(f"x2, {card.parameters:,} parameters, licence: CC0")
    records = [json.loads(line) for line in vidscale("list", "--json").stdout.splitlines()]
    assert [record["name"] for record in records] == ["lanczos", "bicubic", "area", "gaussian", "sharp", "car-x2"]

    shown = vidscale("show", "car-x2").stdout
    assert "\nupscaler     network edsr, scale 2, blocks 1, width 2, res_scale 0.1\n" in shown
    record = json.loads(vidscale("show", "car-x2", "--json").stdout)
    assert record == records[-1]
    for one in records:
        assert (one["event"], set(one)) == ("pair", documented("pair") | {"event"})
    assert (record["scale"], record["sha256"], record["folder"]) == ("2", card.sha256, str(user_folder() / "car-x2"))
    assert "without weights" in vidscale("show", "lanczos").stdout


def test_models_export_makes_a_pair_that_is_the_same(networks: tuple[ResamplerNet, EDSR], tmp_path: Path) -> None:
    card = write_pair_dir(user_folder() / "car-x2", "car-x2", *networks, licence="CC0")
    result = vidscale("export", "car-x2", "-o", "there", "--json")
    record = json.loads(result.stdout)
    assert (record["event"], record["sha256"], set(record)) == (
        "exported",
        card.sha256,
        documented("exported") | {"event"},
    )
    assert load_pair_dir(tmp_path / "there").card == card
    result = vidscale("export", "car-x2", "-o", "there")
    assert (result.exit_code, result.stderr) == (1, "vidscale: there already has a pair; -y replaces it\n")
    assert vidscale("export", "car-x2", "-o", "there", "-y").exit_code == 0
    (user_folder() / "car-x2" / "weights.safetensors").write_bytes(b"")
    assert "cannot be read" in vidscale("export", "car-x2", "-o", "elsewhere").stderr
    assert not Path("elsewhere").exists()


def test_models_errors(networks: tuple[ResamplerNet, EDSR], tmp_path: Path) -> None:
    result = vidscale("show", "nothing-x2")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "vidscale: unknown pair 'nothing-x2'; installed are none\n"
    result = vidscale("export", "lanczos", "--to", "glsl", "-o", "lanczos.glsl")
    assert result.stderr == "vidscale: lanczos is a fixed filter: there are no weights to export\n"

    missing = tmp_path / "kgn.pth"
    result = vidscale("import-car", missing, missing, "--scale", 2)
    assert (result.exit_code, result.stderr) == (1, f"vidscale: {missing} does not exist\n")
    result = vidscale("import-car", missing, missing, "--scale", 3)
    assert (result.exit_code, result.stderr) == (2, "vidscale: --scale 3: CAR exists for 2 and 4 only\n")

    write_pair_dir(user_folder() / "car-x2", "car-x2", *networks)
    (user_folder() / "car-x2" / "card.json").write_text("{}")
    result = vidscale("list")
    assert (result.exit_code, len(result.stdout.splitlines())) == (1, 5)
    assert result.stderr.endswith("card.json: broken card\n")
