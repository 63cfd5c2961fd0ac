# SPDX-License-Identifier: Apache-2.0
"""The built disk in the formats that hypervisors take, what is in it, and who vouches for it."""

import hashlib
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import time

OVF = """<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
          xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
          xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
          xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData">
  <References>
    <File ovf:id="disk" ovf:href="{name}.vmdk" ovf:size="{packed}"/>
  </References>
  <DiskSection>
    <Info>The system disk; it may be grown before the first boot or later</Info>
    <Disk ovf:diskId="system" ovf:fileRef="disk" ovf:capacity="{size}"
          ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
  </DiskSection>
  <NetworkSection>
    <Info>One network; more may be added</Info>
    <Network ovf:name="storage"><Description>Where the hypervisors are</Description></Network>
  </NetworkSection>
  <VirtualSystem ovf:id="granary">
    <Info>Granary {version}</Info>
    <Name>granary</Name>
    <OperatingSystemSection ovf:id="96">
      <Info>Debian 12, 64 bit</Info>
    </OperatingSystemSection>
{properties}    <VirtualHardwareSection ovf:transport="iso">
      <Info>2 processors, 2 GiB of memory, a disk, a network adapter</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemType>vmx-13</vssd:VirtualSystemType>
      </System>
{items}    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
"""

# What may be said at deployment (docs/SEED.md): key, label, description, is it a secret?
PROPERTIES = [
    ("hostname", "Host name", "Letters, digits and -; granary when it is empty", False),
    ("address", "Address", "192.0.2.7/24 or 2001:db8::7/64; DHCP when it is empty", False),
    ("gateway", "Gateway", "Of a fixed address", False),
    ("dns", "Name servers", "Addresses, with commas between them", False),
    ("ntp", "Time servers", "With commas between them; Debian's pool when it is empty", False),
    ("timezone", "Time zone", "Europe/Zurich; UTC when it is empty", False),
    ("setup-code", "Set-up code", "XXXX-XXXX-XXXX, which makes the first account; one is rolled "
     "and shown on the console when it is empty", True),
    ("user-data", "User data", "A #cloud-config, as base64", True),
]


def product():
    return ("    <ProductSection>\n      <Info>What the machine is told at its first start</Info>\n"
            "      <Product>Granary</Product>\n" + "".join(
                f'      <Property ovf:key="{key}" ovf:type="string" ovf:userConfigurable="true" '
                f'ovf:value=""{" ovf:password=" + chr(34) + "true" + chr(34) if secret else ""}>\n'
                f"        <Label>{label}</Label>\n        <Description>{text}</Description>\n"
                "      </Property>\n" for key, label, text, secret in PROPERTIES)
            + "    </ProductSection>\n")


# In the order of the schema: CIM_ResourceAllocationSettingData's members are sorted by name.
HARDWARE = [
    [("AllocationUnits", "hertz * 10^6"), ("ElementName", "2 processors"), ("InstanceID", 1),
     ("ResourceType", 3), ("VirtualQuantity", 2)],
    [("AllocationUnits", "byte * 2^20"), ("ElementName", "2048 MiB of memory"), ("InstanceID", 2),
     ("ResourceType", 4), ("VirtualQuantity", 2048)],
    # The one that VMware, VirtualBox and the kernel for hypervisors all have.
    [("Address", 0), ("ElementName", "IDE controller"), ("InstanceID", 3),
     ("ResourceSubType", "PIIX4"), ("ResourceType", 5)],
    [("AddressOnParent", 0), ("ElementName", "system disk"),
     ("HostResource", "ovf:/disk/system"), ("InstanceID", 4), ("Parent", 3), ("ResourceType", 17)],
    # What the machine is told comes on a CD.
    [("AddressOnParent", 1), ("AutomaticAllocation", "false"), ("ElementName", "CD drive"),
     ("InstanceID", 6), ("Parent", 3), ("ResourceType", 15)],
    # The kernel for hypervisors has no driver of E1000.
    [("AutomaticAllocation", "true"), ("Connection", "storage"),
     ("ElementName", "network adapter"), ("InstanceID", 5), ("ResourceSubType", "VmxNet3"),
     ("ResourceType", 10)],
]


def hardware():
    return "".join("      <Item>\n" + "".join(
        f"        <rasd:{key}>{value}</rasd:{key}>\n" for key, value in item) + "      </Item>\n"
                   for item in HARDWARE)


