"""What `sth doctor` finds out about this installation: each finding says what is there, and what mends what is not."""

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import psutil

from sth_core.errors import UserError
from sth_core.files import cache_folder, system_reason

PROJECT = "sth-workbench"
OK, NOTE, MISSING = "ok", "note", "missing"  # a note: what works without it, and what does not
LEAST_FREE = {"the working folder": 2.0, "the cache": 0.5, "temporary files": 1.0}  # GB; the demo writes less than 1
DECODERS = {
    "h264": "mp4, avi, mov", "hevc": "mp4, mov", "vp8": "webm", "vp9": "webm", "av1": "mp4, webm", "mpeg4": "avi, mp4",
    "mjpeg": "avi", "msmpeg4v3": "avi", "mpeg2video": "mpg", "wmv2": "wmv",
}  # fmt: skip
AV1 = ("libdav1d", "av1")  # FFmpeg's own needs a GPU
USES = {  # of extras
    "transformers": "networks hf:NAME cannot be opened",
    "decord": "sth benchmark decoding leaves decord out",
    "tensorboard": "training writes no TensorBoard files",
    "s3": "runs in S3 cannot be read",
    "export": "figures are written as HTML, CSV and JSON, not as PDF, SVG and PNG",
}
NO_METADATA = f"{PROJECT} is not installed, so it is not known which versions it needs"


@dataclass(frozen=True)
class Diagnosis:
    """`state` is "ok", "note" or "missing"; `mend` is the command or the sentence for what is not ok."""

    what: str
    found: str
    state: str = OK
    mend: str = ""


def findings(folder: Path) -> Iterator[Diagnosis]:
    """All findings; `folder` is where results would go. Nothing is written, and nothing is downloaded."""
    yield Diagnosis("system", f"{platform.platform()}, Python {platform.python_version()} ({sys.executable})")
    yield from package_findings()
    yield from extra_findings()
    yield device_finding()
    yield from codec_findings()
    yield from disk_findings(folder)
    for what, look in (("browser", browser_finding), ("shipped networks", network_finding)):
        try:
            yield look()
        except ImportError as error:  # a package that is named above
            yield Diagnosis(what, f"not looked at: {error}", MISSING, "install what is missing, and ask again")


def package_findings() -> Iterator[Diagnosis]:
    """The dependencies, by the metadata of the installed package."""
    from packaging.requirements import Requirement

    try:
        needed = [Requirement(text) for text in requires(PROJECT) or ()]
        yield Diagnosis(PROJECT, version(PROJECT))
    except PackageNotFoundError:
        yield Diagnosis(PROJECT, NO_METADATA, MISSING, "pip install --editable . in the repository")
        return
    for one in needed:
        if not one.marker or one.marker.evaluate({"extra": ""}):
            found = installed_version(one.name)
            right = found is not None and one.specifier.contains(found, prereleases=True)
            asked = f"{one.name}{one.specifier}"
            yield Diagnosis(
                one.name, f"{found or 'not installed'} (needs {one.specifier})", OK if right else MISSING,
                "" if right else f"pip install '{asked}'",
            )  # fmt: skip


def installed_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def extra_findings() -> Iterator[Diagnosis]:
    """The optional packages: an extra is there if all of its packages are."""
    from packaging.requirements import Requirement

    try:
        needed = [Requirement(text) for text in requires(PROJECT) or ()]
    except PackageNotFoundError:
        return
    for extra, without in USES.items():
        of_extra = [one for one in needed if one.marker and one.marker.evaluate({"extra": extra})]
        of_extra = [one for one in of_extra if not one.marker or not one.marker.evaluate({"extra": ""})]
        lacking = [one.name for one in of_extra if not one.specifier.contains(installed_version(one.name) or "0")]
        there = ", ".join(f"{one.name} {installed_version(one.name)}" for one in of_extra)
        if lacking:
            yield Diagnosis(f"[{extra}]", f"not installed: {without}", NOTE, f"pip install '{PROJECT}[{extra}]'")
        else:
            yield Diagnosis(f"[{extra}]", there)


