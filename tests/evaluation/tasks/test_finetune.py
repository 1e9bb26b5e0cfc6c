"""Fine-tuning against its recipes written down, and on a store."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pcm3.augment.functional import center_crop_resize
from pcm3.data.dataset import Batch, SkeletonDataset
from pcm3.data.store import Store
from pcm3.data.synthetic import generate
from pcm3.encoders import Encoder, GRUEncoder, STGCNEncoder, TransformerEncoder
from pcm3.evaluation.recognizer import recognition_scores
from pcm3.evaluation.tasks.finetune import (
    FinetuneSettings,
    draw_labelled,
    evaluate_finetune,
    finetune,
)
from pcm3.heads import Classifier, FinetuneHead
from pcm3.hub import Pretrained
from pcm3.skeleton import NTU25

Parts = tuple[SkeletonDataset, SkeletonDataset]


def gru(seed: int = 0) -> Encoder:
    torch.manual_seed(seed)
    return GRUEncoder(25, persons=1, hidden=16, layers=1, pool="mean").eval()


def stgcn() -> Encoder:
    torch.manual_seed(0)
    return STGCNEncoder(NTU25, persons=1, channels=4, layers=(1, 1), out_features=16).eval()


def transformer() -> Encoder:
    torch.manual_seed(0)
    return TransformerEncoder(25, persons=1, frames=8, width=16, depth=2, heads=2).eval()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    out = tmp_path_factory.mktemp("data") / "store"
    return generate(out, sequences=48, classes=3, subjects=4, frames=(10, 30))


@pytest.fixture
def pretrained() -> Pretrained:
    return Pretrained(gru(), NTU25, "joint", 8)


# --- few labels -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sequences", "one", "ten"), [(40_091, 400, 4_009), (37_646, 376, 3_764), (100, 1, 10)]
)
def test_uniform_draws_of_published_sizes(sequences: int, one: int, ten: int) -> None:
    labels = np.zeros(sequences)
    assert len(draw_labelled(labels, 0.01)) == one
    assert len(draw_labelled(labels, 0.1)) == ten


def test_a_share_is_not_one_short_by_floating_point() -> None:
    assert int(0.29 * 100) == 28
    assert len(draw_labelled(np.zeros(100), 0.29)) == 29


@settings(deadline=None, max_examples=100)
@given(
    labels=st.lists(st.integers(0, 5), min_size=1, max_size=60),
    fraction=st.floats(0.001, 1),
    seed=st.integers(0, 1000),
)
def test_balanced_draws_take_the_same_share_of_every_class(
    labels: list[int], fraction: float, seed: int
) -> None:
    drawn = draw_labelled(labels, fraction, balanced=True, seed=seed)
    assert drawn.tolist() == sorted(set(drawn.tolist()))
    for label in set(labels):
        wanted = max(1, round(fraction * labels.count(label)))
        assert sum(labels[row] == label for row in drawn) == wanted
    assert drawn.tolist() == draw_labelled(labels, fraction, balanced=True, seed=seed).tolist()


@pytest.mark.parametrize("balanced", [True, False])
def test_seeds_draw_differently_and_every_sequence_equally_often(balanced: bool) -> None:
    labels = np.repeat([0, 1], [60, 40])
    counts = np.zeros(100)
    for seed in range(400):
        counts[draw_labelled(labels, 0.1, balanced, seed)] += 1
    assert counts.sum() == 400 * 10
    assert 15 < counts.min() <= counts.max() < 70  # 40 each


@pytest.mark.parametrize(
    ("labels", "fraction", "message"),
    [
        ([0, 1, 2], 0.3, "at least one sequence, but 0.3 of 3"),
        ([0, 1], 0.0, r"label fraction in \(0, 1\], got 0.0"),
        ([0, 1], 1.5, r"label fraction in \(0, 1\], got 1.5"),
        ([0, -1], 0.5, "labels"),
    ],
)
def test_draws_that_cannot_be(labels: list[int], fraction: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw_labelled(labels, fraction)


# --- recipes --------------------------------------------------------------------------------------


def whole(dataset: SkeletonDataset) -> tuple[Tensor, Tensor]:
    """What training sees without rotation: the shortest crop has more frames than there are."""
    batch = dataset.batch(range(len(dataset)))
    return center_crop_resize(batch.clips, batch.lengths, 8, ratio=1.0), batch.labels


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cmd_recipe_written_down(pretrained: Pretrained, parts: Parts, smoothing: float) -> None:
    """One full batch an epoch, so that every step can be written down."""
    clips, labels = whole(parts[0])
    recipe = FinetuneSettings(epochs=8, batch_size=100, lr=0.1, label_smoothing=smoothing, seed=3)
    torch.manual_seed(3)
    head = Classifier(32, 3)
    encoder = gru().train()
    weights = [*encoder.parameters(), *head.parameters()]
    speed = [torch.zeros_like(weight) for weight in weights]
    losses = []
    for rate in (0.1,) * 5 + (0.01,) * 2 + (0.001,):
        scores = head(encoder(clips).mean(dim=1)).log_softmax(dim=1)
        right = scores[torch.arange(len(labels)), labels]
        loss = -((1 - smoothing) * right + smoothing * scores.mean(dim=1)).mean()
        losses.append(loss.item())
        for at, gradient in enumerate(torch.autograd.grad(loss, weights)):
            speed[at] = 0.9 * speed[at] + gradient
            weights[at].data -= rate * speed[at]
    found = finetune(pretrained, parts[0], recipe)
    assert found.losses == pytest.approx(losses, rel=1e-4)
    for weight, expected in zip(found.model.parameters(), weights, strict=True):
        torch.testing.assert_close(weight, expected, rtol=1e-3, atol=1e-4)
    assert not found.model.training


class Watched(torch.optim.AdamW):
    """Keeps what each step was made with."""

    made: ClassVar[list[Watched]] = []

    def __init__(self, groups: Any) -> None:
        super().__init__(groups)
        self.rates: list[list[float]] = []
        Watched.made.append(self)

    def step(self, closure: Any = None) -> Any:
        self.rates.append([group["lr"] for group in self.param_groups])
        return super().step(closure)


@pytest.mark.parametrize("scratch", [False, True])
def test_mamp_recipe(parts: Parts, monkeypatch: pytest.MonkeyPatch, scratch: bool) -> None:
    monkeypatch.setattr(torch.optim, "AdamW", Watched)
    start = transformer()
    pretrained = Pretrained(start, NTU25, "joint", 8)
    recipe = FinetuneSettings(epochs=20, batch_size=12, scratch=scratch)  # two steps an epoch
    model, rows, _ = finetune(pretrained, parts[0], recipe)
    assert len(rows) == 24
    assert isinstance(model.head, FinetuneHead)
    assert isinstance(model.encoder, TransformerEncoder)
    assert [block.drop_path for block in model.encoder.blocks] == [0, 0.3]
    optimizer = Watched.made[-1]
    found = {
        id(parameter): (group["initial_lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    decay = 1.0 if scratch else 0.8
    levels = {"tokenizer": 3, "positions": 3, "blocks.0": 2, "blocks.1": 1, "norm": 0}
    for name, parameter in model.named_parameters():
        inner = name.removeprefix("encoder.")
        level = next((at for key, at in levels.items() if inner.startswith(key + ".")), 0)
        rate, weight_decay = found[id(parameter)]
        assert rate == pytest.approx(3e-4 * decay**level)
        assert weight_decay == (0.05 if parameter.ndim > 1 else 0)
    for step, rates in enumerate(optimizer.rates):
        epoch = step / 2
        if epoch < 1:  # as 5 of 100
            expected = 3e-4 * epoch
        else:
            expected = 1e-5 + (3e-4 - 1e-5) * 0.5 * (1 + math.cos(math.pi * (epoch - 1) / 19))
        for rate, group in zip(rates, optimizer.param_groups, strict=True):
            assert rate == pytest.approx(expected * group["initial_lr"] / 3e-4)
    assert step == 39


def test_other_numbers_of_epochs_keep_the_shape_of_the_schedule() -> None:
    for recipe, warmup in (
        (FinetuneSettings(), 5),
        (FinetuneSettings(epochs=2), 0.1),
        (FinetuneSettings(epochs=400), 20),
        (FinetuneSettings(epochs=2, warmup_epochs=1.5), 1.5),
        (FinetuneSettings(warmup_epochs=7), 7),
    ):
        assert recipe.resolve(transformer()).warmup_epochs == pytest.approx(warmup)
        assert replace(recipe, warmup_epochs=None).resolve(gru()).warmup_epochs == 0


def test_the_recipe_is_told_and_narrow_features_want_a_higher_rate(parts: Parts) -> None:
    wide = GRUEncoder(25, persons=1, hidden=256, layers=1)
    for encoder, rate in ((gru(), 0.1), (wide, 0.01), (transformer(), 3e-4)):
        assert FinetuneSettings().resolve(encoder).lr == rate
        assert FinetuneSettings(lr=0.5).resolve(encoder).lr == 0.5
    pretrained = Pretrained(gru(), NTU25, "joint", 8)
    found = evaluate_finetune(pretrained, *parts, FinetuneSettings(epochs=1, batch_size=7))
    recipe = found["details"]["recipe"]
    assert (recipe["recipe"], recipe["epochs"], recipe["batch_size"]) == ("cmd", 1, 7)
    assert None not in recipe.values()


def test_auto_recipes(parts: Parts) -> None:
    one = FinetuneSettings(epochs=1)
    for encoder, head in (
        (gru(), Classifier),
        (stgcn(), Classifier),
        (transformer(), FinetuneHead),
    ):
        model = finetune(Pretrained(encoder, NTU25, "joint", 8), parts[0], one).model
        assert isinstance(model.head, head)
        assert type(model.encoder) is type(encoder)
    pretrained = Pretrained(transformer(), NTU25, "joint", 8)
    model = finetune(pretrained, parts[0], replace(one, recipe="cmd")).model
    assert isinstance(model.head, Classifier)


def seen_by(
    pretrained: Pretrained, training: SkeletonDataset, recipe: FinetuneSettings
) -> list[Tensor]:
    """The clips of every training step, in the data set's order where there is one step."""
    seen: list[Tensor] = []
    before = torch.nn.modules.module.register_module_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0]) if isinstance(module, Encoder) else None
    )
    try:
        finetune(pretrained, training, recipe)
    finally:
        before.remove()
    return seen


