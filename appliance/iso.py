# SPDX-License-Identifier: Apache-2.0
"""The installer's medium: a hybrid ISO that starts by BIOS and UEFI (Secure Boot by Debian's shim)
from a CD or a stick, runs granary-install from the appliance's own root, and has what it writes."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time

MIB = 1 << 20
GRUB_MODULES = ("biosdisk iso9660 part_gpt part_msdos fat normal linux search search_label search_fs_file "
                "test echo serial configfile all_video terminal minicmd reboot halt").split()

GRUB_CFG = """set timeout=3
set timeout_style=countdown
set default=0
serial --unit=0 --speed=115200
terminal_input console serial
terminal_output console serial
search --no-floppy --set=medium --file /granary/payload.json
menuentry "Install Granary" {
	linux ($medium)/granary/vmlinuz boot=granary-medium systemd.mask=var-lib-granary.mount systemd.unit=granary-install.target quiet loglevel=3 systemd.show_status=false console=tty0 console=ttyS0,115200n8
	initrd ($medium)/granary/initrd
}
"""
EARLY_CFG = """search --no-floppy --set=root --file /granary/payload.json
set prefix=($root)/granary
configfile ($root)/granary/grub.cfg
"""


def run(*words):
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          check=False)
    if done.returncode:
        sys.exit(f"appliance/build: {' '.join(words[:3])}: {done.stderr[-3000:]}")


def write_payload(raw, squashfs, folder, version, start, root_start):
    """The disk's blocks before the first root, but for empty ones, in disk.img; where all goes."""
    pieces = []
    with open(raw, "rb") as disk, open(os.path.join(folder, "disk.img"), "wb") as out:
        size = os.fstat(disk.fileno()).st_size
        for block in range(root_start):
            data = disk.read(MIB)
            if not block or data.strip(b"\0"):
                pieces.append([block * MIB, MIB])
                out.write(data)
    shutil.copyfile(squashfs, os.path.join(folder, "root.squashfs"))
    files = [("disk.img", pieces),
             ("root.squashfs", [[root_start * MIB, os.path.getsize(squashfs)]])]
    # Where the state partition begins, an old file system's traces would be in the way.
    with open(os.path.join(folder, "empty.img"), "wb") as out:
        out.write(bytes(MIB))
    files.append(("empty.img", [[start * MIB, MIB]]))
    listed = []
    for name, places in files:
        with open(os.path.join(folder, name), "rb") as file:
            listed.append({"name": name, "sha256": hashlib.sha256(file.read()).hexdigest(),
                           "pieces": places})
    with open(os.path.join(folder, "payload.json"), "w", encoding="ascii") as file:
        json.dump({"format": 1, "version": version, "size": size, "files": listed}, file)


def write_efi(work, epoch):
    """A small FAT with shim and GRUB as signed by Debian, for El Torito and as a partition."""
    image, tree = os.path.join(work, "efi.img"), os.path.join(work, "efi")
    os.makedirs(os.path.join(tree, "EFI/BOOT"))
    os.makedirs(os.path.join(tree, "EFI/debian"))
    shutil.copyfile("/usr/lib/shim/shimx64.efi.signed", os.path.join(tree, "EFI/BOOT/BOOTX64.EFI"))
    shutil.copyfile("/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed",
                    os.path.join(tree, "EFI/BOOT/grubx64.efi"))
    with open(os.path.join(tree, "EFI/debian/grub.cfg"), "w", encoding="ascii") as file:
        file.write(EARLY_CFG)
    for folder, names, found in os.walk(tree):
        for name in names + found:
            os.utime(os.path.join(folder, name), (int(epoch), int(epoch)))
    with open(image, "wb") as file:
        file.truncate(8 * MIB)
    run("mkfs.vfat", "-n", "GRANARYEFI", "-i", "6772616f", "--invariant", image)
    run("mcopy", "-s", "-m", "-i", image, os.path.join(tree, "EFI"), "::/")
    return image


def write_iso(path, raw, squashfs, boot, work, version, epoch, places):
    """@boot: folder with vmlinuz and initrd; @places: start of the first root and of the state
    partition, MiB."""
    tree = os.path.join(work, "medium")
    folder = os.path.join(tree, "granary")
    os.makedirs(folder)
    for name in ("vmlinuz", "initrd"):
        shutil.copyfile(os.path.join(boot, name), os.path.join(folder, name))
    write_payload(raw, squashfs, folder, version, places[1], places[0])
    with open(os.path.join(folder, "grub.cfg"), "w", encoding="ascii") as file:
        file.write(GRUB_CFG)
    # Debian's signed GRUB looks in its FAT image when that is a partition of a stick; on a CD, here.
    os.makedirs(os.path.join(tree, "boot/grub"))
    with open(os.path.join(tree, "boot/grub/grub.cfg"), "w", encoding="ascii") as file:
        file.write(EARLY_CFG)
    early = os.path.join(work, "medium.cfg")
    with open(early, "w", encoding="ascii") as file:
        file.write(EARLY_CFG)
    run("grub-mkimage", "-O", "i386-pc-eltorito", "-o", os.path.join(folder, "bios.img"), "-c",
        early, "-p", "/granary", *GRUB_MODULES)
    stamp = time.strftime("%Y%m%d%H%M%S00", time.gmtime(int(epoch)))
    run("xorriso", "-as", "mkisofs", "-o", path, "-volid", "GRANARY_INSTALL", "-R", "-J",
        f"--modification-date={stamp}", "--set_all_file_dates", stamp,
        "-uid", "0", "-gid", "0", "-dir-mode", "0555", "-file-mode", "0444",
        "--gpt_disk_guid", "6772616e-6172-4d79-8000-0000000000ff",
        "-b", "granary/bios.img", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table",
        "--grub2-boot-info", "--grub2-mbr", "/usr/lib/grub/i386-pc/boot_hybrid.img",
        "-append_partition", "2", "0xef", write_efi(work, epoch), "-appended_part_as_gpt",
        "-eltorito-alt-boot", "-e", "--interval:appended_partition_2:all::", "-no-emul-boot", tree)
