"""Where a pretrained model is: found, and its files digested, without loading anything."""

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from doubleroute.digests import digest_of, file_digest
from doubleroute.errors import MachineError, ModelError

#: The files that weights and tokenizer are read from.
_ENDINGS = (".json", ".safetensors", ".txt", ".model")


@dataclass(frozen=True)
class Source:
    """Where a pretrained model is: a local folder, or a name that transformers resolves in its cache or hub.
    ``key``: what of the project names it."""

    name: str
    folder: Path | None
    key: str = "backbone.source"

    @property
    def location(self) -> str:
        """What from_pretrained takes."""
        return str(self.folder) if self.folder else self.name


def locate(source: str, root: Path, key: str = "backbone.source", with_tokenizer: bool = True) -> Source:
    """Resolve ``backbone.source``, or what another key names, without loading anything.

    ``package:NAME/PATH`` is a folder inside an installed Python package (which is not imported); an
    existing folder, relative to the project or absolute, is taken as it is; all else is a Hugging Face
    name. Raises MachineError when the package is not installed, ModelError when the folder is missing
    or holds no config.json, no safetensors weights or no tokenizer (where one is needed).
    """
    if source.startswith("package:"):
        package, _, inner = source.removeprefix("package:").partition("/")
        spec = find_spec(package) if package.isidentifier() else None
        if spec is None or not spec.submodule_search_locations:
            raise MachineError(
                f"{key}: the Python package '{package}' of '{source}' is not installed; "
                f"try `pip install {package.replace('_', '-')}`"
            )
        folder = Path(next(iter(spec.submodule_search_locations))) / inner
    else:
        folder = Path(source) if Path(source).is_absolute() else root / source
        if not folder.exists() and not source.startswith((".", "/")):
            return Source(source, None, key)
    _check_folder(folder, source, key, with_tokenizer)
    return Source(source, folder, key)


def _check_folder(folder: Path, source: str, key: str, with_tokenizer: bool) -> None:
    if not folder.is_dir():
        raise ModelError(f"{key}: '{source}' is no folder ({folder} does not exist)")
    names = {path.name for path in folder.iterdir()}
    lacking = []
    if "config.json" not in names:
        lacking.append("config.json")
    if not names & {"model.safetensors", "model.safetensors.index.json"}:
        pickled = "pytorch_model.bin" in names
        lacking.append(
            "model.safetensors" + (" (pytorch_model.bin is a pickle: convert it first)" if pickled else "")
        )
    tokenizers = {"tokenizer.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model", "vocab.json"}
    if with_tokenizer and not names & tokenizers:
        lacking.append("tokenizer files (tokenizer.json)")
    if lacking:
        raise ModelError(f"{key}: the folder {folder} lacks {', '.join(lacking)}")


def source_digest(source: Source) -> str:
    """A digest of the files of weights and tokenizer. Those of a hub name are downloaded if they are not in
    the cache; raises MachineError when the hub does not give them."""
    if source.folder:
        return _files_digest(source.folder)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        patterns = [f"*{ending}" for ending in _ENDINGS]
        return _files_digest(Path(snapshot_download(source.name, allow_patterns=patterns)))
    except (OSError, HFValidationError) as error:
        raise MachineError(not_found(source)) from error


def _files_digest(folder: Path) -> str:
    files = sorted(path for path in folder.iterdir() if path.suffix in _ENDINGS)
    return _digest_once(tuple((path, path.stat().st_mtime_ns, path.stat().st_size) for path in files))


@cache
def _digest_once(files: tuple[tuple[Path, int, int], ...]) -> str:
    """Of files as they were at a time: a run asks for the same ones again and again."""
    return digest_of({path.name: file_digest(path) for path, _, _ in files})


def not_found(source: Source) -> str:
    """What to say of a Hugging Face name that cannot be had."""
    return (
        f"{source.key}: '{source.name}' is no folder of the project, and the Hugging Face hub does not give "
        "it (offline, or no such model); download it first, or name a folder or package:NAME/PATH"
    )
