"""`sth cam`: Grad-CAM over time of one's own videos, or another explanation of them, as videos."""

from contextlib import nullcontext
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sth_core.datasets.media import counted
from sth_core.errors import UserError
from sth_core.resumable import no_report
from workbench.cli.kinds import METHOD_NAMES, PATH, TEXT, NumberKind
from workbench.cli.options import device_option, network_argument, network_options, pop_network, precision_option
from workbench.cli.terminal import notify, progress_bars, say
from workbench.cli.typed import command_line

if TYPE_CHECKING:
    from analysis.explain.gradcam import CamLayer
    from analysis.explain.video_explanation import CamOptions
    from sth_core.checkpoint import Checkpoint

CLIP_TOO_LARGE = "one clip does not fit; try --precision bf16 or --device cpu"
MOST_NAMES = 10  # of the names that are possible
BRANCHES, DEFINITIONS, SCALES = ("joint", "spatial", "temporal"), ("per_step", "per_clip"), ("clip", "frame")


@click.command("cam")
@network_argument
@click.argument("video", type=PATH, required=False)
@click.option("-o", "--out", type=PATH, help="The .mp4 to write; a folder where VIDEO is a folder of videos.")
@click.option(
    "--class", "target", type=TEXT, metavar="NAME", help="The class to explain; by default the predicted one."
)
@click.option("--against", type=TEXT, metavar="NAME", help="Explain how far the class is above this one.")
@click.option(
    "--method", default="gradcam", show_default=True, type=click.Choice(METHOD_NAMES), help="How it is explained."
)
@click.option(
    "--layer", type=TEXT, metavar="NAME", help="By default the deepest block with maps of at least 6 x 6 cells."
)
@click.option("--layers", "listed", is_flag=True, help="List all layers that can be explained, and stop.")
@click.option("--branch", default="joint", show_default=True, type=click.Choice(BRANCHES), help="Of an STH layer.")
@click.option("--definition", default="per_step", show_default=True, type=click.Choice(DEFINITIONS), help="Weights.")
@click.option("--scale", default="clip", show_default=True, type=click.Choice(SCALES), help="What shares one scale.")
@click.option("--signed", is_flag=True, help="Show evidence against the class too, in blue.")
@click.option("--opacity", default=0.55, show_default=True, type=NumberKind(0, 1), help="At the map's maximum.")
@click.option("--clips", default=1, show_default=True, type=click.IntRange(1, 10), help="More: more frames have maps.")
@network_options[0]
@network_options[1]
@device_option
@precision_option
def cam_command(
    video: Path | None, out: Path | None, layer: str | None, listed: bool, device: str, **options: Any
) -> None:
    """Show over VIDEO where and when a network finds evidence for a class: Grad-CAM over time, as an mp4.

    Other methods (--method): hirescam and layercam explain a layer too; integrated-gradients, gradient-shap, occlusion,
    feature-ablation (of frames) and rise explain the pixels. Those of the pixels need 9 to 256 passes of the network,
    and take the mean colour for what is not there.

    VIDEO is a video, a folder of frames, or a folder of videos. Beside the mp4 are written a sheet of the frames that
    the network saw (.png), its maps (.npy) and the recipe (.json).
    """
    from analysis.explain.gradcam import cam_layers, default_layer
    from analysis.explain.methods import INPUT, METHODS
    from analysis.explain.video_explanation import CamOptions
    from sth_core.memory import keep_freed_memory
    from sth_core.network import pick_device
    from sth_core.open_network import open_network
    from sth_core.out_of_memory import saying_out_of_memory

    keep_freed_memory()
    network, where = pop_network(options), pick_device(device)
    with saying_out_of_memory(where, lambda: CLIP_TOO_LARGE):
        loaded = open_network(network, where)
        layers = cam_layers(loaded.model, loaded.preprocessing.crop)
    if listed:
        for known in layers:
            say(known.title)
        return
    if video is None or out is None:
        raise UserError("name a video and the file to write: sth cam NETWORK VIDEO -o FILE.mp4")
    refuse_unused(layer, options)
    layered = METHODS[options["method"]].layered
    chosen = CamOptions((layer or default_layer(layers)) if layered else INPUT, **options)
    check_names(chosen, loaded.classes, layers, network.stem)
    explain_videos(loaded, video, out, chosen)


