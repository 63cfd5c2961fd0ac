/* SPDX-License-Identifier: Apache-2.0 */
/* nfs4_offload.c: copies in the background. One that is at work, or whose end is being told, is its
 * loop's (busy); others only mark it. One that is not is whoever's has the lock. */
#include "nfs/nfs4_offload.h"

#include <errno.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"

#define IS_COPY    0x40000000u        /* in a stateid's index */
#define AGAIN_NS   (50ull * 1000000)  /* to what passes */
#define TELL_NS    (250ull * 1000000) /* from one look at what became of the call to the next */
#define TELL_AGAIN 4u                 /* looks from a call that failed to the next one */
#define TELL_MOST  240u               /* looks; then the client has to ask */
#define STEP_WAITS 1000u /* times NFS4_WAIT_NS, for the step that a cancelled one is in */

struct nfs4_copy {
	struct nfs4_server *nfs4;
	uint64_t client;
	uint32_t index, number;
	uint64_t volume;
	struct handle handle; /* of the file that is written */
	/* under the lock */
	bool busy, cancelled, ended, calling, told;
	uint64_t done;
	uint32_t status;
	/* its loop's */
	struct nfs_call *call;
	void (*step)(struct nfs_call *call);
	struct timer timer;
	uint64_t stuck_ns; /* since when nothing goes on; 0: it does */
	unsigned looks, failed;
	uint64_t verifier;
	struct nfs_peer peer;
	struct nfs_conn conn; /* nobody's */
};

/* ---- under the lock */

static void release(struct nfs4_server *nfs4, struct nfs4_copy *copy)
{
	nfs4->copies[copy->index] = NULL;
	nfs4->copy_count--;
	heap_free(copy);
}

static void stopped_now(struct message *message)
{
	struct nfs4_server *nfs4 = container_of(message, struct nfs4_server, copies_message);

	nfs4->copies_stopped(nfs4->server);
}

static void stop_if_quiet(struct nfs4_server *nfs4)
{
	if (nfs4->copies_end && nfs4->copies_busy == 0)
		loop_post(nfs4->server->options.control, &nfs4->copies_message, stopped_now);
}

static void not_busy(struct nfs4_copy *copy)
{
	struct nfs4_server *nfs4 = copy->nfs4;

	copy->busy = false;
	nfs4->copies_busy--;
	if (copy->cancelled || copy->told)
		release(nfs4, copy);
	stop_if_quiet(nfs4);
}

static void cancel(struct nfs4_server *nfs4, struct nfs4_copy *copy)
{
	copy->cancelled = true;
	if (!copy->busy)
		release(nfs4, copy);
}

void nfs4_drop_copies(struct nfs4_server *nfs4, const struct nfs4_client *client)
{
	for (unsigned i = 0; nfs4->copy_count && i < NFS4_COPIES_MAX; i++)
		if (nfs4->copies[i] && nfs4->copies[i]->client == client->id)
			cancel(nfs4, nfs4->copies[i]);
}

void nfs4_copies_stop(struct nfs4_server *nfs4, void (*stopped)(struct nfs_server *server))
{
	pthread_mutex_lock(&nfs4->lock);
	nfs4->copies_end = true;
	nfs4->copies_stopped = stopped;
	for (unsigned i = 0; i < NFS4_COPIES_MAX; i++)
		if (nfs4->copies[i])
			cancel(nfs4, nfs4->copies[i]);
	stop_if_quiet(nfs4);
	pthread_mutex_unlock(&nfs4->lock);
}

/* An answer is an answer, unless it says "later". */
void nfs4_copy_told(struct nfs4_server *nfs4, const struct nfs4_back_about *about, int result,
		    uint32_t status)
{
	struct nfs4_copy *copy = nfs4->copies[about->index];

	if (!copy || copy->number != about->number)
		return;
	copy->calling = false;
	copy->told = result == 0 && status != NFS4ERR_DELAY;
}

static unsigned count_of(const struct nfs4_server *nfs4, uint64_t client, bool working)
{
	unsigned count = 0;

	for (unsigned i = 0; i < NFS4_COPIES_MAX; i++) {
		const struct nfs4_copy *copy = nfs4->copies[i];

		count += copy && copy->client == client && (!working || !copy->ended);
	}
	return count;
}

