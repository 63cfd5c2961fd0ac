/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "core/backup.h"
#include "core/config_copy.h"
#include "core/heap.h"
#include "replication/replication.h"
#include "webadmin/admin.h"
#include "webadmin/alert.h"
#include "webadmin/alert_channel.h"
#include "webadmin/directory.h"
#include "webadmin/nfs_tls.h"
#include "webadmin/passthrough.h"
#include "webadmin/schedule.h"
#include "webadmin/share.h"
#include "webadmin/ups.h"

/* The table of alerts, and how each of them is seen. */

enum rule {
	POOL_UNAVAILABLE,
	POOL_WAITING,
	POOL_READ_ONLY,
	POOL_FULL,
	POOL_NEARLY_FULL,
	POOL_FILLING,
	POOL_FULL_SOON,
	POOL_METADATA,
	VOLUME_QUOTA,
	SNAPSHOTS_GIVEN_UP,
	POOL_FINDINGS,
	POOL_DEVICE_STUCK,
	POOL_DEGRADED,
	POOL_VITAL,
	DEVICE_MISSING,
	TARGET_UNAVAILABLE,
	LUN_UNAVAILABLE,
	LUN_HUNG,
	SHARE_UNAVAILABLE,
	DIRECTORY_UNAVAILABLE,
	REPLICA_UNAVAILABLE,
	REPLICA_SPLIT,
	REPLICA_LINK,
	REPLICA_LAG,
	REPLICA_MISMATCH,
	REPLICA_HELD,
	REPLICA_LEASE,
	REPLICA_WITNESS,
	REPLICA_PROMOTED,
	SCHEDULE_MISSED,
	CERTIFICATE_EXPIRES,
	STATE_FULL,
	RESTORE_DAMAGED,
	RELEASE_GIVEN_UP,
	CONFIG_WENT_BACK,
	DISK_FAILING,
	DISK_WARNING,
	UPS_BATTERY,
	UPS_LOW,
	UPS_UNREACHABLE,
	UPS_REPLACE,
	CHANNEL_FAILING,
	RULES
};