def explain_videos(loaded: "Checkpoint", video: Path, out: Path, options: "CamOptions") -> None:
    """Write the files of one video or of a folder of videos, and print a line for each."""
    from analysis.explain.cam_video import cam_video
    from sth_core.out_of_memory import saying_out_of_memory
    from sth_core.outputs import writing_into
    from sth_core.precision import computing_facts, replaced_precision

    targets, many = files_of(video, out)
    device = next(loaded.model.parameters()).device
    facts = {
        **(loaded.named.facts if loaded.named else {}),
        "checkpoint_sha256": loaded.sha256,
        "command": command_line(),
        **computing_facts(options.precision, device),
    }
    if note := replaced_precision(options.precision, device):
        notify(note)
    lines, failures = [], []
    with writing_into(out) if many else nullcontext(), progress_bars() as show:
        for number, (path, file) in enumerate(targets.items(), start=1):
            report = no_report if many else partial(show, f"painting {path.name}", unit="frame")
            explaining = partial(show, f"explaining {path.name} by {options.method}", unit="pass")
            try:
                with saying_out_of_memory(device, lambda: CLIP_TOO_LARGE):
                    e = cam_video(loaded, path, file, options, facts=facts, progress=report, explaining=explaining)
            except UserError as error:
                if not many:
                    raise
                failures.append(f"left out: {error}")
            else:
                name, score = e.top[0]
                no_colour = f"; {e.title[0]} (its map is zero or negative)" if e.empty else ""
                files = f"{file} (sheet: .png, maps: .npy, recipe: .json)"
                lines.append(f"{files}: predicted {name}, {score:.0%}{no_colour}")
            if many:
                show("painting videos", number, len(targets), unit="video")
    for line in lines + failures:
        say(line)
    if not lines:
        raise UserError(f"none of the {len(targets)} videos in {video} could be explained; the reasons are above")
    if many:
        say(f"{counted(len(lines), 'video')}, {len(failures)} left out: {out}")


def nearest(name: str, possible: list[str]) -> str:
    """ "did you mean ...?" or, where nothing is near, what is possible."""
    if near := get_close_matches(name, possible, 3):
        return f"did you mean {' or '.join(map(repr, near))}?"
    more = f", and {len(possible) - MOST_NAMES} more" if len(possible) > MOST_NAMES else ""
    return f"possible: {', '.join(map(repr, possible[:MOST_NAMES]))}{more}"


def refuse_unused(layer: str | None, options: dict[str, Any]) -> None:
    """Refuse options that the method does not use."""
    from analysis.explain.methods import GRADCAM, METHODS

    method = METHODS[options["method"]]
    if not method.layered and (layer is not None or options["branch"] != BRANCHES[0]):
        raise UserError(
            f"{method.title} explains the pixels; leave --layer and --branch out, or choose --method gradcam"
        )
    if method.name != GRADCAM and options["definition"] != DEFINITIONS[0]:
        raise UserError(f"--definition is of Grad-CAM; leave it out with --method {method.name}")


def check_names(o: "CamOptions", classes: list[str], layers: list["CamLayer"], network: str) -> None:
    """Refuse a class, a layer or a branch that the network does not have."""
    from analysis.explain.methods import METHODS

    for name in (o.target, o.against):
        if name is not None and name not in classes:
            raise UserError(f"{network} has no class {name!r}; {nearest(name, classes)}")
    if o.against is not None and o.against == o.target:
        raise UserError(f"--class and --against are both {o.target!r}; name two classes")
    if not METHODS[o.method].layered:
        return
    branches = {layer.name: layer.branches for layer in layers}
    if o.layer not in branches:
        raise UserError(f"no layer {o.layer!r}; {nearest(o.layer, list(branches))} (`--layers` lists all)")
    if o.branch not in branches[o.layer]:
        having = [layer for layer, its in branches.items() if o.branch in its]
        hint = f"name one that has, such as --layer {having[-1]}" if having else "no layer of this network has"
        raise UserError(f"layer {o.layer} has no {o.branch} branch; {hint} (`--layers` lists all)")


def files_of(video: Path, out: Path) -> tuple[dict[Path, Path], bool]:
    """{video or folder of frames: the mp4 to write}, and whether `video` is a folder of videos.

    Raises:
        UserError: `out` is not the kind of path that `video` asks for, or would be written over what is read.
    """
    from sth_core.datasets.media import kind_of, walk

    found = sorted(path for path, kind in walk(video) if kind != "flow") if video.is_dir() else []
    holds_videos = any(path.parent == video and path.is_file() for path in found)
    many = holds_videos or (bool(found) and kind_of(video) not in ("frames", "both"))
    if out.resolve() == video.resolve() or (video.is_dir() and out.resolve().is_relative_to(video.resolve())):
        raise UserError(f"-o {out} lies in what is read, {video}; name another place")
    if many and out.suffix.lower() == ".mp4":
        raise UserError(f"{video} is a folder of {len(found)} videos, so -o must be a folder too, got {out}")
    if not many and out.suffix.lower() != ".mp4":
        raise UserError(f"-o must end in .mp4, got {out}")
    targets: dict[Path, Path] = {}
    for path in found if many else ():
        relative = path.relative_to(video)
        file = out / relative.with_suffix(".mp4" if path.is_file() else f"{relative.suffix}.mp4")
        while file in targets.values():  # one video of the name in mp4 and one in AVI, say
            file = file.with_name(f"{file.stem}{path.suffix}.mp4")
        targets[path] = file
    return targets or {video: out}, many