static unsigned working(const struct nfs4_server *nfs4)
{
	unsigned count = 0;

	for (unsigned i = 0; nfs4->copy_count && i < NFS4_COPIES_MAX; i++)
		count += nfs4->copies[i] && !nfs4->copies[i]->ended;
	return count;
}

static bool enter(struct nfs4_server *nfs4, const struct nfs4_client *client,
		  struct nfs4_copy *copy)
{
	uint32_t index = 0;

	if (nfs4->copies_end || client->minor == 0 || client->path != NFS4_PATH_UP ||
	    count_of(nfs4, client->id, false) >= NFS4_COPIES_ONE ||
	    count_of(nfs4, client->id, true) >= NFS4_COPIES_ONE / 2 ||
	    working(nfs4) >= NFS4_COPIES_RUNNING || nfs4->copy_count >= NFS4_COPIES_MAX)
		return false;
	while (nfs4->copies[index])
		index++;
	copy->nfs4 = nfs4;
	copy->client = client->id;
	copy->index = index;
	copy->number = (uint32_t)++nfs4->next_number;
	copy->busy = true;
	nfs4->copies[index] = copy;
	nfs4->copy_count++;
	nfs4->copies_busy++;
	return true;
}

static void fill_stateid(const struct nfs4_copy *copy, struct nfs4_stateid *stateid)
{
	uint32_t index = copy->index | IS_COPY;

	stateid->seqid = 1;
	memcpy(stateid->other, &copy->nfs4->boot, 4);
	memcpy(stateid->other + 4, &index, 4);
	memcpy(stateid->other + 8, &copy->number, 4);
}

/* ---- the end of one, told to its client */

static bool tell(struct nfs4_copy *copy)
{
	struct nfs4_server *nfs4 = copy->nfs4;
	struct nfs4_client *client = nfs4_client_by_id(nfs4, copy->client);
	struct nfs4_back_about about = {
	    .kind = NFS4_BACK_OFFLOAD,
	    .index = copy->index,
	    .number = copy->number,
	    .handle = copy->handle,
	    .status = copy->status,
	    .count = copy->done,
	    .verifier = copy->verifier,
	};

	fill_stateid(copy, &about.stateid);
	return client && nfs4_back_call(nfs4, client, &about);
}

/* A look every moment is all there is: such copies are few, and over soon. */
static void look(struct timer *timer)
{
	struct nfs4_copy *copy = container_of(timer, struct nfs4_copy, timer);
	struct nfs4_server *nfs4 = copy->nfs4;

	pthread_mutex_lock(&nfs4->lock);
	if (copy->told || copy->cancelled || (!copy->calling && copy->looks >= TELL_MOST)) {
		not_busy(copy);
	} else {
		if (!copy->calling && copy->failed++ % TELL_AGAIN == 0)
			copy->calling = tell(copy);
		copy->looks++;
		timer_start(timer, TELL_NS);
	}
	pthread_mutex_unlock(&nfs4->lock);
}

/* The call is gone from here on. */
static void finish(struct nfs4_copy *copy, int result)
{
	struct nfs4_server *nfs4 = copy->nfs4;
	struct nfs_call *call = copy->call;

	copy->call = NULL;
	copy->status = (uint32_t)nfs4_status_of(result);
	copy->verifier = call->argument[COPY_VERIFIER];
	call->copy = NULL;
	nfs_conn_call_end(&copy->conn, call);
	pthread_mutex_lock(&nfs4->lock);
	copy->ended = true;
	pthread_mutex_unlock(&nfs4->lock);
	timer_init(&copy->timer, copy->conn.io->loop, look);
	timer_start(&copy->timer, 0);
}

/* ---- steps */

/* As its client may, with the exports of now. 0, or why not. */
static int take_exports(struct nfs4_copy *copy)
{
	struct nfs_call *call = copy->call;
	struct nfs_table *before = call->table;
	const struct nfs_export *export;
	int result;

	call->table = nfs_table_ref(copy->conn.io->table);
	nfs_table_unref(before);
	export = nfs_table_by_id(call->table, copy->volume);
	if (!export)
		return nfs_table_is_away(call->table, copy->volume) ? -ECANCELED : -ESTALE;
	result = nfs_call_enter(call, export, NFS_VERSION_4_2);
	if (result == 0 && call->rule->read_only)
		result = -EROFS;
	call->compound.current.export = call->compound.saved.export = export;
	return result;
}