static const struct alert_rule table[RULES] = {
    [POOL_UNAVAILABLE] =
	{"pool-unavailable",
	 ALERT_CRITICAL,
	 5,
	 5,
	 0,
	 "",
	 {"Pool {object} is not available: {detail}", "存储池 {object} 不可用：{detail}"},
	 {"Nothing on it is served. Check that its devices are there and connected, then restart "
	  "the "
	  "service.",
	  "其上的所有数据都无法访问。请检查其设备是否存在并已连接，然后重启服务。"}},
    [POOL_WAITING] = {"pool-waiting",
		      ALERT_CRITICAL,
		      10,
		      10,
		      0,
		      "",
		      {"Pool {object} waits for its cluster", "存储池 {object} 正在等待其集群"},
		      {"The Ceph cluster does not answer and requests wait. Look at its monitors "
		       "and the network "
		       "to them.",
		       "Ceph 集群没有响应，请求正在等待。请检查其 monitor 以及到它们的网络。"}},
    [POOL_READ_ONLY] =
	{"pool-read-only",
	 ALERT_CRITICAL,
	 0,
	 5,
	 0,
	 "",
	 {"Pool {object} is read-only: {detail}", "存储池 {object} 已变为只读：{detail}"},
	 {"A device failed while it was written to. Check its cables and its log, then restart the "
	  "service.",
	  "写入时某个设备发生故障。请检查其连线和日志，然后重启服务。"}},
    [POOL_FULL] =
	{"pool-full",
	 ALERT_CRITICAL,
	 0,
	 30,
	 0,
	 "",
	 {"Pool {object} is full: hosts can not write", "存储池 {object} 已满：主机无法写入"},
	 {"Delete what is no longer needed, discard free space in the guests (fstrim), or add "
	  "space: a "
	  "device, or OSDs to its Ceph cluster.",
	  "请删除不再需要的数据，在虚拟机内回收空闲空间（fstrim），或增加空间：添加设备，或为其 "
	  "Ceph 集群添加 OSD。"}},
    [POOL_NEARLY_FULL] =
	{"pool-nearly-full",
	 ALERT_CRITICAL,
	 0,
	 30,
	 0,
	 "%",
	 {"Pool {object} is nearly full: {value} % are used",
	  "存储池 {object} 即将写满：已使用 {value} %"},
	 {"A full pool refuses writes. Add a device now, or delete what is no longer needed.",
	  "存储池写满后将拒绝写入。请立即添加设备，或删除不再需要的数据。"}},
    [POOL_FILLING] =
	{"pool-filling",
	 ALERT_WARNING,
	 0,
	 30,
	 0,
	 "%",
	 {"Pool {object} fills up: {value} % are used",
	  "存储池 {object} 空间渐满：已使用 {value} %"},
	 {"Delete what is no longer needed, discard free space in the guests (fstrim), or plan for "
	  "another device.",
	  "请删除不再需要的数据，在虚拟机内回收空闲空间（fstrim），或准备添加设备。"}},
    [POOL_FULL_SOON] = {"pool-full-soon",
			ALERT_WARNING,
			0,
			0,
			7,
			"d",
			{"Pool {object} is full in {value} days if it goes on like this",
			 "按当前趋势，存储池 {object} 将在 {value} 天后写满"},
			{"Plan for another device, or find out what writes so much.",
			 "请准备添加设备，或查明大量写入的来源。"}},
    [POOL_METADATA] = {"pool-metadata",
		       ALERT_WARNING,
		       0,
		       30,
		       85,
		       "%",
		       {"Pool {object}: {value} % of the room for metadata are used",
			"存储池 {object}：元数据空间已使用 {value} %"},
		       {"Delete volumes or snapshots that are no longer needed.",
			"请删除不再需要的卷或快照。"}},
    [VOLUME_QUOTA] =
	{"volume-quota",
	 ALERT_WARNING,
	 0,
	 30,
	 90,
	 "%",
	 {"Volume {object} and its snapshots: {value} % of the quota are taken",
	  "卷 {object} 及其快照：配额已使用 {value} %"},
	 {"At its end, writes to new places are refused. Raise the quota, delete "
	  "snapshots, or discard free space in the guest (fstrim).",
	  "配额用尽后，写入新位置将被拒绝。请提高配额、删除快照，或在虚拟机内回收空闲空间"
	  "（fstrim）。"}},
    [SNAPSHOTS_GIVEN_UP] =
	{"snapshots-given-up",
	 ALERT_WARNING,
	 0,
	 0,
	 0,
	 "",
	 {"Pool {object} was at its end: {value} snapshots were given up, the last {detail}",
	  "存储池 {object} 空间耗尽：已放弃 {value} 个快照，最后一个是 {detail}"},
	 {"They were approved for that beforehand. Make room, or add a device, before there is "
	  "none "
	  "left to give up. It clears an hour after the last.",
	  "这些快照事先已被允许放弃。请在没有可放弃的快照之前腾出空间或添加设备。"
	  "最后一次放弃一小时后自动解除。"}},
    [POOL_FINDINGS] =
	{"pool-findings",
	 ALERT_CRITICAL,
	 0,
	 0,
	 0,
	 "",
	 {"Pool {object}: damage was found in {value} places",
	  "存储池 {object}：发现 {value} 处数据损坏"},
	 {"See in its findings which volumes they are in, restore those blocks from a backup, then "
	  "scrub again and look at its devices.",
	  "请在检查结果中查看涉及哪些卷，从备份恢复这些数据，然后再次巡检，并检查其设备。"}},
    [POOL_DEVICE_STUCK] = {"pool-device-stuck",
			   ALERT_WARNING,
			   5,
			   5,
			   0,
			   "",
			   {"Device {object} can not be evacuated: {detail}",
			    "无法迁空设备 {object}：{detail}"},
			   {"See to what is in the way, then resume the evacuation.",
			    "请排除障碍，然后恢复迁空操作。"}},
    [POOL_DEGRADED] =
	{"pool-degraded",
	 ALERT_CRITICAL,
	 0,
	 5,
	 0,
	 "",
	 {"A pool goes on without device {object}: {detail}",
	  "存储池在缺少设备 {object} 的情况下运行：{detail}"},
	 {"Connect it again, then run pool online; if it is dead for good, put another in its "
	  "place with pool replace. Until then, the failure of another device loses data.",
	  "请重新连接该设备，然后执行 pool online；如设备已彻底损坏，请用 pool replace "
	  "换上另一设备。在此之前，另一设备故障将导致数据丢失。"}},
    [POOL_VITAL] =
	{"pool-vital-device",
	 ALERT_WARNING,
	 60,
	 5,
	 0,
	 "",
	 {"Mirrored volumes do not go on without device {object}: {detail}",
	  "缺少设备 {object} 时镜像卷将无法继续运行：{detail}"},
	 {"See what is in the way: with another device (pool add) there is room for a second copy "
	  "of the journal; snapshots of the time before there was a second device keep metadata "
	  "on the first until they are deleted.",
	  "请查看原因：再添加一个设备（pool add）即有空间存放日志的第二份副本；在有第二个设备之前"
	  "创建的快照会使元数据只保留在第一个设备上，直到这些快照被删除。"}},
    [DEVICE_MISSING] = {"device-missing",
			ALERT_CRITICAL,
			5,
			5,
			0,
			"",
			{"The device of volume {object} is missing: {detail}",
			 "卷 {object} 的设备缺失：{detail}"},
			{"Connect it again, then rescan the volume.",
			 "请重新连接该设备，然后重新扫描此卷。"}},
    [TARGET_UNAVAILABLE] =
	{"target-unavailable",
	 ALERT_CRITICAL,
	 5,
	 5,
	 0,
	 "",
	 {"Target {object} is not available: {detail}", "Target {object} 不可用：{detail}"},
	 {"Hosts can not log in to it. Mend the cause that is named, then restart the service.",
	  "主机无法登录。请排除上述原因，然后重启服务。"}},
    [LUN_UNAVAILABLE] = {"lun-unavailable",
			 ALERT_CRITICAL,
			 5,
			 5,
			 0,
			 "",
			 {"{object} is not available: {detail}", "{object} 不可用：{detail}"},
			 {"Bring its pool or its volume back, or take the LUN away.",
			  "请恢复其存储池或卷，或移除该 LUN。"}},
    [LUN_HUNG] = {"lun-hung",
		  ALERT_CRITICAL,
		  15,
		  5,
		  0,
		  "",
		  {"{object} hangs: no command has ended for a while, {value} wait",
		   "{object} 停滞：一段时间内没有命令完成，{value} 个命令在等待"},
		  {"The storage below it does not answer. Look at the devices of its pool and at "
		   "the system's "
		   "log.",
		   "其下层存储没有响应。请检查其存储池的设备和系统日志。"}},
    [SHARE_UNAVAILABLE] = {"share-unavailable",
			   ALERT_CRITICAL,
			   5,
			   5,
			   0,
			   "",
			   {"Share {object} is not available: {detail}",
			    "共享 {object} 不可用：{detail}"},
			   {"Clients wait or see errors. Mend the cause that is named.",
			    "客户端正在等待或报错。请排除上述原因。"}},
    [DIRECTORY_UNAVAILABLE] =
	{"directory-unavailable",
	 ALERT_CRITICAL,
	 15,
	 5,
	 0,
	 "",
	 {"Directory {object} is not available: {detail}", "目录 {object} 不可用：{detail}"},
	 {"Clients wait until it is there again: mount its disk, or take the directory away.",
	  "客户端会一直等到它恢复：请挂载其磁盘，或移除该目录。"}},
    [REPLICA_UNAVAILABLE] = {"replica-unavailable",
			     ALERT_CRITICAL,
			     5,
			     5,
			     0,
			     "",
			     {"Group {object} is not replicated: {detail}",
			      "复制组 {object} 未在复制：{detail}"},
			     {"Bring its volumes and their pool back.",
			      "请恢复其卷及所在的存储池。"}},
    [REPLICA_SPLIT] = {"replica-split",
		       ALERT_CRITICAL,
		       0,
		       5,
		       0,
		       "",
		       {"Group {object} has been taken over by the other machine",
			"复制组 {object} 已被另一台机器接管"},
		       {"See which machine has what you need, then demote the other one.",
			"请确认哪台机器上有您需要的数据，然后将另一台降级。"}},
    [REPLICA_LINK] =
	{"replica-link",
	 ALERT_WARNING,
	 0,
	 10,
	 0,
	 "",
	 {"Group {object}: the other machine does not answer",
	  "复制组 {object}：另一台机器没有响应"},
	 {"Nothing is replicated meanwhile. Look at it and at the network between the two.",
	  "期间不进行复制。请检查另一台机器以及两者之间的网络。"}},
    [REPLICA_LAG] =
	{"replica-lag",
	 ALERT_WARNING,
	 10,
	 10,
	 0,
	 "s",
	 {"Group {object} is {value} s behind", "复制组 {object} 落后 {value} 秒"},
	 {"More is written than the line carries. Look at the group's limit and at the network.",
	  "写入量超过了线路的承载能力。请检查该组的限速和网络。"}},
    [REPLICA_MISMATCH] =
	{"replica-mismatch",
	 ALERT_CRITICAL,
	 0,
	 0,
	 0,
	 "",
	 {"Group {object}: the standby's image was found to differ",
	  "复制组 {object}：发现备机映像不一致"},
	 {"It has been mended. Look at the devices of both machines, then verify again.",
	  "已修复。请检查两台机器的设备，然后再次校验。"}},
    [REPLICA_HELD] =
	{"replica-held",
	 ALERT_CRITICAL,
	 2,
	 5,
	 0,
	 "s",
	 {"Group {object}: guests' writes wait for the standby since {value} s",
	  "复制组 {object}：客户机写入已等待备机 {value} 秒"},
	 {"Its protection is on and the standby's image is as old as the RPO. Look at the other "
	  "machine and at the network; to let guests go on, pause the group or set --protect off.",
	  "该组已开启保护，而备机映像已达到 RPO 上限。请检查另一台机器和网络；若要让客户机继续，"
	  "请暂停该组或设置 --protect off。"}},
    [REPLICA_LEASE] =
	{"replica-lease",
	 ALERT_CRITICAL,
	 1,
	 2,
	 0,
	 "",
	 {"Group {object}: guests wait, for this machine has no lease{detail}",
	  "复制组 {object}：本机没有租约，客户机正在等待{detail}"},
	 {"Neither the witness nor the other machine answers, or the other machine has taken over. "
	  "Look at the network and at the other machine's role.",
	  "见证机和另一台机器均无响应，或另一台机器已接管。请检查网络以及另一台机器的角色。"}},
    [REPLICA_WITNESS] =
	{"replica-witness",
	 ALERT_WARNING,
	 0,
	 10,
	 0,
	 "",
	 {"Group {object}: its witness does not answer{detail}",
	  "复制组 {object}：见证机没有响应{detail}"},
	 {"Guests go on while the other machine is there; it does not take over by itself "
	  "meanwhile. "
	  "Look at the witness and at the network to it.",
	  "只要另一台机器在线，客户机不受影响；但期间不会自动接管。请检查见证机及其网络。"}},
    [REPLICA_PROMOTED] =
	{"replica-promoted",
	 ALERT_CRITICAL,
	 0,
	 0,
	 0,
	 "",
	 {"Group {object}: this machine has taken over by itself{detail}",
	  "复制组 {object}：本机已自动接管{detail}"},
	 {"See what was lost in the group's status. When the other machine is back, demote it "
	  "there, "
	  "so that it becomes the standby.",
	  "请在该组状态中查看丢失了什么。另一台机器恢复后，请将其降级，使其成为备机。"}},
    [SCHEDULE_MISSED] = {"schedule-missed",
			 ALERT_WARNING,
			 0,
			 0,
			 0,
			 "",
			 {"Snapshot schedule {object}: a run was missed ({detail})",
			  "快照计划 {object}：有一次运行被错过（{detail}）"},
			 {"It clears with the next good run. See why, or run the schedule by hand.",
			  "下一次成功运行后自动解除。请查明原因，或手动运行该计划。"}},
    [CERTIFICATE_EXPIRES] =
	{"certificate-expires",
	 ALERT_WARNING,
	 0,
	 0,
	 21,
	 "d",
	 {"The {object} certificate expires in {value} days", "{object} 证书将在 {value} 天后过期"},
	 {"Replace it: that of the web in the settings, that of nfs (NFS over TLS) with \"granary "
	  "share tls set\". Who checks it refuses one that has expired.",
	  "请更换：web 证书在设置中更换，nfs（NFS over TLS）证书用 \"granary share tls set\" "
	  "更换；校验证书的一方会拒绝已过期的证书。"}},
    [STATE_FULL] =
	{"state-full",
	 ALERT_CRITICAL,
	 0,
	 10,
	 95,
	 "%",
	 {"The disk of the state directory is full: {value} % are used",
	  "状态目录所在磁盘将满：已使用 {value} %"},
	 {"Changes of the configuration and the audit log can not be kept. Make room on it.",
	  "配置变更和审计日志将无法保存。请腾出空间。"}},
    [RESTORE_DAMAGED] =
	{"restore-damaged",
	 ALERT_CRITICAL,
	 0,
	 0,
	 0,
	 "",
	 {"The backup to be restored was damaged: {object} has what it had before",
	  "待恢复的备份已损坏：{object} 仍为原来的配置"},
	 {"Nothing was restored. Check the disk of the state directory, then restore the backup "
	  "once more.",
	  "未恢复任何内容。请检查状态目录所在磁盘，然后重新恢复该备份。"}},
    [RELEASE_GIVEN_UP] =
	{"release-given-up",
	 ALERT_WARNING,
	 0,
	 0,
	 0,
	 "",
	 {"The update of {object} did not come up: the release before it runs",
	  "{object} 的更新未能启动：当前运行的是之前的版本"},
	 {"Data is as it was, and so is the configuration unless another alert says that it "
	  "went back. Install another release, or this one once more.",
	  "数据保持不变；配置也保持不变，除非另有告警提示配置已恢复为更新前的版本。请安装其他"
	  "版本，或重新安装该版本。"}},
    [CONFIG_WENT_BACK] =
	{"configuration-went-back",
	 ALERT_CRITICAL,
	 0,
	 0,
	 0,
	 "",
	 {"{object} has its configuration from before the update again, what was changed since is "
	  "missing: {detail}",
	  "{object} 已恢复为更新前的配置，此后的更改均已丢失：{detail}"},
	 {"Look through LUNs, access rules, shares and schedules: what was taken away since is "
	  "there "
	  "again, what was added is not. The newer configuration is kept in the file that is "
	  "named; "
	  "take that file away when all is in order.",
	  "请检查 LUN、访问规则、共享和计划：此后删除的内容会重新出现，新增的内容则不存在。较新的"
	  "配置保存在所示文件中；确认无误后请移走该文件。"}},
    [DISK_FAILING] = {"disk-failing",
		      ALERT_CRITICAL,
		      0,
		      0,
		      0,
		      "",
		      {"Disk {object} is failing: {detail}", "磁盘 {object} 即将失效：{detail}"},
		      {"Evacuate it from its pool while it can still be read, then replace it.",
		       "请在其仍可读取时将其从存储池迁空，然后更换。"}},
    [DISK_WARNING] = {"disk-warning",
		      ALERT_WARNING,
		      0,
		      0,
		      0,
		      "",
		      {"Disk {object} shows signs of trouble: {detail}",
		       "磁盘 {object} 出现异常迹象：{detail}"},
		      {"Scrub its pool, watch whether this grows, and have another disk ready.",
		       "请巡检其存储池，观察是否加重，并准备好备用磁盘。"}},
    [UPS_BATTERY] =
	{"ups-on-battery",
	 ALERT_WARNING,
	 5,
	 5,
	 0,
	 "%",
	 {"UPS {object} is on battery, at {value} %", "UPS {object} 正在使用电池，电量 {value} %"},
	 {"Power has failed. The machine is powered off when the battery is at its end.",
	  "市电中断。电池耗尽前将自动关机。"}},
    [UPS_LOW] = {"ups-battery-low",
		 ALERT_CRITICAL,
		 0,
		 5,
		 0,
		 "%",
		 {"UPS {object}: its battery is at its end, at {value} %",
		  "UPS {object} 电池即将耗尽，电量 {value} %"},
		 {"The machine is powered off now; guests lose their disks.",
		  "本机正在关机，虚拟机将失去磁盘。"}},
    [UPS_UNREACHABLE] =
	{"ups-unreachable",
	 ALERT_WARNING,
	 60,
	 5,
	 0,
	 "",
	 {"Nothing is known of UPS {object}: {detail}", "无法获知 UPS {object} 的状态：{detail}"},
	 {"Should power fail now, the machine is not powered off in order. Look at its "
	  "server and at the network.",
	  "此时若断电，本机将无法正常关机。请检查其服务器和网络。"}},
    [UPS_REPLACE] = {"ups-replace-battery",
		     ALERT_WARNING,
		     60,
		     60,
		     0,
		     "",
		     {"UPS {object}: its battery has to be replaced", "UPS {object} 需要更换电池"},
		     {"Replace it; until then it may last for a shorter time than it says.",
		      "请更换电池；在此之前其续航可能短于显示值。"}},
    [CHANNEL_FAILING] =
	{"channel-failing",
	 ALERT_WARNING,
	 0,
	 0,
	 3,
	 "",
	 {"Alerts can not be sent to {object}: {detail}", "无法向 {object} 发送告警：{detail}"},
	 {"{value} tries have failed. Check its address and password, then test the channel.",
	  "已失败 {value} 次。请检查其地址和密码，然后测试该通道。"}},
};

