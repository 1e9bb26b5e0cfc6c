"""Projector, masked-motion decoder and classifiers, recomputed by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pcm3.encoders import TransformerEncoder
from pcm3.heads import (
    Classifier,
    FinetuneHead,
    MaskedMotionDecoder,
    OrderHead,
    ProbeHead,
    Projector,
    StateDecoder,
    gradient_reversal,
)


def test_projector_is_linear_relu_linear() -> None:
    torch.manual_seed(0)
    projector = Projector(6, 4)
    weights = projector.state_dict()
    features = torch.randn(5, 6)
    hidden = (features @ weights["0.weight"].T + weights["0.bias"]).clamp(min=0)
    expected = hidden @ weights["2.weight"].T + weights["2.bias"]
    torch.testing.assert_close(projector(features), expected)


def test_projectors_last_layer_starts_xavier_and_its_first_like_torch() -> None:
    torch.manual_seed(0)
    weights = Projector(256, 128).state_dict()
    for name, bound in (("0.weight", 256**-0.5), ("2.weight", (6 / (256 + 128)) ** 0.5)):
        largest = float(weights[name].abs().max())
        assert 0.98 * bound < largest <= bound, name


def slow_decoder(decoder: MaskedMotionDecoder, frames: Tensor, training: bool) -> Tensor:
    """Framewise adapter, GRU one frame at a time, coordinates written one by one."""
    first, norm, _, second = decoder.adapter
    assert isinstance(norm, torch.nn.BatchNorm1d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    batch, length, _ = frames.shape
    hidden = torch.stack([first(frames[:, t]) for t in range(length)], dim=1)
    if training:
        mean, var = hidden.mean((0, 1)), hidden.var((0, 1), unbiased=False)
    else:
        mean, var = norm.running_mean, norm.running_var
    hidden = (hidden - mean) / (var + norm.eps).sqrt() * norm.weight + norm.bias
    adapted = second(hidden.clamp(min=0))
    state, outputs = None, []
    for t in range(length):
        output, state = decoder.gru(adapted[:, t : t + 1], state)
        outputs.append(decoder.output(output[:, 0]))
    joints, channels, persons = (decoder.frame[axis] for axis in "vcm")
    clips = torch.zeros(batch, channels, length, joints, persons)
    for t, output in enumerate(outputs):
        for v in range(joints):
            for c in range(channels):
                for m in range(persons):
                    at = v * channels * persons + c * persons + m
                    clips[:, c, t, v, m] = output[:, at]
    return clips


def test_decoder_equals_a_slow_recomputation() -> None:
    torch.manual_seed(0)
    decoder = MaskedMotionDecoder(6, joints=5, in_channels=3, persons=2, hidden=7)
    frames = torch.randn(3, 4, 6)
    expected = slow_decoder(decoder, frames, training=True)
    torch.testing.assert_close(decoder(frames), expected, rtol=1e-5, atol=1e-6)
    decoder.eval()
    expected = slow_decoder(decoder, frames, training=False)
    torch.testing.assert_close(decoder(frames), expected, rtol=1e-5, atol=1e-6)


def test_decoder_never_looks_ahead() -> None:
    decoder = MaskedMotionDecoder(6, hidden=8).eval()
    frames = torch.randn(2, 10, 6)
    changed = frames.clone()
    changed[:, 7:] += 1
    before, after = decoder(frames), decoder(changed)
    assert torch.equal(before[:, :, :7], after[:, :, :7])
    assert not torch.equal(before[:, :, 7:], after[:, :, 7:])


def test_classifier_starts_near_zero() -> None:
    torch.manual_seed(0)
    classifier = Classifier(400, 100)
    assert not classifier.bias.any()
    weight = classifier.weight.detach()
    assert abs(float(weight.std()) - 0.01) < 2e-4
    assert abs(float(weight.mean())) < 2e-4
    features = torch.randn(3, 400)
    torch.testing.assert_close(classifier(features), features @ weight.T)


def count(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


@pytest.mark.parametrize(
    ("classes", "probe", "finetune"), [(60, 15_420, 13_236_284), (120, 30_840, 13_359_224)]
)
def test_published_parameter_counts(classes: int, probe: int, finetune: int) -> None:
    with torch.device("meta"):
        encoder = TransformerEncoder()
        heads = ProbeHead(256, classes), FinetuneHead(256, 25, classes)
    assert [count(head) for head in heads] == [probe, finetune]
    totals = {60: [6_351_420, 19_572_284], 120: [6_366_840, 19_695_224]}
    assert [count(encoder, head) for head in heads] == totals[classes]


def test_probe_head_normalizes_by_batch_or_running_statistics() -> None:
    torch.manual_seed(0)
    head = ProbeHead(64, 100)
    assert not list(head[0].parameters())
    linear = head[1]
    assert isinstance(linear, nn.Linear)
    assert not linear.bias.any()
    assert abs(float(linear.weight.detach().std()) - 0.01) < 4e-4
    features = torch.randn(7, 64) * 3 + 2
    features[:, :32] *= 1e-3  # where eps matters
    mean, var = features.mean(0), features.var(0, unbiased=False)
    expected = (features - mean) / (var + 1e-6).sqrt() @ linear.weight.T
    torch.testing.assert_close(head(features), expected)
    running = 0.1 * mean, 0.9 + 0.1 * features.var(0)  # one training step from 0 and 1
    expected = (features - running[0]) / (running[1] + 1e-6).sqrt() @ linear.weight.T
    torch.testing.assert_close(head.eval()(features), expected)


def test_finetune_head_is_joint_means_and_two_layers() -> None:
    torch.manual_seed(0)
    head = FinetuneHead(4, joints=5, classes=3, hidden=6).eval()
    weights = head.network.state_dict()
    for name in ("0", "3"):
        bound = (6 / sum(weights[f"{name}.weight"].shape)) ** 0.5
        assert 0.7 * bound < float(weights[f"{name}.weight"].abs().max()) <= bound
        assert not weights[f"{name}.bias"].any()
    tokens = torch.randn(2, 3, 7, 5, 4)
    expected = []
    for sample in tokens:
        features = torch.zeros(20)
        for v in range(5):
            joint = sum(sample[m, t, v] for m in range(3) for t in range(7)) / 21
            features[4 * v : 4 * v + 4] = joint
        hidden = features @ weights["0.weight"].T / (1 + 1e-5) ** 0.5
        expected.append(hidden.clamp(min=0) @ weights["3.weight"].T)
    torch.testing.assert_close(head(tokens), torch.stack(expected))


def test_finetune_head_averages_over_present_persons() -> None:
    torch.manual_seed(0)
    head = FinetuneHead(4, joints=5, classes=3, hidden=6).eval()
    tokens = torch.randn(2, 2, 7, 5, 4)
    present = torch.tensor([[True, False], [True, True]])
    expected = torch.cat([head(tokens[:1, :1]), head(tokens[1:])])
    torch.testing.assert_close(head(tokens, present), expected)
    torch.testing.assert_close(head(tokens, present | True), head(tokens))


def test_finetune_head_drops_entries_of_tokens_in_training() -> None:
    torch.manual_seed(0)
    head = FinetuneHead(50, joints=5, classes=3, hidden=6)
    seen: list[Tensor] = []
    head.dropout.register_forward_hook(lambda _, inputs, output: seen.append(output))
    head(torch.ones(4, 2, 7, 5, 50))
    assert seen[0].unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert float((seen[0] == 0).float().mean()) == pytest.approx(0.3, abs=0.02)


def test_heads_name_the_shape_that_they_want() -> None:
    probe, head = ProbeHead(4, 3), FinetuneHead(4, joints=5, classes=3, hidden=6)
    for shape in [(2, 5), (2, 7, 4), (4,)]:
        with pytest.raises(ValueError, match=r"features \(N, D\).*D=4.*\(.*\)"):
            probe(torch.zeros(shape))
    wanted = r"expected tokens \(N, M, T', V, D\) with V=5 and D=4, got "
    for shape in [(2, 4), (2, 7, 5, 4), (2, 1, 7, 6, 4), (2, 1, 7, 5, 3)]:
        with pytest.raises(ValueError, match=wanted):
            head(torch.zeros(shape))
    with pytest.raises(ValueError, match=r"present \(N, M\).*N=2.*M=1.*\(2, 3\)"):
        head(torch.zeros(2, 1, 7, 5, 4), torch.ones(2, 3, dtype=torch.bool))


def test_order_head_by_hand() -> None:
    torch.manual_seed(0)
    head = OrderHead(6, segments=4, hidden=5)
    features = torch.randn(7, 6)
    hidden = features @ head[0].weight.T + head[0].bias
    mean, var = hidden.mean(dim=0), hidden.var(dim=0, unbiased=False)
    hidden = ((hidden - mean) / (var + 1e-5).sqrt()).clamp(min=0)
    expected = hidden @ head[3].weight.T + head[3].bias
    assert expected.shape == (7, 24)
    torch.testing.assert_close(head(features), expected)
    assert OrderHead(6)[0].out_features == 2048
    for sizes, message in (((6, 0), "segments >= 1"), ((6, 3, 0), "hidden >= 1")):
        with pytest.raises(ValueError, match=message):
            OrderHead(*sizes)
    with pytest.raises(ValueError, match=r"\(N, D\) with D=6, got \(7, 5\)"):
        head(features[:, :5])


@pytest.mark.parametrize("mode", ["fixed_state", "fixed_weights"])
def test_state_decoder_by_hand(mode: Any) -> None:
    torch.manual_seed(0)
    decoder = StateDecoder(6, joints=4, in_channels=2, persons=1, mode=mode)
    features, first = torch.randn(3, 6), torch.randn(3, 2, 4, 1)
    weights = dict(decoder.cell.named_parameters())

    def gru(value: Tensor, state: Tensor) -> Tensor:
        given = (weights["weight_ih"] @ value + weights["bias_ih"]).chunk(3)
        kept = (weights["weight_hh"] @ state + weights["bias_hh"]).chunk(3)
        reset, update = ((given[k] + kept[k]).sigmoid() for k in (0, 1))
        return (1 - update) * (given[2] + reset * kept[2]).tanh() + update * state

    result = decoder(features, first, 5)
    for n in range(3):
        value, state = first[n].flatten(), features[n]
        clip = [value]
        if mode == "fixed_weights":
            value, clip = torch.zeros(8), []
        for _ in range(4 if mode == "fixed_state" else 5):
            if mode == "fixed_state":
                value = value + decoder.output.weight @ gru(value, features[n])
                value = value + decoder.output.bias
            else:
                state = gru(value, state)
                value = decoder.output.weight @ state + decoder.output.bias
            clip.append(value)
        expected = torch.stack([each.view(2, 4, 1) for each in clip], dim=1)
        torch.testing.assert_close(result[n], expected)
    trained = [weight.requires_grad for weight in decoder.parameters()]
    assert set(trained) == {mode == "fixed_state"}


def test_state_decoders_that_do_not_fit() -> None:
    decoder = StateDecoder(6, joints=4, in_channels=2, persons=1)
    features, first = torch.zeros(3, 6), torch.zeros(3, 2, 4, 1)
    for call, message in (
        (lambda: StateDecoder(0), "in_features >= 1"),
        (lambda: StateDecoder(6, mode="free"), "mode.*'free'"),  # type: ignore[arg-type]
        (lambda: decoder(features[:, :5], first, 4), r"D=6, got \(3, 5\)"),
        (lambda: decoder(features, first[:2], 4), r"N=3.*got \(2, 2, 4, 1\)"),
        (lambda: decoder(features, first, 0), "frames >= 1"),
        (lambda: gradient_reversal(features, "1"), "scale"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_gradient_reversal() -> None:
    features = torch.randn(3, 4, requires_grad=True)
    factors = torch.randn(3, 4)
    result = gradient_reversal(features, 0.3)
    assert torch.equal(result, features)
    (result * factors).sum().backward()
    torch.testing.assert_close(features.grad, -0.3 * factors)
