"""PCM3 against recorded numbers and slow recomputations, its gradients, switches and errors."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from pcm3.augment import RandomMask, RandomMix, Shear, TemporalClip, TopologyMask
from pcm3.encoders import GRUEncoder
from pcm3.methods import PCM3, Output, Views
from pcm3.methods.features import stretch_frames
from pcm3.skeleton import KINECT20, NTU25, SBU15, Skeleton

POSITIVES = ("intra", "inter", "mask", "predict")
PLUS_PLUS = (*POSITIVES, "clip")


def tiny(skeleton: Skeleton = NTU25, persons: int = 2, **options: Any) -> PCM3:
    torch.manual_seed(0)
    encoder = GRUEncoder(
        skeleton, persons=persons, hidden=8, layers=2, **options.pop("encoder", {})
    )
    sizes = {"embedding": 8, "queue_size": 32, "decoder_hidden": 8, "frames": 16}
    return PCM3(encoder, skeleton, **{**sizes, **options})


def clips_for(model: PCM3, samples: int = 6, frames: int = 24, seed: int = 1) -> Tensor:
    shape = (samples, 3, frames, len(model.skeleton), model.encoder.persons)
    return torch.randn(shape, generator=Generator().manual_seed(seed))


def views_of(model: PCM3, samples: int = 6) -> Views:
    return model.make_views(clips_for(model, samples), generator=Generator().manual_seed(2))


def total_gradient(parameters: Iterable[nn.Parameter]) -> float:
    return sum(float(p.grad.abs().sum()) for p in parameters if p.grad is not None)


def gradients(module: nn.Module) -> dict[str, Tensor | None]:
    return {name: p.grad for name, p in module.named_parameters()}


# --- the model ------------------------------------------------------------------------------------


def test_published_parameter_counts() -> None:
    with torch.device("meta"):
        model = PCM3(GRUEncoder(NTU25))

    def count(*modules: nn.Module) -> int:
        return sum(p.numel() for module in modules for p in module.parameters())

    adapter = model.decoder.adapter
    assert count(model.encoder.get_submodule("layers")) == 44_998_656
    assert count(model.encoder, model.projector) == 49_457_580
    assert count(model.key_encoder, model.key_projector) == 49_457_580
    assert count(adapter) == 1_312_768
    assert count(model.decoder) - count(adapter) == 3_228_822
    assert count(model.domain_prompts, model.task_prompts) == 1_112
    assert count(model) == 103_457_862
    assert tuple(model.queue.anchors.shape) == (16384, 128)


# --- the loss, recomputed -------------------------------------------------------------------------


def slow_terms(model: PCM3, views: Views) -> dict[str, Tensor]:
    """Evaluation mode: every term from its definition, one view after the other."""
    prompts: Any = model.domain_prompts
    tasks: Any = model.task_prompts

    def encode(encoder: nn.Module, clips: Tensor, domain: str) -> Tensor:
        if not prompts:
            return encoder(clips)
        offset = prompts[domain].offset
        if model.prompt_position == "pre_norm":
            return encoder(torch.stack([clip + offset[:, None] for clip in clips]))
        return encoder(clips, offset)

    def with_task(features: Tensor, task: str, use: str) -> Tensor:
        return tasks[task](features, views.offsets[use]) if tasks else features

    def embed(projector: nn.Module, frames: Tensor, use: str) -> Tensor:
        z = projector(with_task(model.encoder.pool(frames), "contrast", use))
        return z / z.norm(dim=1, keepdim=True)

    hidden = views.mask[:, None].expand_as(views.source)
    masked = views.source.clone()
    masked[hidden] = 0
    frames = {
        "intra": encode(model.encoder, views.intra, "intra"),
        "inter": encode(model.encoder, views.inter.clips, "inter"),
        "mask": encode(model.encoder, masked, "mask"),
    }
    prediction = model.decoder(with_task(frames["mask"], "predict", "decoder"))
    composite = views.source.clone()
    composite[hidden] = prediction[hidden]
    frames["predict"] = encode(model.encoder, composite, "predict")

    key_frames = encode(model.key_encoder.module, views.key, "intra")
    key = embed(model.key_projector.module, key_frames, "key")
    mixed = torch.empty_like(key)
    for i, (partner, lam) in enumerate(zip(views.inter.partner, views.inter.lam, strict=True)):
        mixed[i] = (1 - lam) * key[i] + lam * key[partner]
        mixed[i] /= mixed[i].norm()

    if views.clip is not None:
        frames["clip"] = encode(model.encoder, views.clip, "clip")
    terms = {"masked_mse": (prediction - views.source)[hidden].square().mean()}
    for name in model.positives:
        query, target = (
            embed(model.projector, frames[name], name),
            mixed if name == "inter" else key,
        )
        against = query @ model.queue.anchors.T
        positive = (query * target).sum(1)
        scores = torch.cat([positive[:, None], against], dim=1) / 0.07
        terms[f"info_nce/{name}"] = (scores.logsumexp(1) - positive / 0.07).mean()
        teacher = (target @ model.queue.anchors.T / 0.05).softmax(1)
        student = (against / 0.1).softmax(1)
        terms[f"kl/{name}"] = (teacher * (teacher / student).log()).sum(1).mean()
    return terms


@pytest.mark.parametrize("positives", [POSITIVES, PLUS_PLUS], ids=["pcm3", "pcm3++"])
@pytest.mark.parametrize("prompted", [True, False])
@pytest.mark.parametrize("position", ["pre_norm", "post_norm"])
def test_every_term_equals_its_definition(
    position: str, prompted: bool, positives: tuple[str, ...]
) -> None:
    model = tiny(
        positives=positives,
        info_nce_weight=2.0,
        prompt_position=position,
        domain_prompts=prompted,
        task_prompts=prompted,
        mask_weight=3.0,
        kl_weight=0.5,
        mixing=RandomMix(NTU25),
    ).eval()
    for parameter in model.key_encoder.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    views = views_of(model)
    assert len(views.inter.lam.unique()) > 1
    with torch.no_grad():
        output, expected = model.loss(views), slow_terms(model, views)
    assert set(output.terms) == set(expected)
    for name, wanted in expected.items():
        torch.testing.assert_close(output.terms[name], wanted, rtol=1e-4, atol=1e-5, msg=name)
    total = sum(
        {"info_nce": 2.0, "kl": 0.5, "masked_mse": 3.0}[name.split("/")[0]] * float(term)
        for name, term in output.terms.items()
    )
    assert float(output.total) == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("mode", ["mask", "crop"])
def test_clip_is_a_stretch_of_the_key_view(mode: str) -> None:
    model = tiny(positives=PLUS_PLUS, clipping=TemporalClip((0.25, 0.5), mode))
    views = views_of(model)
    assert views.clip is not None
    for clip, key in zip(views.clip, views.key, strict=True):
        if mode == "crop":  # its first and last frame are frames of the key view
            for frame in (clip[:, 0], clip[:, -1]):
                assert (key - frame[:, None]).abs().amax(dim=(0, 2, 3)).min() < 1e-5
            continue
        kept = clip.abs().amax(dim=(0, 2, 3)) > 0
        assert 4 <= int(kept.sum()) <= 8  # a quarter to a half of 16
        at = kept.nonzero().flatten()
        assert int(at[-1] - at[0]) + 1 == len(at)
        assert torch.equal(clip[:, kept], key[:, kept])
    assert tiny().make_views(clips_for(model)).clip is None
    with pytest.raises(ValueError, match=r"clip.*None"):
        model.loss(replace(views, clip=None))


def test_clip_view_changes_no_other_view() -> None:
    plain, plus = views_of(tiny()), views_of(tiny(positives=PLUS_PLUS))
    for name in ("intra", "key", "source", "mask"):
        assert torch.equal(getattr(plain, name), getattr(plus, name))


def test_post_distillation_is_distillation_alone() -> None:
    model = tiny(positives=PLUS_PLUS, info_nce_weight=0, mask_weight=0, result="key")
    model(clips_for(model))  # moves the twin away from the query encoder
    output = model(clips_for(model, seed=3))
    assert set(output.terms) == {f"kl/{name}" for name in PLUS_PLUS}
    total = sum(float(term) for term in output.terms.values())
    assert float(output.total.detach()) == pytest.approx(total, rel=1e-5)
    assert model.trained_encoder is model.key_encoder.module
    assert tiny().trained_encoder is not tiny().key_encoder.module
    clips = clips_for(model)
    model.encoder.get_submodule("layers").requires_grad_(False)
    for parameter in model.encoder.parameters():
        parameter.data.zero_()
    assert model.features(clips).abs().sum() > 0  # not the query encoder's


def test_every_batch_norm_sees_each_view_by_itself() -> None:
    model = tiny()
    model(clips_for(model))
    passes = {
        name: int(buffer)
        for name, buffer in model.named_buffers()
        if name.endswith("num_batches_tracked")
    }
    assert passes == {
        "encoder.input_norm.num_batches_tracked": 4,
        "key_encoder.module.input_norm.num_batches_tracked": 1,
        "decoder.adapter.1.num_batches_tracked": 2,  # once more on detached features
    }


@pytest.mark.parametrize(
    ("positives", "order"),
    [
        (POSITIVES, ("intra", "mask", "predict", "inter")),
        (PLUS_PLUS, ("clip", "intra", "mask", "predict", "inter")),
        (("intra", "inter"), ("intra", "mask", "inter")),
        (("inter", "predict"), ("mask", "predict", "inter")),
    ],
)
def test_input_statistics_in_the_published_order(
    positives: tuple[str, ...], order: tuple[str, ...]
) -> None:
    model = tiny(positives=positives, domain_prompts=False)
    views, seen = views_of(model), []
    norm = model.encoder.get_submodule("input_norm")
    norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    prediction = model.loss(views).prediction
    assert prediction is not None
    clips = {
        "clip": views.clip,
        "intra": views.intra,
        "mask": views.masked,
        "predict": torch.where(views.mask[:, None], prediction, views.source),
        "inter": views.inter.clips,
    }
    assert len(seen) == len(order)
    for name, vectors in zip(order, seen, strict=True):
        wanted = clips[name].permute(0, 2, 3, 1, 4).reshape(vectors.shape)
        torch.testing.assert_close(vectors, wanted, msg=name)


# --- where gradients go ---------------------------------------------------------------------------


def predict_only(guidance: bool) -> PCM3:
    model = tiny(
        positives=("predict",),
        mask_weight=0,
        kl_weight=0,
        semantic_guidance=guidance,
        prompt_position="post_norm",
    )
    model.loss(views_of(model)).total.backward()
    return model


def test_contrast_of_the_predicted_view_guides_the_decoder_but_not_the_features_below() -> None:
    guided, plain = predict_only(True), predict_only(False)
    assert all(grad is not None and grad.any() for grad in gradients(guided.decoder.gru).values())
    assert total_gradient(guided.decoder.adapter.parameters()) > 0
    assert set(gradients(plain.decoder).values()) == {None}
    # The encoder learns from its pass over the composite alone: the same with and without.
    for name, grad in gradients(guided.encoder).items():
        assert grad is not None
        assert grad.any(), name
        torch.testing.assert_close(grad, gradients(plain.encoder)[name], rtol=1e-4, atol=1e-7)
    for model in (guided, plain):
        assert gradients(model.task_prompts["predict"]) == {"vector": None}
        assert gradients(model.domain_prompts["mask"]) == {"offset": None}
        assert total_gradient(model.domain_prompts["predict"].parameters()) > 0
        assert total_gradient(model.task_prompts["contrast"].parameters()) > 0


def test_masked_prediction_trains_decoder_features_and_their_prompts() -> None:
    model = tiny(positives=(), prompt_position="post_norm")
    model.loss(views_of(model)).total.backward()
    for module in (
        model.decoder.gru,
        model.encoder,
        model.task_prompts["predict"],
        model.domain_prompts["mask"],
    ):
        assert total_gradient(module.parameters()) > 0
    assert gradients(model.task_prompts["contrast"]) == {"vector": None}


def test_key_network_gets_no_gradient() -> None:
    model = tiny()
    model(clips_for(model)).total.backward()
    keys = [*model.key_encoder.parameters(), *model.key_projector.parameters()]
    assert all(p.grad is None and not p.requires_grad for p in keys)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {name for name, grad in gradients(model).items() if grad is not None} == trained


# --- the state of a step --------------------------------------------------------------------------


def test_training_steps_move_key_network_and_queue() -> None:
    model = tiny(momentum=0.9)
    views = views_of(model)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data.add_(0.1)
    before = copy.deepcopy(model)
    seen: list[Tensor] = []
    model.info_nce.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[2]))
    model.loss(views)
    for part in ("encoder", "projector"):
        own = dict(model.get_submodule(f"key_{part}.module").named_parameters())
        old = dict(before.get_submodule(f"key_{part}.module").named_parameters())
        source = dict(before.get_submodule(part).named_parameters())
        for name, parameter in own.items():
            torch.testing.assert_close(parameter, 0.9 * old[name] + 0.1 * source[name])
    # The losses saw the queue as it was; then the six keys went in.
    assert torch.equal(seen[0], before.queue.anchors)
    assert int(model.queue.position) == 6
    assert torch.equal(model.queue.anchors[6:], before.queue.anchors[6:])
    with torch.no_grad():
        prompt: Any = model.domain_prompts["intra"]
        keys = model.key_encoder.module(prompt(views.key))
        task: Any = model.task_prompts["contrast"]
        keys = task(model.encoder.pool(keys), views.offsets["key"])
        keys = F.normalize(model.key_projector.module(keys), dim=1)
    torch.testing.assert_close(model.queue.anchors[:6], keys, rtol=1e-4, atol=1e-5)


def test_evaluation_mode_changes_nothing() -> None:
    model = tiny(momentum=0.5).eval()
    for parameter in model.encoder.parameters():
        parameter.data.add_(0.1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model(clips_for(model))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


# --- switches -------------------------------------------------------------------------------------


def step(**options: Any) -> tuple[PCM3, Output]:
    model = tiny(**options)
    output = model(clips_for(model))
    output.total.backward()
    return model, output


def names(prefix: str, *views: str) -> set[str]:
    return {f"{prefix}/{view}" for view in views}


def test_masked_prediction_alone() -> None:
    model, output = step(positives=())
    assert set(output.terms) == {"masked_mse"}
    assert float(output.total.detach()) == pytest.approx(40 * float(output.terms["masked_mse"]))
    assert int(model.queue.position) == 0
    assert total_gradient(model.projector.parameters()) == 0


def test_contrastive_learning_alone() -> None:
    model, output = step(positives=("intra", "inter"), mask_weight=0)
    assert set(output.terms) == names("info_nce", "intra", "inter") | names("kl", "intra", "inter")
    assert output.prediction is None
    assert model.decoder is None
    views = views_of(model)
    assert (views.source, views.mask) == (None, None)


def test_two_views_alone_are_momentum_contrast() -> None:
    """SkeletonCLR: nothing is drawn or built that other views would need."""
    model, output = step(positives=("intra",), mask_weight=0, kl_weight=0, jitter=None)
    assert list(output.terms) == ["info_nce/intra"]
    assert isinstance(model.spatial, Shear)
    views = views_of(model)
    assert (views.source, views.inter, views.mask, views.clip) == (None,) * 4
    again = PCM3.loss(model, Views(views.intra, views.key))
    assert again.total.isfinite()
    assert total_gradient(model.encoder.parameters()) > 0


def test_views_that_the_settings_need() -> None:
    views = views_of(tiny())
    for name in ("source", "inter", "mask"):
        with pytest.raises(ValueError, match=name):
            tiny().loss(replace(views, **{name: None}))


def test_keys_of_pairs_come_from_the_other_half() -> None:
    def as_it_is(clips: Tensor, *_: Any, **__: Any) -> Tensor:
        return clips

    model = tiny(pairs=True, crop=as_it_is, spatial=as_it_is, source_spatial=as_it_is)
    shown, other = clips_for(model, frames=16), clips_for(model, frames=16, seed=5)
    views = model.make_views(torch.cat([shown, other]), torch.full((12,), 16))
    assert torch.equal(views.intra, shown)
    assert torch.equal(views.key, other)
    assert views.source is not None
    assert torch.equal(views.source, shown)
    assert model.loss(views).total.isfinite()
    assert int(model.queue.position) == 6
    with pytest.raises(ValueError, match="5 clips"):
        model.make_views(shown[:5])


def test_views_from_mirrored_sequences() -> None:
    model = tiny(reflect=0.25, jitter=None, shear=0.0, frames=8)
    rising = torch.arange(8.0)[None, None, :, None, None].expand(4, 3, 8, 25, 2)
    rows = model.make_views(rising).intra[:, 0, :, 0, 0]
    continued = torch.tensor([1.0, 0, *range(8), 7, 6])
    windows = continued.unfold(0, 8, 1)
    assert all(bool((row == windows).all(dim=1).any()) for row in rows)


def test_naive_multi_task() -> None:
    model, output = step(positives=("intra", "inter"))
    both = names("info_nce", "intra", "inter") | names("kl", "intra", "inter")
    assert set(output.terms) == both | {"masked_mse"}
    assert total_gradient(model.decoder.parameters()) > 0


def test_masked_view_without_prediction() -> None:
    model, output = step(positives=("intra", "mask"), mask_weight=0, kl_weight=0)
    assert set(output.terms) == names("info_nce", "intra", "mask")
    assert model.decoder is None


def test_no_distillation() -> None:
    _, output = step(kl_weight=0)
    assert set(output.terms) == names("info_nce", *POSITIVES) | {"masked_mse"}


@pytest.mark.parametrize(("domain", "task"), [(False, True), (True, False), (False, False)])
def test_prompts_can_be_left_out_each(domain: bool, task: bool) -> None:
    model, output = step(domain_prompts=domain, task_prompts=task)
    prompts = {name.split(".")[0] for name, _ in model.named_parameters() if "prompts" in name}
    wanted = {"domain_prompts": domain, "task_prompts": task}
    assert prompts == {name for name, there in wanted.items() if there}
    assert len(output.terms) == 9
    assert bool(views_of(model).offsets) == task


def test_masking_can_be_random() -> None:
    model = tiny(masking=RandomMask(ratio=0.4, clip_length=4))
    mask = views_of(model).mask
    assert (mask[..., 0].sum(-1) == 10).all()  # of 25 joints; whole parts would vary
    assert not torch.equal(mask[0], mask[1])


# --- views ----------------------------------------------------------------------------------------


def test_default_mask_hides_whole_parts_of_the_first_person_alike_in_the_batch() -> None:
    model = tiny(frames=64)
    views = views_of(model)
    assert isinstance(model.masking, TopologyMask)
    assert not views.mask[..., 1].any()
    assert (views.mask == views.mask[:1]).all()
    for start in range(0, 64, 8):
        clip = views.mask[0, start : start + 8, :, 0]
        assert (clip == clip[:1]).all()
        hidden = set(clip[0].nonzero()[:, 0].tolist())
        whole = [part for part in NTU25.parts.values() if set(part) <= hidden]
        assert len(whole) == 3
        assert hidden == set().union(*whole)
    assert torch.equal(views.masked != 0, (views.source != 0) & ~views.mask[:, None])


def test_default_mix_is_one_draw_a_batch() -> None:
    inter = views_of(tiny()).inter
    assert len(inter.lam.unique()) == 1
    assert len(((inter.partner - torch.arange(6)) % 6).unique()) == 1


def test_composite_keeps_the_visible_input_and_takes_the_prediction_elsewhere() -> None:
    model = tiny(domain_prompts=False)
    views = views_of(model)
    calls: list[list[Tensor]] = []
    encode = model.encoder.encode_views

    def record(clips: Any, prompts: Any) -> list[Tensor]:
        calls.append(list(clips))
        return encode(clips, prompts)

    model.encoder.encode_views = record
    output = model.loss(views)
    assert [len(clips) for clips in calls] == [2, 2]
    composite, hidden = calls[1][0], views.mask[:, None].expand_as(views.source)
    assert torch.equal(composite[~hidden], views.source[~hidden])
    assert output.prediction is not None
    torch.testing.assert_close(composite[hidden], output.prediction[hidden])


def test_features_of_fewer_frames_are_stretched_linearly() -> None:
    features = torch.tensor([0.0, 1.0])[None, :, None].expand(2, 2, 3)
    assert stretch_frames(features, 2) is features
    assert stretch_frames(features, 4)[1, :, 2].tolist() == [0, 0.25, 0.75, 1]


def erase_a_joint(clips: Tensor, generator: Generator | None = None) -> Tensor:
    return clips.index_fill(3, torch.tensor([5]), 0)


@pytest.mark.parametrize("stream", ["joint", "bone", "motion"])
def test_streams_are_derived_after_augmentation(stream: str) -> None:
    cropped: list[Tensor] = []

    def crop(clips: Tensor, lengths: Tensor | None, generator: Generator | None) -> Tensor:
        cropped.append(clips[:, :, ::2].contiguous())
        return cropped[-1]

    model = tiny(stream=stream, crop=crop, spatial=erase_a_joint, source_spatial=erase_a_joint)
    views = model.make_views(clips_for(model, frames=32))
    for view, kept in zip((views.intra, views.key, views.source), cropped, strict=True):
        joints = erase_a_joint(kept)
        expected = torch.zeros_like(joints)
        for joint, parent in enumerate(NTU25.parents):
            if stream == "joint":
                expected[:, :, :, joint] = joints[:, :, :, joint]
            elif stream == "bone" and parent >= 0:
                expected[:, :, :, joint] = joints[:, :, :, joint] - joints[:, :, :, parent]
        if stream == "motion":
            for t in range(15):
                expected[:, :, t] = joints[:, :, t + 1] - joints[:, :, t]
        assert torch.equal(view, expected)


def tensors(views: Views) -> list[Tensor]:
    return [views.intra, views.key, views.source, *views.inter, views.mask, *views.offsets.values()]


def test_a_generator_decides_everything_random() -> None:
    model = tiny()
    clips, lengths = clips_for(model, frames=80), torch.tensor([80, 70, 40, 20, 79, 1])
    state = torch.get_rng_state()
    first, again, other = (
        tensors(model.make_views(clips, lengths, Generator().manual_seed(seed)))
        for seed in (3, 3, 4)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    # All clip tensors change with the seed; of the small draws, some may coincide.
    assert not any(torch.equal(a, b) for a, b in zip(first[:4], other[:4], strict=True))


def test_frames_beyond_the_length_are_never_seen() -> None:
    model = tiny()
    clips, lengths = clips_for(model, frames=40), torch.tensor([40, 30, 20, 10, 5, 1])
    spoiled = clips.clone()
    for clip, length in zip(spoiled, lengths.tolist(), strict=True):
        clip[:, length:] = 99
    views = [model.make_views(c, lengths, Generator().manual_seed(0)) for c in (clips, spoiled)]
    assert all(torch.equal(a, b) for a, b in zip(*map(tensors, views), strict=True))


def test_every_use_of_a_task_prompt_has_an_offset_of_its_own() -> None:
    model = tiny()
    task: Any = model.task_prompts["contrast"]
    assert (task.offsets, len(task.vector)) == (7, 2)
    clips, generator = clips_for(model, samples=2, frames=4), Generator().manual_seed(0)
    drawn = [model.make_views(clips, generator=generator).offsets for _ in range(40)]
    assert set(drawn[0]) == {*POSITIVES, "key", "decoder"}
    for use in drawn[0]:
        assert {int(offsets[use]) for offsets in drawn} == set(range(7))
    assert any(len({int(o) for o in offsets.values()}) > 1 for offsets in drawn)


# --- other data -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("skeleton", "persons"), [(KINECT20, 1), (SBU15, 2), (SBU15, 1)])
def test_other_skeletons(skeleton: Skeleton, persons: int) -> None:
    model = tiny(skeleton, persons)
    clips = clips_for(model)
    views = model.make_views(clips)
    assert views.mask.shape == (6, 16, len(skeleton), persons)
    assert views.mask[..., 0].any()
    assert not views.mask[..., 1:].any()
    output = model.loss(views)
    output.total.backward()
    assert output.prediction is not None
    assert output.prediction.shape == (6, 3, 16, len(skeleton), persons)
    with torch.no_grad():
        expected = slow_terms(model.eval(), views)
        terms = model.loss(views).terms
    for name, wanted in expected.items():
        torch.testing.assert_close(terms[name], wanted, rtol=1e-4, atol=1e-5)


def test_features_do_not_depend_on_batch_or_padding() -> None:
    model = tiny(encoder={"pool": "mean"})
    model(clips_for(model))
    clips, lengths = clips_for(model, samples=4, frames=40), torch.tensor([40, 23, 7, 1])
    together = model.features(clips, lengths)
    assert together.shape == (4, 16)
    assert not together.requires_grad
    padded = torch.cat([clips, torch.full((4, 3, 9, 25, 2), 5.0)], dim=2)
    torch.testing.assert_close(model.features(padded, lengths), together, rtol=1e-4, atol=1e-6)
    for row, (clip, length) in enumerate(zip(clips, lengths.tolist(), strict=True)):
        alone = model.features(clip[None, :, :length])
        torch.testing.assert_close(alone[0], together[row], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_features_leave_mode_and_statistics_as_they_were(training: bool) -> None:
    model = tiny().train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    features = model.features(clips_for(model))
    assert all(module.training == training for module in model.modules())
    assert all(torch.equal(v, before[name]) for name, v in model.state_dict().items())
    assert torch.equal(features, model.eval().features(clips_for(model)))


def test_features_are_the_encoders_on_the_centre_of_the_stream() -> None:
    model = tiny(stream="motion").eval()
    clips = clips_for(model, frames=16)
    # int(0.05 * 16 / 2) = 0 frames go at either end, so nothing is resized.
    motion = torch.zeros_like(clips)
    for t in range(15):
        motion[:, :, t] = clips[:, :, t + 1] - clips[:, :, t]
    expected = model.encoder(motion)[:, -1].detach()
    torch.testing.assert_close(model.features(clips), expected, rtol=1e-4, atol=1e-6)


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", ["forward", "features"])
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4, 3, 20, 20, 2), r"V=25.*got \(4, 3, 20, 20, 2\)"),
        ((4, 3, 20, 25, 1), r"M=2\), got \(4, 3, 20, 25, 1\)"),
        ((4, 2, 20, 25, 2), r"C=3.*got \(4, 2, 20, 25, 2\)"),
        ((3, 20, 25, 2), r"\(N, C.*\(3, 20, 25, 2\)"),
        ((0, 3, 20, 25, 2), r"got \(0, 3, 20, 25, 2\)"),
    ],
)
def test_clips_that_do_not_fit(entry: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        getattr(tiny(), entry)(torch.zeros(shape))


@pytest.mark.parametrize("entry", ["forward", "features"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_coordinates_that_are_no_numbers(entry: str, value: float) -> None:
    model = tiny()
    clips = clips_for(model)
    clips[2, 1, 3, 4, 1] = value
    with pytest.raises(ValueError, match="sample 2, frame 3, joint 4, person 1"):
        getattr(model, entry)(clips)


@pytest.mark.parametrize("entry", ["forward", "features"])
@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        (torch.tensor([9, 9]), r"lengths \(N=4,\).*\(2,\)"),
        (torch.tensor([9, 9, 670, 9]), r"lengths.*\[1, T=20\].* 670 in sample 2"),
        ([9, 9, 9, 9], "lengths.*tensor.*list"),
    ],
    ids=["shape", "range", "list"],
)
def test_lengths_that_do_not_fit(entry: str, lengths: Any, message: str) -> None:
    model = tiny()
    with pytest.raises(ValueError, match=message):
        getattr(model, entry)(torch.zeros(4, 3, 20, 25, 2), lengths)


def test_integer_clips() -> None:
    with pytest.raises(ValueError, match=r"clips.*torch\.int64"):
        tiny()(torch.zeros(4, 3, 20, 25, 2, dtype=torch.long))


def test_views_that_do_not_fit() -> None:
    model = tiny()
    views = views_of(model)
    for wrong in (views.intra[:, :, :, :24], views.intra[..., :1], views.intra[0]):
        with pytest.raises(ValueError, match="V=25, M=2") as raised:
            model.loss(replace(views, intra=wrong))
        assert str(tuple(wrong.shape)) in str(raised.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"positives": ("intra", "clips")}, "positives.*intra.*clips"),
        ({"positives": ("intra", "intra")}, "positives.*intra"),
        ({"positives": (), "mask_weight": 0}, "positives.*mask_weight > 0"),
        ({"mask_weight": -1}, "weights >= 0.*info_nce 1.0, mask -1"),
        ({"kl_weight": -2}, "weights >= 0.*mask 40.0, kl -2"),
        (
            {"info_nce_weight": 0, "kl_weight": 0, "mask_weight": 0},
            "info_nce_weight.*mask_weight > 0",
        ),
        ({"result": "best"}, "result.*query.*key.*'best'"),
        ({"prompt_position": "behind"}, "prompt_position.*pre_norm.*'behind'"),
        ({"temperature": 0}, "temperature > 0, got 0"),
        ({"teacher_temperature": 0}, "teacher_temperature > 0, got 0"),
        ({"momentum": 2}, r"momentum in \[0, 1\], got 2"),
        ({"queue_size": 0}, "size >= 1"),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(**options)


def test_an_encoder_for_another_skeleton() -> None:
    with pytest.raises(ValueError, match=r"20 joints.*'kinect20'.*25"):
        PCM3(GRUEncoder(25, hidden=4), KINECT20)


# --- it learns ------------------------------------------------------------------------------------


def test_the_loss_falls() -> None:
    model = tiny(momentum=0.9, encoder={"pool": "mean"}, mask_weight=10.0)
    time = torch.arange(24) / 24 * 6.28
    speeds = torch.arange(1, 9)
    wave = torch.sin(speeds[:, None] * time)[:, None, :, None, None]
    clips = (wave * torch.randn(8, 3, 1, 25, 2)).expand(8, 3, 24, 25, 2)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    totals, errors = [], []
    generator = Generator().manual_seed(0)
    for _ in range(30):
        output = model(clips, generator=generator)
        optimizer.zero_grad()
        output.total.backward()
        optimizer.step()
        totals.append(float(output.total.detach()))
        errors.append(float(output.terms["masked_mse"]))
    assert sum(totals[-5:]) < 0.8 * sum(totals[:5])
    assert sum(errors[-5:]) < sum(errors[:5])


def test_fit_follows_the_preset_and_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    from pcm3.methods.catalog import get_preset
    from pcm3.methods.settings import TrainSettings
    from pcm3.training import trainer

    used: list[TrainSettings] = []
    monkeypatch.setattr(trainer, "fit", lambda _, __, config, *___, **____: used.append(config))
    model = PCM3.from_preset("small", KINECT20, persons=1)
    assert model.fit(None, epochs=3) is model
    PCM3(GRUEncoder(NTU25, hidden=4), NTU25, queue_size=8, decoder_hidden=4).fit(None, epochs=3)
    assert used == [get_preset("small").train.scaled_to(3), TrainSettings().scaled_to(3)]
