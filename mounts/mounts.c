/* SPDX-License-Identifier: Apache-2.0 */
#include "mounts/mounts.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/heap.h"
#include "core/log.h"
#include "mounts/internal.h"
#include "shares/handle.h"

/*~ A connection's way: accepted here -> an I/O loop (hello) -> here (which share) -> the I/O loop
 * for its life -> here, when it is over, -> once around through its loop, so that whatever was
 * posted to it before has been delivered -> freed. */

int mounts_create(const struct mounts_options *options, struct mounts **ret_mounts, struct err *err)
{
	struct mounts *mounts = heap_zalloc(sizeof *mounts);

	if (!mounts)
		return err_set(err, -ENOMEM, "out of memory");
	mounts->options = *options;
	list_init(&mounts->connections);
	*ret_mounts = mounts;
	return 0;
}

/* Mounts decide who reads what: only root and ourselves may be one. */
static bool peer_allowed(int fd)
{
	struct ucred peer;
	socklen_t length = sizeof peer;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
		return false;
	return peer.uid == 0 || peer.uid == geteuid();
}

void mounts_accepted(struct mounts *mounts, int fd)
{
	struct mount_conn *conn = NULL;

	if (mounts->count < MOUNTS_MAX && peer_allowed(fd))
		conn = heap_zalloc(sizeof *conn);
	if (!conn) {
		log_warning("a mount was turned away: %s",
			    mounts->count < MOUNTS_MAX ? "it is not root's, or memory is short"
						       : "there are too many");
		close(fd);
		return;
	}
	conn->mounts = mounts;
	conn->fd = fd;
	conn->loop = mounts->options.io_loops[mounts->next_loop++ % mounts->options.io_loop_count];
	list_push_back(&mounts->connections, &conn->link);
	mounts->count++;
	loop_post(conn->loop, &conn->message, mount_conn_attach);
}

static void accepted(struct listener *listener, int fd, const struct sockaddr *peer,
		     socklen_t peer_length)
{
	(void)peer;
	(void)peer_length;
	mounts_accepted(listener_context(listener), fd);
}

int mounts_listen(struct mounts *mounts, const char *path, struct err *err)
{
	static const struct listener_handlers handlers = {.accepted = accepted};
	int result;

	mounts->path = heap_strdup(path);
	if (!mounts->path)
		return err_set(err, -ENOMEM, "out of memory");
	result = listener_open_unix(mounts->options.control, path, 0600, &handlers, mounts,
				    &mounts->listener, err);
	if (result < 0) {
		heap_free(mounts->path);
		mounts->path = NULL;
	}
	return result;
}

/* Before the mount's first call, and behind its last. */
static void say_writes(struct mount_conn *conn, bool begins)
{
	const struct mounts_options *options = &conn->mounts->options;

	if (begins) {
		if (!conn->vfs || conn->hello.read_only || *conn->hello.snapshot)
			return;
		conn->volume = handle_volume(conn->vfs);
	} else if (!conn->writes) {
		return;
	}
	conn->writes = begins;
	if (options->writes)
		options->writes(options->context, conn->volume, begins);
}

void mounts_find(struct message *message)
{
	struct mount_conn *conn = container_of(message, struct mount_conn, message);
	const struct mounts *mounts = conn->mounts;

	if (mounts->stopped)
		err_set(&conn->err, -ECANCELED, "granaryd is stopping");
	else
		conn->vfs = mounts->options.find(mounts->options.context, conn->hello.pool,
						 conn->hello.share, &conn->err);
	say_writes(conn, true);
	conn->share = conn->vfs;
	loop_post(conn->loop, &conn->message, mount_conn_found);
}

/* ---- the end ---- */
static void stopped_if_quiet(struct mounts *mounts)
{
	void (*stopped)(void *context) = mounts->stopped;

	if (!stopped || mounts->count)
		return;
	timer_stop(&mounts->grace);
	stopped(mounts->stopped_context);
}

static void came_around(struct message *message)
{
	struct mount_conn *conn = container_of(message, struct mount_conn, message);
	struct mounts *mounts = conn->mounts;

	heap_free(conn);
	mounts->count--;
	stopped_if_quiet(mounts);
}

static void go_around(struct message *message)
{
	struct mount_conn *conn = container_of(message, struct mount_conn, message);

	loop_post(conn->mounts->options.control, message, came_around);
}

void mounts_gone(struct message *message)
{
	struct mount_conn *conn = container_of(message, struct mount_conn, message);

	list_remove(&conn->link);
	say_writes(conn, false);
	loop_post(conn->loop, message, go_around);
}

static void ask_to_leave(struct mount_conn *conn)
{
	if (conn->asked_ns)
		return;
	conn->asked_ns = loop_now(conn->mounts->options.control);
	loop_post(conn->loop, &conn->leave_message, mount_conn_leave);
}

static void end_now(struct mount_conn *conn)
{
	if (conn->ended)
		return;
	conn->ended = true;
	loop_post(conn->loop, &conn->end_message, mount_conn_end);
}

static void grace_over(struct timer *timer)
{
	struct mounts *mounts = container_of(timer, struct mounts, grace);

	list_for_each (it, &mounts->connections)
		end_now(list_entry(it, struct mount_conn, link));
}

void mounts_end(struct mounts *mounts, const struct vfs *vfs, uint64_t grace_ns)
{
	list_for_each (it, &mounts->connections) {
		struct mount_conn *conn = list_entry(it, struct mount_conn, link);

		if (conn->share != vfs)
			continue;
		if (conn->asked_ns && loop_now(mounts->options.control) - conn->asked_ns > grace_ns)
			end_now(conn);
		ask_to_leave(conn);
	}
}

void mounts_stop(struct mounts *mounts, uint64_t grace_ns, void (*stopped)(void *context),
		 void *context)
{
	mounts->stopped = stopped;
	mounts->stopped_context = context;
	if (mounts->listener) {
		listener_close(mounts->listener);
		unlink(mounts->path);
		mounts->listener = NULL;
	}
	timer_init(&mounts->grace, mounts->options.control, grace_over);
	timer_start(&mounts->grace, grace_ns);
	list_for_each (it, &mounts->connections)
		ask_to_leave(list_entry(it, struct mount_conn, link));
	stopped_if_quiet(mounts);
}

void mounts_destroy(struct mounts *mounts)
{
	if (!mounts)
		return;
	if (mounts->listener)
		listener_close(mounts->listener);
	heap_free(mounts->path);
	heap_free(mounts);
}
