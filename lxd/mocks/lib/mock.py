"""What the stand-ins for the host's programs share; runs in the container, with its own python3 alone."""

import json
import os
import signal
import socket
import sys
from pathlib import Path


def record() -> None:
    """Note how we were called, for the checks: one line of JSON in a file named as the program."""
    place = Path(os.environ.get("XDG_RUNTIME_DIR", "/run")) / "cros-mocks"
    place.mkdir(exist_ok=True)
    call = {"argv": sys.argv[1:], "environment": dict(os.environ)}
    with (place / f"{Path(sys.argv[0]).name}.jsonl").open("a") as file:
        file.write(json.dumps(call) + "\n")


def notify(message: str) -> None:
    """sd_notify: tell the service manager, where there is one."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        if address.startswith("@"):
            address = "\0" + address[1:]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.sendto(message.encode(), address)


def stay() -> None:
    """Serve nobody until we are told to stop."""
    while True:
        signal.pause()
