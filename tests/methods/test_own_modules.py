"""Encoders, transforms and data sets of one's own: what they lack is named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from einops import rearrange
from optimizer_steps import steps_of
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset, TensorDataset

from pcm3 import MAMP, NTU25, PCM3
from pcm3.augment import Mixup, Shear, TemporalCropResize
from pcm3.data import SkeletonDataset, Store, generate
from pcm3.data.dataset import Batch, ClipDataset
from pcm3.encoders import (
    Encoder,
    EncoderAdapter,
    GRUEncoder,
    StreamingEncoder,
    TransformerEncoder,
)
from pcm3.evaluation.features import extract_features, extract_random_crops
from pcm3.evaluation.recognizer import Recognizer
from pcm3.evaluation.tasks.detection.classifier import WindowClassifier
from pcm3.evaluation.tasks.finetune import FinetuneSettings, finetune
from pcm3.evaluation.tasks.knn import evaluate_knn
from pcm3.evaluation.tasks.prediction.model import MotionPredictor
from pcm3.heads import Classifier, FinetuneHead
from pcm3.hub import Pretrained, load_encoder, save_encoder
from pcm3.methods import Method
from pcm3.methods.base import Output
from pcm3.methods.settings import TrainSettings
from pcm3.skeleton import Stream, to_stream
from pcm3.training.devices import compile_blocks
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


class WithoutWidth(Own):
    def __init__(self) -> None:
        super().__init__()
        del self.out_features


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


class OwnBlock(nn.TransformerEncoderLayer):
    """A block that is left out, but for its shortcut, with a probability."""

    compiles = True

    def __init__(self) -> None:
        super().__init__(8, 2, 16, dropout=0.0, batch_first=True)
        self.drop_path = 0.0

    def forward(self, tokens: Tensor, *_: Any, **__: Any) -> Tensor:
        if self.training and torch.rand(()) < self.drop_path:
            return tokens
        return super().forward(tokens)


class OwnTransformer(Encoder):
    """A token for each joint and frame; all that a transformer can do, said in the contract."""

    has_tokens = True
    fixed_frames = True
    drop_path = 0.0

    def __init__(self) -> None:
        super().__init__(25, in_channels=3, persons=1, pool="mean")
        self.out_features = 8
        self.embedding = nn.Linear(3, 8)
        self.times = nn.Parameter(torch.zeros(FRAMES, 1, 8))
        self.blocks = nn.ModuleList(OwnBlock() for _ in range(2))

    def forward(self, clips: Tensor, prompt: Tensor | None = None) -> Tensor:
        return self.tokens(clips, prompt).mean(dim=(1, 3))

    def tokens(self, clips: Tensor, prompt: Tensor | None = None) -> Tensor:
        embedded = self.embedding(rearrange(clips, "n c t v m -> n m t v c")) + self.times
        tokens = embedded.flatten(2, 3).flatten(0, 1)
        for block in self.blocks:
            tokens = block(tokens)
        return rearrange(tokens, "(n m) (t v) d -> n m t v d", n=len(clips), v=self.joints)

    def set_drop_path(self, rate: float) -> None:
        self.drop_path = rate
        for block in self.blocks:
            assert isinstance(block, OwnBlock)
            block.drop_path = rate

    def stack(self) -> Sequence[nn.Module]:
        return tuple(self.blocks)


def clips(samples: int = 4, frames: int = 20) -> Tensor:
    return torch.randn(samples, 3, frames, 25, 1, generator=torch.Generator().manual_seed(0))


def pcm3(encoder: Any, skeleton: Any = NTU25, **options: Any) -> PCM3:
    small = {"frames": FRAMES, "queue_size": 8, "embedding": 4, "decoder_hidden": 4}
    return PCM3(encoder, skeleton, **{**small, **options})


def mamp(skeleton: Any = NTU25, **options: Any) -> MAMP:
    encoder = TransformerEncoder(NTU25, persons=1, frames=FRAMES, width=8, depth=1, heads=2)
    return MAMP(encoder, skeleton, decoder_depth=1, mask_ratio=0.8, **options)


def gru() -> PCM3:
    return pcm3(small())


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
        (nn.Linear(75, 8), r"Encoder.*Linear.*EncoderAdapter"),
        (WithoutWidth(), r"WithoutWidth\.out_features.*None"),
        (WithoutPrompt(), r"WithoutPrompt\.forward\(clips, prompt=None\).*forward\(clips"),
        (Own, r"pcm3\.encoders\.Encoder.*ABCMeta"),
        ("gru", r"pcm3\.encoders\.Encoder.*'gru'"),
    ],
)
def test_what_is_no_encoder(encoder: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pcm3(encoder)


@pytest.mark.parametrize(
    ("encoder", "got"),
    [
        (OfSequences(), r"OfSequences.*\(N=4, T', D=8\).*\(4, 8\)"),
        (OfFewer(), r"OfFewer.*\(2, 16, 8\)"),
        (OfPairs(), "OfPairs.*tuple"),
        (OfArrays(), r"OfArrays.*numpy\.ndarray"),
        (Own(9), r"Own.*D=9\).*\(4, 16, 8\)"),
        (Unpooled(), r"Unpooled\.pool.*\(N=4, D=8\).*\(4, 16, 8\)"),
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
    with pytest.raises(ValueError, match=r"Detached.*encoder\.requires_grad_\(False\)"):
        model(clips())
    with torch.no_grad():
        model(clips())
    model.eval()(clips())
    model.train().encoder.requires_grad_(False)  # as it says itself
    model(clips()).total.backward()


@pytest.mark.parametrize("skeleton", [25, "ntu25", None])
def test_what_is_no_skeleton(skeleton: Any) -> None:
    for build in (lambda: pcm3(Own(), skeleton), lambda: mamp(skeleton)):
        with pytest.raises(ValueError, match=r"Skeleton.*pcm3\.NTU25"):
            build()


# --- what an encoder can do beyond frame features -----------------------------------------------


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> SkeletonDataset:
    out = tmp_path_factory.mktemp("data") / "store"
    return SkeletonDataset(generate(out, sequences=12, classes=2, subjects=2, frames=(20, 30)))


def test_an_own_transformer_is_fine_tuned_as_mamp_is(labelled: SkeletonDataset) -> None:
    view = Pretrained(OwnTransformer(), NTU25, "joint", FRAMES)
    recipe = FinetuneSettings(epochs=2, warmup_epochs=0.0)
    assert recipe.resolve(view.encoder).recipe == "mamp"
    found: list[Recognizer] = []
    seen = steps_of(lambda: found.append(finetune(view, labelled, recipe).model))
    encoder, head = found[0].encoder, found[0].head
    assert isinstance(encoder, OwnTransformer)
    assert isinstance(head, FinetuneHead)
    assert {block.drop_path for block in encoder.blocks} == {0.3}
    assert view.encoder.drop_path == 0
    rates = {id(parameter): group["lr"] for group in seen[0] for parameter in group["params"]}
    for module, scale in zip(
        (encoder.embedding, *encoder.blocks, head), (0.64, 0.8, 1, 1), strict=True
    ):
        for parameter in module.parameters():
            assert rates[id(parameter)] == pytest.approx(3e-4 * scale)
    assert rates[id(encoder.times)] == pytest.approx(3e-4 * 0.64)


def test_an_own_encoder_is_fine_tuned_without_any_of_it(labelled: SkeletonDataset) -> None:
    view = Pretrained(Own(), NTU25, "joint", FRAMES)
    said = FinetuneSettings().resolve(view.encoder)._asdict()
    assert (said["recipe"], said["layer_decay"], said["drop_path"]) == ("cmd", 1.0, 0.0)
    assert isinstance(finetune(view, labelled, FinetuneSettings(epochs=1)).model.head, Classifier)
    for wrong in ({"recipe": "mamp"}, {"layer_decay": 0.5}, {"drop_path": 0.1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            finetune(view, labelled, FinetuneSettings(**wrong))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Own"):
        view.encoder.set_drop_path(0.1)
    assert set(view.encoder.learning_rate_scales(0.5).values()) == {1.0}


def test_tokens_without_layers_or_drop_path(labelled: SkeletonDataset) -> None:
    class Tokens(OwnTransformer):
        drop_path = None  # type: ignore[assignment]
        set_drop_path = Encoder.set_drop_path
        stack = Encoder.stack

    said = FinetuneSettings().resolve(Tokens())._asdict()
    assert (said["recipe"], said["layer_decay"], said["drop_path"]) == ("mamp", 1.0, 0.0)
    view = Pretrained(Tokens(), NTU25, "joint", FRAMES)
    assert isinstance(finetune(view, labelled, FinetuneSettings(epochs=1)).model.head, FinetuneHead)


def test_clips_of_other_lengths_are_resized_for_a_fixed_number_of_frames() -> None:
    observed = torch.randn(2, 3, 50, 25, 1)
    for encoder, frames in ((OwnTransformer(), FRAMES), (Own(), 50)):
        seen: list[int] = []
        encoder.register_forward_pre_hook(
            lambda _, given, seen=seen: seen.append(given[0].shape[2])
        )
        view = Pretrained(encoder, NTU25, "joint", FRAMES)
        MotionPredictor(view, hidden=4)(observed, observed[:, :, -1], 2)
        WindowClassifier(view, 2, normalize=False).features(observed)
        assert seen == [frames, frames]


def test_own_blocks_are_compiled() -> None:
    model = pcm3(OwnTransformer())
    compile_blocks(model)
    compiled = [m for m in model.modules() if m._compiled_call_impl is not None]
    assert [type(module) for module in compiled] == [OwnBlock] * 4  # query and key encoder
    with pytest.raises(ValueError, match="PCM3"):
        compile_blocks(pcm3(Own()))


def test_an_own_causal_encoder_goes_frame_by_frame() -> None:
    class Causal(Own):
        causal = True

        def step(
            self, frames: Tensor, hidden: tuple[Tensor, ...] | None = None
        ) -> tuple[Tensor, tuple[Tensor, ...]]:
            return self(frames[:, :, None])[:, 0], hidden or ()

    encoder, given = Causal().eval(), clips()
    stream = StreamingEncoder(encoder)
    features = torch.stack([stream.push(frame) for frame in given.unbind(2)], dim=1)
    torch.testing.assert_close(features, encoder(given).detach())
    torch.testing.assert_close(stream.pooled, encoder.pool(encoder(given)).detach())
    with pytest.raises(ValueError, match=r"causal.*Own"):
        StreamingEncoder(Own().eval())


# --- modules that are no encoders -----------------------------------------------------------------


class Frames(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(75, 8)

    def forward(self, clips: Tensor) -> Tensor:
        features: Tensor = self.linear(rearrange(clips, "n c t v m -> n t (c v m)"))
        return features


@pytest.mark.parametrize("sequence", [False, True])
def test_any_module_becomes_an_encoder(labelled: SkeletonDataset, sequence: bool) -> None:
    module = nn.Sequential(Frames(), nn.Flatten(), nn.Linear(8 * FRAMES, 8))
    module = module if sequence else module[0]
    encoder = EncoderAdapter(module, 8, persons=1, fixed_frames=sequence)
    given, prompt = clips(frames=FRAMES), torch.randn(3, 25, 1)
    expected = encoder.module(given + prompt[:, None])
    torch.testing.assert_close(encoder(given, prompt), expected.view(4, -1, 8))
    torch.testing.assert_close(encoder.pool(encoder(given)), encoder(given).mean(dim=1))
    model = pcm3(encoder)
    model(clips()).total.backward()
    assert all(weight.grad is not None for weight in encoder.parameters())
    view = Pretrained(encoder, NTU25, "joint", FRAMES)
    assert evaluate_knn(view, labelled, labelled)["top1"] == 1
    finetune(view, labelled, FinetuneSettings(epochs=1))
    observed = torch.randn(2, 3, 50, 25, 1)
    assert MotionPredictor(view, 4)(observed, observed[:, :, -1], 2).shape == (2, 3, 2, 25, 1)


@pytest.mark.parametrize(
    ("module", "given", "message"),
    [
        (Frames, clips(), "module.*type"),
        (nn.Identity(), clips(), r"D=8\), got \(4, 3, 20, 25, 1\)"),
        (nn.Flatten(), clips(), r"D=8\), got \(4, 1, 1500\)"),
        (Frames(), clips()[:, :, :, :9], r"V=25, M=1\), got \(4, 3, 20, 9, 1\)"),
        (Frames(), clips().double(), "torch.float32"),
    ],
)
def test_modules_that_give_no_features(module: Any, given: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EncoderAdapter(module, 8, persons=1)(given)


# --- transforms and views -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["crop", "spatial", "source_spatial", "mixing", "masking", "clipping"]
)
def test_what_is_no_transform(name: str) -> None:
    for value in (5, Shear, NTU25):
        with pytest.raises(ValueError, match=f"{name}.*transform"):
            pcm3(Own(), **{name: value})
    if name == "crop":
        with pytest.raises(ValueError, match=r"rotate.*transform"):
            mamp(rotate=Shear)


def test_what_transforms_return() -> None:
    with pytest.raises(ValueError, match=r"mixing.*MixedClips.*torch\.Tensor"):
        pcm3(Own(), mixing=Shear())(clips())
    with pytest.raises(ValueError, match=r"tensor.*MixedClips"):
        pcm3(Own(), crop=Mixup())(clips())
    with pytest.raises(ValueError, match=r"lengths.*Shear"):
        pcm3(Own(), crop=Shear())(clips(), torch.full((4,), 9))


@pytest.mark.parametrize("name", ["own", "mamp"])
def test_what_are_no_views(name: str) -> None:
    with pytest.raises(ValueError, match=r"Views.*torch\.Tensor"):
        METHODS[name]().loss(clips())  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["mask_weight", "kl_weight", "info_nce_weight"])
def test_weights_are_numbers(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}.*number.*'1'"):
        pcm3(Own(), **{name: "1"})


# --- clips and lengths ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (clips().double(), r"torch\.float32.*torch\.float64.*clips\.to\(torch\.float32\)"),
        (clips().half(), r"torch\.float32.*torch\.float16.*clips\.to\(torch\.float32\)"),
        (clips().to("meta"), "cpu.*meta"),
        (clips().numpy(), r"tensor.*numpy\.ndarray"),
        (clips()[0], r"\(N, C=3, T, V=25, M=1\).*\(3, 20, 25, 1\)"),
        (torch.randn(4, 3, 20, 17, 1), r"V=25, M=1\), got \(4, 3, 20, 17, 1\)"),
        (torch.randn(4, 3, 20, 25, 2), r"V=25, M=1\), got \(4, 3, 20, 25, 2\)"),
        (clips() * torch.nan, "NaN.*sample 0, frame 0"),
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
        (torch.full((3,), 20), r"lengths \(N=4,\).*\(3,\)"),
        (torch.full((4, 1), 20), r"lengths \(N=4,\).*\(4, 1\)"),
        (torch.full((4,), 20.0), r"integer.*torch\.float32"),
        (torch.full((4,), 20) > 3, r"integer.*torch\.bool"),
        (torch.tensor([20, 0, 3, 1]), r"lengths.*\[1, T=20\].* 0 in sample 1"),
        (torch.tensor([20, 3, 3, 21]), r"lengths.*\[1, T=20\].* 21 in sample 3"),
        (torch.full((4,), 20).to("meta"), "lengths on cpu.*meta"),
        ([20] * 4, "lengths.*tensor.*list"),
        (np.full(4, 20), r"lengths.*tensor.*numpy\.ndarray"),
    ],
)
def test_lengths_that_do_not_fit(name: str, lengths: Any, message: str) -> None:
    model = METHODS[name]()
    for use in (model, model.features):
        with pytest.raises(ValueError, match=message):
            use(clips(), lengths)


@pytest.mark.parametrize("name", METHODS)
def test_what_is_no_generator(name: str) -> None:
    with pytest.raises(ValueError, match=r"torch\.Generator.*int"):
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
        (DataLoader(OwnData(), 4), "ClipDataset.*DataLoader"),
        (
            Subset(OwnData(), [0, 1]),
            r"Subset.*SkeletonDataset\(store, indices\)",
        ),
        (clips().numpy(), r"ClipDataset.* numpy\.ndarray"),
        ([clips()[0]] * 4, "ClipDataset.* list"),
        ("store", "ClipDataset.* str"),
        (None, "ClipDataset.* NoneType"),
        (Nameless(), r"'skeleton'.*Nameless"),
        (OwnData(arrays), r"OwnData\.batch.*tensor.*numpy\.ndarray"),
        (OwnData(clips), r"OwnData\.batch.*Batch.*torch\.Tensor"),
    ],
)
def test_what_is_no_data_set(dataset: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pcm3(Own()).fit(dataset, **SHORT)
    with pytest.raises(ValueError, match=message):
        extract_features(Pretrained(Own(), NTU25, "joint", FRAMES), dataset)


def test_a_data_set_of_nothing() -> None:
    with pytest.raises(ValueError, match=r" 4 training sequences.* 0"):
        pcm3(Own()).fit(OwnData(items=0), **SHORT)


def test_a_store_is_no_data_set(store: Store) -> None:
    message = r"pcm3\.data\.store\..*Store.*SkeletonDataset\(store\)"
    with pytest.raises(ValueError, match=message):
        pcm3(Own()).fit(store, **SHORT)  # type: ignore[arg-type]


def test_faults_of_a_step_say_where() -> None:
    double = OwnData(lambda n: ready(n)._replace(clips=clips(n).double()))
    with pytest.raises(ValueError, match=r"torch\.float64.*epoch 1, step 1, items"):
        pcm3(Own()).fit(double, **SHORT)
    labels = OwnData(lambda n: ready(n)._replace(lengths=torch.zeros(n, dtype=torch.int64)))
    with pytest.raises(ValueError, match=r"\[1, T=20\].* 0 in sample 0, in epoch 1"):
        pcm3(Own()).fit(labels, **SHORT)


def test_nothing_to_train() -> None:
    with pytest.raises(ValueError, match=r"PCM3.*parameter.*gradient"):
        pcm3(Own()).requires_grad_(False).fit(OwnData(), **SHORT)
    with pytest.raises(ValueError, match=r"Method.*Own"):
        fit(Own(), OwnData(), TrainSettings(epochs=1))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"epochs.*number.*'3'"):
        pcm3(Own()).fit(OwnData(), **{**SHORT, "epochs": "3"})


class InHalf(Method):
    """A method whose loss is 1, in half precision."""

    def __init__(self) -> None:
        super().__init__(Own(), NTU25, changes={"frames": FRAMES})

    def make_views(self, clips: Tensor, lengths: Any = None, generator: Any = None) -> Tensor:
        return clips

    def loss(self, clips: Tensor) -> Output:
        loss = self.encoder(clips).sum() * 0 + 1
        return Output(loss, {"one": loss.detach().to(torch.bfloat16)})


def small() -> GRUEncoder:
    return GRUEncoder(NTU25, persons=1, hidden=4, layers=1)


class TwoStreams(Method):
    """A method that trains an encoder of joints and one of bones together."""

    def __init__(self) -> None:
        super().__init__(small(), NTU25, changes={"frames": FRAMES})
        self.bones = small()

    @property
    def trained_encoders(self) -> dict[Stream, Encoder]:
        return {"joint": self.encoder, "bone": self.bones}

    def make_views(
        self, clips: Tensor, lengths: Any = None, generator: Any = None
    ) -> dict[str, Tensor]:
        return {stream: to_stream(clips, NTU25, stream) for stream in self.trained_encoders}

    def loss(self, views: dict[str, Tensor]) -> Output:
        joints, bones = (self.trained_encoders[name](view) for name, view in views.items())
        apart = (joints - bones).square().mean()
        return Output(apart, {"apart": apart.detach()})


def test_each_stream_of_a_method_of_several_has_its_encoder(tmp_path: Path) -> None:
    model = TwoStreams()
    model.fit(OwnData(), tmp_path / "run", **SHORT, keep_epochs=(1,))
    for name in ("encoder", "encoder-epoch1"):
        for end, stream, encoder in (("", "joint", model.encoder), ("-bone", "bone", model.bones)):
            found = load_encoder(tmp_path / "run" / f"{name}{end}.safetensors")
            assert found.stream == stream
            for key, value in encoder.state_dict().items():
                assert torch.equal(value, found.encoder.state_dict()[key])
    assert load_encoder(tmp_path / "run").stream == "joint"


def test_means_of_losses_in_half_precision() -> None:
    """A sum in bfloat16 stays where it is from 256 on."""
    config = TrainSettings(epochs=1, batch_size=2, accelerator="cpu", optimizer="sgd")
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
            with pytest.raises(ValueError, match=r"Pretrained\(encoder, skeleton"):
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
