"""The graph encoder: its graph against slow loops, and what it promises."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from pcm3.encoders import STGCNEncoder
from pcm3.encoders.stgcn import spatial_partitions
from pcm3.methods.pcm3 import PCM3
from pcm3.skeleton import COCO17, KINECT20, NTU25, SBU15, SKELETONS, Skeleton


def tree(parents: tuple[int, ...], center: int = 0) -> Skeleton:
    """A skeleton without anatomy."""
    everything = tuple(range(len(parents)))
    names = tuple(f"joint_{index}" for index in everything)
    return Skeleton("tree", names, parents, {"all": everything}, everything, center)


@st.composite
def trees(draw: st.DrawFn) -> Skeleton:
    parents = [-1]
    for index in range(1, draw(st.integers(1, 12))):
        parents.append(draw(st.integers(0, index - 1)))
    return tree(tuple(parents), draw(st.integers(0, len(parents) - 1)))


def bones_between(skeleton: Skeleton, a: int, b: int) -> int:
    """Length of the path from one joint to another, by their chains to the root."""
    from_a, from_b = ([joint] for joint in (a, b))
    for chain in (from_a, from_b):
        while skeleton.parents[chain[-1]] != -1:
            chain.append(skeleton.parents[chain[-1]])
    return len(set(from_a) ^ set(from_b))


def slow_partitions(skeleton: Skeleton) -> Tensor:
    count = len(skeleton)
    distance = [bones_between(skeleton, joint, skeleton.center) for joint in range(count)]
    partitions = torch.zeros(3, count, count)
    for i in range(count):
        for j in range(count):
            if bones_between(skeleton, i, j) <= 1:
                kind = (distance[j] < distance[i]) + 2 * (distance[j] > distance[i])
                partitions[kind, i, j] = 1
    for row in partitions.flatten(0, 1):
        if row.sum() > 0:
            row.div_(row.sum())
    return partitions


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=list(SKELETONS))
def test_partitions_of_named_skeletons(skeleton: Skeleton) -> None:
    torch.testing.assert_close(spatial_partitions(skeleton), slow_partitions(skeleton))


@given(trees())
def test_partitions_of_any_tree(skeleton: Skeleton) -> None:
    found, count = spatial_partitions(skeleton), len(skeleton)
    torch.testing.assert_close(found, slow_partitions(skeleton))
    edges = torch.eye(count)
    for child, parent in enumerate(skeleton.parents):
        if parent != -1:
            edges[child, parent] = edges[parent, child] = 1
    assert torch.equal((found > 0).sum(dim=0), edges.long())  # every edge in one partition
    sums = found.sum(dim=2)
    assert ((sums - sums.round()).abs() < 1e-6).all()
    assert torch.equal(sums[0], torch.ones(count))
    assert sums[1].round().tolist() == [float(joint != skeleton.center) for joint in range(count)]
    centrifugal = (found[1] > 0).any(dim=0).float()
    assert torch.equal(sums[2].round(), centrifugal)  # where somebody's way to the centre leads by


def lively(encoder: STGCNEncoder, seed: int = 0) -> STGCNEncoder:
    """Nothing at its neutral initial value; evaluation mode, float64."""
    torch.manual_seed(seed)
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2.0)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.uniform_(-0.5, 0.5)
    for name, parameter in encoder.named_parameters():
        if name.endswith("importance"):
            parameter.data.uniform_(0.5, 1.5)
    return encoder.double().eval()


def clips_for(encoder: STGCNEncoder, batch: int = 2, frames: int = 12, seed: int = 1) -> Tensor:
    size = (batch, encoder.in_channels, frames, encoder.joints, encoder.persons)
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, generator=generator, dtype=torch.float64)


def scaled(norm: Any, values: Tensor, channel: int) -> Tensor:
    scale = norm.weight[channel] / (norm.running_var[channel] + norm.eps).sqrt()
    result: Tensor = (values - norm.running_mean[channel]) * scale + norm.bias[channel]
    return result


def test_one_block_by_loops() -> None:
    skeleton = tree((-1, 0, 1, 1), center=1)
    encoder = lively(STGCNEncoder(skeleton, channels=2, layers=(1,), out_features=5))
    clip, prompt = clips_for(encoder, 1, 6), torch.randn(3, 4, 2, dtype=torch.float64)
    block: Any = encoder.blocks[0]
    graph, first, _, conv, second, _ = block.body
    edges = spatial_partitions(skeleton) * graph.importance
    hidden = torch.zeros(6, 2, dtype=torch.float64)
    for m in range(2):
        x = torch.zeros(3, 6, 4, dtype=torch.float64)
        for c in range(3):
            for v in range(4):
                normal = scaled(encoder.input_norm, clip[0, c, :, v, m], v * 3 + c)
                x[c, :, v] = normal + prompt[c, v, m]
        y = torch.zeros(2, 6, 4, dtype=torch.float64)
        for k in range(3):
            weight, bias = graph.mix.weight[2 * k : 2 * k + 2, :, 0, 0], graph.mix.bias
            for w in range(4):
                for v in range(4):
                    mixed = weight @ x[:, :, v] + bias[2 * k : 2 * k + 2, None]
                    y[:, :, w] += edges[k, w, v] * mixed
        y = torch.stack([scaled(first, y[c], c) for c in range(2)]).relu()
        for t in range(6):
            for v in range(4):
                z = conv.bias.clone()
                for step in range(9):
                    if 0 <= t + step - 4 < 6:
                        z += conv.weight[:, :, step, 0] @ y[:, t + step - 4, v]
                for c in range(2):  # the first block has no shortcut
                    hidden[t, c] += scaled(second, z[c], c).relu() / (4 * 2)
    expected = hidden @ encoder.output.weight.T + encoder.output.bias
    torch.testing.assert_close(encoder(clip, prompt)[0], expected, rtol=1e-9, atol=1e-9)


def test_later_blocks_have_shortcuts() -> None:
    encoder = STGCNEncoder(SBU15, channels=4, layers=(2, 1), edge_importance=False)
    kinds = [type(block.shortcut) for block in encoder.blocks]
    assert kinds == [type(None), nn.Identity, nn.Sequential]
    assert not [name for name, _ in encoder.named_parameters() if "importance" in name]
    block: Any = encoder.eval().blocks[1]
    block.body[4].weight.data.zero_()
    x = torch.rand(2, 4, 5, 15)
    assert torch.equal(block(x), x)


def test_size_of_the_defaults() -> None:
    encoder = STGCNEncoder(NTU25)
    assert len(encoder.blocks) == 10
    assert encoder.out_features == 256
    assert sum(parameter.numel() for parameter in encoder.parameters()) < 850_000


@pytest.mark.parametrize(
    ("stride", "frames", "left"), [(1, 13, 13), (2, 64, 16), (2, 13, 4), (2, 1, 1), (3, 60, 7)]
)
def test_frames_that_are_left(stride: int, frames: int, left: int) -> None:
    encoder = STGCNEncoder(KINECT20, channels=2, layers=(1, 1, 1), out_features=6, stride=stride)
    features = encoder(torch.randn(2, 3, frames, 20, 2))
    assert features.shape == (2, left, 6)
    assert encoder.pool(features).shape == (2, 6)


@pytest.mark.parametrize("skeleton", [*SKELETONS.values(), tree((-1,)), tree((1, 2, -1), 0)])
def test_any_skeleton_and_all_gradients(skeleton: Skeleton) -> None:
    encoder = STGCNEncoder(skeleton, 2, persons=1, channels=4, layers=(2, 1), out_features=8)
    clips = torch.randn(3, 2, 10, len(skeleton), 1, requires_grad=True)
    encoder.pool(encoder(clips)).square().sum().backward()
    assert clips.grad is not None
    assert clips.grad.abs().sum() > 0
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_the_order_of_the_joints_does_not_matter() -> None:
    order = torch.randperm(25, generator=torch.Generator().manual_seed(3))
    skeleton = NTU25.reordered([NTU25.joints[index] for index in order.tolist()])
    options: dict[str, Any] = {"channels": 4, "layers": (1, 1), "out_features": 8}
    encoder = lively(STGCNEncoder(NTU25, **options))
    twin = STGCNEncoder(skeleton, **options).double().eval()
    weights = encoder.state_dict()
    for name, weight in weights.items():
        if name.startswith("input_norm") and weight.ndim:
            weights[name] = weight.view(25, 3)[order].flatten()
        elif name.endswith("importance"):
            weights[name] = weight[:, order][:, :, order]
    twin.load_state_dict(weights)
    clips = clips_for(encoder)
    torch.testing.assert_close(twin(clips[..., order, :]), encoder(clips), rtol=1e-9, atol=1e-9)
    assert not torch.allclose(twin(clips), encoder(clips), atol=1e-3)


def test_persons_are_encoded_alone_and_averaged() -> None:
    encoder = lively(STGCNEncoder(SBU15, channels=4, layers=(1, 1), out_features=8))
    clips = clips_for(encoder)
    first, second = (clips[..., [index, index]] for index in (0, 1))  # everyone is there twice
    torch.testing.assert_close((encoder(first) + encoder(second)) / 2, encoder(clips))
    torch.testing.assert_close(encoder(clips.flip(-1)), encoder(clips))
    assert not torch.allclose(encoder(first), encoder(second), atol=1e-3)


def test_training_and_evaluation_differ() -> None:
    torch.manual_seed(0)
    encoder = STGCNEncoder(SBU15, channels=4, layers=(1, 1), dropout=0.5)
    clips = torch.randn(4, 3, 10, 15, 2)
    assert not torch.equal(encoder(clips), encoder(clips))  # dropout
    encoder.eval()
    together = encoder(clips)
    assert torch.equal(together, encoder(clips))
    torch.testing.assert_close(encoder(clips[:1]), together[:1])


@pytest.mark.parametrize("pool", ["last", "mean"])
def test_arguments_build_an_equal_encoder(pool: Any) -> None:
    encoder = STGCNEncoder(
        COCO17,
        2,
        persons=1,
        channels=3,
        layers=(1, 2),
        stride=1,
        out_features=7,
        temporal_kernel=5,
        dropout=0.25,
        pool=pool,
        edge_importance=False,
    )
    arguments = json.loads(json.dumps(encoder.arguments))
    twin = STGCNEncoder(**arguments)
    assert twin.arguments == encoder.arguments == arguments
    assert repr(twin) == repr(encoder)
    lively(encoder)
    twin.double().eval().load_state_dict(encoder.state_dict())
    clips = clips_for(encoder)
    assert torch.equal(twin(clips), encoder(clips))
    assert torch.equal(twin.pool(twin(clips)), encoder.pool(encoder(clips)))


@pytest.mark.parametrize("stride", [1, 2])
def test_pcm3_takes_a_step(stride: int) -> None:
    torch.manual_seed(0)
    encoder = STGCNEncoder(NTU25, channels=4, layers=(1, 1), out_features=16, stride=stride)
    model = PCM3(encoder, NTU25, queue_size=32, decoder_hidden=8, frames=16)
    before = {name: weight.detach().clone() for name, weight in encoder.named_parameters()}
    optimizer = torch.optim.SGD(model.encoder.parameters(), lr=0.1)
    output = model(torch.randn(4, 3, 80, 25, 2))
    output.total.backward()
    optimizer.step()
    assert output.total.isfinite()
    moved = [name for name, weight in encoder.named_parameters() if (weight != before[name]).any()]
    assert {"input_norm.weight", "output.weight", "blocks.0.body.0.importance"} <= set(moved)
    assert model.features(torch.randn(2, 3, 40, 25, 2)).shape == (2, 16)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"skeleton": 25}, r"Skeleton.*25"),
        ({"skeleton": {"name": "half"}}, "'joints'"),
        ({"in_channels": 0}, r"in_channels >= 1.*0"),
        ({"persons": 0}, r"persons >= 1.*0"),
        ({"channels": 0}, r"channels >= 1.*0"),
        ({"stride": 0}, r"stride >= 1.*0"),
        ({"out_features": 0}, r"out_features >= 1.*0"),
        ({"layers": ()}, r"layers.*\(\)"),
        ({"layers": (2, 0)}, r"layers >= 1.*\(2, 0\)"),
        ({"temporal_kernel": 4}, r"temporal_kernel >= 1.*4"),
        ({"temporal_kernel": -1}, r"temporal_kernel >= 1.*-1"),
        ({"dropout": 1.0}, r"dropout in \[0, 1\).*1.0"),
        ({"dropout": -0.1}, r"dropout in \[0, 1\).*-0.1"),
        ({"pool": "max"}, "pool.*last.*mean.*'max'"),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        STGCNEncoder(**{"skeleton": NTU25, **options})


@pytest.mark.parametrize(
    "shape", [(2, 3, 8, 20, 2), (2, 3, 8, 25, 1), (2, 2, 8, 25, 2), (3, 8, 25, 2), (2, 3, 0, 25, 2)]
)
def test_clips_that_do_not_fit(shape: tuple[int, ...]) -> None:
    encoder = STGCNEncoder(NTU25, channels=2, layers=(1,))
    with pytest.raises(ValueError, match=r"\(N, C=3, T, V=25, M=2\)") as raised:
        encoder(torch.zeros(shape))
    assert str(shape) in str(raised.value)


def test_prompt_that_does_not_fit() -> None:
    encoder = STGCNEncoder(NTU25, channels=2, layers=(1,))
    with pytest.raises(ValueError, match=r"prompt \(C=3, V=25, M=2\).*\(4,\)"):
        encoder(torch.zeros(2, 3, 8, 25, 2), torch.zeros(4))


# --- what SkeletonCLR, AimCLR and PSTL need -------------------------------------------------------


@given(trees())
def test_graph_of_the_published_code(skeleton: Skeleton) -> None:
    """Distances from the root count as 0, 1 or far; all neighbours share one average."""
    root, joints = skeleton.parents.index(-1), range(len(skeleton))
    far = [min(bones_between(skeleton, joint, root), 2) for joint in joints]
    expected = torch.zeros(3, len(joints), len(joints))
    for i in joints:
        near = [j for j in joints if bones_between(skeleton, i, j) == 1]
        for j in (i, *near):
            kind = 0 if j == i else 2 if far[j] < far[i] else 1
            expected[kind, i, j] = 1 / (1 + len(near))
    torch.testing.assert_close(spatial_partitions(skeleton, "code"), expected)
    with pytest.raises(ValueError, match="graph"):
        spatial_partitions(skeleton, "other")  # type: ignore[arg-type]


def test_joints_taken_out_of_the_graph() -> None:
    """Each sample as a smaller graph on its own, whose edges are those that are left."""
    torch.manual_seed(0)
    encoder = STGCNEncoder(NTU25, channels=4, layers=(1, 2), out_features=6).eval()
    for name, weight in encoder.named_parameters():
        if name.endswith("importance"):
            nn.init.normal_(weight)
    clips = torch.randn(3, 3, 12, 25, 2)
    joints = torch.stack([torch.randperm(25)[:9].sort().values for _ in clips])
    found = encoder.encode_joints(clips, joints)
    for clip, kept, its in zip(clips, joints, found, strict=True):
        normal = encoder.input_norm(clip.permute(3, 2, 0, 1).flatten(1, 2)).view(2, 25, 3, 12)
        rows = normal.permute(0, 2, 3, 1)[..., kept]
        for block in encoder.blocks:
            graph = block.body[0]
            edges = (graph.adjacency * graph.importance)[:, kept][:, :, kept]
            mixed = graph.mix(rows).unflatten(1, (3, -1))
            out = torch.einsum("bkctv,kwv->bctw", mixed, edges)
            for layer in list(block.body)[1:]:
                out = layer(out)
            rows = torch.relu(out if block.shortcut is None else out + block.shortcut(rows))
        expected = encoder.output(rows.mean(dim=(0, 3)).T)
        torch.testing.assert_close(its, expected)
    everybody = torch.arange(25).expand(3, -1)
    torch.testing.assert_close(encoder.encode_joints(clips, everybody), encoder(clips))
    for wrong in (everybody[:2], everybody.int(), everybody[0], torch.zeros(3, 0).long()):
        with pytest.raises(ValueError, match="joints"):
            encoder.encode_joints(clips, wrong)


@pytest.mark.parametrize("last", [None, 6, 5])
def test_maps_and_the_last_block(last: int | None) -> None:
    encoder = STGCNEncoder(NTU25, channels=4, layers=(1, 2), out_features=6, last_channels=last)
    assert encoder.blocks[-1].body[1].num_features == (last or 8)
    assert isinstance(encoder.output, nn.Identity) == (last == 6)
    clips = torch.randn(2, 3, 12, 25, 2)
    maps = encoder.eval().maps(clips)
    assert maps.shape == (2, 2, 6, 25, 6)
    torch.testing.assert_close(maps.mean(dim=(1, 3)), encoder(clips))
    again = STGCNEncoder(**encoder.arguments)
    again.load_state_dict(encoder.state_dict())
    assert torch.equal(again.eval()(clips), encoder(clips))
    with pytest.raises(ValueError, match="last_channels"):
        STGCNEncoder(NTU25, last_channels=0)


def test_the_first_block_drops_nothing() -> None:
    blocks = STGCNEncoder(NTU25, channels=4, layers=(1, 2), dropout=0.5).blocks
    assert [block.body[-1].p for block in blocks] == [0.0, 0.5, 0.5]
