/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/backup.h"
#include "core/control.h"
#include "core/heap.h"
#include "granaryd/granaryd.h"
#include "mounts/mounts.h"
#include "replication/replication.h"
#include "target/target.h"

/*~ granaryd builds the rooms, starts the loops and waits.
 *
 * start: options -> state directory and its lock -> configuration -> confine -> signal thread,
 *   I/O threads, reservations and their thread -> pools, targets, LUNs (webadmin) -> [demo] ->
 *   portals, sockets -> READY
 * stop (first signal): sockets -> iSCSI, with a grace for tasks in flight -> local mounts -> NFS ->
 *   targets -> pools, checkpointed -> I/O threads -> exit 0
 * second signal: exit at once; a pool replays its journal at the next start.
 *
 * The portals come last: to an initiator that logs in again after a restart, "there is no such
 * target" would be final, while a refused connection is tried again. */
#define GRACE_NS    (5 * 1000000000ull)
#define QUIET_NS    (10 * 1000000ull)
#define PROGRESS_NS (1 * 1000000000ull)
/* After kill -9 the kernel may hold the old process's sockets a moment longer. */
#define PORT_RETRY_NS (50 * 1000000ull)
#define PORT_LIMIT_NS (5 * 1000000000ull)

static struct granaryd {
	struct options options;
	struct state state;
	const struct world_ops *world;
	struct loop *control;
	struct loop *io_loops[IO_LOOPS_MAX];
	unsigned io_loops_running;
	struct config *config;
	struct iscsi_server *iscsi;
	struct nfs_server *nfs;
	struct mounts *mounts;
	bool nfs_open;
	struct webadmin *admin;
	struct control_server *socket, *front; /* root's; the web front's */
	struct timer progress;
	struct timer port_retry, nfs_retry, portmap_retry;
	uint64_t port_limit_ns;
	unsigned portals_open;
	uint32_t portmap_done; /* addresses whose port 111 is open, or left to others; bits */
	unsigned repl_open;    /* addresses */
	uint16_t repl_port;    /* 0: not open */
	bool portals_without_six;
	uint16_t port;
	char demo_naa[64];
	bool started, stopping;
	int status;
} daemon_;

static int fail(const struct err *err)
{
	fprintf(stderr, "granaryd: %s\n", err->text);
	state_note_failure(&daemon_.state, err->text);
	return 1;
}

static void show_progress(struct timer *timer)
{
	char line[200];

	if (webadmin_progress(daemon_.admin, line, sizeof line))
		log_notice("%s", line);
	timer_start(timer, PROGRESS_NS);
}

static void all_stopped(void *context, unsigned failures)
{
	(void)context;
	timer_stop(&daemon_.progress);
	if (failures)
		daemon_.status = 1;
	loop_stop(daemon_.control);
}

static void nfs_stopped(void *context)
{
	(void)context;
	webadmin_stop(daemon_.admin, all_stopped, NULL);
}

static void mounts_stopped(void *context)
{
	(void)context;
	nfs_server_stop(daemon_.nfs, nfs_stopped, NULL);
}

static void iscsi_stopped(void *context)
{
	(void)context;
	mounts_stop(daemon_.mounts, GRACE_NS, mounts_stopped, NULL);
}

static void stop_now(void)
{
	daemon_.stopping = true;
	control_server_close(daemon_.socket);
	control_server_close(daemon_.front);
	daemon_.socket = daemon_.front = NULL;
	timer_stop(&daemon_.port_retry);
	timer_stop(&daemon_.nfs_retry);
	timer_stop(&daemon_.portmap_retry);
	timer_start(&daemon_.progress, PROGRESS_NS);
	iscsi_server_stop(daemon_.iscsi, GRACE_NS, iscsi_stopped, NULL);
}

static void stop_asked(unsigned count)
{
	if (count > 1) {
		log_warning("stopping at once; pools replay their journals at the next start");
		_exit(1);
	}
	log_notice("stopping");
	if (daemon_.started)
		stop_now();
	else
		daemon_.stopping = true; /* as soon as the start is over */
}

/* Goes on where it stopped; one port for all addresses, also when the first was left to the
 * kernel. Without --bind, IPv6 is taken where there is some. */
static const char *const anywhere[] = {"0.0.0.0", "::"}, *const here[] = {"127.0.0.1"};

static const char *const *own_addresses(unsigned *ret_count)
{
	const struct options *options = &daemon_.options;

	*ret_count = options->bind_count;
	if (options->bind_count)
		return options->bind;
	*ret_count = options->demo ? 1 : 2;
	return options->demo ? here : anywhere;
}

static void without_six(const struct err *err)
{
	log_warning("no IPv6: %s", err->text);
	daemon_.portals_without_six = true;
}