const struct alert_rule *alert_rules(unsigned *ret_count)
{
	*ret_count = RULES;
	return table;
}

/* ---- pools ---- */

static unsigned percent_of(uint64_t part, uint64_t whole)
{
	return whole ? (unsigned)((double)part * 100.0 / (double)whole) : 0;
}

/* Something is at @now where @level is too much. */
static void observe_level(struct alerts *alerts, unsigned rule, const char *object, unsigned now,
			  unsigned level)
{
	if (level && now + ALERT_MARGIN >= level)
		alerts_observe(alerts, rule, object, now >= level, now, "");
}

static void look_at_space(struct alerts *alerts, const char *name, const struct pool_info *info)
{
	unsigned used = percent_of(info->size_bytes - info->free_bytes, info->size_bytes);
	unsigned paired =
	    percent_of(info->mirror_size_bytes - info->mirror_free_bytes, info->mirror_size_bytes);

	if (info->mirrors && paired > used)
		used = paired;
	if (info->full || (info->size_bytes && !info->free_bytes))
		alerts_observe(alerts, POOL_FULL, name, true, used, "");
	observe_level(alerts, POOL_NEARLY_FULL, name, used, info->watermark[2]);
	observe_level(alerts, POOL_FILLING, name, used, info->watermark[0]);
	observe_level(alerts, POOL_METADATA, name,
		      percent_of(info->metadata_used_bytes, info->metadata_size_bytes),
		      alerts->tuning[POOL_METADATA].level);
}

