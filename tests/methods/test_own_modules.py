"""Encoders, transforms and data sets of one's own: what they lack is named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset, TensorDataset

from pcm3 import MAMP, NTU25, PCM3
from pcm3.augment import Mixup, Shear, TemporalCropResize
from pcm3.data import SkeletonDataset, Store, generate
from pcm3.data.dataset import Batch, ClipDataset
from pcm3.encoders import Encoder, GRUEncoder, TransformerEncoder
from pcm3.evaluation.features import extract_features, extract_random_crops
from pcm3.evaluation.recognition import evaluate_knn
from pcm3.hub import Pretrained, save_encoder
from pcm3.methods import Method
from pcm3.methods.settings import TrainConfig
from pcm3.training.trainer import fit

FRAMES = 16
SHORT: dict[str, Any] = {"epochs": 1, "batch_size": 4, "quiet": True, "accelerator": "cpu"}


class Own(Encoder):
    """An encoder of one's own, of the smallest kind."""

    def __init__(self, width: int = 8) -> None:
        super().__init__(25, in_channels=3, persons=1, pool="mean")
        self.out_features = width
        self.linear = nn.Linear(75, 8)

    def forward(self, clips: Tensor, prompt: Tensor | None = None) -> Tensor:
        features: Tensor = self.linear(rearrange(clips, "n c t v m -> n t (c v m)"))
        return features


class WithoutJoints(nn.Module):
    def forward(self, clips: Tensor, prompt: Tensor | None = None) -> Tensor:
        raise NotImplementedError


class WithoutWidth(Own):
    def __init__(self) -> None:
        super().__init__()
        del self.out_features


class WithoutPool(WithoutJoints):
    joints, in_channels, persons, out_features, feature_blocks = 25, 3, 1, 8, 1


