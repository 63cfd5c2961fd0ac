/* SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "appliance/console.h"
#include "appliance/glyphs.h"

/*~ granary-console: the screen of an appliance, on tty1 and on the serial line. It shows where the
 * machine can be reached and how the daemon is (screen.c), and offers what somebody in front of it
 * may need. Whoever is at the console has the machine in his hands, so no password stands before
 * it.
 *
 * One loop: ask the daemon over its control socket -> compose the screen -> draw it when it is
 * another one than before -> wait for a key, two seconds at most. */
#define REFRESH_MS 2000
#define GLYPHS     "/usr/share/granary/glyphs"

extern char **environ;

static struct {
	bool chinese, can_chinese;
	struct glyphs *glyphs; /* of the kernel's own screen; NULL: a terminal has its own */
	char shown[SCREEN_SIZE];
} console;

void console_say(const char *text)
{
	static char placed[2 * SCREEN_SIZE]; /* of three bytes it makes six at most */

	if (console.glyphs) {
		glyphs_show(console.glyphs, text, placed, sizeof placed);
		glyphs_load_font(console.glyphs, STDOUT_FILENO);
		text = placed;
	}
	fputs(text, stdout);
	fflush(stdout);
}

static void clear(void)
{
	fputs("\033[2J\033[H", stdout);
	fflush(stdout);
	if (console.glyphs)
		glyphs_clear(console.glyphs);
}

static void refresh(void)
{
	struct screen screen = {.length = 0};

	screen_compose(&screen, console.can_chinese);
	if (strcmp(screen.text, console.shown) == 0)
		return;
	memcpy(console.shown, screen.text, sizeof screen.text);
	clear();
	console_say(screen.text);
}

/* A program of the system in the foreground, on this terminal. */
void console_run(const char *const *words)
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

	clear();
	console_say(text(TEXT_SHELL));
	console_say("\r\n");
	set_raw(false);
	console_run(words);
	set_raw(true);
}

/* A dialogue, on the terminal as programs know it. */
static void dialogue(void (*menu)(void))
{
	clear();
	set_raw(false);
	menu();
	set_raw(true);
	console.shown[0] = '\0';
}

static void confirmed(enum text question, const char *verb)
{
	const char *const words[] = {"/usr/bin/systemctl", verb, NULL};
	char answer = 0;

	console_say("\r\n  ");
	console_say(text(question));
	if (read(STDIN_FILENO, &answer, 1) == 1 && (answer == 'y' || answer == 'Y'))
		console_run(words);
	console.shown[0] = '\0';
}

static void key(char pressed)
{
	switch (pressed) {
	case 'n':
		dialogue(menu_network);
		break;
	case 't':
		dialogue(menu_time);
		break;
	case 'h':
		dialogue(menu_name);
		break;
	case 'w':
		dialogue(menu_password);
		break;
	case 'u':
		dialogue(menu_updates);
		break;
	case 'b':
		dialogue(menu_support);
		break;
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
		text_chinese(console.chinese);
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

	/* The kernel's own screen has no Chinese glyphs but what it is given; a terminal behind a
	 * serial line has. */
	if (terminal && strcmp(terminal, "linux") == 0)
		console.glyphs = glyphs_open(GLYPHS, STDOUT_FILENO);
	console.can_chinese = console.glyphs || (terminal && strcmp(terminal, "linux") != 0);
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