static void look_at_forecast(struct alerts *alerts, const struct model_pool *pool)
{
	int64_t level = (int64_t)alerts->tuning[POOL_FULL_SOON].level, days = pool->full_hours / 24;

	if (pool->full_hours >= 0 && days <= level + 1)
		alerts_observe(alerts, POOL_FULL_SOON, pool->name, days <= level, days, "");
}

static void look_at_devices(struct alerts *alerts, struct pool *pool, bool whole)
{
	struct pool_device_info info;

	for (unsigned i = 0; pool_device_info(pool, i, &info); i++)
		if (info.state == DEVICE_STUCK)
			alerts_observe(alerts, POOL_DEVICE_STUCK, info.path, true, 0, info.reason);
		else if (info.state == DEVICE_AWAY)
			alerts_observe(alerts, POOL_DEGRADED, info.path, true, 0, "it is away");
		else if (info.state == DEVICE_RESILVERING)
			alerts_observe(alerts, POOL_DEGRADED, info.path, true, 0,
				       "it is back and being made good");
		else if (info.vital && whole)
			alerts_observe(alerts, POOL_VITAL, info.path, true, 0, info.reason);
}

static void look_at_passthrough(struct alerts *alerts, struct pool *pool)
{
	struct volume *volume = NULL;
	struct passthrough_info info;

	while ((volume = pool_volume_next(pool, volume)))
		if (passthrough_get_info(volume, &info) && !info.available)
			alerts_observe(alerts, DEVICE_MISSING, volume->name, true, 0, info.reason);
}

