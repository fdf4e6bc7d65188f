"""`vidscale.adapt` and `--adapt`: updates trained for a movie's shots, carried in its keyframes, used by decoders."""

import contextlib
import itertools
import json
import math
import re
import subprocess
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from material import FFMPEG, coding, make, packet_data, plan, restored
from robustness import run_here
from skimage import data

from vidscale import api
from vidscale.adapt import adapting, choice, material, training
from vidscale.adapt.adapting import Adapted, Adapter
from vidscale.adapt.choice import Score, chosen, distortion_per_bit, is_cheap
from vidscale.adapt.loss import Loss, ssim
from vidscale.adapt.material import Memory
from vidscale.adapt.rounding import Rounding
from vidscale.adapt.samples import Patches, Sample, sampled
from vidscale.adapt.segments import Segment, long_shots, segments_of
from vidscale.adapt.soap import Soap
from vidscale.adapt.training import Steps, Target, trained_updates
from vidscale.batch import local
from vidscale.batch.chunk_encode import run_chunk
from vidscale.batch.chunked import ChunkedEncoder, plan_chunked
from vidscale.batch.tasks import ChunkResult, ChunkTask
from vidscale.config import DecodeSettings, EncodeSettings
from vidscale.errors import UnusableIdentityError
from vidscale.jobs import reading
from vidscale.jobs.adaptation import NOTHING, Adaptation, SegmentFacts, joined
from vidscale.jobs.restore import open_small, restored_frames
from vidscale.media import bitstream
from vidscale.media.file_identity import probe_identity
from vidscale.media.frames import PixelFormat, YuvImage
from vidscale.media.geometry import Geometry
from vidscale.media.identity import Identity, extract, extract_update
from vidscale.media.probe import probe
from vidscale.models.networks.folded import FoldedNetwork
from vidscale.models.pairs import find_pair, follows_updates, with_effort
from vidscale.per_title.deciding import chosen_settings, decide
from vidscale.per_title.record import encode_command
from vidscale.report.rows import Shot
from vidscale.stages.read_log import ReadLog
from vidscale.system.threads import Clock
from vidscale.triton_kernels.chain import ChainRunner

PAIR = "adaptive-x2"
CODECS = {"x264": "h264", "x265": "hevc", "svtav1": "av1"}


def test_folded_network_is_the_chain():
    """Against the compiled chain in float32."""
    for name in (PAIR, "adaptive-x1.5", "restore-x1", "espcn-x2"):
        chain = find_pair(name, None, "cpu").chain(28)
        network = FoldedNetwork(chain)
        plane = np.ascontiguousarray(data.camera()[100:160, 200:272])
        height, width = (int(side * chain.scale) for side in plane.shape)
        margin = network.margin * chain.small
        luma = torch.from_numpy(np.pad(plane, margin, mode="edge")).float().div(255)[None, None]
        restored = network(luma)[0, 0].mul(255).add(0.5).floor().clamp(0, 255).detach().numpy()
        wanted = ChainRunner(chain, 8, "float32")(plane, height, width)
        assert np.abs(restored - wanted.astype(int)).max() <= 1
        assert (restored == wanted).mean() > 0.999


def test_folded_network_has_the_gradients_of_its_convolutions():
    chain = find_pair("restore-x1", None, "cpu").chain(28)
    network = FoldedNetwork(chain).double()
    luma = torch.rand(1, 1, 19, 19, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    network(luma).sum().backward()
    gain, bias, weight = network.gains[2], network.biases[2], network.weights[2]
    assert torch.allclose(gain.grad, (weight.grad * weight).sum((1, 2, 3)))  # the gain multiplies the weights
    for parameter in (gain, bias):
        step = torch.zeros_like(parameter)
        step[1] = 1e-6
        with torch.no_grad():
            parameter += step
            more = network(luma).sum()
            parameter -= 2 * step
            less = network(luma).sum()
            parameter += step
        assert (more - less) / 2e-6 == pytest.approx(float(parameter.grad[1]), rel=1e-4)


def test_ranges_are_those_of_the_activations():
    chain = find_pair(PAIR, None, "cpu").chain(28)
    network = FoldedNetwork(chain)
    pictures = torch.rand(3, 1, 30, 40, generator=torch.Generator().manual_seed(0))
    first = torch.nn.functional.leaky_relu(
        torch.nn.functional.conv2d(pictures, network.weights[0], network.biases[0]), chain.slope
    )
    found = network.folded(pictures).ranges[0]
    assert np.allclose(found, torch.stack([first.amin((0, 2, 3)), first.amax((0, 2, 3))]).detach().numpy(), atol=1e-6)


def test_ssim_is_that_of_ffmpeg():
    a = data.camera()[:64, :80]
    b = np.clip(a + np.random.default_rng(0).normal(0, 12, a.shape), 0, 255).astype(np.uint8)
    raw = ["-f", "rawvideo", "-pix_fmt", "gray", "-s", "80x64", "-i", "-"]
    graph = "split[a][b];[a]trim=end_frame=1[a];[b]trim=start_frame=1,setpts=PTS-STARTPTS[b];[a][b]ssim"
    words = [FFMPEG, *raw, "-lavfi", graph, "-f", "null", "-"]
    said = subprocess.run(words, input=a.tobytes() + b.tobytes(), capture_output=True, check=True)
    wanted = float(re.search(rb"SSIM Y:([0-9.]+)", said.stderr)[1])
    found = ssim(*(torch.from_numpy(picture / 255)[None, None] for picture in (a, b)))
    assert float(found) == pytest.approx(wanted, abs=2e-5)  # its constants are integers


def test_loss_is_one_at_first_and_falls_with_both_errors():
    source = torch.from_numpy(data.camera()[:64, :64] / 255)[None, None]
    noisy = source + 0.05 * torch.randn(source.shape, generator=torch.Generator().manual_seed(0), dtype=source.dtype)
    loss = Loss(noisy, source)
    assert float(loss(noisy, source)) == pytest.approx(1)
    assert float(loss((noisy + source) / 2, source)) < 0.75
    assert float(loss(source, source)) == pytest.approx(0, abs=1e-9)


@pytest.mark.usefixtures("one_thread")
def test_soap_solves_what_adam_does_not():
    """Least squares whose directions differ a thousandfold in curvature, and are not along the axes."""
    random = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(20, 20, generator=random))[0]
    inputs = torch.randn(400, 20, generator=random) * torch.logspace(0, -1.5, 20) @ turn
    wanted = torch.randn(6, 20, generator=random)

    def left(optimiser_of):
        weight = torch.nn.Parameter(torch.zeros(6, 20))
        step = optimiser_of(weight)
        for n in range(200):
            weight.grad = None
            (inputs @ (weight - wanted).T).square().mean().backward()
            step(0.5 + 0.5 * math.cos(math.pi * n / 200))
        return float((inputs @ (weight.detach() - wanted).T).square().mean())

    def adam(weight):
        optimiser = torch.optim.Adam([weight], lr=0.05)

        def step(part):
            optimiser.param_groups[0]["lr"] = 0.05 * part
            optimiser.step()

        return step

    assert left(lambda weight: Soap([weight], 0.05).step) < 0.1 * left(adam)


