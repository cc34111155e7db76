"""Draws the product pictures of the demo storefront, so that it needs no files and no network.

Invariant: the same SKU always gives the same picture; nothing of the SKU reaches the drawing but the choice of the shape.
"""

from __future__ import annotations

from typing import Final
from zlib import crc32

# ruff: noqa: E501 - drawings do not gain from wrapping
_STEEL, _DARK, _LIGHT, _WARM, _BLUE, _YELLOW = "#8b98a5", "#3d4853", "#cfd8df", "#d9622b", "#2f6f9f", "#e3b23c"
_BACKGROUNDS: Final = ("#eef1f3", "#f3efe8", "#eaf0ee", "#f1edf1", "#edf0f5")
_HEX: Final = "52,120 76,78 124,78 148,120 124,162 76,162"

_SHAPES: Final[dict[str, str]] = {
    "BLT": f'<g transform="rotate(-35 120 120)"><rect x="42" y="88" width="34" height="64" rx="5" fill="{_DARK}"/>'
    f'<rect x="76" y="104" width="122" height="32" fill="{_STEEL}"/>'
    f'<path d="M112 104v32M124 104v32M136 104v32M148 104v32M160 104v32M172 104v32M184 104v32" stroke="{_LIGHT}" stroke-width="4"/></g>',
    "NUT": f'<g transform="translate(20 0)"><polygon points="{_HEX}" fill="{_STEEL}" stroke="{_DARK}" stroke-width="6"/>'
    f'<circle cx="100" cy="120" r="23" fill="#fff" stroke="{_DARK}" stroke-width="6"/></g>',
    "WSH": f'<circle cx="120" cy="120" r="62" fill="{_STEEL}" stroke="{_DARK}" stroke-width="5"/>'
    f'<circle cx="120" cy="120" r="27" fill="#fff" stroke="{_DARK}" stroke-width="5"/>',
    "SCR": f'<g transform="rotate(-35 120 120)"><path d="M40 92l26 12v32l-26 12z" fill="{_YELLOW}"/>'
    f'<path d="M66 108h108l34 12-34 12H66z" fill="{_YELLOW}"/>'
    '<path d="M84 102l10 36M100 102l10 36M116 102l10 36M132 102l10 36M148 102l10 36M164 104l8 30" stroke="#a87d1e" stroke-width="5"/></g>',
    "ANC": f'<g transform="rotate(-35 120 120)"><rect x="48" y="100" width="130" height="40" rx="10" fill="{_LIGHT}" stroke="{_STEEL}" stroke-width="5"/>'
    f'<path d="M92 120h86M70 100v40M108 100l10 18M132 100l10 18M108 140l10-18M132 140l10-18" stroke="{_STEEL}" stroke-width="5"/></g>',
    "DRL": f'<g transform="rotate(-35 120 120)"><rect x="38" y="108" width="52" height="24" rx="3" fill="{_DARK}"/>'
    f'<path d="M90 106h96l22 14-22 14H90z" fill="{_STEEL}"/>'
    f'<path d="M94 134c12-4 14-24 28-28M122 134c12-4 14-24 28-28M150 134c12-4 14-24 28-28" fill="none" stroke="{_LIGHT}" stroke-width="6"/></g>',
    "TAP": f'<g transform="rotate(-35 120 120)"><rect x="40" y="106" width="20" height="28" fill="{_DARK}"/><rect x="60" y="112" width="62" height="16" fill="{_STEEL}"/>'
    f'<path d="M122 104h64l20 8v16l-20 8h-64z" fill="{_YELLOW}"/><path d="M132 104v32M142 104v32M152 104v32M162 104v32M172 104v32M122 120h84" stroke="#a87d1e" stroke-width="3"/></g>',
    "DSC": f'<circle cx="120" cy="120" r="70" fill="{_DARK}"/><circle cx="120" cy="120" r="58" fill="none" stroke="{_STEEL}" stroke-width="2" stroke-dasharray="5 5"/>'
    f'<circle cx="120" cy="120" r="34" fill="{_WARM}"/><circle cx="120" cy="120" r="13" fill="#fff"/>',
    "SAW": f'<circle cx="120" cy="120" r="68" fill="{_LIGHT}" stroke="{_STEEL}" stroke-width="12" stroke-dasharray="13 9"/>'
    f'<circle cx="120" cy="120" r="60" fill="{_LIGHT}"/><circle cx="120" cy="120" r="30" fill="none" stroke="{_STEEL}" stroke-width="4"/><circle cx="120" cy="120" r="13" fill="#fff" stroke="{_DARK}" stroke-width="4"/>',
    "WRN": f'<g transform="rotate(-40 120 120)"><rect x="66" y="108" width="112" height="24" rx="10" fill="{_STEEL}"/>'
    f'<path d="M74 88a34 34 0 1 0 0 64l-8-20H44v-24h22z" fill="{_STEEL}"/><circle cx="186" cy="120" r="29" fill="{_STEEL}"/><circle cx="186" cy="120" r="14" fill="#fff"/></g>',
    "PLR": f'<path d="M100 46c-12 20-8 40 12 54l-4 16 24 0-4-16c20-14 24-34 12-54l-12 12v22h-16V58z" fill="{_STEEL}"/><circle cx="120" cy="112" r="11" fill="{_DARK}"/>'
    f'<path d="M108 122c-16 20-30 44-32 72h18c4-24 14-44 30-62zM132 122c16 20 30 44 32 72h-18c-4-24-14-44-30-62z" fill="{_WARM}"/>',
    "HAM": f'<g transform="rotate(38 120 120)"><rect x="110" y="84" width="20" height="122" rx="8" fill="#b07a45"/><path d="M70 52h78l26 22v10h-26l-8 8H70z" fill="{_DARK}"/></g>',
    "SDR": f'<g transform="rotate(-40 120 120)"><rect x="36" y="100" width="82" height="40" rx="18" fill="{_WARM}"/><path d="M52 112h52M52 128h52" stroke="#a8451a" stroke-width="5" stroke-linecap="round"/>'
    f'<rect x="118" y="113" width="72" height="14" fill="{_STEEL}"/><path d="M190 110h14l8 6v8l-8 6h-14z" fill="{_DARK}"/></g>',
    "MSR": f'<rect x="34" y="98" width="172" height="28" rx="4" fill="{_LIGHT}" stroke="{_STEEL}" stroke-width="4"/><path d="M52 98v14M66 98v9M80 98v14M94 98v9M108 98v14M122 98v9M136 98v14M150 98v9M164 98v14M178 98v9" stroke="{_DARK}" stroke-width="3"/>'
    f'<path d="M40 126v44h14l10-44zM96 126h62v34h-38l-10 10h-14z" fill="{_STEEL}"/><rect x="108" y="132" width="42" height="18" rx="3" fill="{_BLUE}"/>',
    "BRG": f'<circle cx="120" cy="120" r="68" fill="{_STEEL}"/><circle cx="120" cy="120" r="56" fill="{_DARK}"/><circle cx="120" cy="120" r="46" fill="none" stroke="{_LIGHT}" stroke-width="15" stroke-dasharray="0.1 24.1" stroke-linecap="round"/>'
    f'<circle cx="120" cy="120" r="36" fill="{_STEEL}"/><circle cx="120" cy="120" r="24" fill="#fff"/>',
    "CBL": f'<circle cx="120" cy="120" r="52" fill="none" stroke="{_DARK}" stroke-width="12"/><circle cx="120" cy="120" r="38" fill="none" stroke="#55616c" stroke-width="12"/>'
    f'<path d="M172 120c0 40 10 56 34 62" fill="none" stroke="{_DARK}" stroke-width="12" stroke-linecap="round"/><path d="M204 176l14-6M206 183h15M203 189l12 8" stroke="{_WARM}" stroke-width="5" stroke-linecap="round"/>',
    "OIL": f'<path d="M88 92c0-16 14-22 32-22s32 6 32 22v104H88z" fill="{_BLUE}"/><rect x="88" y="116" width="64" height="46" fill="#fff" opacity=".85"/><path d="M120 124c10 13 14 18 14 24a14 14 0 0 1-28 0c0-6 4-11 14-24z" fill="{_WARM}"/>'
    f'<rect x="106" y="48" width="28" height="22" rx="4" fill="{_DARK}"/><rect x="88" y="188" width="64" height="10" fill="{_DARK}"/>',
    "GLU": f'<g transform="rotate(-35 120 120)"><rect x="44" y="92" width="112" height="56" rx="8" fill="{_WARM}"/><rect x="62" y="104" width="70" height="32" rx="4" fill="#fff" opacity=".85"/>'
    f'<path d="M156 98l20 12v20l-20 12z" fill="{_LIGHT}"/><path d="M176 112l34 6v4l-34 6z" fill="{_DARK}"/></g>',
    "TPE": f'<circle cx="116" cy="116" r="66" fill="{_STEEL}"/><circle cx="116" cy="116" r="56" fill="none" stroke="#7a8793" stroke-width="3"/><circle cx="116" cy="116" r="36" fill="#c9a06b"/><circle cx="116" cy="116" r="28" fill="#fff"/>'
    f'<path d="M116 182h92l-6-8 6-8-6-8 6-8h-44z" fill="{_STEEL}"/>',
    "GLV": f'<path d="M84 204V150l-28-30c-8-10 6-22 16-12l18 18V62c0-14 20-14 20 0v46-58c0-14 20-14 20 0v58-50c0-14 20-14 20 0v54-34c0-13 19-13 19 0v70c0 20-9 32-17 42v14z" fill="{_BLUE}"/><rect x="80" y="184" width="76" height="22" rx="5" fill="{_DARK}"/>',
    "HLM": f'<path d="M50 146c0-48 30-82 70-82s70 34 70 82z" fill="{_YELLOW}"/><path d="M106 66h28v60h-28z" fill="#c9962a"/><rect x="36" y="144" width="168" height="20" rx="10" fill="#c9962a"/>',
    "GOG": f'<path d="M40 96h160v30c0 26-16 38-40 38-20 0-28-20-40-20s-20 20-40 20c-24 0-40-12-40-38z" fill="#bfe0ee" stroke="{_DARK}" stroke-width="8" stroke-linejoin="round"/><path d="M60 112l18 0M140 112h26" stroke="#fff" stroke-width="7" stroke-linecap="round"/>',
    "BOX": f'<path d="M44 92h152l-14 100H58z" fill="{_BLUE}"/><rect x="36" y="76" width="168" height="20" rx="4" fill="#24587f"/><rect x="92" y="112" width="56" height="18" rx="9" fill="#173b56"/><rect x="84" y="150" width="72" height="24" rx="3" fill="#fff" opacity=".85"/>',
}
"""By the part of the SKU before the first dash, on a field of 240 by 240."""

_OTHER: Final = (
    f'<path d="M120 52l66 34v70l-66 36-66-36V86z" fill="{_LIGHT}" stroke="{_STEEL}" stroke-width="6" stroke-linejoin="round"/>'
    f'<path d="M54 86l66 34 66-34M120 120v72" fill="none" stroke="{_STEEL}" stroke-width="6"/>'
)


def picture(sku: str) -> str:
    """An SVG document."""
    shape = _SHAPES.get(sku.split("-", 1)[0], _OTHER)
    ground = _BACKGROUNDS[crc32(sku.encode("utf-8", "replace")) % len(_BACKGROUNDS)]
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 240 240">'
        f'<rect width="240" height="240" fill="{ground}"/><ellipse cx="120" cy="199" rx="74" ry="6" fill="#000" opacity=".07"/>'
        f"{shape}</svg>"
    )