def convert(raw, form, path, options="", compressed=True):
    words = ["qemu-img", "convert", "-f", "raw", "-O", form, *(["-o", options] if options else []),
             *(["-c"] if form == "qcow2" and compressed else []), raw, path]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          check=False)
    if done.returncode:
        sys.exit(f"appliance/build: {' '.join(words)}: {done.stderr}")


def pack_raw(raw):
    """@raw becomes @raw.xz. With blocks of a stated size, and more threads than one on any machine,
    the bytes are the same wherever it is packed. Most of the disk is empty, and the squashfs does not
    get smaller: a higher level would only take longer."""
    words = ["xz", "--force", "-1", "--threads=2", "--block-size=64MiB", raw]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          check=False)
    if done.returncode:
        sys.exit(f"appliance/build: {' '.join(words)}: {done.stderr}")


def steady_id(epoch, what):
    """16 bytes in the place of a random identifier: the same for the same release."""
    return hashlib.sha256(f"granary {what} {epoch}".encode()).digest()[:16]


def settle_vmdk(path, epoch):
    """The content ID that qemu-img rolls, in the descriptor behind the first sector."""
    with open(path, "r+b") as disk:
        head = disk.read(1 << 16)
        at = head.index(b"\nCID=") + 5
        disk.seek(at)
        disk.write(steady_id(epoch, "vmdk")[:4].hex().encode())


def settle_vhd(path, epoch):
    """Time and UUID of the footer and of its copy at the start, and their checksum."""
    with open(path, "r+b") as disk:
        for at in (0, os.path.getsize(path) - 512):
            disk.seek(at)
            footer = bytearray(disk.read(512))
            if footer[:8] != b"conectix":
                sys.exit(f"{path}: no VHD footer at {at}")
            struct.pack_into(">I", footer, 24, max(int(epoch) - 946684800, 0))
            footer[68:84] = steady_id(epoch, "vhd")
            struct.pack_into(">I", footer, 64, 0)
            struct.pack_into(">I", footer, 64, ~sum(footer) & 0xffffffff)
            disk.seek(at)
            disk.write(footer)


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


METADATA = bytes.fromhex("06a27c8b90479a4bb8fe575f050f886e")   # region of a VHDX, as on disk
PAGE_83 = bytes.fromhex("ab12cabee6b2234593efc309e000c746")    # its item: the disk's identifier


def settle_vhdx(path, epoch):
    """MS-VHDX: GUIDs and sequence numbers of both headers (the higher one counts), the replayed
    log, the disk's own identifier."""
    with open(path, "r+b") as disk:
        places = []
        for at in (64 << 10, 128 << 10):
            disk.seek(at)
            places.append((int.from_bytes(disk.read(16)[8:], "little"), at))
        for number, (_, at) in enumerate(sorted(places), 1):
            disk.seek(at)
            header = bytearray(disk.read(4096))
            if header[:4] != b"head" or any(header[48:64]):
                sys.exit(f"{path}: a VHDX header with a log to replay at {at}")
            header[16:32], header[32:48] = steady_id(epoch, "file"), steady_id(epoch, "data")
            struct.pack_into("<Q", header, 8, number)
            header[4:8] = bytes(4)
            struct.pack_into("<I", header, 4, crc32c(header))
            disk.seek(at)
            disk.write(header)
            length, log = struct.unpack_from("<IQ", header, 68)
            disk.seek(log)
            disk.write(bytes(length))
        disk.seek(192 << 10)
        regions = disk.read(64 << 10)
        start = struct.unpack_from("<Q", regions, regions.index(METADATA) + 16)[0]
        disk.seek(start)
        table = disk.read(64 << 10)
        disk.seek(start + struct.unpack_from("<I", table, table.index(PAGE_83) + 16)[0])
        disk.write(steady_id(epoch, "disk"))


