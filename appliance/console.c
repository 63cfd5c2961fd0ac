/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <poll.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "core/control.h"

/*~ granary-console: the screen of an appliance, on tty1 and on the serial line. It shows where the
 * machine can be reached and how the daemon is, and offers what somebody in front of it may need.
 * Whoever is at the console has the machine in his hands, so no password stands before it.
 *
 * One loop: ask the daemon over its control socket -> compose the screen -> draw it when it is
 * another one than before -> wait for a key, two seconds at most. */
#define REFRESH_MS  2000
#define ANSWER_MS   1500
#define SCREEN_SIZE 4096
#define SOCKET      "/var/lib/granary/control.sock"

extern char **environ;

enum text {
	TEXT_ADDRESSES,
	TEXT_NO_ADDRESS,
	TEXT_POOLS,
	TEXT_NO_POOL,
	TEXT_TARGETS,
	TEXT_SESSIONS,
	TEXT_DOWN,
	TEXT_READY,
	TEXT_KEYS,
	TEXT_LANGUAGE,
	TEXT_SURE_RESTART,
	TEXT_SURE_OFF,
	TEXT_SHELL,
	TEXTS
};

static const char *const texts[2][TEXTS] = {
    {
	[TEXT_ADDRESSES] = "Addresses",
	[TEXT_NO_ADDRESS] = "none yet (is a cable plugged in? DHCP is asked for one)",
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

static struct {
	bool chinese, can_chinese;
	char shown[SCREEN_SIZE];
} console;

static const char *text(enum text which)
{
	return texts[console.chinese][which];
}

/* The screen is built in memory; what does not fit is cut off. */
struct screen {
	char text[SCREEN_SIZE];
	size_t length;
};

static void put(struct screen *screen, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void put(struct screen *screen, const char *format, ...)
{
	size_t room = sizeof screen->text - screen->length;
	va_list values;
	int length;

	va_start(values, format);
	length = vsnprintf(screen->text + screen->length, room, format, values);
	va_end(values);
	if (length > 0)
		screen->length += (size_t)length < room ? (size_t)length : room - 1;
}

static bool printable(const struct ifaddrs *entry, char name[INET6_ADDRSTRLEN])
{
	const void *address;

	if (!entry->ifa_addr || entry->ifa_flags & IFF_LOOPBACK || !(entry->ifa_flags & IFF_UP))
		return false;
	if (entry->ifa_addr->sa_family == AF_INET) {
		address = &((const struct sockaddr_in *)(const void *)entry->ifa_addr)->sin_addr;
	} else if (entry->ifa_addr->sa_family == AF_INET6) {
		const struct in6_addr *six =
		    &((const struct sockaddr_in6 *)(const void *)entry->ifa_addr)->sin6_addr;

		if (IN6_IS_ADDR_LINKLOCAL(six))
			return false;
		address = six;
	} else {
		return false;
	}
	return inet_ntop(entry->ifa_addr->sa_family, address, name, INET6_ADDRSTRLEN) != NULL;
}

static void put_addresses(struct screen *screen)
{
	struct ifaddrs *all = NULL;
	char name[INET6_ADDRSTRLEN];
	bool any = false;

	put(screen, "  %s\r\n", text(TEXT_ADDRESSES));
	if (getifaddrs(&all) == 0) {
		for (const struct ifaddrs *at = all; at; at = at->ifa_next) {
			if (!printable(at, name))
				continue;
			put(screen, "    %s  (%s)\r\n", name, at->ifa_name);
			any = true;
		}
		freeifaddrs(all);
	}
	if (!any)
		put(screen, "    %s\r\n", text(TEXT_NO_ADDRESS));
}

static void put_pools(struct screen *screen, const json_t *pools)
{
	size_t index;
	json_t *pool;

	put(screen, "\r\n  %s\r\n", text(TEXT_POOLS));
	if (json_array_size(pools) == 0)
		put(screen, "    %s\r\n", text(TEXT_NO_POOL));
	json_array_foreach(pools, index, pool)
	{
		double size = (double)json_integer_value(json_object_get(pool, "size_bytes"));
		double used = (double)json_integer_value(json_object_get(pool, "used_bytes"));

		put(screen, "    %s  %s  %.0f / %.0f GiB\r\n",
		    json_string_value(json_object_get(pool, "name")),
		    json_string_value(json_object_get(pool, "state")), used / (1 << 30),
		    size / (1 << 30));
	}
}

/* NULL: the daemon does not answer. */
static json_t *ask_daemon(void)
{
	json_t *request = json_pack("{s:s,s:s}", "method", "GET", "path", "/api/v1/status");
	json_t *reply = NULL, *body = NULL;
	struct err err = {0};

	if (request && control_call(SOCKET, request, ANSWER_MS, &reply, &err) == 0)
		body = json_incref(json_object_get(reply, "body"));
	json_decref(reply);
	json_decref(request);
	return body;
}

static void compose(struct screen *screen)
{
	json_t *status = ask_daemon();
	const json_t *daemon = json_object_get(status, "daemon");
	const char *version = json_string_value(json_object_get(daemon, "version"));
	char host[65] = "granary";

	gethostname(host, sizeof host - 1);
	put(screen, "\r\n  Granary %s   %s\r\n\r\n", version ? version : "", host);
	put_addresses(screen);
	if (status) {
		put_pools(screen, json_object_get(status, "pools"));
		put(screen, "\r\n  %s %zu   %s %zu\r\n", text(TEXT_TARGETS),
		    json_array_size(json_object_get(status, "targets")), text(TEXT_SESSIONS),
		    json_array_size(json_object_get(status, "sessions")));
	}
	put(screen, "\r\n  %s\r\n\r\n  %s%s\r\n", text(status ? TEXT_READY : TEXT_DOWN),
	    text(TEXT_KEYS), console.can_chinese ? text(TEXT_LANGUAGE) : "");
	json_decref(status);
}

static void emit(const char *line)
{
	fputs(line, stdout);
	fflush(stdout);
}

static void refresh(void)
{
	struct screen screen = {.length = 0};

	compose(&screen);
	if (strcmp(screen.text, console.shown) == 0)
		return;
	memcpy(console.shown, screen.text, sizeof screen.text);
	emit("\033[2J\033[H");
	emit(screen.text);
}

/* A program of the system in the foreground, on this terminal. */
static void run(const char *const *words)
{
	pid_t child;

	if (posix_spawn(&child, words[0], NULL, NULL, (char *const *)words, environ) == 0)
		waitpid(child, NULL, 0);
	else
		printf("%s can not be started\r\n", words[0]);
	console.shown[0] = '\0';
}

static void set_raw(bool raw)
{
	static struct termios before;
	static bool known;
	struct termios now;

	if (!known && tcgetattr(STDIN_FILENO, &before) == 0)
		known = true;
	if (!known)
		return;
	now = before;
	if (raw) {
		now.c_lflag &= ~(tcflag_t)(ICANON | ECHO | ISIG);
		now.c_cc[VMIN] = 1;
	}
	tcsetattr(STDIN_FILENO, TCSANOW, &now);
}

static void shell(void)
{
	static const char *const words[] = {"/bin/bash", "-l", NULL};

	printf("\033[2J\033[H%s\r\n", text(TEXT_SHELL));
	fflush(stdout);
	set_raw(false);
	run(words);
	set_raw(true);
}

static void confirmed(enum text question, const char *verb)
{
	const char *const words[] = {"/usr/bin/systemctl", verb, NULL};
	char answer = 0;

	printf("\r\n  %s", text(question));
	fflush(stdout);
	if (read(STDIN_FILENO, &answer, 1) == 1 && (answer == 'y' || answer == 'Y'))
		run(words);
	console.shown[0] = '\0';
}

static void key(char pressed)
{
	switch (pressed) {
	case 's':
		shell();
		break;
	case 'r':
		confirmed(TEXT_SURE_RESTART, "reboot");
		break;
	case 'p':
		confirmed(TEXT_SURE_OFF, "poweroff");
		break;
	case 'l':
		console.chinese = console.can_chinese && !console.chinese;
		break;
	case '\r':
	case '\n':
	case '\f':
		console.shown[0] = '\0'; /* somebody who has just plugged in a cable */
		break;
	}
}

int main(void)
{
	const char *terminal = getenv("TERM");

	/* The kernel's own screen has no Chinese glyphs; a terminal behind a serial line has. */
	console.can_chinese = terminal && strcmp(terminal, "linux") != 0;
	set_raw(true);
	for (;;) {
		struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
		char pressed;

		refresh();
		if (poll(&input, 1, REFRESH_MS) <= 0)
			continue;
		if (read(STDIN_FILENO, &pressed, 1) != 1)
			return 0; /* hung up: the service manager starts us on a new line */
		key(pressed);
	}
}