static void look_at_quotas(struct alerts *alerts, struct pool *pool)
{
	char name[ALERT_OBJECT_MAX];
	struct volume *volume = NULL;

	while ((volume = pool_volume_next(pool, volume))) {
		if (!volume->quota_bytes)
			continue;
		snprintf(name, sizeof name, "%s/%s", pool_name(pool), volume->name);
		observe_level(alerts, VOLUME_QUOTA, name,
			      percent_of(volume_quota_used(volume), volume->quota_bytes),
			      alerts->tuning[VOLUME_QUOTA].level);
	}
}

static void look_at_closed_pool(struct alerts *alerts, const struct model_pool *pool)
{
	static const unsigned unknown[] = {POOL_FULL,     POOL_NEARLY_FULL, POOL_FILLING,
					   POOL_METADATA, POOL_FINDINGS,    POOL_READ_ONLY,
					   POOL_FULL_SOON};

	if (pool->busy && !pool->late) /* on its way to be open, or gone */
		alerts_unknown(alerts, POOL_UNAVAILABLE, pool->name);
	else if (pool->path_count && pool_is_remote(pool->paths[0]))
		alerts_observe(alerts, POOL_WAITING, pool->name, true, 0, pool->reason);
	else
		alerts_observe(alerts, POOL_UNAVAILABLE, pool->name, true, 0, pool->reason);
	for (unsigned i = 0; i < sizeof unknown / sizeof *unknown; i++)
		alerts_unknown(alerts, unknown[i], pool->name);
}

