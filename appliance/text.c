/* SPDX-License-Identifier: Apache-2.0 */
#include "appliance/console.h"

static const char *const texts[2][TEXTS] = {
    {
	[TEXT_ADDRESSES] = "Addresses",
	[TEXT_NO_ADDRESS] = "none yet (is a cable plugged in? DHCP is asked for one)",
	[TEXT_WEB] = "Web",
	[TEXT_FINGERPRINT] = "its certificate, SHA-256",
	[TEXT_SETUP_CODE] = "Set-up code",
	[TEXT_POOLS] = "Pools",
	[TEXT_NO_POOL] = "none yet: granary pool create",
	[TEXT_TARGETS] = "Targets",
	[TEXT_SESSIONS] = "Sessions",
	[TEXT_DOWN] = "The storage service is not running; it is started again by itself.",
	[TEXT_MEND] =
	    "In the shell: granary config restore FILE, granary config reset (pools stay).",
	[TEXT_NO_STATE] = "The state partition can not be used. Nothing is served without it.",
	[TEXT_MEND_STATE] =
	    "In the shell: journalctl -b -p err; fsck.ext4 -y /dev/disk/by-partlabel/state",
	[TEXT_READY] = "READY",
	/* clang-format off */
	[TEXT_KEYS] = "n network  t time  h name  w web password  u updates\r\n  b support bundle  s shell  r restart  p power off",
	/* clang-format on */
	[TEXT_LANGUAGE] = "  l 中文",
	[TEXT_SURE_RESTART] = "Restart the machine? Guests wait until it is back. Type y: ",
	[TEXT_SURE_OFF] = "Power off? Guests lose their disks. Type y: ",
	[TEXT_SHELL] = "A root shell; \"granary help\" lists the commands, \"exit\" comes back.",
	[TEXT_CANCEL] = "Nothing is changed.",
	[TEXT_NO_HELPER] = "The host helper does not answer.",
	[TEXT_NETWORK] = "Network as it is set (a port that is not in it asks DHCP):",
	[TEXT_NETWORK_CHOICE] =
	    "1 DHCP on all ports   2 fixed address on a port   3 VLAN   4 bond   Enter: back\n> ",
	[TEXT_ASK_PORT] = "Port or bond (see the list above): ",
	[TEXT_ASK_PORTS] = "Ports of the bond, with spaces between them: ",
	[TEXT_ASK_BOND] = "Name of the bond [bond0]: ",
	[TEXT_ASK_MODE] = "1 active-backup   2 LACP (the switch has to know)\n> ",
	[TEXT_ASK_VLAN] = "Number of the VLAN (1 to 4094): ",
	[TEXT_ASK_ADDRESS] = "Address with its prefix length, 192.0.2.7/24 [DHCP]: ",
	[TEXT_ASK_GATEWAY] = "Gateway [none]: ",
	[TEXT_ASK_DNS] = "Name servers, with spaces between them [none]: ",
	[TEXT_ASK_MTU] = "MTU [1500]: ",
	[TEXT_CONFIRM] =
	    "In force. Unless you confirm within 60 seconds it goes back. Type y when it works: ",
	[TEXT_KEPT] = "Kept.",
	[TEXT_WENT_BACK] = "It goes back to what it was.",
	[TEXT_ASK_SERVERS] = "Time servers, with spaces between them [Debian's pool]: ",
	[TEXT_ASK_ZONE] = "Time zone, Europe/Zurich [as it is]: ",
	[TEXT_ASK_NAME] = "Name of this machine: ",
	[TEXT_ASK_ACCOUNT] = "Account of the web admin: ",
	[TEXT_ASK_PASSWORD] = "New password (10 characters at least; not shown): ",
	[TEXT_ASK_AGAIN] = "Once more: ",
	[TEXT_NOT_SAME] = "These are two different ones.",
	[TEXT_DONE] = "Done.",
	[TEXT_ROLLBACK] = "Start from the other release next time? Type y: ",
	[TEXT_SUPPORT] = "It is kept on this machine; with a browser: /api/v1/support/bundle",
	[TEXT_SEED] = "What this machine was to be told at its first start was not taken:",
	[TEXT_CARDS] = "Ports have other cards than when the network was set (n sets it anew):",
	[TEXT_MORE] = "more",
	[TEXT_ENTER] = "Enter goes on. ",
    },
    {
	[TEXT_ADDRESSES] = "地址",
	[TEXT_NO_ADDRESS] = "暂无（网线是否已插好？正在通过 DHCP 获取）",
	[TEXT_WEB] = "网页管理",
	[TEXT_FINGERPRINT] = "证书 SHA-256 指纹",
	[TEXT_SETUP_CODE] = "初始设置码",
	[TEXT_POOLS] = "存储池",
	[TEXT_NO_POOL] = "暂无：granary pool create",
	[TEXT_TARGETS] = "目标",
	[TEXT_SESSIONS] = "会话",
	[TEXT_DOWN] = "存储服务未运行，将自动重新启动。",
	[TEXT_MEND] = "命令行：granary config restore 文件，granary config reset（存储池保留）。",
	[TEXT_NO_STATE] = "状态分区无法使用，因此不提供任何服务。",
	[TEXT_MEND_STATE] =
	    "命令行：journalctl -b -p err；fsck.ext4 -y /dev/disk/by-partlabel/state",
	[TEXT_READY] = "READY 就绪",
	/* clang-format off */
	[TEXT_KEYS] = "n 网络  t 时间  h 名称  w 网页密码  u 更新\r\n  b 诊断包  s 命令行  r 重启  p 关机",
	/* clang-format on */
	[TEXT_LANGUAGE] = "  l English",
	[TEXT_SURE_RESTART] = "重启本机？虚拟机会等待其恢复。确认请输入 y：",
	[TEXT_SURE_OFF] = "关机？虚拟机将失去磁盘。确认请输入 y：",
	[TEXT_SHELL] = "root 命令行；“granary help” 列出命令，“exit” 返回。",
	[TEXT_CANCEL] = "未作更改。",
	[TEXT_NO_HELPER] = "主机助手没有应答。",
	[TEXT_NETWORK] = "当前网络设置（未列出的网口使用 DHCP）：",
	[TEXT_NETWORK_CHOICE] = "1 全部使用 DHCP   2 网口固定地址   3 VLAN   4 绑定   回车返回\n> ",
	[TEXT_ASK_PORT] = "网口或绑定（见上方列表）：",
	[TEXT_ASK_PORTS] = "绑定的网口，以空格分隔：",
	[TEXT_ASK_BOND] = "绑定名称 [bond0]：",
	[TEXT_ASK_MODE] = "1 主备   2 LACP（交换机须支持）\n> ",
	[TEXT_ASK_VLAN] = "VLAN 编号（1 至 4094）：",
	[TEXT_ASK_ADDRESS] = "地址及前缀长度，如 192.0.2.7/24 [DHCP]：",
	[TEXT_ASK_GATEWAY] = "网关 [无]：",
	[TEXT_ASK_DNS] = "域名服务器，以空格分隔 [无]：",
	[TEXT_ASK_MTU] = "MTU [1500]：",
	[TEXT_CONFIRM] = "已生效。若 60 秒内不确认将恢复原设置。工作正常请输入 y：",
	[TEXT_KEPT] = "已保存。",
	[TEXT_WENT_BACK] = "将恢复原设置。",
	[TEXT_ASK_SERVERS] = "时间服务器，以空格分隔 [Debian 公共池]：",
	[TEXT_ASK_ZONE] = "时区，如 Asia/Shanghai [不变]：",
	[TEXT_ASK_NAME] = "本机名称：",
	[TEXT_ASK_ACCOUNT] = "网页管理账户：",
	[TEXT_ASK_PASSWORD] = "新密码（至少 10 个字符，不显示）：",
	[TEXT_ASK_AGAIN] = "再输入一次：",
	[TEXT_NOT_SAME] = "两次输入不一致。",
	[TEXT_DONE] = "完成。",
	[TEXT_ROLLBACK] = "下次启动使用另一版本？确认请输入 y：",
	[TEXT_SUPPORT] = "已保存在本机。也可用浏览器以管理员登录后下载：/api/v1/support/bundle",
	[TEXT_SEED] = "首次启动配置未被采用：",
	[TEXT_CARDS] = "网口对应的网卡与设置网络时不同（按 n 重新设置）：",
	[TEXT_MORE] = "项未显示",
	[TEXT_ENTER] = "按回车继续。",
    },
};

static bool in_chinese;

const char *text(enum text which)
{
	return texts[in_chinese][which];
}

void text_chinese(bool chinese)
{
	in_chinese = chinese;
}

bool text_is_chinese(void)
{
	return in_chinese;
}