static int open_portals(struct err *err)
{
	unsigned count;
	const char *const *addresses = own_addresses(&count);

	for (; daemon_.portals_open < count; daemon_.portals_open++) {
		unsigned i = daemon_.portals_open;
		int result = iscsi_portal_open(
		    daemon_.iscsi, addresses[i], daemon_.port,
		    daemon_.options.bind_count ? daemon_.options.group[i] : 1, &daemon_.port, err);

		if (result < 0 && addresses == anywhere && daemon_.portals_open == 1)
			without_six(err);
		else if (result < 0)
			return result;
	}
	return 0;
}

static const char *const *nfs_addresses(unsigned *ret_count)
{
	const char *const *addresses = own_addresses(ret_count);

	if (addresses == anywhere && daemon_.portals_without_six)
		*ret_count = 1;
	return addresses;
}

/* True: it is to be tried again, for after kill -9 this port may be free later than the others, and
 * clients that come back ask there. */
static bool open_portmap(unsigned index, const char *address)
{
	struct err err = {0};
	int result = files_listen_portmap(daemon_.nfs, address, &err);

	if (result == -EADDRINUSE && loop_now(daemon_.control) < daemon_.port_limit_ns)
		return true;
	if (result < 0)
		log_info("no portmapper on %s: %s", address, err.text);
	daemon_.portmap_done |= 1u << index;
	return false;
}

static void try_portmap(struct timer *portmap_retry)
{
	unsigned count;
	const char *const *addresses = nfs_addresses(&count);
	bool again = false;

	for (unsigned i = 0; i < count; i++)
		if (!(daemon_.portmap_done >> i & 1))
			again |= open_portmap(i, addresses[i]);
	if (again)
		timer_start(portmap_retry, PORT_RETRY_NS);
}

static int listen_nfs(struct err *err)
{
	unsigned count;
	const char *const *addresses = nfs_addresses(&count);
	int result = files_listen(daemon_.nfs, &daemon_.options, addresses, count, err);

	if (result == 0 && daemon_.options.nfs_port)
		try_portmap(&daemon_.portmap_retry);
	return result;
}

/* The usual port that nobody asked for may be somebody else's: it is tried for a while, beside
 * everything else. */
static void try_nfs(struct timer *nfs_retry)
{
	struct err err = {0};
	int result = listen_nfs(&err);

	if (result == -EADDRINUSE && loop_now(daemon_.control) < daemon_.port_limit_ns)
		timer_start(nfs_retry, PORT_RETRY_NS);
	else if (result < 0)
		log_warning("NFS is not served: %s", err.text);
}

static int open_nfs(struct err *err)
{
	int result = 0;

	if (!daemon_.options.nfs_port_given)
		try_nfs(&daemon_.nfs_retry);
	else if (!daemon_.nfs_open)
		result = listen_nfs(err);
	daemon_.nfs_open = result == 0;
	return result;
}

/* As with NFS: the usual port that nobody asked for may be somebody else's. */
static int open_replication(struct err *err)
{
	unsigned count;
	const char *const *addresses = own_addresses(&count);
	uint16_t port = daemon_.options.repl_port;

	for (; daemon_.repl_open < count; daemon_.repl_open++) {
		int result = webadmin_listen_replication(
		    daemon_.admin, addresses[daemon_.repl_open], port, &port, err);

		if (result < 0 && daemon_.options.repl_port_given &&
		    (addresses != anywhere || daemon_.repl_open == 0))
			return result;
		if (result < 0)
			log_info("no replication on %s: %s", addresses[daemon_.repl_open],
				 err->text);
		else
			daemon_.repl_port = port;
	}
	return 0;
}

/* Those that are not open yet. The state directory is ours: who still listens there was killed, and
 * the kernel has not got round to its sockets (io_uring's go late). */
static int open_sockets(struct err *err)
{
	int result = 0;

	if (!daemon_.socket)
		result = control_server_open(daemon_.control, daemon_.state.control_path, 0600,
					     webadmin_serve, daemon_.admin, &daemon_.socket, err);
	if (result == 0 && !daemon_.front)
		result =
		    control_server_open(daemon_.control, daemon_.state.front_path, 0666,
					webadmin_serve_front, daemon_.admin, &daemon_.front, err);
	if (result == 0)
		result = mounts_listen(daemon_.mounts, daemon_.state.mount_path, err);
	return result;
}

