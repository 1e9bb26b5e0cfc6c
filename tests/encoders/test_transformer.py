"""The transformer encoder: torch's own layers, its promises, absent persons and errors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pcm3.encoders import Encoder, TransformerEncoder
from pcm3.encoders.transformer import Block, SeparableEmbedding, patchify, present_persons
from pcm3.heads import FinetuneHead
from pcm3.prompts import DomainPrompt
from pcm3.skeleton import COCO17, KINECT20, NTU25, SBU15, Skeleton


def tiny(skeleton: Skeleton | int = NTU25, seed: int = 0, **options: Any) -> TransformerEncoder:
    """In evaluation mode, with parameters that are nowhere zero."""
    torch.manual_seed(seed)
    sizes = {"frames": 16, "width": 16, "depth": 2, "heads": 2}
    encoder = TransformerEncoder(skeleton, **{**sizes, **options})
    for parameter in encoder.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return encoder.eval()


def some_clips(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- what it computes -----------------------------------------------------------------------------


def torch_layer(block: nn.Module) -> nn.TransformerEncoderLayer:
    """Torch's own layer with the weights of a block."""
    assert isinstance(block, Block)
    width, hidden = block.mlp[2].weight.shape
    layer = nn.TransformerEncoderLayer(
        width, block.heads, hidden, 0.0, "gelu", 1e-5, batch_first=True, norm_first=True
    )
    names = {
        "self_attn.in_proj_": "qkv.",
        "self_attn.out_proj.": "proj.",
        "linear1.": "mlp.0.",
        "linear2.": "mlp.2.",
        "norm1.": "norm1.",
        "norm2.": "norm2.",
    }
    weights = block.state_dict()
    state = {a + end: weights[b + end] for a, b in names.items() for end in ("weight", "bias")}
    layer.load_state_dict(state)
    return layer


def slow_tokens(encoder: TransformerEncoder, clip: Tensor, person: int) -> Tensor:
    """Tokens ``(T', V, D)`` of one person, by a convolution and torch's own layers."""
    weight = encoder.tokenizer.weight.unflatten(1, (encoder.patch, encoder.in_channels))
    kernel = weight.transpose(1, 2)[..., None]
    maps = F.conv2d(clip[None, ..., person], kernel, encoder.tokenizer.bias, (encoder.patch, 1))
    tokens = maps[0].permute(1, 2, 0) + encoder.positions.time[0] + encoder.positions.joint[0]
    steps, joints, _ = tokens.shape
    flat = tokens.reshape(1, steps * joints, -1)
    for block in encoder.blocks:
        flat = torch_layer(block).train()(flat)  # training keeps torch off its inexact fast path
    return encoder.norm(flat).view(steps, joints, -1)


def test_tokens_equal_torchs_own_layers() -> None:
    encoder = tiny(depth=3)
    clips = some_clips(2, 3, 16, 25, 2)
    tokens = encoder.tokens(clips)
    assert tokens.shape == (2, 2, 4, 25, 16)
    for n in range(2):
        for m in range(2):
            expected = slow_tokens(encoder, clips[n], m)
            torch.testing.assert_close(tokens[n, m], expected, rtol=1e-4, atol=1e-5)


