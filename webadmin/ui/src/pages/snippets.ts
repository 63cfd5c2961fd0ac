// SPDX-License-Identifier: Apache-2.0
// What to type on each kind of host so that it uses a LUN.
import type { Key } from "../text";

export interface Place { name: string; host: string; port: number; iqn: string; lun: number; scsiId: string; naa: string; serial: string }

export interface Guide { id: string; title: string; steps: { key: Key; text: string }[] }

const short = (place: Place) => place.name.replace(/[^A-Za-z0-9]+/g, "-").toLowerCase();
const vg = (place: Place) => `vg_${place.name.replace(/[^A-Za-z0-9]+/g, "_").toLowerCase()}`;
const bracketed = (host: string) => (host.includes(":") ? `[${host}]` : host);

export function guides(place: Place): Guide[] {
	const portal = `${bracketed(place.host)}:${place.port}`;
	return [
		{
			id: "xcp", title: "XCP-ng", steps: [
				{ key: "guide.xcp", text: `xe sr-create name-label="${place.name}" type=lvmoiscsi shared=true content-type=user \\\n  device-config:target=${place.host} device-config:port=${place.port} \\\n  device-config:targetIQN=${place.iqn} \\\n  device-config:SCSIid=${place.scsiId}` },
			],
		},
		{
			id: "proxmox", title: "Proxmox VE", steps: [
				{ key: "guide.proxmox", text: `pvesm add iscsi ${short(place)} --portal ${portal} --target ${place.iqn} --content none` },
				{ key: "guide.proxmoxLvm", text: `pvesm add lvm ${short(place)}-lvm --vgname ${vg(place)} --base ${short(place)}:0.0.${place.lun}.scsi-${place.scsiId} --shared 1 --content images,rootdir` },
			],
		},
		{
			id: "vmware", title: "VMware ESXi", steps: [
				{ key: "guide.esxEnable", text: "esxcli iscsi software set --enabled=true\nesxcli iscsi adapter list" },
				{ key: "guide.esxAdd", text: `esxcli iscsi adapter discovery sendtarget add --adapter=vmhba64 --address=${portal}\nesxcli storage core adapter rescan --adapter=vmhba64` },
				{ key: "guide.esxSee", text: `esxcli storage core device list --device=naa.${place.naa}` },
			],
		},
		{
			id: "hyperv", title: "Hyper-V", steps: [
				{ key: "guide.winConnect", text: `Set-Service MSiSCSI -StartupType Automatic\nStart-Service MSiSCSI\nNew-IscsiTargetPortal -TargetPortalAddress ${place.host} -TargetPortalPortNumber ${place.port}\nConnect-IscsiTarget -NodeAddress "${place.iqn}" -IsPersistent $true` },
				{ key: "guide.winFormat", text: `Get-IscsiSession | Where-Object TargetNodeAddress -eq "${place.iqn}" | Get-Disk |\n  Initialize-Disk -PartitionStyle GPT -PassThru |\n  New-Partition -UseMaximumSize -AssignDriveLetter |\n  Format-Volume -FileSystem NTFS -NewFileSystemLabel "${place.name}"` },
			],
		},
		{
			id: "ovirt", title: "oVirt", steps: [
				{ key: "guide.ovirt", text: `- ovirt.ovirt.ovirt_storage_domain:\n    name: ${place.name}\n    host: HOST\n    data_center: Default\n    iscsi:\n      address: ${place.host}\n      port: ${place.port}\n      target: ${place.iqn}\n      lun_id: ${place.scsiId}` },
			],
		},
		{
			id: "kvm", title: "KVM / libvirt", steps: [
				{ key: "guide.virtPool", text: `cat > ${short(place)}.xml <<'XML'\n<pool type='iscsi'>\n  <name>${short(place)}</name>\n  <source>\n    <host name='${place.host}' port='${place.port}'/>\n    <device path='${place.iqn}'/>\n  </source>\n  <target><path>/dev/disk/by-path</path></target>\n</pool>\nXML\nvirsh pool-define ${short(place)}.xml\nvirsh pool-start ${short(place)}\nvirsh pool-autostart ${short(place)}` },
				{ key: "guide.qemu", text: `-drive file=iscsi://${portal}/${place.iqn}/${place.lun},format=raw,if=virtio` },
			],
		},
		{
			id: "linux", title: "Linux", steps: [
				{ key: "guide.linuxLogin", text: `iscsiadm -m discovery -t sendtargets -p ${portal}\niscsiadm -m node -T ${place.iqn} -p ${portal} --login\niscsiadm -m node -T ${place.iqn} -p ${portal} -o update -n node.startup -v automatic` },
				{ key: "guide.linuxDevice", text: `ls -l /dev/disk/by-id/scsi-${place.scsiId}` },
			],
		},
	];
}
