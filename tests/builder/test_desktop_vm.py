# SPDX-License-Identifier: GPL-2.0-only
# SPDX-FileCopyrightText: The bootprof authors
"""A display manager logs a user in on a booted system, and only if that is configured."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.builder.media.booting import Booted, attached, boot, build

pytestmark = [pytest.mark.vm, pytest.mark.root]
TOP = Path(__file__).parents[2]

SETTINGS = """
name = "session"
[system]
packages = [
    "${LOGIN}", "${GREETER}", "dbus", "hunspell-{language}", "kmod", "linux-image-amd64",
    "live-boot", "login", "openbox", "systemd-sysv", "udev", "xserver-xorg-core",
]
install_env = { LOGIN = "lightdm", GREETER = "lightdm-gtk-greeter" }
languages = ["de_DE.UTF-8", "pt_BR.UTF-8"]
keyboard = "de:nodeadkeys"
timezone = "Europe/Berlin"
files = "files"
files_owner = "root"
hooks = "hooks"
[squashfs]
compressor = "lz4"
[media]
boot_options = "boot=live console=ttyS0 quickusbmodules panic=5"
"""
USER = "#!/bin/sh\nset -e\nuseradd --create-home --shell /bin/sh guest\n"
UNIT = """\
[Unit]
After=display-manager.service
[Service]
Type=simple
ExecStart=/usr/local/sbin/session-probe
[Install]
WantedBy=graphical.target
"""
# Whose processes there are: the session of the user who is logged in, or the greeter.
PROBE = """\
#!/bin/sh
name_of() { tr '\\000' ' ' < "$1/cmdline"; }
count=0
while [ $count -lt 180 ]; do
    for process in /proc/[0-9]*; do
        read -r name < "$process/comm" || continue
        case $name in openbox|lightdm-gtk-gre*) found=$process ;; esac
    done
    [ -n "$found" ] && break
    count=$((count + 1))
    sleep 2
done
{
    echo "PROBE begins"
    echo "process: $(cat "$found/comm")"
    echo "owner: $(stat -c %U "$found")"
    echo "session: $(tr '\\000' '\\n' < "$found/environ" | sed -n 's/^DESKTOP_SESSION=//p')"
    echo "manager: $(cat /etc/X11/default-display-manager)"
    echo "language: $(tr '\\000' '\\n' < "$found/environ" | sed -n 's/^LANG=//p')"
    echo "day: $(LC_ALL=pt_BR.UTF-8 date -d @0 +%A)"
    echo "zone: $(date -d @0 +%Z)"
    echo "keyboard: $(. /etc/default/keyboard; echo "$XKBLAYOUT $XKBVARIANT")"
    echo "PROBE ends"
} > /dev/ttyS0 2>&1
sleep 1
echo o > /proc/sysrq-trigger
"""


def write(path: Path, text: str, mode: int = 0o755) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("desktop")
    shutil.copy(TOP / "config/live.cfg", folder)
    (folder / "settings.cfg").write_text(SETTINGS)
    write(folder / "hooks/bootstrapped/user.chroot", USER)
    units = folder / "files/etc/systemd/system"
    write(units / "session-probe.service", UNIT, 0o644)
    (units / "graphical.target.wants").mkdir()
    (units / "graphical.target.wants/session-probe.service").symlink_to("../session-probe.service")
    write(folder / "files/usr/local/sbin/session-probe", PROBE)
    return folder / "live.cfg"


@pytest.fixture(scope="module")
def own_output(output: Path) -> Path:
    """Nothing of it is shared with other tests, which can build at the same time."""
    return output / "desktop"


def boot_desktop(config: Path, output: Path, folder: Path, *defines: str) -> tuple[Booted, Path]:
    """Build with some definitions and boot; return what the probe found, and the image."""
    words = [word for define in defines for word in ("--define", define)]
    (image,) = build(config, output, *words, "--image", str(folder / "live.iso"), "--no-sort")
    return boot(*attached(image, "cd"), folder=folder, memory_mib=2048), image


@pytest.mark.media
@pytest.mark.parametrize(
    ("defines", "expected"),
    [
        (
            ("desktop.autologin=guest", "desktop.session=openbox"),
            {"process": "openbox", "owner": "guest", "session": "openbox"},
        ),
        ((), {"process": "lightdm-gtk-gre", "owner": "lightdm"}),
    ],
    ids=["configured", "not configured"],
)
def test_lightdm_logs_in_whom_the_configuration_names_in_the_configured_language(
    defines: tuple[str, ...],
    expected: dict[str, str],
    config: Path,
    own_output: Path,
    tmp_path: Path,
) -> None:
    found, image = boot_desktop(config, own_output, tmp_path, *defines)
    assert {name: found.facts.get(name) for name in expected} == expected
    # The first language is the default, and the others are there.
    assert found.facts["language"] == "de_DE.UTF-8"
    assert found.facts["day"].startswith("quinta")
    assert (found.facts["zone"], found.facts["keyboard"]) == ("CET", "de nodeadkeys")
    packages = json.loads(image.with_suffix(".json").read_text())["packages"]
    assert {"hunspell-de-de:all", "hunspell-pt-br:all", "lightdm:amd64"} <= packages.keys()


@pytest.mark.examples
@pytest.mark.parametrize(
    ("login", "greeter"), [("sddm", "sddm-theme-debian-maui"), ("gdm3", "accountsservice")]
)
def test_the_same_configuration_logs_in_with_another_display_manager(
    login: str, greeter: str, config: Path, own_output: Path, tmp_path: Path
) -> None:
    found, image = boot_desktop(
        config,
        own_output,
        tmp_path,
        *(f"system.install_env.LOGIN={login}", f"system.install_env.GREETER={greeter}"),
        *("desktop.autologin=guest", "desktop.session=openbox"),
    )
    wanted = {"process": "openbox", "owner": "guest", "session": "openbox"}
    assert {name: found.facts.get(name) for name in wanted} == wanted
    assert found.facts["manager"].endswith(f"/{login}")
    packages = json.loads(image.with_suffix(".json").read_text())["packages"]
    assert f"{login}:amd64" in packages and "lightdm:amd64" not in packages
