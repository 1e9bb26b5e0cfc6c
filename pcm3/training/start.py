"""The model that a run begins with: new, or with the weights of an earlier run or of an encoder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from pcm3.data.body import BODY
from pcm3.data.dataset import ClipDataset
from pcm3.encoders.files import encoder_file, load_encoder
from pcm3.errors import SkeletonFormatError
from pcm3.methods import Method
from pcm3.methods.catalog import RunSettings
from pcm3.runs.folder import Run, find_differences, find_method_name
from pcm3.runs.seen import find_past

_ARCHITECTURE = (
    *("stream", "encoder", "hidden", "layers", "direction", "frames", "embedding"),
    *("decoder_hidden", "queue_size", "domain_prompts", "task_prompts"),
    *("patch", "width", "depth", "heads", "decoder_depth"),
)
"""Settings that determine the weights; ``frames`` does only if ``Encoder.fixed_frames`` is true."""


def is_run(start: str | Path) -> bool:
    """Whether weights come from a run folder, and not from the file of an encoder alone.

    Raises:
        SkeletonFormatError: If there is neither.
    """
    if not Path(start).exists():
        encoder_file(start)  # raises, unless it is the word pretrained
    return Path(start).is_dir()


def takes_any_layout(start: str | Path) -> bool:
    """Whether weights are of an encoder for all layouts, as ``RunSettings.any_layout`` makes it.

    Raises:
        ValueError: If there is neither a run folder nor the file of an encoder.
    """
    if is_run(start):
        data: dict[str, Any] = Run(start).settings().get("data", {})
        return data.get("normalization") == BODY
    return load_encoder(start).normalization == BODY


def begin(
    config: RunSettings,
    data: ClipDataset,
    seen: Sequence[dict[str, Any]],
    start: str | Path | None = None,
    out: str | Path | None = None,
) -> tuple[Method, dict[str, Any]]:
    """Build the model of a run, and say where its weights come from and what they have seen.

    Args:
        config: All settings.
        data: What it is trained on.
        seen: What the run will see, as ``describe_seen`` tells it.
        start: A run folder, the file of an encoder, or ``"pretrained"``; None for new weights.
        out: The run folder.

    Returns:
        The model, and entries of ``config.json``: none if the weights are new.

    Raises:
        ValueError: If the weights belong to another model, stream, joint order or normalization,
            or ``out`` is the run that they come from.
    """
    model = config.model.build(data.skeleton, data.persons, data.channels)
    if start is None:
        return model, {}
    if is_run(start):
        if out is not None and Path(start).resolve() == Path(out).resolve():
            raise ValueError(
                f"expected --out to be another folder than --from, got {out}; to continue a run, "
                "repeat the command that began it"
            )
        _load(model, Run(start), config, data)
    else:
        model = _with_encoder(model, start, data)
    model.past = past = find_past(start)
    own = seen if config.train.epochs else []
    origin = {"seen": None if past.stores is None else [*past.stores, *own]}
    return model, origin | {"start": Path(start).resolve().name}


def _with_encoder(model: Method, start: str | Path, data: ClipDataset) -> Method:
    """Build the model again with the weights of an encoder."""
    file, loaded = encoder_file(start), load_encoder(start)
    if loaded.normalization == BODY and data.normalization != BODY:
        raise ValueError(
            f"{file} takes recordings of any layout: expected --any-layout, got recordings of "
            f"normalization {data.normalization!r}"
        )
    trained = {
        "normalization": loaded.normalization,
        "skeleton": {"name": loaded.skeleton.name, "joints": list(loaded.skeleton.joints)},
    }
    differences = _data_differences(trained, data)
    if differences:
        raise ValueError(f"{file} was trained on other data: {'; '.join(differences)}")
    differences = find_differences({"stream": loaded.stream}, {"stream": model.stream}, "model.")
    if loaded.encoder.fixed_frames:
        frames = {"frames": loaded.frames}
        differences += find_differences(frames, {"frames": model.frames}, "model.")
    differences += _weight_differences(loaded.encoder.state_dict(), model.encoder.state_dict())[:3]
    if type(loaded.encoder) is not type(model.encoder):
        there, here = type(loaded.encoder).__name__, type(model.encoder).__name__
        differences = [f"it is a {there} there and a {here} here"]
    if differences:
        raise ValueError(f"{file} holds another encoder: {'; '.join(differences)}")
    return type(model)(loaded.encoder.train(), data.skeleton, model.settings)


def _load(model: Method, run: Run, config: RunSettings, data: ClipDataset) -> None:
    """Load the weights of a run into a model."""
    old, new = run.settings(), json.loads(config.to_json())
    if not old.keys() >= {"data", "model"}:
        raise SkeletonFormatError(f"{run.config}: expected data and model, got {', '.join(old)}")
    state = run.load_checkpoint()
    if state is None:
        raise ValueError(f"expected a run folder with a checkpoint to start from, got {run.path}")
    for what, differences in (
        ("was trained on other data", _data_differences(old["data"], data)),
        ("holds another model", _model_differences(old, new, model)),
        ("holds another model", _weight_differences(state["model"], model.state_dict())[:3]),
    ):
        if differences:
            raise ValueError(f"{run.path} {what}: {'; '.join(differences)}")
    needed = model.state_dict()
    model.load_state_dict({name: state["model"][name] for name in needed})


def _data_differences(old: dict[str, Any], data: ClipDataset) -> list[str]:
    joints, skeleton = old["skeleton"]["joints"], data.skeleton
    differences = find_differences(
        {"normalization": old["normalization"]}, {"normalization": data.normalization}
    )
    if joints != list(skeleton.joints):
        differences.append(
            f"{len(joints)} joints of {old['skeleton']['name']!r} there and {len(skeleton)} of "
            f"{skeleton.name!r} here, or in another order"
        )
    return differences


def _model_differences(old: dict[str, Any], new: dict[str, Any], model: Method) -> list[str]:
    in_python = "method" not in old  # then fewer settings are known
    method = find_method_name(old)
    if method != new["method"]:
        return [f"method is {method} there and {new['method']} here"]
    names = {"stream"} if in_python else set(_ARCHITECTURE)
    if not model.encoder.fixed_frames:
        names -= {"frames"}
    old, new = ({name: settings["model"].get(name) for name in names} for settings in (old, new))
    return find_differences(old, new, "model.")


def _weight_differences(old: dict[str, Tensor], new: dict[str, Tensor]) -> list[str]:
    """Differences in the weights that the new model has; it may need fewer, such as no decoder."""

    def shape(weights: dict[str, Tensor], name: str) -> str:
        return str(tuple(weights[name].shape)) if name in weights else "absent"

    return [
        f"{name} is {shape(old, name)} there and {shape(new, name)} here"
        for name in sorted(new)
        if shape(old, name) != shape(new, name)
    ]