def test_features_are_means_over_persons_joints_and_times() -> None:
    encoder = tiny()
    clips = some_clips(3, 3, 16, 25, 2)
    frames, tokens = encoder(clips), encoder.tokens(clips)
    slow = sum(tokens[:, m, :, v] for m in range(2) for v in range(25)) / 50
    torch.testing.assert_close(frames, slow, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(encoder.pool(frames), sum(slow[:, t] for t in range(4)) / 4)


def test_visible_patches_are_encoded_as_if_there_were_no_others() -> None:
    encoder = tiny()
    clips = some_clips(3, 3, 16, 25, 2)
    patches = patchify(clips, 4)
    everything = torch.arange(100).expand(6, 100)
    tokens = encoder.encode_visible(patches, everything)
    torch.testing.assert_close(tokens.view(3, 2, 4, 25, 16), encoder.tokens(clips))
    some = torch.tensor([7, 30, 99]).expand(6, 3)
    spoiled = torch.full_like(patches, 9.0).scatter(1, some[..., None].expand(6, 3, 12), patches)
    spoiled[:, some[0]] = patches[:, some[0]]
    few = encoder.encode_visible(patches, some)
    assert few.shape == (6, 3, 16)
    torch.testing.assert_close(encoder.encode_visible(spoiled, some), few)
    assert not torch.allclose(few, tokens[:, some[0]], atol=1e-3)


def test_persons_do_not_see_each_other() -> None:
    encoder = tiny()
    clips = some_clips(2, 3, 16, 25, 2)
    changed = clips.clone()
    changed[..., 1] += 1
    before, after = encoder.tokens(clips), encoder.tokens(changed)
    torch.testing.assert_close(before[:, 0], after[:, 0])
    assert not torch.allclose(before[:, 1], after[:, 1], atol=1e-3)


def test_a_prompt_is_added_to_every_frame() -> None:
    encoder = tiny()
    clips, prompt = some_clips(2, 3, 16, 25, 2), some_clips(3, 25, 2, seed=4)
    prompted = clips.clone()
    for t in range(16):
        prompted[:, :, t] += prompt
    torch.testing.assert_close(encoder(clips, prompt), encoder(prompted))
    torch.testing.assert_close(encoder.tokens(clips, prompt), encoder.tokens(prompted))


def test_patches_are_joint_by_joint_and_frame_by_frame() -> None:
    clips = torch.arange(2 * 3 * 8 * 5 * 2).view(2, 3, 8, 5, 2).float()
    patches = patchify(clips, 4)
    assert patches.shape == (4, 10, 12)
    for n, m, t, v, p, c in [(0, 0, 0, 0, 0, 0), (1, 1, 1, 3, 2, 1), (0, 1, 0, 4, 3, 2)]:
        assert patches[2 * n + m, 5 * t + v, 3 * p + c] == clips[n, c, 4 * t + p, v, m]


# --- other lengths, skeletons and sizes -----------------------------------------------------------


def cubic(x: float, a: float = -0.75) -> float:
    """Keys' kernel with torch's parameter."""
    x = abs(x)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def test_embeddings_of_other_lengths_are_bicubic() -> None:
    torch.manual_seed(0)
    embedding = SeparableEmbedding(4, 3, 5)
    time, joint = embedding.time[0, :, 0], embedding.joint[0, 0]
    expected = []
    for step in range(6):
        at = (step + 0.5) * 4 / 6 - 0.5
        base = int(at // 1)
        near = range(base - 1, base + 3)
        value = sum(cubic(at - k) * time[min(max(k, 0), 3)] for k in near)
        expected += [value + joint[v] for v in range(3)]
    torch.testing.assert_close(embedding(6), torch.stack(expected), rtol=1e-5, atol=1e-6)
    own = [time[t] + joint[v] for t in range(4) for v in range(3)]
    assert torch.equal(embedding(4), torch.stack(own))


@pytest.mark.parametrize("frames", [4, 8, 24])
def test_clips_of_other_lengths(frames: int) -> None:
    encoder = tiny()
    assert encoder(some_clips(2, 3, frames, 25, 2)).shape == (2, frames // 4, 16)


@pytest.mark.parametrize("skeleton", [NTU25, KINECT20, SBU15, COCO17], ids=lambda s: s.name)
@pytest.mark.parametrize("persons", [1, 2])
@pytest.mark.parametrize("channels", [2, 3])
def test_other_skeletons_persons_and_channels(
    skeleton: Skeleton, persons: int, channels: int
) -> None:
    options = {"in_channels": channels, "persons": persons, "patch": 2, "mlp_ratio": 2}
    encoder = tiny(skeleton, **options)
    clips = some_clips(3, channels, 16, len(skeleton), persons).requires_grad_()
    frames = encoder(clips)
    assert frames.shape == (3, 8, 16)
    assert encoder.pool(frames).shape == (3, encoder.out_features)
    frames.square().sum().backward()
    assert clips.grad is not None
    assert (clips.grad != 0).all()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name
    twin = TransformerEncoder(**encoder.arguments).eval()
    assert twin.arguments == encoder.arguments
    twin.load_state_dict(encoder.state_dict())
    assert torch.equal(twin(clips), frames)


def test_arguments_hold_everything() -> None:
    options: dict[str, Any] = {"patch": 2, "mlp_ratio": 1.5, "drop_path": 0.3, "skip_absent": True}
    encoder = tiny(20, in_channels=2, persons=1, **options)
    assert encoder.arguments == {
        "skeleton": 20,
        "in_channels": 2,
        "persons": 1,
        "frames": 16,
        "width": 16,
        "depth": 2,
        "heads": 2,
        **options,
    }


def test_double_precision_and_gradients() -> None:
    encoder = tiny(3, frames=4, patch=2, width=4, depth=1, persons=1).double()
    clips = torch.randn(1, 3, 4, 3, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(encoder, clips)


def test_encode_views_is_one_call_a_view() -> None:
    encoder = tiny()
    views = [some_clips(2, 3, 16, 25, 2, seed=s) for s in range(2)]
    prompt = some_clips(3, 25, 2, seed=5)
    first, second = encoder.encode_views(views, [None, prompt])
    torch.testing.assert_close(first, encoder(views[0]))
    torch.testing.assert_close(second, encoder(views[1], prompt))
    assert isinstance(encoder, Encoder)


# --- published sizes, start values and learning rates ---------------------------------------------


def test_published_parameter_counts() -> None:
    with torch.device("meta"):
        encoder = TransformerEncoder()
    assert sum(p.numel() for p in encoder.blocks[0].parameters()) == 789_760
    assert sum(p.numel() for p in encoder.parameters()) == 6_336_000


def test_start_values() -> None:
    torch.manual_seed(0)
    encoder = TransformerEncoder(depth=1)
    for name, parameter in encoder.named_parameters():
        values = parameter.detach()
        if name.startswith("positions"):
            assert float(values.std()) == pytest.approx(0.02, rel=0.05), name
            assert 0.06 < float(values.abs().max()) < 0.12
        elif name.startswith("tokenizer"):
            assert 0.95 * 12**-0.5 < float(values.abs().max()) <= 12**-0.5, name
        elif "norm" in name:
            assert (values == (1 if name.endswith("weight") else 0)).all()
        elif name.endswith("bias"):
            assert not values.any(), name
        else:
            bound = (6 / sum(values.shape)) ** 0.5
            assert 0.99 * bound < float(values.abs().max()) <= bound, name


def test_learning_rates_fall_layer_by_layer() -> None:
    with torch.device("meta"):
        encoder = TransformerEncoder()
    scales = encoder.learning_rate_scales(0.8)
    assert set(scales) == {name for name, _ in encoder.named_parameters()}
    for name, scale in scales.items():
        if name.startswith("blocks."):
            wanted = 0.8 ** (9 - (int(name.split(".")[1]) + 1))
        else:
            wanted = 1.0 if name.startswith("norm.") else 0.8**9
        assert scale == pytest.approx(wanted), name
    assert scales["tokenizer.weight"] == pytest.approx(0.134, abs=3e-4)
    assert set(encoder.learning_rate_scales(1.0).values()) == {1.0}
    for decay in (0.0, -0.5, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"decay.*\(0, 1\]"):
            encoder.learning_rate_scales(decay)


# --- drop-path ------------------------------------------------------------------------------------


def test_drop_path_grows_linearly_and_acts_in_training_alone() -> None:
    encoder = tiny(depth=4, drop_path=0.3)
    rates = [block.drop_path for block in encoder.blocks if isinstance(block, Block)]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3])
    clips = some_clips(4, 3, 16, 25, 2)
    plain = tiny(depth=4)
    assert torch.equal(encoder(clips), plain(clips))
    assert not torch.allclose(encoder.train()(clips), plain(clips), atol=1e-3)
    encoder.set_drop_path(0)
    assert encoder.arguments["drop_path"] == 0
    assert torch.equal(encoder(clips), plain(clips))
    assert tiny(depth=1, drop_path=0.3).blocks[0].drop_path == 0


def test_drop_path_leaves_out_whole_branches_of_a_row() -> None:
    torch.manual_seed(0)
    block = Block(8, 2, drop_path=0.4)
    nn.init.zeros_(block.proj.weight)  # leaves the second branch alone
    tokens = torch.randn(1, 5, 8).expand(2000, 5, 8)
    change = (block(tokens) - tokens).detach()
    full = (block.eval()(tokens) - tokens).detach()
    left_out = ~change.flatten(1).any(dim=1)
    assert float(left_out.float().mean()) == pytest.approx(0.4, abs=0.04)
    torch.testing.assert_close(change[~left_out], full[~left_out] / 0.6)


# --- absent persons -------------------------------------------------------------------------------


def some_absent() -> Tensor:
    clips = some_clips(4, 3, 16, 25, 2)
    clips[0, ..., 1] = clips[1, ..., 0] = clips[3] = 0
    return clips


def test_who_is_present() -> None:
    clips = some_absent()
    expected = [[True, False], [False, True], [True, True], [True, False]]
    assert present_persons(clips).tolist() == expected
    assert tiny(skip_absent=True).present(clips).tolist() == expected
    assert tiny().present(clips).all()


def test_absent_persons_are_neither_encoded_nor_averaged() -> None:
    clips, plain, encoder = some_absent(), tiny(), tiny(skip_absent=True)
    everybody = plain.tokens(clips)
    rows: list[int] = []
    encoder.blocks[0].register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    frames, tokens = encoder(clips), encoder.tokens(clips)
    assert rows == [5, 5]
    expected = [everybody[0, 0], everybody[1, 1], everybody[2].mean(dim=0), everybody[3, 0]]
    torch.testing.assert_close(frames, torch.stack([each.mean(dim=1) for each in expected]))
    for n, here in enumerate(encoder.present(clips).tolist()):
        for m in range(2):
            wanted = everybody[n, m] if here[m] else torch.zeros_like(everybody[n, m])
            torch.testing.assert_close(tokens[n, m], wanted)
    head = FinetuneHead(16, 25, classes=3, hidden=4).eval()
    torch.testing.assert_close(head(tokens, encoder.present(clips))[0], head(everybody[:1, :1])[0])


def test_a_prompt_does_not_make_anybody_appear() -> None:
    clips, encoder, prompt = some_absent(), tiny(skip_absent=True), some_clips(3, 25, 2, seed=3)
    alone = tiny(persons=1)(clips[:1, ..., :1], prompt[..., :1])
    torch.testing.assert_close(encoder(clips, prompt)[:1], alone)


def test_by_default_absent_persons_count() -> None:
    clips, encoder = some_absent(), tiny()
    tokens = encoder.tokens(clips)
    torch.testing.assert_close(encoder(clips), tokens.mean(dim=(1, 3)))
    assert not torch.allclose(encoder(clips), tiny(skip_absent=True)(clips), atol=1e-3)


def test_gradients_with_absent_persons() -> None:
    encoder, clips = tiny(skip_absent=True), some_absent().requires_grad_()
    encoder(clips).square().sum().backward()
    assert clips.grad is not None
    assert clips.grad.isfinite().all()
    assert torch.equal(clips.grad.ne(0).flatten(1, 3).any(dim=1), encoder.present(clips))


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": 18}, "18 and 4"),
        ({"frames": 0}, "frames.*patch.* 0 and 4"),
        ({"patch": 0}, "16 and 0"),
        ({"depth": 0}, r"depth >= 1.*0"),
        ({"heads": 3}, "3 and 16"),
        ({"heads": 0}, "0 and 16"),
        ({"width": 0}, "heads.*width.* 2 and 0"),
        ({"mlp_ratio": 0}, r"mlp_ratio >= 1 /.*0"),
        ({"drop_path": 1.0}, r"drop_path in \[0, 1\).*1.0"),
        ({"drop_path": -0.1}, r"drop_path in \[0, 1\).*-0.1"),
        ({"persons": 0}, r"persons >= 1.*0"),
        ({"skeleton": 0}, r"joints >= 1.*0"),
        ({"skeleton": "ntu25"}, r"Skeleton.*'ntu25'"),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(**options)


@pytest.mark.parametrize("entry", ["forward", "tokens"])
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 3, 16, 20, 2), r"V=25.*got \(2, 3, 16, 20, 2\)"),
        ((2, 2, 16, 25, 2), r"C=3.*got \(2, 2, 16, 25, 2\)"),
        ((2, 3, 16, 25, 1), r"M=2\).*\(2, 3, 16, 25, 1\)"),
        ((3, 16, 25, 2), r"\(3, 16, 25, 2\)"),
        ((2, 3, 15, 25, 2), r"T.*patch=4.*T=15"),
        ((2, 3, 2, 25, 2), r"T.*patch=4.*T=2"),
    ],
)
def test_clips_that_do_not_fit(entry: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        getattr(tiny(), entry)(torch.zeros(shape))


@pytest.mark.parametrize("prompt", [DomainPrompt(), torch.zeros(4)], ids=["module", "shape"])
def test_prompts_that_do_not_fit(prompt: Any) -> None:
    with pytest.raises(ValueError, match=r"prompt \(C=3, V=25, M=2\).*Domain"):
        tiny()(torch.zeros(2, 3, 16, 25, 2), prompt)


def test_settings_are_shown() -> None:
    shown = repr(TransformerEncoder(25, persons=1, frames=16, width=8, depth=1, heads=2))
    assert "frames=16, patch=4, heads=2, drop_path=0.0, skip_absent=False" in shown


def test_some_joints_alone_are_encoded_as_if_there_were_no_others() -> None:
    encoder, clips = tiny(), some_clips(2, 3, 8, 25, 2)
    joints = torch.stack([torch.randperm(25)[:7] for _ in clips])
    found = encoder.encode_joints(clips, joints)
    patches = patchify(clips, encoder.patch).unflatten(0, (2, 2))
    for n, kept in enumerate(joints):
        visible = torch.cat([25 * step + kept for step in range(8 // encoder.patch)])
        people = [encoder.encode_visible(patches[n, m, None], visible[None]) for m in range(2)]
        frames = torch.stack(people).unflatten(2, (-1, 7)).mean(dim=(0, 1, 3))
        torch.testing.assert_close(found[n], frames)
    torch.testing.assert_close(encoder.maps(clips).mean(dim=(1, 3)), encoder(clips))
    with pytest.raises(ValueError, match="skip_absent"):
        tiny(skip_absent=True).maps(clips)


def test_outputs_of_all_blocks() -> None:
    torch.manual_seed(0)
    for skip in (False, True):
        encoder = TransformerEncoder(25, frames=8, width=8, depth=3, heads=2, skip_absent=skip)
        clips = torch.randn(2, 3, 8, 25, 2)
        clips[1, ..., 1] = 0
        outputs = encoder.block_outputs(clips)
        assert [each.shape for each in outputs] == 3 * [(2, 2, 2, 25, 8)]
        normed = encoder.norm(outputs[-1])
        if skip:
            assert not any(each[1, 1].any() for each in outputs)
            normed[1, 1] = 0
        torch.testing.assert_close(normed, encoder.tokens(clips))
        after = encoder.blocks[1](outputs[0].flatten(0, 1).flatten(1, 2))
        there = [0, 1, 2] if skip else range(4)
        found = outputs[1].flatten(0, 1).flatten(1, 2)
        for row in there:
            torch.testing.assert_close(found[row], after[row])
