/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRANARYD_GRANARYD_H
#define GRANARYD_GRANARYD_H

#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"
#include "core/log.h"
#include "nfs/nfs.h"
#include "webadmin/webadmin.h"

#define GRANARY_VERSION    "0.1.0"
#define BIND_MAX           16
#define IO_LOOPS_MAX       64
#define DIRECTORIES_IN_MAX 16
#define ISCSI_PORT         3260
#define REPL_PORT          7420
#define DEMO_TARGET        "iqn.2026-11.org.granary:demo"
#define DEFAULT_STATE_DIR  "/var/lib/granary"

/* options.c: the command line. */
struct options {
	const char *state_dir;
	const char *bind[BIND_MAX];
	uint16_t group[BIND_MAX]; /* portal group of each */
	unsigned bind_count;
	uint16_t iscsi_port;
	uint16_t nfs_port, mount_port;
	bool nfs_port_given;
	uint16_t repl_port;
	bool repl_port_given;
	unsigned nfs_lease; /* seconds; 0: the default */
	const char *io_engine;
	unsigned io_loops;
	bool demo, go_back;
	const char *directories[DIRECTORIES_IN_MAX]; /* --directories-in */
	unsigned directory_count;
	enum log_level log_level;
};
/* Returns -1 to go on, else the exit status (help and version end with 0, usage with 2). */
int options_read(int argc, char **argv, struct options *ret_options);

/* state.c: the state directory, held by one daemon at a time. */
struct state {
	char *dir, *config_path, *reservations_path, *control_path, *front_path, *mount_path;
	int lock_fd;
};
int state_open(const char *dir, struct state *ret_state, struct err *err)
    __attribute__((warn_unused_result));
void state_close(struct state *state);
/* state_note_failure: why this daemon does not serve, for whoever can not see its stderr (the
 * appliance's console): one line in STATE/failure. NULL: it does, the file goes. As far as it can
 * be done; without the state's lock, not at all. */
void state_note_failure(const struct state *state, const char *why);

/* confine.c: once what needs privilege is open, and before any thread is started. @by_handle: files
 * are still to be opened by their handles, which takes CAP_DAC_READ_SEARCH. */
int confine(bool by_handle, struct err *err) __attribute__((warn_unused_result));

/* signals.c: SIGTERM and SIGINT as messages to @loop; @stop runs there, once per signal.
 * signals_block() comes before the first thread, signals_stop() before the loop goes. */
void signals_block(void);
int signals_start(struct loop *loop, void (*stop)(unsigned count), struct err *err)
    __attribute__((warn_unused_result));
void signals_stop(void);

/* watchdog.c: the service manager, if it asks (WATCHDOG_USEC), hears that @loops turn. After they
 * run; stopped before they are joined. */
int watchdog_start(struct loop *const *loops, unsigned count, struct err *err)
    __attribute__((warn_unused_result));
void watchdog_stop(void);

/* demo.c: the embedded default of --demo. ready(@naa) when it is there ("" when the volume is
 * not): the NAA digits of the volume tank/demo. Objects that are there are left alone, and once
 * it was set up, what the administrator removed stays removed. */
void demo_set_up(struct webadmin *admin, const char *state_dir, void (*ready)(const char *naa));

/* files_identity: who this server is to NFSv4 clients, over restarts: nfs-identity of the state
 * directory, made when it is not there. */
#define FILES_IDENTITY 16
int files_identity(const char *state_dir, uint8_t identity[FILES_IDENTITY], struct err *err);
/* files.c: the ports of the NFS server on each of @addresses. -EADDRINUSE only for a port that was
 * asked for; without one NFS is left out. */
int files_listen(struct nfs_server *nfs, const struct options *options,
		 const char *const *addresses, unsigned count, struct err *err)
    __attribute__((warn_unused_result));

/* files_listen_portmap: port 111, where clients ask for MOUNT's. When somebody else has it
 * (-EADDRINUSE), they have to be told the port (mount -o port=,mountport=), and every program
 * answers there. */
int files_listen_portmap(struct nfs_server *nfs, const char *address, struct err *err)
    __attribute__((warn_unused_result));

/* ready.c: the READY line and the lines to copy, on stdout. */
void ready_print(struct iscsi_server *iscsi, const struct nfs_server *nfs, uint16_t repl_port,
		 const char *control_path, const char *state_dir, const char *demo_naa);
/* ready_print_setup_code: before READY; what the first account is made with. */
void ready_print_setup_code(const char *code);

#endif
