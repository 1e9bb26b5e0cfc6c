"""Maps of features, and queries against a queue."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pcm3.viz import features_figure, queue_figure
from pcm3.viz.maps import embedding_map


class TestFeaturesFigure:
    def test_shows_what_the_report_shows(self) -> None:
        features = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
        labels = torch.arange(12) % 2
        figure = features_figure(features, labels, ["wave", "kick"], seed=3)
        wanted = embedding_map(features.numpy(), labels.numpy(), seed=3)
        assert wanted is not None
        assert [axis.get_title("left") for axis in figure.axes] == ["PCA", "t-SNE"]
        for axis, kind in zip(figure.axes, ("pca", "tsne"), strict=True):
            for label, line in enumerate(axis.lines):
                x = np.array(wanted[kind])[np.array(wanted["labels"]) == label]
                np.testing.assert_allclose(np.stack(line.get_data(), axis=1), x)
        legend = [text.get_text() for text in figure.legends[0].get_texts()]
        assert legend == ["0 wave", "1 kick"]

    def test_takes_arrays_and_gradients_and_draws_of_many(self) -> None:
        features = torch.randn(30, 4, requires_grad=True)
        figure = features_figure(features, np.zeros(30, int), limit=10)
        assert len(figure.axes[0].lines[0].get_xdata()) == 10  # type: ignore[arg-type]

    def test_says_what_is_wrong(self) -> None:
        with pytest.raises(ValueError, match=r"\(N >= 4, D >= 2\).*\(3, 5\)"):
            features_figure(torch.randn(3, 5), torch.zeros(3))
        with pytest.raises(ValueError, match=r"\(5, 5\) and \(4,\)"):
            features_figure(torch.randn(5, 5), torch.zeros(4))


class TestQueueFigure:
    def test_positives_against_negatives(self) -> None:
        generator = torch.Generator().manual_seed(0)
        query, anchors = (torch.randn(n, 8, generator=generator) for n in (20, 50))
        key = query + 0.1 * torch.randn(20, 8, generator=generator)
        key[:5] = -query[:5]
        figure = queue_figure(3 * query, key.requires_grad_(), anchors)
        positive = F.cosine_similarity(query, key)
        negative = F.cosine_similarity(query[:, None], anchors[None], dim=2)
        (axis,) = figure.axes
        for patch, values in zip(axis.patches, (negative, positive), strict=True):
            x, y = np.asarray(patch.get_path().vertices).T  # type: ignore[attr-defined]
            inside = values.detach().flatten().clamp(-1, 1).numpy()  # but for rounding they are
            counts, _ = np.histogram(inside, np.linspace(-1, 1, 81))
            np.testing.assert_allclose(y.max(), counts.max() / counts.sum())
            low, high = x[y > 0].min(), x[y > 0].max()
            assert low <= inside.min() <= low + 0.026
            assert high - 0.026 <= inside.max() <= high
        labels = [text.get_text() for text in figure.legends[0].get_texts()]
        assert labels == [
            f"anchors of the queue, mean {negative.mean():.2f}",
            f"own key, mean {positive.mean():.2f}",
        ]
        hits = int((positive > negative.max(dim=1).values).sum())
        assert hits <= 15
        assert axis.get_title("left") == f"own key nearest: {hits / 20:.0%} of 20"

    def test_collapsed_embeddings(self) -> None:
        same = torch.ones(4, 3)
        figure = queue_figure(same, same, same)
        assert figure.axes[0].get_title("left") == "own key nearest: 0% of 4"

    def test_says_what_is_wrong(self) -> None:
        x = torch.randn(4, 3)
        with pytest.raises(ValueError, match=r"key \(N, D\).*\[\(4, 3\), \(3, 3\), \(4, 3\)"):
            queue_figure(x, x[:3], x)
        with pytest.raises(ValueError, match=r"one width, .* \(4, 2\)\]"):
            queue_figure(x, x, x[:, :2])
        with pytest.raises(ValueError, match=r"at least one, .* \(0, 3\)\]"):
            queue_figure(x, x, x[:0])
