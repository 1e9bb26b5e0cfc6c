"""Projector, masked-motion decoder and classifier, recomputed by hand."""

from __future__ import annotations

import torch
from torch import Tensor

from pcm3.heads import Classifier, MaskedMotionDecoder, Projector


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