static void open_for_service(struct timer *port_retry)
{
	struct err err = {0};
	int result = open_portals(&err);

	if (result == 0)
		result = open_nfs(&err);
	if (result == 0)
		result = open_replication(&err);
	if (result == 0)
		result = open_sockets(&err);
	if (result == -EADDRINUSE && loop_now(daemon_.control) < daemon_.port_limit_ns) {
		timer_start(port_retry, PORT_RETRY_NS);
		return;
	}
	if (result < 0) {
		daemon_.status = fail(&err);
		stop_now();
		return;
	}
	timer_stop(&daemon_.progress);
	state_note_failure(&daemon_.state, NULL);
	if (webadmin_setup_code(daemon_.admin))
		ready_print_setup_code(webadmin_setup_code(daemon_.admin));
	ready_print(daemon_.iscsi, daemon_.nfs, daemon_.repl_port, daemon_.state.control_path,
		    daemon_.state.dir, daemon_.demo_naa);
}

static void serve(const char *demo_naa)
{
	daemon_.started = true;
	if (daemon_.stopping) {
		stop_now();
		return;
	}
	snprintf(daemon_.demo_naa, sizeof daemon_.demo_naa, "%s", demo_naa);
	daemon_.port = daemon_.options.iscsi_port;
	daemon_.port_limit_ns = loop_now(daemon_.control) + PORT_LIMIT_NS;
	open_for_service(&daemon_.port_retry);
}

static void admin_started(void *context)
{
	(void)context;
	if (daemon_.options.demo && !daemon_.stopping)
		demo_set_up(daemon_.admin, daemon_.state.dir, serve);
	else
		serve("");
}

static int create_loops(struct err *err)
{
	int result = world_select(daemon_.options.io_engine, &daemon_.world, err);

	if (result == 0)
		result = loop_create(daemon_.world, &daemon_.control, err);
	for (unsigned i = 0; result == 0 && i < daemon_.options.io_loops; i++)
		result = loop_create(daemon_.world, &daemon_.io_loops[i], err);
	return result;
}

static int create_iscsi(struct err *err)
{
	struct iscsi_server_options options = {
	    .control = daemon_.control,
	    .io_loops = daemon_.io_loops,
	    .io_loop_count = daemon_.options.io_loops,
	};

	return iscsi_server_create(&options, &daemon_.iscsi, err);
}

static int create_nfs(struct err *err)
{
	struct nfs_server_options options = {
	    .control = daemon_.control,
	    .io_loops = daemon_.io_loops,
	    .io_loop_count = daemon_.options.io_loops,
	    .lease_seconds = daemon_.options.nfs_lease,
	};
	int result = files_identity(daemon_.options.state_dir, options.identity, err);

	if (result < 0)
		return result;
	return nfs_server_create(&options, &daemon_.nfs, err);
}

/* Without these no start comes about, so going back would lose changes for nothing. */
static int check_others(struct err *err)
{
	const struct {
		const char *name;
		unsigned known;
	} others[] = {{"reservations.db", scsi_reservations_schema(NULL)},
		      {"replication.db", replication_schema(NULL)}};
	int result = 0;

	for (unsigned i = 0; result == 0 && i < sizeof others / sizeof *others; i++) {
		char *path = heap_printf("%s/%s", daemon_.state.dir, others[i].name);

		result = path ? config_check(path, others[i].known, err)
			      : err_set(err, -ENOMEM, "out of memory");
		heap_free(path);
	}
	return result;
}

static int open_config(struct err *err)
{
	unsigned count;
	const struct config_migration *schema = webadmin_schema(&count);

	struct config_back back = {.settled = webadmin_settled()};
	int result;

	if (!daemon_.options.go_back)
		return config_open(daemon_.state.config_path, schema, count, &daemon_.config, err);
	result = check_others(err);
	if (result < 0)
		return result;
	result = config_open_or_back(daemon_.state.config_path, schema, count, &back,
				     &daemon_.config, err);
	if (result == 0 && back.from) {
		log_error(
		    "the configuration is an older one again: a newer release had brought it "
		    "to schema version %lld, which this one does not know. In force is the copy "
		    "of version %lld; what was changed since it was made is missing, and what "
		    "was taken away since is there again. The newer one is "
		    "%s.newer-v%lld",
		    (long long)back.from, (long long)back.to, daemon_.state.config_path,
		    (long long)back.from);
		result = webadmin_went_back(daemon_.config, back.copied, err);
	}
	return result;
}

static int open_reservations(struct err *err)
{
	return scsi_reservations_open(daemon_.world, daemon_.state.reservations_path, err);
}

/* A share that has to go from here takes its local mounts with it. */
static void end_mounts(const struct vfs *vfs)
{
	mounts_end(daemon_.mounts, vfs, GRACE_NS);
}

static int create_admin(struct err *err)
{
	struct webadmin_options options = {
	    .state_dir = daemon_.state.dir,
	    .version = GRANARY_VERSION,
	    .world = daemon_.world,
	    .control = daemon_.control,
	    .config = daemon_.config,
	    .iscsi = daemon_.iscsi,
	    .nfs = daemon_.nfs,
	    .control_path = daemon_.state.control_path,
	    .io_loops = daemon_.options.io_loops,
	    .directories = daemon_.options.directories,
	    .directory_count = daemon_.options.directory_count,
	    .unmount = end_mounts,
	};

	return webadmin_create(&options, &daemon_.admin, err);
}