static void next(struct timer *timer);

/* What passes: a delegation that is called back, buffers that come back, a share that does. */
static bool will_pass(int result)
{
	return result == -EINPROGRESS || result == -ENOBUFS || result == -ENOMEM ||
	       result == -ECANCELED;
}

static void go_on(struct nfs4_copy *copy, int result)
{
	uint64_t now = loop_now(copy->conn.io->loop);

	if (result == 0) {
		copy->stuck_ns = 0;
		copy->step(copy->call);
		return;
	}
	if (!copy->stuck_ns)
		copy->stuck_ns = now;
	if (!will_pass(result) || now - copy->stuck_ns > 2 * copy->nfs4->lease_ns) {
		finish(copy, result);
		return;
	}
	timer_init(&copy->timer, copy->conn.io->loop, next);
	timer_start(&copy->timer, AGAIN_NS);
}

static void next(struct timer *timer)
{
	struct nfs4_copy *copy = container_of(timer, struct nfs4_copy, timer);
	struct nfs4_server *nfs4 = copy->nfs4;
	struct nfs_call *call = copy->call;
	bool over;

	pthread_mutex_lock(&nfs4->lock);
	call->compound.client = nfs4_client_by_id(nfs4, copy->client);
	copy->done = call->argument[COPY_ASKED] - call->compound.numbers[COPY_LEFT];
	over = copy->cancelled || !call->compound.client;
	pthread_mutex_unlock(&nfs4->lock);
	if (over)
		finish(copy, -ESTALE);
	else
		go_on(copy, take_exports(copy));
}

/* Behind what others on this loop wait for; and what has been done at once calls nobody back. */
void nfs4_copy_next(struct nfs_call *call, void (*step)(struct nfs_call *call))
{
	struct nfs4_copy *copy = call->copy;

	copy->step = step;
	copy->stuck_ns = 0;
	timer_init(&copy->timer, copy->conn.io->loop, next);
	timer_start(&copy->timer, 0);
}

void nfs4_copy_ended(struct nfs_call *call, int result, void (*step)(struct nfs_call *call))
{
	struct nfs4_copy *copy = call->copy;

	copy->step = step;
	if (result < 0 && will_pass(result)) {
		go_on(copy, result);
		return;
	}
	pthread_mutex_lock(&copy->nfs4->lock);
	copy->done = call->argument[COPY_ASKED] - call->compound.numbers[COPY_LEFT];
	pthread_mutex_unlock(&copy->nfs4->lock);
	finish(copy, result);
}

/* ---- the beginning */

/* A call that is about the same, over a connection that is nobody's. */
static bool make_call(struct nfs4_copy *copy, const struct nfs_call *from)
{
	struct nfs_conn *conn = &copy->conn;
	struct nfs_call *call;

	conn->server = from->conn->server;
	conn->io = from->conn->io;
	conn->address = from->conn->address;
	conn->state = NFS_CONN_CLOSING; /* nothing is read from it, or said */
	memcpy(conn->peer_text, from->conn->peer_text, sizeof(conn->peer_text));
	list_init(&conn->link);
	list_init(&conn->calls);
	list_init(&conn->back_calls);
	if (from->conn->peer_tls) {
		copy->peer = *from->conn->peer_tls;
		conn->peer_tls = &copy->peer;
	}
	call = nfs_call_create(conn);
	if (!call)
		return false;
	call->rpc = from->rpc;
	call->table = nfs_table_ref(from->table);
	call->compound.minor = from->compound.minor;
	call->compound.current = from->compound.current;
	call->compound.saved = from->compound.saved;
	memcpy(call->compound.numbers, from->compound.numbers, sizeof(call->compound.numbers));
	memcpy(call->argument, from->argument, sizeof(call->argument));
	call->copy = copy;
	conn->call_count = 1;
	list_push_back(&conn->calls, &call->link);
	copy->call = call;
	return true;
}