def test_rounding_trains_what_an_update_stores():
    """Gradients are those of the rounded weights and of the price; dearer bits make larger steps."""
    own = [[torch.nn.Parameter(torch.tensor([1.0, 2.0]))]]
    weight = torch.nn.Parameter(torch.tensor([1.26, 1.9]))
    roundings = [
        Rounding([[weight]], own, per_bit, 1.0, lambda: 3 * weight.reshape(1, 1, 1, 2)) for per_bit in (1e-3, 4e-3)
    ]
    step = roundings[0].steps[0]
    assert roundings[1].steps[0] == pytest.approx(2 * step)
    curvature = 9.0  # of the mean of (3 w)^2 over two outputs, by one of two weights
    wanted = 2 * math.sqrt(12 * 1e-3 / (math.log(2) * curvature))
    assert 8 / 9 * wanted < step <= wanted
    seen = []

    def backward():
        seen.append(weight.detach().clone())
        weight.grad = torch.zeros(2)

    roundings[0].differentiate(backward)
    assert torch.allclose(weight, torch.tensor([1.26, 1.9]))
    steps = (seen[0] - own[0][0].detach()) / step
    assert torch.allclose(steps, steps.round(), atol=1e-5)
    price = 1e-3 * 6 / math.log(2)
    assert torch.allclose(weight.grad, torch.tensor([price / (0.26 + step), -price / (0.1 + step)]))


def shots(*lengths):
    starts = [0, *itertools.accumulate(lengths)]
    return [Shot(start, Fraction(start, 25), frames, None) for start, frames in zip(starts, lengths, strict=False)]


def test_segments_begin_at_keyframes_and_leave_out_short_shots():
    found = long_shots(shots(50, 10, 40, 24, 23))
    assert [shot.start_index for shot in found] == [0, 60, 100]
    assert segments_of([0, 60, 100], {0, 30, 60, 147}, 150) == [Segment(0, 60, 2), Segment(60, 150, 2)]


@pytest.mark.parametrize(("frames", "expected"), [(1, 1), (12, 12), (24, 12), (100, 13), (1000, 48)])
def test_frames_of_a_segment_that_are_sampled(frames, expected):
    segment = Segment(5, 5 + frames, 1)
    found = sum(sampled(segment, index) for index in range(5 + frames + 5))
    assert expected - 1 <= found <= expected