static void look_at_pool(struct alerts *alerts, const struct model_pool *pool)
{
	struct pool_scrub_info scrub;
	struct pool_info info;

	if (!pool->pool) {
		look_at_closed_pool(alerts, pool);
		return;
	}
	if (model_pool_is_passthrough(pool)) {
		look_at_passthrough(alerts, pool->pool);
		return;
	}
	pool_get_info(pool->pool, &info);
	if (info.read_only)
		alerts_observe(alerts, POOL_READ_ONLY, pool->name, true, 0, info.read_only_reason);
	if (info.waiting)
		alerts_observe(alerts, POOL_WAITING, pool->name, true, 0, "");
	else
		look_at_space(alerts, pool->name, &info);
	look_at_forecast(alerts, pool);
	if (info.quotas)
		look_at_quotas(alerts, pool->pool);
	if (pool->expiry.recent)
		alerts_observe(alerts, SNAPSHOTS_GIVEN_UP, pool->name, true,
			       (int64_t)pool->expiry.given_up, pool->expiry.name);
	pool_get_scrub(pool->pool, &scrub);
	if (scrub.findings)
		alerts_observe(alerts, POOL_FINDINGS, pool->name, true, (int64_t)scrub.findings,
			       "");
	look_at_devices(alerts, pool->pool, !info.degraded && !info.resilvering);
}

/* ---- what is served ---- */
/* Commands wait and none has ended since the last look. */
static void look_at_live_lun(struct alerts *alerts, const struct model_target *target,
			     struct model_lun *lun, const struct scsi_lun_info *info)
{
	uint64_t ended = info->read_ops + info->write_ops + info->errors;
	char name[ALERT_OBJECT_MAX];

	if (info->tasks && ended == lun->ended) {
		snprintf(name, sizeof name, "%s LUN %u", target->iqn, lun->lun);
		alerts_observe(alerts, LUN_HUNG, name, true, info->tasks, "");
	}
	lun->ended = ended;
}

/* What is away with its pool is the pool's alert: one, not one for each of a thousand LUNs. */
static void observe_on_pool(struct webadmin *admin, unsigned rule, const char *name,
			    const char *pool_name, const char *reason)
{
	struct alerts *alerts = alert_watch_alerts(admin);
	const struct model_pool *pool = model_pool_find(&admin->model, pool_name);

	if (pool && !pool->pool)
		alerts_unknown(alerts, rule, name);
	else
		alerts_observe(alerts, rule, name, true, 0, reason);
}

