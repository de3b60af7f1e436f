"""Sommelier: its variables with and without a GPU, and the settings of each instance."""

from common.errors import CheckFailedError
from lxd import host
from lxd.checks.base import Guest, Situation, check, difference, fail_for
from lxd.checks.session import environment

_GPU_VARIABLES = ("SOMMELIER_DRM_DEVICE", "SOMMELIER_GLAMOR")
_ACCELERATORS = {"SOMMELIER_ACCELERATORS": "Super_L,<Alt>bracketleft,<Alt>bracketright"}
_FRAME = {"SOMMELIER_FRAME_COLOR": "#F2F2F2"}
_DENSE = {"SOMMELIER_SCALE": "1.0"}
_LOW_DENSITY = {"SOMMELIER_SCALE": "0.5", "SOMMELIER_DPI": "72,96,160,240,320,480"}
# What tells the instances apart in their arguments -> the settings they get.
INSTANCES = {
    "--socket=wayland-0": _ACCELERATORS | _DENSE,
    "--socket=wayland-1": _ACCELERATORS | _LOW_DENSITY,
    "--x-display=0": _ACCELERATORS | _FRAME | _DENSE,
    "--x-display=1": _ACCELERATORS | _FRAME | _LOW_DENSITY,
}
X_FONTS = "SOMMELIER_XFONT_PATH"


@check(Situation.HOST)
def no_gpu_unset(guest: Guest) -> None:
    """Without a GPU, SOMMELIER_DRM_DEVICE and SOMMELIER_GLAMOR are not set."""
    found = {name: value for name, value in environment(guest.user).items() if name in _GPU_VARIABLES}
    if found:
        raise CheckFailedError(f"the user manager's environment has {found!r}, but there is no GPU")


@check(Situation.GPU)
def gpu_set(guest: Guest) -> None:
    """With a GPU, SOMMELIER_DRM_DEVICE names it and SOMMELIER_GLAMOR is 1, for sommelier itself too."""
    user = guest.user
    wanted = {"SOMMELIER_DRM_DEVICE": host.GPU, "SOMMELIER_GLAMOR": "1"}
    seen = environment(user)
    found = {name: value for name, value in seen.items() if name in _GPU_VARIABLES}
    if found != wanted:
        raise CheckFailedError(f"the user manager's environment has {found!r}, not {wanted!r}")
    for call in user.mock_calls("sommelier"):
        argv, given = call["argv"], call["environment"]
        if not isinstance(given, dict) or given.get("SOMMELIER_DRM_DEVICE") != host.GPU:
            raise CheckFailedError(f"sommelier {argv!r} was started without SOMMELIER_DRM_DEVICE")


@check(Situation.HOST)
def sommelier_instances(guest: Guest) -> None:
    """Instance 0 is for dense screens and 1 for low density, each once, with its keys, frame, scale and DPI."""
    wrong = []
    calls = guest.user.mock_calls("sommelier")
    for mark, wanted in INSTANCES.items():
        given = [call["environment"] for call in calls if isinstance(call["argv"], list) and mark in call["argv"]]
        if len(given) != 1:
            wrong.append(f"sommelier was started {len(given)} times with {mark}")
        for each in given:
            assert isinstance(each, dict)
            wrong += [f"for sommelier {mark}, {phrase}" for phrase in difference(each, wanted)]
            surplus = {"SOMMELIER_DPI", "SOMMELIER_FRAME_COLOR"} & each.keys() - wanted.keys()
            wrong += [f"for sommelier {mark}, {name} is {each[name]!r}" for name in sorted(surplus)]
            if mark.startswith("--x-") and not str(each.get(X_FONTS, "")).startswith("/usr/share/fonts/X11/misc,"):
                wrong.append(f"for sommelier {mark}, {X_FONTS} is {each.get(X_FONTS)!r}")
    if not wrong:
        wrong = _without_cookies(guest)
    fail_for(wrong)


def _without_cookies(guest: Guest) -> list[str]:
    """Each X display has a cookie that nobody but the user can read."""
    listed = guest.user.run(["xauth", "-n", "-f", f"/home/{host.USER}/.Xauthority", "list"])
    mode = guest.user.run(["stat", "--format=%a", f"/home/{host.USER}/.Xauthority"]).out.strip()
    known = {line.split()[0].rsplit(":", 1)[-1] for line in listed.out.splitlines() if "MIT-MAGIC-COOKIE-1" in line}
    wrong = [f"there is no cookie of X display :{number}" for number in ("0", "1") if number not in known]
    return wrong if mode == "600" else [*wrong, f"~/.Xauthority has the mode {mode or 'none'}, not 600"]
