"""What other programs call the tensors of a network, in torchvision's names."""

import re
from collections.abc import Mapping

from torch import Tensor

from sth_core.backbones import MobileNetV2
from sth_core.errors import UserError

ANYWHERE = re.compile(r"_orig_mod\.|_fsdp_wrapped_module\.|_checkpoint_wrapped_module\.")  # torch.compile, FSDP
# DataParallel, Lightning and similar, the TSN and TSM repositories, MMAction2.
WRAPPERS = re.compile(r"^(?:(?:module|model|network|net|base_model|backbone|cls_head)\.)+")
# TSM wraps the convolution that it shifts in a module `net`. A block that is wrapped as a whole is another network.
SHIFTED = re.compile(r"\.net\.(?=(?:conv\.|bn\.)?\w+$)")
CLASSIFIER = re.compile(r"^(new_fc|fc_cls|classifier\.[16])\.")
# MMAction2's ConvModule is a convolution with its batch norm.
IN_RESNET = (
    (re.compile(r"\bconv(\d)\.conv\."), r"conv\1."),
    (re.compile(r"\bconv(\d)\.bn\."), r"bn\1."),
    (re.compile(r"\bdownsample\.conv\."), "downsample.0."),
    (re.compile(r"\bdownsample\.bn\."), "downsample.1."),
)
MMACTION_MOBILENET = re.compile(r"layer(\d)\.(\d)\.conv\.(\d)\.(conv|bn)\.(\w+)")
MMACTION_STEM = re.compile(r"conv([12])\.(conv|bn)\.(\w+)")
# The TSM repository's has an activation at every third place, torchvision's none: its places end with 3.
TSM_MOBILENET = re.compile(r"features\.(\d+)\.conv\.(\d)\.(\w+)")


def plain_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights by torchvision's names: 'module.base_model.layer1.0.conv1.net.weight' -> 'layer1.0.conv1.weight'.
    Raises UserError: two of them would have one name."""
    names = {name: SHIFTED.sub(".", WRAPPERS.sub("", ANYWHERE.sub("", name))) for name in weights}
    of_mmaction = any(MMACTION_MOBILENET.fullmatch(name) for name in names.values())
    of_tsm = any((found := TSM_MOBILENET.fullmatch(name)) and int(found[2]) > 3 for name in names.values())
    before: dict[str, str] = {}
    for given, name in names.items():
        if of_mmaction or of_tsm:
            plain = mobilenet_name(name)
        else:
            plain = name
            for pattern, new in IN_RESNET:
                plain = pattern.sub(new, plain)
        plain = CLASSIFIER.sub("fc.", plain)
        if plain in before:
            raise UserError(f"{before[plain]} and {given} are both {plain} in torchvision's names; keep one of them")
        before[plain] = given
    return {plain: weights[given] for plain, given in before.items()}


def mobilenet_name(name: str) -> str:
    """The name in torchvision's MobileNetV2 of a tensor in MMAction2's or the TSM repository's."""
    if found := MMACTION_STEM.fullmatch(name):
        return f"features.{0 if found[1] == '1' else 18}.{int(found[2] == 'bn')}.{found[3]}"
    if found := MMACTION_MOBILENET.fullmatch(name):
        stage, place = int(found[1]), int(found[3])
        block = 1 + sum(depth for _, _, depth, _ in MobileNetV2.STAGES[: stage - 1]) + int(found[2])
        norm, kind = found[4] == "bn", found[5]
    elif found := TSM_MOBILENET.fullmatch(name):
        block, (place, norm), kind = int(found[1]), divmod(int(found[2]), 3), found[3]
    else:
        return name
    last = 1 if block == 1 else 2  # its convolution and its batch norm are not in a module of their own
    return f"features.{block}.conv.{last + norm if place == last else f'{place}.{int(norm)}'}.{kind}"
