/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APPLIANCE_CONSOLE_H
#define APPLIANCE_CONSOLE_H

#include <jansson.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>

/* What granary-console's files share. Context: its one thread; everything blocks. */
#define STATE_DIR   "/var/lib/granary"
#define DAEMON      STATE_DIR "/control.sock"
#define HELPER      "/run/granary/host.sock"
#define SCREEN_SIZE 16384

enum text {
	TEXT_ADDRESSES,
	TEXT_NO_ADDRESS,
	TEXT_WEB,
	TEXT_FINGERPRINT,
	TEXT_SETUP_CODE,
	TEXT_POOLS,
	TEXT_NO_POOL,
	TEXT_TARGETS,
	TEXT_SESSIONS,
	TEXT_DOWN,
	TEXT_MEND,
	TEXT_NO_STATE,
	TEXT_MEND_STATE,
	TEXT_READY,
	TEXT_KEYS,
	TEXT_LANGUAGE,
	TEXT_SURE_RESTART,
	TEXT_SURE_OFF,
	TEXT_SHELL,
	TEXT_CANCEL,
	TEXT_NO_HELPER,
	TEXT_NETWORK,
	TEXT_NETWORK_CHOICE,
	TEXT_ASK_PORT,
	TEXT_ASK_PORTS,
	TEXT_ASK_BOND,
	TEXT_ASK_MODE,
	TEXT_ASK_VLAN,
	TEXT_ASK_ADDRESS,
	TEXT_ASK_GATEWAY,
	TEXT_ASK_DNS,
	TEXT_ASK_MTU,
	TEXT_CONFIRM,
	TEXT_KEPT,
	TEXT_WENT_BACK,
	TEXT_ASK_SERVERS,
	TEXT_ASK_ZONE,
	TEXT_ASK_NAME,
	TEXT_ASK_ACCOUNT,
	TEXT_ASK_PASSWORD,
	TEXT_ASK_AGAIN,
	TEXT_NOT_SAME,
	TEXT_DONE,
	TEXT_ROLLBACK,
	TEXT_SUPPORT,
	TEXT_SEED,
	TEXT_CARDS,
	TEXT_MORE,
	TEXT_ENTER,
	TEXTS
};

/* text: a sentence in the language that was chosen (text_chinese()). */
const char *text(enum text which);
void text_chinese(bool chinese);
bool text_is_chinese(void);

/* The screen is built in memory; what does not fit is cut off. */
struct screen {
	char text[SCREEN_SIZE];
	size_t length;
};
void put(struct screen *screen, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* screen_compose: what the machine is and how to reach it, 25 lines of 80 columns.
 * @language: the key that changes it is offered. */
void screen_compose(struct screen *screen, bool language);

/* screen_draw: of that, what was found out. Of what a machine may have more of than the screen has
 * rows, as much as fits, and how much more there is. */
#define SCREEN_ADDRESSES 3
#define SCREEN_FAILURE   500
struct screen_facts {
	char host[65];
	unsigned addresses; /* the machine's; the first of them: */
	struct screen_address {
		char ip[INET6_ADDRSTRLEN], port[IF_NAMESIZE];
	} address[SCREEN_ADDRESSES];
	bool certificate;
	unsigned char digest[32]; /* SHA-256 of it */
	bool state_mounted;
	char failure[SCREEN_FAILURE];    /* why the daemon does not serve; "" */
	json_t *status, *setup, *alerts; /* the daemon's; NULL: it does not answer */
	json_t *seed, *cards; /* what granary-seed and granary-hostd found; NULL: nothing */
};
void screen_draw(struct screen *screen, const struct screen_facts *facts, bool language);

/* qr_put: @text as a QR code (ISO/IEC 18004, error correction L) in half blocks from line @row of
 * the terminal, its last column @right; light modules are drawn, two of them around it, one when
 * there is no room for two. A text that takes more than @most modules on a side is left out. */
void qr_put(struct screen *screen, const char *text, int row, int right, int most);

/* menu.c: dialogues, line by line on the cooked terminal. Each comes back to the screen. */
void menu_network(void);
void menu_time(void);
void menu_name(void);
void menu_password(void);
void menu_updates(void);
void menu_support(void);

/* console_say: UTF-8 @text onto this terminal, at once. */
void console_say(const char *text);

/* console_run: a program of the system in the foreground, on this terminal. */
void console_run(const char *const *words);

/* ask: GET, PUT, POST or PATCH @path on @socket; @body is stolen (NULL: none). The reply's body
 * when its status is below 400; NULL otherwise, with a sentence in @why (may be NULL). */
#define WHY_TEXT 600
json_t *ask(const char *socket, const char *method, const char *path, json_t *body,
	    char why[WHY_TEXT]);

#endif
