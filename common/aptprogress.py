"""How far apt is, read from what it prints: bytes fetched of all it has to fetch, then packages set up of all."""

import re

from common.progress import report

# apt-pkg's strutl.cc, SizeToStr: a number and one of these.
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}
_SIZE = r"([\d.]+) ?([kMG]?)B"
_NEED = re.compile(rf"Need to get {_SIZE}(?:/{_SIZE})? of archives")
_NEW = re.compile(r"(\d+) upgraded, (\d+) newly installed")
# "Get:1 URI SUITE ARCH PACKAGE ARCH VERSION [37.6 kB]"; an index has no version.
_GET = re.compile(rf"Get:\d+ \S+ \S+ \S+ \S+ \S+ \S+ \[{_SIZE}\]")
_SET_UP = re.compile(r"Setting up \S+ \(")


def parse_size(number: str, unit: str) -> int:
    """`37.6`, `k` -> 37600 bytes; apt rounds to three digits, so it is about right."""
    return round(float(number) * _UNITS[unit])


class AptProgress:
    """Give it every line apt prints; it reports into the job's progress.

    Args:
        name: of the step, as `common.progress.step` has it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.fetched = self.to_fetch = self.set_up = self.to_set_up = 0

    def __call__(self, line: str) -> None:
        """Take one line."""
        if found := _NEW.search(line):
            self.to_set_up += int(found[1]) + int(found[2])
        elif found := _NEED.search(line):
            self.to_fetch += parse_size(found[1], found[2])
        elif found := _GET.match(line):
            self.fetched += parse_size(found[1], found[2])
            # The sum of rounded sizes may be a little more than the rounded sum.
            report(f"{self.name}: fetch", min(self.fetched, self.to_fetch), self.to_fetch, "bytes")
        elif _SET_UP.match(line):
            self.set_up += 1
            report(f"{self.name}: set up", min(self.set_up, self.to_set_up), self.to_set_up, "packages")
