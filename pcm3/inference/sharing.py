"""Encoders and classifiers on the Hugging Face Hub."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from pcm3.encoders.files import Pretrained, encoder_file, load_encoder
from pcm3.errors import SkeletonFormatError, explain_missing
from pcm3.inference.cards import classifier_card, encoder_card
from pcm3.inference.classifier import Classifier
from pcm3.inference.files import load_classifier
from pcm3.io.tensors import read_tensors
from pcm3.runs.folder import find_run

with explain_missing():
    from huggingface_hub import ModelCard, ModelCardData, ModelHubMixin, snapshot_download

_ENCODER, _CLASSIFIER, _CONFIG = "encoder.safetensors", "classifier.safetensors", "config.json"
_SEEN = "seen.npz"
_FILES = (_ENCODER, _CLASSIFIER, _CONFIG, _SEEN, "README.md")
_TAGS = ("skeleton", "action-recognition", "self-supervised-learning")


class SharedModel(ModelHubMixin, library_name="pcm3"):
    """A trained encoder or classifier that can be uploaded to, and downloaded from, the Hub.

    A classifier is stored as ``classifier.safetensors``. An encoder is stored as
    ``encoder.safetensors``, with the ``config.json`` and ``seen.npz`` of its run: the downloaded
    folder is a run folder without checkpoints, which knows what it was trained on. A model card,
    ``README.md``, says what the files say. Nothing is pickled.

    Args:
        path: The run folder or the file of an encoder, or the file of a classifier.

    Attributes:
        file: The file, for commands.
        model: What is in it, on the CPU.

    Raises:
        SkeletonFormatError: If the file is missing, is neither an encoder nor a classifier, or is
            damaged.

    Example:
        >>> SharedModel("classifier.safetensors").push_to_hub("user/name")   # doctest: +SKIP
        >>> classifier = SharedModel.from_pretrained("user/name").model      # doctest: +SKIP
    """

    def __init__(self, path: str | Path) -> None:
        self._hub_mixin_config = None  # the mixin would write the path into config.json
        self._path = Path(path)
        self.file = encoder_file(path)
        is_classifier = "classifier" in read_tensors(self.file)[0]
        self.model: Pretrained | Classifier = (
            load_classifier(self.file) if is_classifier else load_encoder(self.file)
        )

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | Path, **download: Any
    ) -> SharedModel:
        """Read what ``save_pretrained`` wrote or ``push_to_hub`` uploaded.

        Args:
            pretrained_model_name_or_path: The folder, or the name of a repository, ``"user/name"``.
            **download: Options of ``huggingface_hub.snapshot_download``, such as ``revision``,
                ``token`` and ``local_files_only``.

        Raises:
            SkeletonFormatError: If there is no encoder or classifier, or as the class.
        """
        folder = Path(pretrained_model_name_or_path)
        if not folder.is_dir():
            name = str(pretrained_model_name_or_path)
            folder = Path(snapshot_download(name, allow_patterns=list(_FILES), **download))
        found = [name for name in (_CLASSIFIER, _ENCODER) if (folder / name).is_file()]
        if len(found) != 1:
            raise SkeletonFormatError(
                f"{pretrained_model_name_or_path}: expected {_ENCODER} or {_CLASSIFIER}, got "
                f"{'both' if found else 'none of them'}"
            )
        return cls(folder / _CLASSIFIER if found == [_CLASSIFIER] else folder)

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Write the file and its model card into a new or empty folder.

        Args:
            save_directory: The folder. Hidden files in it, as of a git repository, may stay.
            **options: Those of ``ModelHubMixin.save_pretrained``.

        Raises:
            ValueError: If the folder holds other files.
        """
        folder = Path(save_directory)
        held = sorted(file.name for file in folder.glob("[!.]*")) if folder.exists() else []
        if held:
            raise ValueError(f"expected a new or empty folder, got {folder}, which has {held[0]}")
        saved: str | None = super().save_pretrained(folder, **options)
        return saved

    def generate_model_card(self, license: str | None = None) -> ModelCard:
        """Write the model card.

        Args:
            license: Licence of the weights, by the Hub's name, such as ``"apache-2.0"``; by default
                none is stated. ``push_to_hub(..., model_card_kwargs={"license": ...})`` passes it.
        """
        about = ModelCardData(library_name="pcm3", tags=list(_TAGS), license=license)
        if isinstance(self.model, Classifier):
            text = classifier_card(self.model)
        else:
            text = encoder_card(self.model, self._path)
        return ModelCard(f"---\n{about.to_yaml()}\n---\n\n{text}")

    def _save_pretrained(self, save_directory: Path) -> None:
        if isinstance(self.model, Classifier):
            shutil.copyfile(self.file, save_directory / _CLASSIFIER)
            return
        shutil.copyfile(self.file, save_directory / _ENCODER)
        run, epoch = find_run(self._path)
        if run is not None and epoch is None and run.config.is_file():
            shutil.copyfile(run.config, save_directory / _CONFIG)
            if run.seen.is_file():  # runs of earlier versions have none
                shutil.copyfile(run.seen, save_directory / _SEEN)