bool nfs4_copy_begin(struct nfs_call *call, void (*step)(struct nfs_call *call),
		     struct nfs4_stateid *ret_stateid)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	struct nfs4_copy *copy = heap_zalloc(sizeof(*copy));
	bool entered = false;

	if (copy && make_call(copy, call)) {
		pthread_mutex_lock(&nfs4->lock);
		entered = call->compound.client && enter(nfs4, call->compound.client, copy);
		pthread_mutex_unlock(&nfs4->lock);
	}
	if (!entered) {
		if (copy && copy->call)
			nfs_conn_call_end(&copy->conn, copy->call);
		heap_free(copy);
		return false;
	}
	copy->volume = call->export->id;
	nfs_call_make_handle(call, &call->compound.current.object, &copy->handle);
	fill_stateid(copy, ret_stateid);
	nfs4_copy_next(copy->call, step);
	return true;
}

/* ---- OFFLOAD_CANCEL, OFFLOAD_STATUS; under the lock */

/* @ending: also one that is cancelled and has a step to end yet. */
static struct nfs4_copy *find(struct nfs_call *call, const struct nfs4_stateid *stateid,
			      bool ending)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	uint32_t boot, index, number;
	struct nfs4_copy *copy;

	memcpy(&boot, stateid->other, 4);
	memcpy(&index, stateid->other + 4, 4);
	memcpy(&number, stateid->other + 8, 4);
	if (boot != nfs4->boot || !(index & IS_COPY) || (index & ~IS_COPY) >= NFS4_COPIES_MAX ||
	    stateid->seqid > 1)
		return NULL;
	copy = nfs4->copies[index & ~IS_COPY];
	return copy && copy->number == number && !copy->told &&
		       (!copy->cancelled || (ending && !copy->ended)) &&
		       copy->client == call->compound.client->id
		   ? copy
		   : NULL;
}

static int get_stateid(struct nfs_call *call, struct nfs4_stateid *ret_stateid)
{
	*ret_stateid = nfs4_get_stateid(&call->in);
	if (call->in.bad)
		return NFS4ERR_BADXDR;
	return call->compound.current.set ? NFS4_OK : NFS4ERR_NOFILEHANDLE;
}

enum { CANCEL_INDEX, CANCEL_NUMBER }; /* argument of OFFLOAD_CANCEL */

static bool is_at_work(const struct nfs4_server *nfs4, const struct nfs_call *call)
{
	const struct nfs4_copy *copy = nfs4->copies[call->argument[CANCEL_INDEX]];

	return copy && copy->number == call->argument[CANCEL_NUMBER] && !copy->ended;
}

static void look_at_step(struct nfs_call *call);

/* Once the client hears that it is cancelled nothing of it is written: it may write there itself.
 */
static int step_over(struct nfs_call *call)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	bool works;

	pthread_mutex_lock(&nfs4->lock);
	works = is_at_work(nfs4, call);
	pthread_mutex_unlock(&nfs4->lock);
	if (!works)
		return NFS4_OK;
	return nfs4_wait(call, STEP_WAITS, look_at_step) ? NFS4_PENDING : NFS4ERR_DELAY;
}

static void look_at_step(struct nfs_call *call)
{
	int status = step_over(call);

	if (status != NFS4_PENDING)
		nfs4_done(call, status);
}

int nfs4_op_offload_cancel(struct nfs_call *call)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	struct nfs4_stateid stateid;
	struct nfs4_copy *copy;
	int status = get_stateid(call, &stateid);

	if (status != NFS4_OK)
		return status;
	pthread_mutex_lock(&nfs4->lock);
	copy = find(call, &stateid, true);
	if (copy) {
		call->argument[CANCEL_INDEX] = copy->index;
		call->argument[CANCEL_NUMBER] = copy->number;
		cancel(nfs4, copy);
	}
	pthread_mutex_unlock(&nfs4->lock);
	return copy ? step_over(call) : NFS4ERR_BAD_STATEID;
}

int nfs4_op_offload_status(struct nfs_call *call)
{
	struct nfs4_server *nfs4 = nfs4_server_of(call);
	struct nfs4_stateid stateid;
	const struct nfs4_copy *copy;
	int status = get_stateid(call, &stateid);

	if (status != NFS4_OK)
		return status;
	pthread_mutex_lock(&nfs4->lock);
	copy = find(call, &stateid, false);
	if (copy) {
		xdr_put_u64(&call->out, copy->done);
		xdr_put_u32(&call->out, copy->ended);
		if (copy->ended)
			xdr_put_u32(&call->out, copy->status);
	}
	pthread_mutex_unlock(&nfs4->lock);
	return copy ? NFS4_OK : NFS4ERR_BAD_STATEID;
}