static void look_at_luns(struct webadmin *admin, const struct model_target *target)
{
	struct scsi_lun_info info = {0};
	int live = -1;

	list_for_each (it, &target->luns) {
		struct model_lun *lun = list_entry(it, struct model_lun, link);
		char name[ALERT_OBJECT_MAX];

		while (live < (int)lun->lun && target->live &&
		       scsi_target_next_lun(iscsi_target_scsi(target->live), live, &info))
			live = (int)info.lun;
		if (lun->mapped && live == (int)lun->lun) {
			look_at_live_lun(alert_watch_alerts(admin), target, lun, &info);
		} else if (!lun->mapped) {
			snprintf(name, sizeof name, "%s LUN %u", target->iqn, lun->lun);
			observe_on_pool(admin, LUN_UNAVAILABLE, name, lun->pool, lun->reason);
		}
	}
}

static void look_at_target(struct webadmin *admin, const struct model_target *target)
{
	if (!target->live)
		alerts_observe(alert_watch_alerts(admin), TARGET_UNAVAILABLE, target->iqn, true, 0,
			       target->reason);
	else
		look_at_luns(admin, target);
}

static void look_at_share(struct webadmin *admin, const struct model_share *share)
{
	char name[ALERT_OBJECT_MAX];

	if (share->vfs || share->away)
		return;
	snprintf(name, sizeof name, "%s/%s", share->pool, share->name);
	observe_on_pool(admin, SHARE_UNAVAILABLE, name, share->pool, share->reason);
}

static void look_at_directory(struct webadmin *admin, const struct model_directory *directory)
{
	bool silent = model_directory_is_silent(directory);

	if (!directory->hidden && directory->rule_count && (silent || !directory->vfs))
		alerts_observe(alert_watch_alerts(admin), DIRECTORY_UNAVAILABLE, directory->name,
			       true, 0, silent ? "its disk does not answer" : directory->reason);
}

/* ---- replication: as its groups show themselves ---- */
static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static bool has_alarm(const json_t *group, const char *name)
{
	size_t index;
	json_t *alarm;

	json_array_foreach(json_object_get(group, "alarms"), index, alarm)
	{
		if (strcmp(json_string_value(alarm), name) == 0)
			return true;
	}
	return false;
}

static void look_at_lease(struct alerts *alerts, const json_t *group, const char *name)
{
	const json_t *witness = json_object_get(group, "witness");
	const json_t *promoted = json_object_get(group, "promoted");
	const char *reason = text_of(witness, "reason");
	char detail[200] = "";

	if (reason[0])
		snprintf(detail, sizeof detail, ": %s", reason);
	if (has_alarm(group, "lease"))
		alerts_observe(alerts, REPLICA_LEASE, name, true, 0, detail);
	if (has_alarm(group, "witness"))
		alerts_observe(alerts, REPLICA_WITNESS, name, true, 0, detail);
	if (!has_alarm(group, "promoted"))
		return;
	snprintf(detail, sizeof detail, ": epoch %lld, %lld bytes",
		 (long long)json_integer_value(json_object_get(promoted, "epoch")),
		 (long long)json_integer_value(json_object_get(promoted, "lost_bytes")));
	alerts_observe(alerts, REPLICA_PROMOTED, name, true, 0, detail);
}

static void look_at_group(struct alerts *alerts, const json_t *group)
{
	const char *name = text_of(group, "name"), *state = text_of(group, "state");
	double lag = json_number_value(json_object_get(group, "lag_seconds"));
	double rpo = json_number_value(json_object_get(group, "rpo_seconds"));

	if (strcmp(state, "unavailable") == 0)
		alerts_observe(alerts, REPLICA_UNAVAILABLE, name, true, 0,
			       text_of(group, "reason"));
	if (strcmp(text_of(group, "role"), "fenced") == 0 || strcmp(state, "split-brain") == 0)
		alerts_observe(alerts, REPLICA_SPLIT, name, true, 0, "");
	if (has_alarm(group, "link")) { /* that it falls behind then is no news */
		alerts_observe(alerts, REPLICA_LINK, name, true, 0, "");
		alerts_unknown(alerts, REPLICA_LAG, name);
	} else if (has_alarm(group, "rpo")) {
		alerts_observe(alerts, REPLICA_LAG, name, lag > 3 * rpo, (int64_t)lag, "");
	}
	if (has_alarm(group, "held"))
		alerts_observe(alerts, REPLICA_HELD, name, true,
			       (int64_t)json_number_value(json_object_get(group, "held_seconds")),
			       "");
	if (has_alarm(group, "mismatch"))
		alerts_observe(alerts, REPLICA_MISMATCH, name, true, 0, "");
	look_at_lease(alerts, group, name);
}