class WithoutPrompt(Own):
    def forward(self, clips: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(clips)


class OfSequences(Own):
    def forward(self, clips: Tensor, prompt: Tensor | None = None) -> Tensor:
        return super().forward(clips).mean(dim=1)


class OfFewer(Own):
    def forward(self, clips: Tensor, prompt: Tensor | None = None) -> Tensor:
        return super().forward(clips)[:2]


class OfPairs(Own):
    def forward(self, clips: Tensor, prompt: Tensor | None = None) -> Any:
        return super().forward(clips), 1


class OfArrays(Own):
    def forward(self, clips: Tensor, prompt: Tensor | None = None) -> Any:
        return super().forward(clips).detach().numpy()


class Detached(Own):
    def forward(self, clips: Tensor, prompt: Tensor | None = None) -> Tensor:
        return super().forward(clips).detach()


class Unpooled(Own):
    def pool(self, frames: Tensor) -> Tensor:
        return frames


def clips(samples: int = 4, frames: int = 20) -> Tensor:
    return torch.randn(samples, 3, frames, 25, 1, generator=torch.Generator().manual_seed(0))


def pcm3(encoder: Any, skeleton: Any = NTU25, **options: Any) -> PCM3:
    small = {"frames": FRAMES, "queue_size": 8, "embedding": 4, "decoder_hidden": 4}
    return PCM3(encoder, skeleton, **{**small, **options})


def mamp(skeleton: Any = NTU25, **options: Any) -> MAMP:
    encoder = TransformerEncoder(NTU25, persons=1, frames=FRAMES, width=8, depth=1, heads=2)
    return MAMP(encoder, skeleton, decoder_depth=1, mask_ratio=0.8, **options)


def gru() -> PCM3:
    return pcm3(GRUEncoder(NTU25, persons=1, hidden=4, layers=1))


METHODS = {"own": lambda: pcm3(Own()), "gru": gru, "mamp": mamp}


# --- encoders -------------------------------------------------------------------------------------


def test_an_encoder_of_ones_own_learns() -> None:
    for model in (pcm3(Own()), pcm3(torch.compile(Own(), backend="eager"))):
        model(clips()).total.backward()
        weight = next(model.encoder.parameters())
        assert weight.grad is not None
        assert bool(weight.grad.any())
        assert model.features(clips()).shape == (4, 8)


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (WithoutJoints(), r"WithoutJoints\.joints .* as of a pcm3\.encoders\.Encoder, got None"),
        (WithoutWidth(), r"WithoutWidth\.out_features .*, got None"),
        (WithoutPool(), r"expected WithoutPool\.pool\(\), .* got none"),
        (WithoutPrompt(), r"WithoutPrompt\.forward\(clips, prompt=None\), got forward\(clips"),
        (Own, r"expected an encoder, a pcm3\.encoders\.Encoder, got"),
        ("gru", r"expected an encoder, a pcm3\.encoders\.Encoder, got 'gru'"),
    ],
)
def test_what_is_no_encoder(encoder: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pcm3(encoder)


@pytest.mark.parametrize(
    ("encoder", "got"),
    [
        (OfSequences(), r"OfSequences to return features \(N=4, T', D=8\), got \(4, 8\)"),
        (OfFewer(), r"OfFewer to return .*, got \(2, 16, 8\)"),
        (OfPairs(), "OfPairs to return .*, got tuple"),
        (OfArrays(), r"OfArrays to return .*, got numpy\.ndarray"),
        (Own(9), r"Own to return .* D=9\), got \(4, 16, 8\)"),
        (Unpooled(), r"Unpooled\.pool to return features \(N=4, D=8\), got \(4, 16, 8\)"),
    ],
)
def test_what_an_encoder_returns(encoder: Encoder, got: str, tmp_path: Path) -> None:
    data = SkeletonDataset(generate(tmp_path / "store", sequences=4, classes=2, subjects=2))
    view = Pretrained(encoder, NTU25, "joint", FRAMES)
    for use in (
        lambda: pcm3(encoder)(clips()),
        lambda: pcm3(encoder).features(clips()),
        lambda: extract_features(view, data),
        lambda: extract_random_crops(view, data, torch.Generator()),
    ):
        with pytest.raises(ValueError, match=got):
            use()


def test_features_without_a_gradient() -> None:
    model = pcm3(Detached())
    with pytest.raises(ValueError, match="features of Detached that carry a gradient, got detach"):
        model(clips())
    with torch.no_grad():
        model(clips())
    model.eval()(clips())
    model.train().encoder.requires_grad_(False)  # as it says itself
    model(clips()).total.backward()


@pytest.mark.parametrize("skeleton", [25, "ntu25", None])
def test_what_is_no_skeleton(skeleton: Any) -> None:
    for build in (lambda: pcm3(Own(), skeleton), lambda: mamp(skeleton)):
        with pytest.raises(ValueError, match=r"Skeleton.*pcm3\.NTU25.* got"):
            build()


# --- transforms and views -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["crop", "spatial", "source_spatial", "mixing", "masking", "clipping"]
)
def test_what_is_no_transform(name: str) -> None:
    for value in (5, Shear, NTU25):
        with pytest.raises(ValueError, match=f"expected {name} .*transform"):
            pcm3(Own(), **{name: value})
    if name == "crop":
        with pytest.raises(ValueError, match=r"rotate .*transform"):
            mamp(rotate=Shear)


def test_what_transforms_return() -> None:
    with pytest.raises(ValueError, match=r"mixing to return MixedClips, got torch\.Tensor"):
        pcm3(Own(), mixing=Shear())(clips())
    with pytest.raises(ValueError, match=r"expected a torch tensor, got .*MixedClips"):
        pcm3(Own(), crop=Mixup())(clips())
    with pytest.raises(ValueError, match="no lengths, for Shear treats all frames alike"):
        pcm3(Own(), crop=Shear())(clips(), torch.full((4,), 9))


@pytest.mark.parametrize("name", ["own", "mamp"])
def test_what_are_no_views(name: str) -> None:
    with pytest.raises(ValueError, match=r"Views, as make_views gives them, got torch\.Tensor"):
        METHODS[name]().loss(clips())  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["mask_weight", "kl_weight", "info_nce_weight"])
def test_weights_are_numbers(name: str) -> None:
    with pytest.raises(ValueError, match=f"expected {name} to be a number, got '1'"):
        pcm3(Own(), **{name: "1"})


