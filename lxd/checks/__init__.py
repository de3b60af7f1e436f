"""What an image has to do, one short function a check, by subject; docs/boot-checks.md shows how to add one.

The order of the modules here, and of the functions in them, is the order in which the checks are run.
"""

from lxd.checks.base import CHECKS as CHECKS
from lxd.checks.base import Check as Check
from lxd.checks.base import Guest as Guest
from lxd.checks.base import Run as Run
from lxd.checks.base import Situation as Situation

# isort: off
from lxd.checks import (  # noqa: F401, each lists its checks
    boot,
    network,
    leftovers,
    files,
    units,
    programs,
    session,
    sommelier,
    access,
    desktop,
    apt,
    restart,
)
# isort: on