static struct vfs *find_share(void *context, const char *pool, const char *name, struct err *err)
{
	(void)context;
	return webadmin_share(daemon_.admin, pool, name, err);
}

static void mount_writes(void *context, uint64_t volume, bool begins)
{
	(void)context;
	if (daemon_.nfs)
		nfs_share_door(daemon_.nfs, volume, begins);
}

static int create_mounts(struct err *err)
{
	struct mounts_options options = {
	    .control = daemon_.control,
	    .io_loops = daemon_.io_loops,
	    .io_loop_count = daemon_.options.io_loops,
	    .find = find_share,
	    .writes = mount_writes,
	};

	return mounts_create(&options, &daemon_.mounts, err);
}

static int start_threads(struct err *err)
{
	int result = signals_start(daemon_.control, stop_asked, err);

	for (unsigned i = 0; result == 0 && i < daemon_.options.io_loops; i++) {
		char name[16];

		snprintf(name, sizeof name, "io%u", i);
		result = loop_start_thread(daemon_.io_loops[i], name, err);
		if (result == 0)
			daemon_.io_loops_running++;
	}
	if (result < 0)
		return result;
	/* With libaio a loop may wait inside the kernel for the device of a file: no restart helps,
	 * and the other loops would go with it. */
	return watchdog_start(daemon_.io_loops,
			      daemon_.world == &world_uring ? daemon_.options.io_loops : 0, err);
}

/* A backup that an administrator has had restored, before anything of it is open. */
static int take_restored(struct err *err)
{
	enum backup_taken taken = BACKUP_NONE;
	int result = backup_take_staged(daemon_.state.dir, &taken, err);

	if (result == 0 && taken == BACKUP_IN_PLACE)
		log_notice("the configuration is that of a backup now");
	if (result == 0 && taken == BACKUP_WAS_RESET)
		log_notice("the reset of the configuration that was cut off is finished");
	if (result == 0 && taken == BACKUP_PUT_ASIDE)
		log_warning("%s", err->text);
	return result;
}

static int confine_daemon(struct err *err)
{
	return confine(daemon_.options.directory_count > 0, err);
}

static int start(struct err *err)
{
	static int (*const steps[])(struct err * err) = {
	    take_restored, create_loops,   open_config,   create_iscsi,  create_nfs,
	    create_admin,  confine_daemon, create_mounts, start_threads, open_reservations};
	int result = state_open(daemon_.options.state_dir, &daemon_.state, err);

	for (unsigned i = 0; result == 0 && i < sizeof steps / sizeof *steps; i++)
		result = steps[i](err);
	return result;
}

static void tear_down(void)
{
	scsi_reservations_settle(daemon_.control);
	/* The kernel's last words on what was closed; a quiet round ends it. */
	for (unsigned i = 0; i < 100 && loop_poll(daemon_.control, QUIET_NS); i++)
		;
	watchdog_stop();
	for (unsigned i = 0; i < daemon_.io_loops_running; i++)
		loop_join(daemon_.io_loops[i]);
	webadmin_destroy(daemon_.admin);
	iscsi_server_destroy(daemon_.iscsi);
	nfs_server_destroy(daemon_.nfs);
	mounts_destroy(daemon_.mounts);
	scsi_reservations_close();
	for (unsigned i = 0; i < daemon_.options.io_loops; i++)
		loop_destroy(daemon_.io_loops[i]);
	signals_stop();
	loop_destroy(daemon_.control);
	config_close(daemon_.config);
	state_close(&daemon_.state);
}

int main(int argc, char **argv)
{
	struct err err = {0};
	int status = options_read(argc, argv, &daemon_.options);

	if (status >= 0)
		return status;
	log_set_level(daemon_.options.log_level);
	control_wipe_json();
	daemon_.state.lock_fd = -1;
	umask(0077); /* state, pool files and the socket are ours alone */
	signals_block();
	if (start(&err) < 0) {
		fail(&err);
		_exit(1); /* nothing of value is open yet; threads may be running */
	}
	timer_init(&daemon_.progress, daemon_.control, show_progress);
	timer_init(&daemon_.port_retry, daemon_.control, open_for_service);
	timer_init(&daemon_.nfs_retry, daemon_.control, try_nfs);
	timer_init(&daemon_.portmap_retry, daemon_.control, try_portmap);
	timer_start(&daemon_.progress, PROGRESS_NS);
	webadmin_start(daemon_.admin, admin_started, NULL);
	loop_run(daemon_.control);
	tear_down();
	log_notice("stopped%s", daemon_.status ? ", not cleanly" : "");
	return daemon_.status;
}