def device_finding() -> Diagnosis:
    """Where networks are computed."""
    try:
        torch = import_module("torch")
    except Exception as error:  # a library of it that is missing, or of another system
        return Diagnosis(
            "device", f"PyTorch cannot be imported: {error}", MISSING, "pip install --force-reinstall torch"
        )
    cores, memory = os.cpu_count() or 1, psutil.virtual_memory().total / 1e9
    here = f"CPU with {cores} core{'s' * (cores > 1)}, {memory:.0f} GB"
    if torch.cuda.is_available():
        gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        return Diagnosis("device", "; ".join([*(f"{g.name}, {g.total_memory / 1e9:.0f} GB" for g in gpus), here]))
    if torch.backends.mps.is_available():
        return Diagnosis("device", f"Apple GPU (mps); {here}")
    if shutil.which("nvidia-smi"):
        built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
        found = f"{here}; an NVIDIA driver is installed, and PyTorch, built for {built}, sees no GPU"
        return Diagnosis("device", found, NOTE, "choose a build for your driver at https://pytorch.org/get-started")
    return Diagnosis("device", f"{here}; no GPU")


def codec_findings() -> Iterator[Diagnosis]:
    """FFmpeg's decoders in PyAV, and its H.264 encoder."""
    again = "pip install --force-reinstall --only-binary av av"
    try:
        av = import_module("av")
    except Exception as error:
        yield Diagnosis("codecs", f"PyAV cannot be imported: {error}", MISSING, again)
        return

    def has(name: str, mode: str) -> bool:
        try:
            return bool(av.codec.Codec(name, mode))
        except ValueError:  # av.codec.codec.UnknownCodecError
            return False

    absent = [name for name in DECODERS if not any(has(one, "r") for one in (AV1 if name == "av1" else (name,)))]
    ffmpeg = getattr(av, "ffmpeg_version_info", "of unknown version")
    if absent:
        kinds = ", ".join(f"{name} ({DECODERS[name]})" for name in absent)
        yield Diagnosis("decoders", f"FFmpeg {ffmpeg} does not decode {kinds}", MISSING, again)
    else:
        yield Diagnosis("decoders", f"FFmpeg {ffmpeg}: {', '.join(DECODERS)}")
    if has("libx264", "w"):
        yield Diagnosis("encoder", "libx264")
    else:
        yield Diagnosis(
            "encoder", "no libx264: sth demo, sth cam and sth data synthesize write no video", MISSING, again
        )


def browser_finding() -> Diagnosis:
    """What draws PDF, SVG and PNG, and plays the tests of the pages."""
    from analysis.report.image_export import why_no_pictures
    from analysis.report.installed_browser import installed_browser

    reason, _, mend = why_no_pictures().partition(" Install")
    found = installed_browser() or "the one of Kaleido"
    return (
        Diagnosis("browser for PDF, SVG, PNG", reason, NOTE, f"install{mend}")
        if reason
        else Diagnosis("browser", found)
    )


def disk_findings(folder: Path) -> Iterator[Diagnosis]:
    """Free space where results, what is remembered of videos, and temporary files go."""
    import tempfile

    for what, place in {
        "the working folder": folder, "the cache": cache_folder(), "temporary files": Path(tempfile.gettempdir()),
    }.items():  # fmt: skip
        there = next(parent for parent in (place.absolute(), *place.absolute().parents) if parent.exists())
        try:
            free = shutil.disk_usage(there).free / 1e9
        except OSError as error:
            yield Diagnosis(what, f"{place}: {system_reason(error)}", MISSING, f"make {there} readable")
            continue
        if not os.access(there, os.W_OK):
            name = {"the cache": "XDG_CACHE_HOME", "temporary files": "TMPDIR"}.get(what)
            mend = f"name another folder in {name}" if name else "work in a folder of yours"
            yield Diagnosis(what, f"{place} cannot be written", NOTE if what == "the cache" else MISSING, mend)
        elif free < LEAST_FREE[what]:
            need = f"{place}: {free:.1f} GB free; at least {LEAST_FREE[what]} GB are wise"
            yield Diagnosis(what, need, NOTE, "delete what is not needed, or work on another disk")
        else:
            yield Diagnosis(what, f"{place}: {free:.0f} GB free")


def network_finding() -> Diagnosis:
    """Whether the demo's networks open."""
    from sth_core.checkpoint import load_checkpoint
    from workbench.demo import NETWORKS, SHIPPED_NETWORKS

    wrong = []
    for network in NETWORKS:
        try:
            load_checkpoint(SHIPPED_NETWORKS / f"{network.name}.safetensors")
        except UserError as error:
            wrong.append(str(error))
    if wrong:
        return Diagnosis(
            "shipped networks", "; ".join(wrong), MISSING, f"pip install --force-reinstall --no-deps {PROJECT}"
        )
    return Diagnosis("shipped networks", f"{len(NETWORKS)} open")
