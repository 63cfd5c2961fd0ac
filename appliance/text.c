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
	[TEXT_READY] = "READY",
	[TEXT_KEYS] = "s shell   r restart   p power off",
	[TEXT_LANGUAGE] = "   l 中文",
	[TEXT_SURE_RESTART] = "Restart the machine? Guests wait until it is back. Type y: ",
	[TEXT_SURE_OFF] = "Power off? Guests lose their disks. Type y: ",
	[TEXT_SHELL] = "A root shell; \"granary help\" lists the commands, \"exit\" comes back.",
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
	[TEXT_READY] = "READY 就绪",
	[TEXT_KEYS] = "s 命令行   r 重启   p 关机",
	[TEXT_LANGUAGE] = "   l English",
	[TEXT_SURE_RESTART] = "重启本机？虚拟机会等待其恢复。确认请输入 y：",
	[TEXT_SURE_OFF] = "关机？虚拟机将失去磁盘。确认请输入 y：",
	[TEXT_SHELL] = "root 命令行；“granary help” 列出命令，“exit” 返回。",
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