def test_rotation_keeps_lengths(pretrained: Pretrained, parts: Parts) -> None:
    plain, turned = (
        seen_by(pretrained, parts[0], FinetuneSettings(epochs=1, batch_size=100, rotation=degrees))[
            0
        ]
        for degrees in (0.0, 17.0)
    )
    assert (plain - turned).abs().max() > 0.1
    torch.testing.assert_close(plain.norm(dim=1), turned.norm(dim=1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stream", ["bone", "motion"])
def test_streams_are_derived_after_the_crop(
    pretrained: Pretrained, parts: Parts, stream: Any
) -> None:
    recipe = FinetuneSettings(epochs=1, batch_size=100)
    joints = seen_by(pretrained, parts[0], recipe)[0]
    derived = seen_by(pretrained._replace(stream=stream), parts[0], recipe)[0]
    if stream == "motion":
        expected = torch.zeros_like(joints)
        expected[:, :, :-1] = joints[:, :, 1:] - joints[:, :, :-1]
    else:
        parents = [max(parent, 0) for parent in NTU25.parents]
        expected = joints - joints[:, :, :, parents]
        expected[:, :, :, NTU25.parents.index(-1)] = 0
    torch.testing.assert_close(derived, expected)


class Ramp(SkeletonDataset):
    """Every coordinate is its frame's number, so that a crop can be read off the result."""

    def batch(self, indices: Sequence[int]) -> Batch:
        batch = super().batch(indices)
        frames = torch.arange(batch.clips.shape[2]).float()
        ramp = frames[:, None, None].expand_as(batch.clips)
        return batch._replace(clips=ramp.contiguous())


def test_crops_keep_half_to_all_of_the_frames(tmp_path: Path, pretrained: Pretrained) -> None:
    ramp = Ramp(generate(tmp_path / "long", sequences=40, classes=2, frames=(200, 200)))
    first, second = seen_by(pretrained, ramp, FinetuneSettings(epochs=2, batch_size=100))
    for clips in (first, second):
        share = (clips[:, 0, -1, 0, 0] - clips[:, 0, 0, 0, 0]) / 7 * 8 / 200
        assert 0.48 < float(share.min()) < 0.6
        assert 0.9 < float(share.max()) <= 1.001
    sorted_first, sorted_second = (clips[:, 0, -1, 0, 0].sort().values for clips in (first, second))
    assert not torch.allclose(sorted_first, sorted_second)


# --- on a store -----------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [gru, stgcn, transformer])
def test_learns_repeats_and_leaves_the_encoder_alone(make: Any, parts: Parts) -> None:
    pretrained = Pretrained(make(), NTU25, "joint", 8)
    before = {name: value.clone() for name, value in pretrained.encoder.state_dict().items()}
    recipe = FinetuneSettings(epochs=25, batch_size=8, lr=0.001 if make is transformer else 0.05)
    found = evaluate_finetune(pretrained, *parts, recipe)
    assert found["top1"] > 0.6
    losses = found["details"]["training_loss"]
    assert len(losses) == 25
    assert losses[-1] < losses[0]
    short = replace(recipe, epochs=2)
    found = evaluate_finetune(pretrained, *parts, short)
    torch.manual_seed(99)
    assert found == evaluate_finetune(pretrained, *parts, short)
    assert found != evaluate_finetune(pretrained, *parts, replace(short, seed=1))
    for name, value in pretrained.encoder.state_dict().items():
        assert torch.equal(value, before[name])
    assert not pretrained.encoder.training


def test_result_is_what_the_fine_tuned_model_says(pretrained: Pretrained, parts: Parts) -> None:
    recipe = FinetuneSettings(epochs=3, label_fraction=0.5, balanced=True, seed=2)
    found = json.loads(json.dumps(evaluate_finetune(pretrained, *parts, recipe)))
    model, rows, losses = finetune(pretrained, parts[0], recipe)
    assert rows.tolist() == draw_labelled(parts[0].labels, 0.5, balanced=True, seed=2).tolist()
    test = parts[1]
    clips = test.batch(range(len(test)))
    middle = center_crop_resize(clips.clips, clips.lengths, 8)
    with torch.no_grad():
        scores = model.head(model.encoder(middle).mean(dim=1))
    torch.testing.assert_close(scores, recognition_scores(pretrained, model, test, 5))
    predicted = scores.argmax(dim=1).tolist()
    labels = test.labels.tolist()
    details = found["details"]
    assert details["predicted"] == predicted
    assert details["labels"] == labels
    assert details["training_sequences"] == len(rows) == 12
    assert details["training_loss"] == losses
    pairs = list(zip(labels, predicted, strict=True))
    assert details["confusion"] == [[pairs.count((a, b)) for b in range(3)] for a in range(3)]
    assert found["top1"] == pytest.approx(sum(a == b for a, b in pairs) / len(pairs))


def test_only_the_drawn_sequences_teach(pretrained: Pretrained, parts: Parts) -> None:
    recipe = FinetuneSettings(epochs=2, label_fraction=0.25, seed=5)
    rows = draw_labelled(parts[0].labels, 0.25, seed=5)
    some = SkeletonDataset(parts[0].store, parts[0].indices[rows])
    few = finetune(pretrained, parts[0], recipe).model.state_dict()
    alone = finetune(pretrained, some, replace(recipe, label_fraction=1.0)).model.state_dict()
    for name, value in few.items():
        torch.testing.assert_close(value, alone[name])


def test_transfer_to_other_classes(tmp_path: Path, pretrained: Pretrained, parts: Parts) -> None:
    other = SkeletonDataset(generate(tmp_path / "other", sequences=20, classes=5, subjects=2))
    found = evaluate_finetune(pretrained, other, other, FinetuneSettings(epochs=1))
    assert len(found["per_class"]) == 5
    with pytest.raises(ValueError, match=r"same classes, got those of .*other and .*store"):
        evaluate_finetune(pretrained, other, parts[1])


def test_from_scratch_nothing_of_the_pretraining_is_left(parts: Parts) -> None:
    recipe = FinetuneSettings(epochs=2)
    made = [Pretrained(gru(seed), NTU25, "joint", 8) for seed in (0, 1)]
    tuned = [finetune(each, parts[0], recipe).losses for each in made]
    fresh = [finetune(each, parts[0], replace(recipe, scratch=True)).losses for each in made]
    assert tuned[0] != tuned[1]
    assert fresh[0] == fresh[1] != tuned[0]


def test_a_frozen_encoder_learns_as_well(pretrained: Pretrained, parts: Parts) -> None:
    pretrained.encoder.requires_grad_(False)
    model = finetune(pretrained, parts[0], FinetuneSettings(epochs=1)).model
    pairs = zip(model.encoder.parameters(), pretrained.encoder.parameters(), strict=True)
    assert all(not torch.equal(new, old) for new, old in pairs)
    assert not any(parameter.requires_grad for parameter in pretrained.encoder.parameters())


# --- what cannot be -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs > 0, got 0"),
        ({"batch_size": -1}, "batch_size > 0, got -1"),
        ({"lr": 0.0}, "lr > 0, got 0"),
        ({"weight_decay": -0.1}, "weight_decay >= 0, got -0.1"),
        ({"label_smoothing": 1.0}, "label_smoothing < 1, got 1"),
        ({"drop_path": 1.0}, "drop_path < 1, got 1"),
        ({"layer_decay": 1.1}, "layer_decay <= 1, got 1.1"),
        ({"layer_decay": 0.0}, "layer_decay > 0, got 0"),
        ({"label_fraction": 0.0}, r"label fraction in \(0, 1\], got 0"),
    ],
)
def test_settings_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FinetuneSettings(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recipe": "mamp"}, "recipe mamp, which needs tokens, .* got a GRUEncoder"),
        ({"layer_decay": 0.5}, "with layer_decay, .* got a GRUEncoder"),
        ({"drop_path": 0.1}, "with drop_path, .* got a GRUEncoder"),
        ({"recipe": "sgd"}, "recipe among auto, cmd, mamp, got 'sgd'"),
        ({"label_fraction": 0.05}, "two sequences in every batch, .* got 1 in batches of 64"),
        ({"batch_size": 1}, "two sequences in every batch, .* got 24 in batches of 1"),
        ({"label_fraction": 0.01}, "0.01 of 24"),
        ({"lr": 1e38}, r"the loss became \w+ in epoch \d; lower lr \(now 1e\+38\)"),
    ],
)
def test_settings_that_do_not_fit(
    pretrained: Pretrained, parts: Parts, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        finetune(pretrained, parts[0], FinetuneSettings(**options))


def test_sequences_without_a_label(store: Store, pretrained: Pretrained) -> None:
    good, bad = SkeletonDataset(store), SkeletonDataset(store)
    bad.labels = np.where(np.arange(len(store)) == 5, -1, store.labels)
    for pair in ((good, bad), (bad, good)):
        with pytest.raises(ValueError, match="sequence 5 has no label"):
            evaluate_finetune(pretrained, *pair, FinetuneSettings(epochs=1))