def test_patches_are_where_the_source_is():
    """At every scale the decoded patch is the source's, found by nearest neighbours."""
    for name in (PAIR, "adaptive-x1.5", "adaptive-x3", "restore-x1"):
        network = FoldedNetwork(find_pair(name, None, "cpu").chain(28))
        small, large = network.cell
        hr = np.random.default_rng(0).integers(0, 255, (200, 304)).astype(np.uint8)
        rows, columns = ((np.arange(-(-side * small // large)) * large // small) for side in hr.shape)
        patches = Patches([Sample(hr[rows][:, columns], hr)], network.cell, network.margin, 8)
        lr, source = patches(2)
        margin = network.margin * small
        side = lr.shape[-1] - 2 * margin
        assert source.shape[-1] * small == side * large
        inner = lr[..., margin:-margin, margin:-margin]
        places = torch.arange(side) * large // small
        assert torch.equal(inner, source[..., places, :][..., places])


@pytest.mark.parametrize(("frames", "size"), [(1, (40, 64)), (12, (200, 304)), (3, (1080, 1920))])
def test_strips_cover_the_picture_once(frames, size):
    """With a margin on both sides. Large pictures are covered in part, from the top to the bottom."""
    network = FoldedNetwork(find_pair(PAIR, None, "cpu").chain(28))
    rows = np.arange(size[0])[:, None] % 251 + np.zeros(size[1], int)
    hr = np.zeros([2 * side for side in size], np.uint8)
    patches = Patches([Sample(rows.astype(np.uint8), hr)] * frames, network.cell, network.margin, 8)
    strips = patches.strips(8)
    margin = network.margin
    seen = strips[:, 0, margin:-margin, margin].mul(255).round().int()
    assert strips.shape[0] <= 8
    assert strips.shape[3] == size[1] + 2 * margin
    assert strips[:, :, 2 * margin :].numel() <= 620_000
    assert int(seen[0, 0]) == 0
    assert int(seen[-1, -1]) == (size[0] - 1) % 251
    if size[0] < 1080:
        assert set(seen.flatten().tolist()) == set(range(min(size[0], 251)))


def test_small_pictures_have_smaller_patches():
    hr = np.zeros((32, 40), np.uint8)
    network = FoldedNetwork(find_pair(PAIR, None, "cpu").chain(28))
    lr, source = Patches([Sample(hr[::2, ::2], hr)], network.cell, network.margin, 8)(3)
    assert source.shape == (3, 1, 32, 32)
    assert lr.shape == (3, 1, 16 + 2 * network.margin, 16 + 2 * network.margin)


def test_the_update_with_the_least_cost_is_chosen():
    own, light, full = Score((1000, 1000)), Score((980, 980)), Score((900, 900))
    cheap = {"keyframes": 1, "samples": 0, "bit_depth": 8}
    sizes = [0, 100, 1500]
    assert chosen([own, light, full], sizes, per_bit=0, **cheap) == 2
    assert chosen([own, light, full], sizes, per_bit=0.015, **cheap) == 1
    assert chosen([own, light, full], sizes, per_bit=1, **cheap) == 0
    assert chosen([own, light], sizes[:2], per_bit=0.015, **(cheap | {"keyframes": 3})) == 0
    worse = Score((100, 1024))  # 0.103 dB in its second frame
    assert chosen([own, worse], [0, 100], per_bit=0, **cheap) == 0
    assert chosen([own, worse], [0, 100], per_bit=0, **(cheap | {"samples": 100_000})) == 1


def test_update_is_cheap_if_its_bits_cost_less_than_half_of_its_gain():
    own, other = Score((500, 500)), Score((450, 450))
    bits = 8 * 2 * (102 + choice._FRAMING)
    assert is_cheap(own, other, 102, keyframes=2, per_bit=49 / bits)
    assert not is_cheap(own, other, 102, keyframes=2, per_bit=51 / bits)
    assert not is_cheap(other, own, 102, keyframes=2, per_bit=0)


def test_memory_waits_for_other_segments():
    """A segment that is too large by itself gets none."""
    first, second = Segment(0, 10, 1), Segment(10, 20, 1)
    memory = Memory(100)
    assert memory.take(first, 60)
    assert memory.take(first, 40)
    assert not memory.take(first, 1)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(memory.take, second, 100)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.3)
        memory.free(first)
        assert waiting.result(timeout=10)
    assert not memory.take(second, 1)


def test_torch_has_one_thread_until_the_last_movie_is_adapted(monkeypatch):
    threads = [4]
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads[-1])
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    first = contextlib.ExitStack()
    first.enter_context(adapting._one_thread)
    with adapting._one_thread:
        first.close()
        assert threads == [4, 1]
    assert threads == [4, 1, 4]


def test_lambda_doubles_every_three_crf():
    at_12 = distortion_per_bit(12, Fraction(1), 8)
    assert distortion_per_bit(15, Fraction(1), 8) == pytest.approx(2 * at_12)
    assert distortion_per_bit(30, Fraction(2), 10) == pytest.approx(at_12 * 64 * 4 * 16)


@pytest.mark.slow
def test_lambda_is_what_the_encoder_saves(tmp_path):
    """Restored without adaptation at two crfs: bits against squared error, within a factor of three."""
    source = photographs(tmp_path, shots=1, size=(192, 144))
    wanted = np.stack(list(pictures_of(source))).astype(float)
    errors, sizes = [], []
    for crf in (26, 30):
        small = adapted(source, tmp_path / "small.mp4", "x265", "off", crf=crf, preset="medium").path
        errors.append(np.square(lumas(small) - wanted).sum())
        sizes.append(sum(map(len, packet_data(small, 0))))
    per_bit = (errors[1] - errors[0]) / (sizes[0] - sizes[1]) / 8
    assert 1 / 3 < per_bit / distortion_per_bit(28, Fraction(2), 8) < 3


@pytest.fixture
def quickly(monkeypatch):
    """Trainings of a few steps, for pictures so small that no update would pay."""
    monkeypatch.setattr(choice, "_AT_CRF_12", 0.1)
    monkeypatch.setitem(training.STEPS, "full", Steps(light=12, full=30))
    monkeypatch.setitem(training.STEPS, "light", Steps(light=12, full=0))
    monkeypatch.setitem(training.STEPS, "best", Steps(light=12, full=30, refined=20))


def photographs(folder, *, frames=30, fmt="yuv420p", size=(128, 96), shots=2):
    """A movie of one or two photographs, each moved for some frames: so many shots. Lossless."""
    width, height = size
    pictures = []
    for photo in (data.camera(), data.brick())[:shots]:
        for n in range(frames):
            y, x = 100 + n, 60 + 2 * n
            pictures.append(photo[y : y + 2 * height : 2, x : x + 2 * width : 2])
    words = ["-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{width}x{height}", "-r", "25", "-i", "-"]
    words += ["-vf", f"format={fmt},setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709"]
    words += ["-pix_fmt", fmt, "-c:v", "ffv1"]
    return make(folder / "movie.mkv", *words, data=np.stack(pictures).tobytes())


def adapted(source, output, codec="x264", adapt="full", **settings):
    """An adapted movie."""
    given = {"pair": PAIR, "scale": "2", "codec": codec, "crf": 26, "adapt": adapt, "report": False}
    return coding(source, output, **(given | settings))


def psnr_y(source, restored):
    """By ffmpeg's filter, dB; both files have the same tags."""
    command = [FFMPEG, "-hide_banner", "-i", str(restored), "-i", str(source), "-lavfi", "psnr", "-f", "null", "-"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL).stderr
    return float(re.search(r"PSNR y:(\S+)", said)[1])


def keyframe_updates(path, codec):
    """Identity and update of each keyframe, in decoding order."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        extradata = stream.codec_context.extradata
        found = []
        for packet in container.demux(stream):
            if packet.size and packet.is_keyframe:
                known = extract(memoryview(packet), codec=codec, extradata=extradata)
                some = {"codec": codec, "extradata": extradata, "identity": known}
                found.append((known, extract_update(memoryview(packet), **some)))
        return found


def without_updates(path, output):
    """The same stream with identities of version 1, as without adaptation: the generic network restores it."""
    with av.open(str(path)) as source, av.open(str(output), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream, opaque=True)
        for packet in source.demux(stream):
            if packet.size:
                changed = av.Packet(bytes(packet).replace(bitstream.UPDATE_UUID, bytes(range(1, 17))))
                changed.pts, changed.dts, changed.duration = packet.pts, packet.dts, packet.duration
                changed.time_base, changed.is_keyframe, changed.stream = packet.time_base, packet.is_keyframe, copy
                target.mux(changed)
    return output


def frames_of(path, log=None):
    small = open_small(path, ffmpeg=FFMPEG, settings=DecodeSettings())
    return list(restored_frames(small, log=log or ReadLog(), decoding=Clock("decode"), upscaling=Clock("upscale")))


def lumas(path, log=None):
    return np.stack([frame.planes[0] for frame in frames_of(path, log)])


@pytest.mark.slow
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.usefixtures("quickly")
def test_adapted_movie_is_restored_better_from_the_same_bits(codec, tmp_path):
    source = photographs(tmp_path)
    outcome = adapted(source, tmp_path / "small.mp4", codec)
    kinds = [segment.kind for segment in outcome.adapted]
    assert len(kinds) == 2
    assert any(kind != "none" for kind in kinds)
    assert re.search(r"upscaler adapted to \d of 2 shots: \+\d\.\d+ dB", outcome.notes[-1])
    assert probe_identity(outcome.path).vidscale == 2
    found = keyframe_updates(outcome.path, CODECS[codec])
    assert len({update for _, update in found}) == 2
    assert sum(len(update) for _, update in found) == sum(segment.bytes for segment in outcome.adapted)

    log = ReadLog()
    generic = lumas(without_updates(outcome.path, tmp_path / "generic.mp4"), log)
    assert log.lost_updates == sum(bool(update) for _, update in found)
    log = ReadLog()
    better = lumas(outcome.path, log)
    assert log.lost_updates == 0
    check_gains(outcome, generic, better, np.stack(list(pictures_of(source))))

    restoring = [
        restored(path, tmp_path / f"{path.stem}.mkv", lossless=True)
        for path in (outcome.path, tmp_path / "generic.mp4")
    ]
    assert psnr_y(source, restoring[0]) > psnr_y(source, restoring[1]) + 0.02


@pytest.mark.slow
@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize("kept", ["first", "second"])
def test_movie_is_encoded_again_for_its_updates(kept, tmp_path, monkeypatch):
    """Of both encodes, the one that costs less is kept; gains are over the pair's own network in the first."""
    costs = iter([1, 2, 2, 1] if kept == "first" else [1, 2, 1, 2])  # of the second and the first, for two worths
    monkeypatch.setattr(Adapter, "cost", lambda *_: next(costs))
    source = photographs(tmp_path)
    full, best = (adapted(source, tmp_path / f"{way}.mp4", "x265", way, effort="patient") for way in ("full", "best"))
    assert any(segment.kind != "none" for segment in best.adapted)
    generic = without_updates(full.path, tmp_path / "generic.mp4")
    log = ReadLog()
    check_gains(best, lumas(generic), lumas(best.path, log), np.stack(list(pictures_of(source))))
    assert log.lost_updates == 0
    sizes = [[len(data) for data in packet_data(outcome.path, 0)] for outcome in (full, best)]
    assert (sizes[0] == sizes[1]) == (kept == "first")


def test_cost_is_distortion_and_bits():
    pair = find_pair(PAIR, None, "cpu")
    adapter = Adapter(pair, Geometry(8, 16, Fraction(2), 4, 8), 27, Steps())
    some = [
        Adapted(Segment(0, 10, 2), "full", bytes(100), 5.0, 4.0, 0),
        Adapted(Segment(10, 15, 1), None, b"", 3, 3, 0),
    ]
    per_bit = distortion_per_bit(27, Fraction(2), 8)
    bits = 8 * (7000 + 2 * (100 + choice._FRAMING))
    assert adapter.cost(some, 7000, 8) == pytest.approx(8 * 16 * (10 * 4 + 5 * 3) + per_bit * bits)
    assert adapter.cost(some, 7000, 8, 0.5) == pytest.approx(8 * 16 * (10 * 4 + 5 * 3) + per_bit * bits / 2)


@pytest.mark.slow
def test_downscaler_corrects_what_the_adapted_upscaler_gets_wrong(one_thread):
    pair = find_pair(PAIR, None, "cpu")
    source = np.ascontiguousarray(data.camera()[100:292, 60:252])
    image, chain = YuvImage((source,), PixelFormat("gray", 8)), pair.chain(28)
    small = pair.downscale(image, 28)[0]
    target = Target(8, chain.precisions[-1], pair.sha256, 1e-9)
    update = next(trained_updates(chain, [Sample(small, source)], target, Steps(light=0, full=60))).update.to_bytes()
    restore = pair.luma_upscaler(28, 8, update)

    def error(luma):
        return np.square(restore(luma, *source.shape).astype(float) - source).mean()

    assert error(pair.downscale(image, 28, update)[0]) < 0.98 * error(small)


def test_downscalers_that_follow_updates():
    assert follows_updates(find_pair(PAIR, None, "cpu"))
    assert not follows_updates(with_effort(find_pair(PAIR, None, "cpu"), "fast"))
    for name in ("adaptive-quality-x2", "adaptive-x3", "restore-x1", "espcn-x2"):  # another guide, or none
        assert not follows_updates(find_pair(name, None, "cpu"))


def check_gains(outcome, generic, better, wanted):
    """The segments' gains are those of the restored frames."""
    first = 0
    for segment in outcome.adapted:
        part = slice(first, first := first + segment.frames)
        before, after = (np.square(some[part] - wanted[part].astype(float)).mean() for some in (generic, better))
        assert 10 * np.log10(before / after) == pytest.approx(segment.gain_db, abs=1e-6)
    assert first == len(better)


def pictures_of(path):
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray()[: frame.height]


class Here:
    """Runs chunks in this process, where trainings are short."""

    workers = threads = 1

    def prepare(self, task, count):
        pass

    def submit(self, task, advance):
        done = Future()
        done.set_result(
            ChunkResult.from_json(run_chunk(ChunkTask.from_json(task.to_json()), lambda: advance(1)).to_json())
        )
        return done

    def close(self):
        pass


@pytest.mark.slow
@pytest.mark.usefixtures("quickly")
def test_chunks_have_updates_of_their_own(tmp_path):
    """The joined file is restored as it was judged, chunk by chunk; an update ends with its chunk."""
    source = photographs(tmp_path, frames=90)
    given = {"pair": PAIR, "scale": "2", "codec": "x265", "crf": 26, "adapt": "full", "report": False}
    planned = plan_chunked(source, tmp_path / "small.mp4", EncodeSettings.resolve(given | {"preset": "ultrafast"}))
    with ChunkedEncoder(Here(), 2) as encoder:
        outcome = encoder(planned.plan)
        encoder.discard()
    assert [segment.frames for segment in outcome.adapted] == [90, 90]
    assert [segment.start_s for segment in outcome.adapted] == [0, 3.6]
    assert probe_identity(outcome.path).vidscale == 2
    found = keyframe_updates(outcome.path, "hevc")
    assert sum(len(update) for _, update in found) == sum(segment.bytes for segment in outcome.adapted)
    generic = lumas(without_updates(outcome.path, tmp_path / "generic.mp4"))
    check_gains(outcome, generic, lumas(outcome.path), np.stack(list(pictures_of(source))))


@pytest.mark.slow
@pytest.mark.usefixtures("quickly")
def test_chunks_are_encoded_again(tmp_path, monkeypatch):
    costs = itertools.cycle([1, 2])  # the second is kept
    monkeypatch.setattr(Adapter, "cost", lambda *_: next(costs))
    source, files = photographs(tmp_path, frames=90), {}
    given = {"pair": PAIR, "scale": "2", "codec": "x265", "crf": 26, "preset": "ultrafast", "effort": "patient"}
    for adapt in ("full", "best"):
        settings = EncodeSettings.resolve(given | {"adapt": adapt, "report": False})
        planned = plan_chunked(source, tmp_path / f"{adapt}.mp4", settings)
        with ChunkedEncoder(Here(), 2) as encoder:
            files[adapt] = encoder(planned.plan).path
            encoder.discard()
    log = ReadLog()
    assert len(lumas(files["best"], log)) == 180
    assert log.lost_updates == 0
    assert packet_data(files["best"], 0) != packet_data(files["full"], 0)


@pytest.mark.slow
@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize("chunks", [1, 2])
def test_movies_of_a_batch_carry_their_updates(chunks, tmp_path, monkeypatch):
    monkeypatch.setattr(local, "LocalEngine", lambda _: contextlib.nullcontext(local.ThisProcess()))
    source, output = photographs(tmp_path, frames=90), tmp_path / "out"
    how = ["--pair", PAIR, "--scale", "2", "--codec", "x265", "--preset", "ultrafast", "--crf", "26"]
    words = ["batch", source, "-o", output, *how, "--chunks", chunks, "--no-report", "--adapt", "full", "--json"]
    run = run_here(*words)
    assert run.code == 0, run.stderr
    assert re.search(r"movie: upscaler adapted to \d of 2 shots: \+\d\.\d+ dB", run.stderr)
    small = output / "movie.mkv"
    updates = [update for _, update in keyframe_updates(small, "hevc")]
    assert len(set(filter(None, updates))) == 2

    generic = without_updates(small, tmp_path / "generic.mkv")
    files = {path: tmp_path / f"restored {path.name}" for path in (small, generic)}
    lines = [run_here("decode", path, "-o", file, "--lossless").stderr for path, file in files.items()]
    assert "cannot be used" not in lines[0]
    assert psnr_y(source, files[small]) > psnr_y(source, files[generic]) + 0.02

    others = run_here("batch", source, "-o", output, *how, "--no-report", "--chunks", chunks)
    assert others.code == 1
    assert "is from another source or other settings; -y encodes it again" in others.stderr


def test_updates_of_parts_are_joined():
    """A part without an update ends that of the part before; times count from the movie's start."""
    segment = SegmentFacts(1.0, 25, "full", 0.2, 900, 3.0)
    parts = [(Adaptation(((5, b"a"), (30, b"")), (segment,)), 0, 5), (Adaptation((), (segment,)), 100, 7)]
    found = joined([*parts, (Adaptation(((7, b"c"),), (segment,)), 200, 7)], Fraction(1, 25))
    assert found.updates == ((5, b"a"), (30, b""), (107, b""), (207, b"c"))
    assert [one.start_s for one in found.segments] == [1, 5, 9]
    assert "adapted to 3 of 3 shots" in found.notes[0]
    assert Adaptation.from_json(json.loads(json.dumps(found.to_json()))) == replace(found, notes=())
    assert joined([(NOTHING, 0, 0), (NOTHING, 100, 0)], Fraction(1, 25)) == NOTHING
    assert joined(parts[1:], Fraction(1, 25)).updates == ()


@pytest.mark.slow
@pytest.mark.usefixtures("quickly")
def test_update_holds_after_cutting_and_joining(tmp_path):
    """A file that begins at the second keyframe, in MPEG-TS, and two such files joined."""
    source = photographs(tmp_path)
    small = adapted(source, tmp_path / "small.mp4", "x265").path
    whole = lumas(small)
    cut = make(tmp_path / "cut.ts", "-ss", "1.2", "-i", small, "-c", "copy")
    assert np.array_equal(lumas(cut), whole[30:])
    (tmp_path / "list.txt").write_text(f"file '{small}'\nfile '{small}'\n")
    joined = make(tmp_path / "joined.ts", "-f", "concat", "-safe", "0", "-i", tmp_path / "list.txt", "-c", "copy")
    assert np.array_equal(lumas(joined), np.concatenate([whole, whole]))


@pytest.mark.slow
@pytest.mark.usefixtures("quickly")
def test_part_of_a_movie_with_a_variable_frame_rate(tmp_path):
    """B-frames, and a Matroska file, whose timestamps are rounded."""
    movie = photographs(tmp_path)
    times = "setpts='(N+3*floor(N/4)*0.31)*0.04/TB'"
    source = make(tmp_path / "vfr.mkv", "-i", movie, "-vf", times, "-fps_mode", "vfr", "-c:v", "ffv1")
    with av.open(str(source)) as container:
        at = [frame.time for frame in container.decode(video=0)]
    outcome = adapted(source, tmp_path / "small.mkv", "x265", range="0.15:")
    assert [segment.frames for segment in outcome.adapted] == [30 - sum(time < 0.15 for time in at), 30]
    generic = lumas(without_updates(outcome.path, tmp_path / "generic.mkv"))
    wanted = np.stack([picture for picture, time in zip(pictures_of(source), at, strict=True) if time >= 0.15])
    check_gains(outcome, generic, lumas(outcome.path), wanted)


@pytest.mark.slow
@pytest.mark.usefixtures("quickly")
def test_frames_that_do_not_fit_into_memory_are_read_again(tmp_path, monkeypatch):
    """The same file: with all in memory, with one segment at a time, and with none."""
    source, files = photographs(tmp_path), []
    monkeypatch.setattr(material, "core_count", lambda: 1)
    frame = 128 * 96 * 5 // 4  # bytes of both lumas
    for most in (1 << 30, 40 * frame, 20 * frame):
        monkeypatch.setattr(material, "KEPT_PER_CORE", most)
        monkeypatch.setattr(reading, "_KEPT_PER_CORE", most if most > 1e6 else 0)
        files.append(adapted(source, tmp_path / f"{most}.mp4", crf=20))
    assert any(segment.kind != "none" for segment in files[0].adapted)
    for file in files[1:]:
        assert packet_data(file.path, 0) == packet_data(files[0].path, 0)
        assert [one.gain_db for one in file.adapted] == [one.gain_db for one in files[0].adapted]


@pytest.mark.slow
@pytest.mark.usefixtures("quickly")
def test_reading_from_memory_tells_what_decoding_told(tmp_path):
    """Damage is noted once, and the frames are the same."""
    source = photographs(tmp_path, shots=1)
    small = coding(source, tmp_path / "coded.mp4", pair="lanczos", scale="1", crf=20, report=False).path
    broken = tmp_path / "broken.mp4"
    data_of = bytearray(small.read_bytes())
    at = data_of.index(b"mdat") + len(data_of) // 2
    data_of[at : at + 40] = bytes(40)
    broken.write_bytes(data_of)
    planned = plan(broken, tmp_path / "out.mp4", pair=PAIR, scale="2", adapt="full")
    read, logs, frames = reading.ReadOnce(planned), [], []
    for _ in range(2):
        logs.append(ReadLog())
        frames.append([frame.planes[0].copy() for frame in read(logs[-1], Clock("decode"))])
    assert logs[0] == logs[1]
    assert logs[0].frames == len(frames[0])
    assert logs[0].damaged
    assert np.array_equal(*frames)


@pytest.mark.slow
@pytest.mark.usefixtures("quickly")
def test_movie_of_one_frame(tmp_path):
    outcome = adapted(photographs(tmp_path, frames=1, shots=1), tmp_path / "small.mp4", crf=18)
    assert [segment.frames for segment in outcome.adapted] == [1]
    assert len(lumas(outcome.path)) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("quickly")
def test_light_update_is_small(tmp_path):
    outcome = adapted(photographs(tmp_path), tmp_path / "small.mp4", adapt="light", crf=20)
    found = [update for _, update in keyframe_updates(outcome.path, "h264") if update]
    assert found
    assert all(len(update) < 200 for update in found)
    assert {segment.kind for segment in outcome.adapted} <= {"light", "none"}
    assert (api.web(outcome.path, tmp_path / "site").index.parent / "small.adapted.json").is_file()


@pytest.mark.slow
@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize(("pair", "scale"), [("adaptive-x1.5", "3/2"), ("adaptive-x3", "3"), ("restore-x1", "1")])
def test_other_pairs_and_ten_bits(pair, scale, tmp_path):
    source = photographs(tmp_path, frames=12, fmt="yuv420p10le", shots=1)
    outcome = adapted(source, tmp_path / "small.mp4", "x265", pair=pair, scale=scale, crf=18)
    frames = frames_of(outcome.path)
    assert len(frames) == 12
    assert frames[0].format.bit_depth == 10
    generic = lumas(without_updates(outcome.path, tmp_path / "generic.mp4"))
    wanted = np.stack(list(pictures_of(source))).astype(float)
    better = np.stack([frame.planes[0] for frame in frames])
    assert np.square(better - wanted).mean() <= np.square(generic - wanted).mean()


@pytest.mark.slow
@pytest.mark.usefixtures("quickly")
def test_movie_that_gains_nothing_is_as_without_adaptation(tmp_path):
    source = make(tmp_path / "gray.mkv", "-f", "lavfi", "-i", "color=gray:s=64x48:r=25:d=1.2", "-c:v", "ffv1")
    outcome = adapted(source, tmp_path / "small.mp4")
    plain = coding(source, tmp_path / "plain.mp4", pair=PAIR, scale="2", crf=26, report=False)
    assert probe_identity(outcome.path).vidscale == 1
    assert packet_data(outcome.path, 0) == packet_data(plain.path, 0)
    assert "it would not have paid" in outcome.notes[-1]


@pytest.mark.slow
@pytest.mark.usefixtures("quickly")
def test_pairs_without_a_network_are_named(tmp_path):
    source = photographs(tmp_path, frames=3)
    for pair in ("lanczos-x2", "adaptive-vmaf-x2"):
        planned = plan(source, tmp_path / "small.mp4", pair=pair, scale="2", adapt="full")
        assert any(note.startswith(f"--adapt has no effect on {pair}") for note in planned.notes)
        assert coding(source, tmp_path / "small.mp4", pair=pair, scale="2", adapt="full", report=False).adapted == ()


@pytest.mark.slow
@pytest.mark.usefixtures("quickly")
def test_damaged_updates_never_change_a_picture_in_silence(tmp_path):
    """Bytes of the units in front of the keyframes are changed 60 times: generic or adapted frames, and a note."""
    source = photographs(tmp_path, frames=24, size=(64, 48))
    small = adapted(source, tmp_path / "small.h264.mp4", crf=18).path
    better = lumas(small)
    units = [bitstream.sei_nal("h264", update, bitstream.UPDATE_UUID) for _, update in keyframe_updates(small, "h264")]
    mp4 = small.read_bytes()
    places = [mp4.index(unit) + len(unit) // 2 for unit in units if len(unit) > 40]
    assert places
    generic = lumas(without_updates(small, tmp_path / "generic.mp4"))
    random = np.random.default_rng(0)
    changed_file = tmp_path / "changed.mp4"
    for _ in range(60):
        changed = bytearray(mp4)
        at = random.choice(places) + random.integers(-20, 20)
        changed[at] ^= 1 << random.integers(8)
        changed_file.write_bytes(changed)
        log = ReadLog()
        found = lumas(changed_file, log)
        for n in range(len(found)):
            assert np.array_equal(found[n], better[n]) or np.array_equal(found[n], generic[n])
        assert log.lost_updates == 1
        assert "the pair's own network restored the frames after it" in " ".join(log.notes(probe(changed_file)))


def test_old_readers_refuse_version_2():
    """By the rule that version 1 states: a higher version is named and refused; here version 3."""
    known = Identity(
        vidscale=2, pair=PAIR, scale="2", width=64, height=48, coded_width=32, coded_height=24, codec="h264",
        time_base="1/25", update="0123abcd",
    )  # fmt: skip
    assert Identity.from_json(known.to_json()) == known
    with pytest.raises(UnusableIdentityError, match="schema version 3"):
        Identity.from_json(known.to_json().partition(',"crc32"')[0].replace('"vidscale":2', '"vidscale":3') + "}")
    with pytest.raises(UnusableIdentityError, match="update needs schema version 2"):
        Identity.from_json(known.to_json().partition(',"crc32"')[0].replace('"vidscale":2', '"vidscale":1') + "}")


# `--scale auto` with `--adapt`.


@pytest.mark.slow
@pytest.mark.usefixtures("quickly")
def test_probes_of_an_adapted_way_are_the_file_that_its_command_makes(tmp_path, monkeypatch):
    """Bytes, and PSNR by ffmpeg's filter. Judged by PSNR, adaptation is what saves most."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = photographs(tmp_path, size=(192, 128))
    settings = EncodeSettings(adapt="full", judge="psnr_y", crf=34, preset="veryfast")
    decision = decide(source, settings)
    ways = [one.way for one in decision.ways]
    adapted_ways = [one for one in decision.ways if one.way.is_adapted]
    assert 1 <= len(adapted_ways) <= 2
    assert ways == sorted(ways, key=lambda way: (not way.is_full, way.scale))
    one = min(adapted_ways, key=lambda found: found.bits.bits)
    point = one.points[0]
    command = encode_command(decision, replace(one, crf=point.crf), str(source))
    assert command.endswith("--adapt full")
    words = [*command.split()[2:], "-o", str(tmp_path / "small.mp4"), "--no-report", "--json"]
    done = run_here("encode", *words)
    assert done.code == 0, done.stderr
    assert any(segment["kind"] != "none" for segment in json.loads(done.stdout)["adapted"])
    assert sum(map(len, packet_data(tmp_path / "small.mp4", 0))) == round(point.video_bytes)
    lossless = restored(tmp_path / "small.mp4", tmp_path / "restored.mkv", lossless=True)
    assert psnr_y(source, lossless) == pytest.approx(point.quality["psnr_y"], abs=0.01)
    plain = next(found for found in decision.ways if found.way.is_full)
    assert "--adapt" not in encode_command(decision, plain, str(source))
    chosen_adapt = chosen_settings(decision).adapt
    assert chosen_adapt == decision.chosen.way.adapt
    assert bool(decision.notes) == (chosen_adapt == "off")


@pytest.mark.slow
@pytest.mark.usefixtures("quickly")
def test_choice_without_a_pair_to_adapt_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = photographs(tmp_path, frames=12, shots=1)
    decision = decide(source, EncodeSettings(adapt="light", tune="vmaf", preset="veryfast"))
    assert not any(one.way.is_adapted for one in decision.ways)
    assert decision.notes == ("nothing is adapted: none of the best ways has a pair that --adapt works on",)
    assert chosen_settings(decision).adapt == "off"


@pytest.mark.slow
@pytest.mark.usefixtures("quickly")
def test_segments_of_a_ladder_carry_their_updates(tmp_path):
    """One for each segment. The movie is restored from the playlist as it was measured before packaging."""
    source = photographs(tmp_path, shots=2)
    folder = tmp_path / "movie.hls"
    words = ["--pair", PAIR, "--scale", "2", "--adapt", "full", "--preset", "veryfast", "--segment-duration", "1.2"]
    done = run_here("ladder", source, "-o", folder, *words, "--target", "psnr=27", "--json")
    assert done.code == 0, done.stderr
    assert re.search(r"upscaler adapted to \d of 2 segments", done.stderr)
    (rendition,) = json.loads(done.stdout)["renditions"]
    files = [folder / "v1" / name for name in ("init.mp4", "00000.m4s", "00001.m4s")]
    whole = tmp_path / "whole.mp4"
    whole.write_bytes(b"".join(file.read_bytes() for file in files))
    found = keyframe_updates(whole, "h264")
    assert len(found) == 2
    assert any(update for _, update in found)
    assert all(identity.vidscale == 2 for identity, _ in found)
    lossless = restored(folder / rendition["uri"], tmp_path / "restored.mkv", lossless=True)
    assert psnr_y(source, lossless) == pytest.approx(rendition["measured"], abs=0.01)


@pytest.mark.slow
@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize("adapt", ["full", "best"])
def test_parts_that_are_decided_one_by_one_are_adapted(adapt, tmp_path, monkeypatch):
    """An update for each part, trained on its own frames; the movie is restored as it was measured, part by part."""
    monkeypatch.setattr(Adapter, "cost", lambda *_: next(costs))
    costs = itertools.cycle([1, 2])  # of the second encode and the first: the second is kept
    source = photographs(tmp_path, shots=2)
    folder = tmp_path / "movie.hls"
    words = ["--pair", PAIR, "--scale", "2", "--adapt", adapt, "--effort", "normal", "--preset", "veryfast"]
    done = run_here("encode", source, "-o", folder, *words, "--segments", "1.2", "--target", "psnr=27", "--json")
    assert done.code == 0, done.stderr
    assert len(re.findall(r"upscaler adapted to [12] of 2 segments: \+\d\.\d\d dB there", done.stderr)) == 1
    (rendition,) = json.loads(done.stdout)["renditions"]
    updates = []
    for part in ("p1", "p2"):
        whole = tmp_path / f"{part}.mp4"
        whole.write_bytes(b"".join((folder / "v1" / part / name).read_bytes() for name in ("init.mp4", "00000.m4s")))
        ((_, update),) = keyframe_updates(whole, "h264")
        updates.append(update)
    assert any(updates)
    assert updates[0] != updates[1]
    lossless = restored(folder / rendition["uri"], tmp_path / "restored.mkv", lossless=True)
    assert psnr_y(source, lossless) == pytest.approx(rendition["measured"], abs=0.01)