# --- clips and lengths ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (clips().double(), r"torch\.float32, .* got torch\.float64; convert them, clips\.to"),
        (clips().half(), r"torch\.float32, .* got torch\.float16; convert them, clips\.to"),
        (clips().to("meta"), "expected clips on cpu, where the encoder is, got them on meta"),
        (clips().numpy(), r"expected a torch tensor, got numpy\.ndarray"),
        (clips()[0], r"expected clips \(N, C=3, T, V=25, M=1\), got \(3, 20, 25, 1\)"),
        (torch.randn(4, 3, 20, 17, 1), r"V=25, M=1\), got \(4, 3, 20, 17, 1\)"),
        (torch.randn(4, 3, 20, 25, 2), r"V=25, M=1\), got \(4, 3, 20, 25, 2\)"),
        (clips() * torch.nan, "NaN or infinity in sample 0, frame 0"),
    ],
)
def test_clips_that_do_not_fit(name: str, given: Any, message: str) -> None:
    model = METHODS[name]()
    for use in (model, model.features):
        with pytest.raises(ValueError, match=message):
            use(given)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        (torch.full((3,), 20), r"expected lengths \(N=4,\), got \(3,\)"),
        (torch.full((4, 1), 20), r"expected lengths \(N=4,\), got \(4, 1\)"),
        (torch.full((4,), 20.0), r"integer lengths, got torch\.float32"),
        (torch.full((4,), 20) > 3, r"integer lengths, got torch\.bool"),
        (torch.tensor([20, 0, 3, 1]), r"lengths in \[1, T=20\], got 0 in sample 1"),
        (torch.tensor([20, 3, 3, 21]), r"lengths in \[1, T=20\], got 21 in sample 3"),
        (torch.full((4,), 20).to("meta"), "lengths on cpu.*meta"),
        ([20] * 4, "lengths: expected a torch tensor, got list"),
        (np.full(4, 20), r"lengths: expected a torch tensor, got numpy\.ndarray"),
    ],
)
def test_lengths_that_do_not_fit(name: str, lengths: Any, message: str) -> None:
    model = METHODS[name]()
    for use in (model, model.features):
        with pytest.raises(ValueError, match=message):
            use(clips(), lengths)


@pytest.mark.parametrize("name", METHODS)
def test_what_is_no_generator(name: str) -> None:
    with pytest.raises(ValueError, match=r"generator to be a torch\.Generator, got int"):
        METHODS[name]()(clips(), None, 7)


def test_autocast_takes_clips_of_float32() -> None:
    model = gru()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(clips()).total.backward()
        assert model.features(clips()).shape == (4, 8)


# --- data sets ------------------------------------------------------------------------------------


class OwnData(ClipDataset):
    """Clips of one's own; ``give`` makes what a batch is of a number of items."""

    skeleton = NTU25
    normalization = "none"
    persons = 1
    class_names = ("a",)

    def __init__(self, give: Callable[[int], Any] | None = None, items: int = 8) -> None:
        self.labels, self.lengths = np.zeros(items, np.int64), np.full(items, 20)
        self.give = give or ready

    def batch(self, indices: Sequence[int]) -> Batch:
        made: Batch = self.give(len(indices))
        return made


def ready(count: int) -> Batch:
    zeros = torch.zeros(count, dtype=torch.int64)
    return Batch(clips(count), torch.full((count,), 20), zeros, torch.arange(count))


class Nameless(ClipDataset):
    def batch(self, indices: Sequence[int]) -> Batch:
        return ready(len(indices))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    out = tmp_path_factory.mktemp("data") / "store"
    return generate(out, sequences=8, classes=2, subjects=2, frames=(20, 30))


def test_a_data_set_of_ones_own() -> None:
    model = pcm3(Own())
    before = model.encoder.linear.weight.clone()
    assert model.fit(OwnData(), **SHORT) is model
    assert not torch.equal(before, model.encoder.linear.weight)