def digest_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(4 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_ova(raw, stem, version, epoch):
    """DSP0243: a tar of the descriptor first, the manifest, then the disk."""
    name, disk = os.path.basename(stem), stem + ".vmdk"
    convert(raw, "vmdk", disk, "subformat=streamOptimized")
    settle_vmdk(disk, epoch)
    ovf = OVF.format(name=name, version=version, packed=os.path.getsize(disk),
                     size=os.path.getsize(raw), items=hardware(),
                     properties=product()).encode()
    manifest = (f"SHA256({name}.ovf)= {hashlib.sha256(ovf).hexdigest()}\n"
                f"SHA256({name}.vmdk)= {digest_of(disk)}\n").encode()
    with tarfile.open(stem + ".ova", "w", format=tarfile.USTAR_FORMAT) as archive:
        for member, data in ((f"{name}.ovf", ovf), (f"{name}.mf", manifest)):
            info = tarfile.TarInfo(member)
            info.size, info.mtime, info.mode = len(data), int(epoch), 0o644
            archive.addfile(info, io.BytesIO(data))
        info = tarfile.TarInfo(f"{name}.vmdk")
        info.size, info.mtime, info.mode = os.path.getsize(disk), int(epoch), 0o644
        with open(disk, "rb") as file:
            archive.addfile(info, file)
    os.unlink(disk)


def write_spdx(path, version, packages, epoch):
    """ISO/IEC 5962: what is in the root. @packages: (name, version, architecture)."""
    def spdx_id(name):
        return "SPDXRef-" + "".join(c if c.isalnum() or c in ".-" else "-" for c in name)

    names = [("granary", version, "")] + packages
    document = {
        "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"granary-{version}",
        "documentNamespace": f"https://granary.invalid/spdx/{version}/{epoch}",
        "creationInfo": {"created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(epoch))),
                         "creators": ["Tool: appliance/build"]},
        "packages": [{
            "SPDXID": spdx_id(name), "name": name, "versionInfo": number,
            "downloadLocation": "NOASSERTION", "filesAnalyzed": False,
            "licenseConcluded": "NOASSERTION", "copyrightText": "NOASSERTION",
            "licenseDeclared": "NOASSERTION" if architecture else "Apache-2.0",
            **({"externalRefs": [{
                "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
                "referenceLocator": f"pkg:deb/debian/{name}@{number}?arch={architecture}"}]}
               if architecture else {}),
        } for name, number, architecture in names],
        "relationships": [{"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES",
                           "relatedSpdxElement": spdx_id(name)} for name, _, _ in names],
    }
    with open(path, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
        file.write("\n")


def openssl(*words):
    return subprocess.run(["openssl", *words], stdin=subprocess.DEVNULL, capture_output=True,
                          check=True).stdout


def update_key(folder, given):
    """The private key that this build signs with: the one that is given, or one of its own."""
    path = given or os.path.join(folder, "update-key.pem")
    if not os.path.exists(path):
        if given:
            sys.exit(f"appliance/build: there is no key {given}")
        made = os.umask(0o077)
        openssl("genpkey", "-algorithm", "ed25519", "-out", path)
        os.umask(made)
    return path


def sign(key, data):
    """Ed25519 over @data (bytes); openssl wants a file to know its length."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        return openssl("pkeyutl", "-sign", "-rawin", "-inkey", key, "-in", file.name)


def write_release(folder, version, sequence, key, schemas=None):
    """What the running system knows of itself: its release, whose updates it takes, and which schemas
    of databases it knows (granaryd --schemas)."""
    with open(os.path.join(folder, "release.json"), "w", encoding="ascii") as file:
        json.dump({"version": version, "sequence": int(sequence),
                   **({"schemas": schemas} if schemas else {})}, file)
        file.write("\n")
    with open(os.path.join(folder, "update.pem"), "wb") as file:
        file.write(openssl("pkey", "-in", key, "-pubout"))


def write_bundle(path, key, version, sequence, files, schemas=None):
    """appliance/bundle.h; @files: kernel, initrd, root."""
    names = ("vmlinuz", "initrd", "root")
    manifest = json.dumps({
        "format": 1, "version": version, "sequence": int(sequence),
        **({"schemas": schemas} if schemas else {}),
        "files": [{"name": name, "size": os.path.getsize(file), "sha256": digest_of(file)}
                  for name, file in zip(names, files)]}).encode()
    head = b"GRANARYU" + len(manifest).to_bytes(4, "big") + manifest
    with open(path, "wb") as bundle:
        bundle.write(head + sign(key, head))
        for name in files:
            with open(name, "rb") as file:
                shutil.copyfileobj(file, bundle, 4 << 20)


def write_sums(folder, key):
    """SHA256SUMS over all that lies in @folder but the key, and its signature."""
    sums = os.path.join(folder, "SHA256SUMS")
    with open(sums, "w", encoding="ascii") as file:
        for name in sorted(os.listdir(folder)):
            if not name.startswith("SHA256SUMS") and not name.endswith(".pem"):
                file.write(f"{digest_of(os.path.join(folder, name))}  {name}\n")
    with open(sums, "rb") as file, open(sums + ".sig", "wb") as signature:
        signature.write(sign(key, file.read()))