static void look_at_replication(struct webadmin *admin, struct alerts *alerts)
{
	json_t *groups = replication_group_list(admin->replication), *group;
	size_t index;

	json_array_foreach(groups, index, group) look_at_group(alerts, group);
	json_decref(groups);
}

/* ---- the box itself ---- */
#define LATE_S 600 /* a run that was due so long ago and has not begun */

static void look_at_schedule(struct alerts *alerts, const struct schedule *schedule, int64_t wall)
{
	if (schedule->troubled || (!schedule->running && schedule_next(schedule) < wall - LATE_S))
		alerts_observe(alerts, SCHEDULE_MISSED, schedule->name, true, 0, schedule->result);
	else if (!schedule->seen) /* nothing of its last run is known in this life */
		alerts_unknown(alerts, SCHEDULE_MISSED, schedule->name);
}

static void look_at_state(struct webadmin *admin, struct alerts *alerts)
{
	struct statvfs info;
	unsigned used;

	if (statvfs(admin->options.state_dir, &info) < 0 || !info.f_blocks)
		return;
	used = percent_of(info.f_blocks - info.f_bavail, info.f_blocks);
	observe_level(alerts, STATE_FULL, admin->options.state_dir, used,
		      alerts->tuning[STATE_FULL].level);
}

/* A newer store than this release knows lies beside the one in force. */
static void look_for_newer(struct webadmin *admin, struct alerts *alerts)
{
	char path[PATH_MAX], copied[32], detail[ALERT_DETAIL_MAX];
	int64_t version;
	unsigned known;

	store_schema(&known);
	snprintf(path, sizeof path, "%s/config.db", admin->options.state_dir);
	version = config_copy_find(path, CONFIG_COPY_NEWER, INT64_MAX);
	if (version <= (int64_t)known)
		return;
	webadmin_setting(admin, WEBADMIN_COPIED, copied, sizeof copied);
	snprintf(detail, sizeof detail, "%s (config.db.newer-v%lld)", copied, (long long)version);
	alerts_observe(alerts, CONFIG_WENT_BACK, "granaryd", true, version, detail);
}

/* What came out of a start otherwise than somebody meant it to. */
static void look_at_starts(struct webadmin *admin, struct alerts *alerts)
{
	char path[PATH_MAX];

	if (backup_is_aside(admin->options.state_dir))
		alerts_observe(alerts, RESTORE_DAMAGED, "granaryd", true, 0, "");
	/* granary-update of the appliance keeps it. */
	snprintf(path, sizeof path, "%s/release-given-up", admin->options.state_dir);
	if (access(path, F_OK) == 0)
		alerts_observe(alerts, RELEASE_GIVEN_UP, "granary", true, 0, "");
	look_for_newer(admin, alerts);
}

static void look_at_certificate(struct webadmin *admin, struct alerts *alerts, int64_t wall)
{
	const struct {
		const char *name;
		int64_t expires;
	} all[] = {{"web", certificate_expires(admin)}, {"nfs", nfs_tls_expires(admin)}};
	unsigned level = alerts->tuning[CERTIFICATE_EXPIRES].level;

	for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
		int64_t expires = all[i].expires;
		int64_t days = expires > wall ? (expires - wall) / 86400 : 0;

		if (expires && days <= (int64_t)level)
			alerts_observe(alerts, CERTIFICATE_EXPIRES, all[i].name, true, days, "");
	}
}

static void channel_fails(void *context, const char *name, unsigned failures, const char *why)
{
	struct alerts *alerts = context;

	if (failures)
		alerts_observe(alerts, CHANNEL_FAILING, name,
			       failures >= alerts->tuning[CHANNEL_FAILING].level, failures, why);
}

void alert_look(struct webadmin *admin, struct alerts *alerts)
{
	int64_t wall = (int64_t)(loop_wall(admin->options.control) / 1000000000u);

	list_for_each (it, &admin->model.pools)
		look_at_pool(alerts, list_entry(it, struct model_pool, link));
	list_for_each (it, &admin->model.targets)
		look_at_target(admin, list_entry(it, struct model_target, link));
	list_for_each (it, &admin->model.shares)
		look_at_share(admin, list_entry(it, struct model_share, link));
	list_for_each (it, &admin->model.directories)
		look_at_directory(admin, list_entry(it, struct model_directory, link));
	look_at_replication(admin, alerts);
	list_for_each (it, &admin->schedules)
		look_at_schedule(alerts, list_entry(it, struct schedule, link), wall);
	look_at_state(admin, alerts);
	look_at_starts(admin, alerts);
	ups_look(admin, alerts,
		 (const unsigned[]){UPS_BATTERY, UPS_LOW, UPS_UNREACHABLE, UPS_REPLACE});
	health_look(admin, alerts, DISK_FAILING, DISK_WARNING);
	look_at_certificate(admin, alerts, wall);
	alert_channels_each_failing(admin, channel_fails, alerts);
}