def arrays(count: int) -> Batch:
    return ready(count)._replace(clips=clips(count).numpy())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (TensorDataset(clips(), torch.zeros(4)), r"ClipDataset.*TensorDataset$"),
        (DataLoader(OwnData(), 4), r"DataLoader.*its data"),
        (
            Subset(OwnData(), [0, 1]),
            r"got .*Subset; SkeletonDataset\(store, indices\) takes a part",
        ),
        (clips().numpy(), r"ClipDataset.* numpy\.ndarray"),
        ([clips()[0]] * 4, "ClipDataset.* list"),
        ("store", "ClipDataset.* str"),
        (None, "ClipDataset.* NoneType"),
        (Nameless(), r"'skeleton'.*Nameless"),
        (OwnData(arrays), r"clips of .*OwnData\.batch: expected a torch tensor, got numpy\.ndarr"),
        (OwnData(clips), r"OwnData\.batch to return a Batch, got torch\.Tensor"),
    ],
)
def test_what_is_no_data_set(dataset: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pcm3(Own()).fit(dataset, **SHORT)
    with pytest.raises(ValueError, match=message):
        extract_features(Pretrained(Own(), NTU25, "joint", FRAMES), dataset)


def test_a_data_set_of_nothing() -> None:
    with pytest.raises(ValueError, match=r"at least 4 training sequences .* got 0"):
        pcm3(Own()).fit(OwnData(items=0), **SHORT)


def test_a_store_is_no_data_set(store: Store) -> None:
    message = r"pcm3\.data\.store\..*Store.*SkeletonDataset\(store\)"
    with pytest.raises(ValueError, match=message):
        pcm3(Own()).fit(store, **SHORT)  # type: ignore[arg-type]


def test_faults_of_a_step_say_where() -> None:
    double = OwnData(lambda n: ready(n)._replace(clips=clips(n).double()))
    with pytest.raises(ValueError, match=r"got torch\.float64; .*, in epoch 1, step 1, items"):
        pcm3(Own()).fit(double, **SHORT)
    labels = OwnData(lambda n: ready(n)._replace(lengths=torch.zeros(n, dtype=torch.int64)))
    with pytest.raises(ValueError, match=r"lengths in \[1, T=20\], got 0 in sample 0, in epoch 1"):
        pcm3(Own()).fit(labels, **SHORT)


def test_nothing_to_train() -> None:
    with pytest.raises(ValueError, match="a PCM3 to train, got one without a parameter that req"):
        pcm3(Own()).requires_grad_(False).fit(OwnData(), **SHORT)
    with pytest.raises(ValueError, match=r"a PCM3, a MAMP or another Method, got .*Own"):
        fit(Own(), OwnData(), TrainConfig(epochs=1))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected epochs to be a number, got '3'"):
        pcm3(Own()).fit(OwnData(), **{**SHORT, "epochs": "3"})


class InHalf(Method):
    """A method whose loss is 1, in half precision."""

    skeleton, stream, frames = NTU25, "joint", FRAMES

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Own()

    def forward(self, clips: Tensor, *_: Any) -> Any:
        loss = self.encoder(clips).sum() * 0 + 1
        return _Output(loss, {"one": loss.detach().to(torch.bfloat16)})


class _Output:
    def __init__(self, total: Tensor, terms: dict[str, Tensor]) -> None:
        self.total, self.terms = total, terms


def test_means_of_losses_in_half_precision() -> None:
    """A sum in bfloat16 stays where it is from 256 on."""
    config = TrainConfig(epochs=1, batch_size=2, accelerator="cpu", optimizer="sgd")
    (record,) = fit(InHalf(), OwnData(items=700), config, quiet=True)
    assert record["one"] == record["total"] == 1


# --- where an encoder and how it wants its clips is expected --------------------------------------


def test_an_encoder_alone_is_no_pretrained_one(store: Store, tmp_path: Path) -> None:
    encoder, data = GRUEncoder(NTU25, persons=1, hidden=4, layers=1), SkeletonDataset(store)
    for wrong in (encoder, gru(), (encoder, NTU25, "joint", FRAMES)):
        for use in (
            lambda wrong=wrong: evaluate_knn(wrong, data, data),
            lambda wrong=wrong: save_encoder(tmp_path / "encoder.safetensors", wrong),
        ):
            with pytest.raises(ValueError, match=r"Pretrained\(encoder, skeleton, .*, got "):
                use()


def test_crops_of_ones_own_get_the_lengths() -> None:
    crop = TemporalCropResize(FRAMES, min_frames=4)
    seen: list[Any] = []

    def own(clips: Tensor, lengths: Any = None, generator: Any = None) -> Tensor:
        seen.append(lengths)
        return crop(clips, lengths, generator)

    lengths = torch.full((4,), 9)
    pcm3(Own(), crop=own)(clips(), lengths)
    assert len(seen) == 3
    assert all(each is lengths for each in seen)
