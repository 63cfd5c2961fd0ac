/* SPDX-License-Identifier: Apache-2.0 */
/* move.c: a volume's data goes to another pool while it is used; move.h has the rules. The tap runs
 * on whatever loop a request comes from, all else in a fiber of the owner's. */
#include "volumes/move.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "volumes/marks.h"
#include "volumes/pool.h"
#include "volumes/qos.h"
#include "volumes/volume_io.h"

#define STRIDE   (4ull << 20) /* bytes copied in one go */
#define PIECES   64u          /* requests of one go at a time */
#define EXTENTS  64u
#define NS_PER_S 1000000000ull
#define POLL_NS  200000ull
#define PAUSE_NS (50 * 1000000ull)

enum mode {
	MODE_NOTES, /* changes go on and are noted */
	MODE_PACES, /* they wait until something was copied */
	MODE_HOLDS,
	MODE_FORWARDS
};

enum tap_state {
	TAP_PASSED,
	TAP_HELD,
	TAP_GOING, /* a message takes it on */
	TAP_REFUSED
};

struct piece {
	struct volume_io io, other;
	uint64_t offset, length;
};

struct volume_move {
	struct volume_tap tap; /* first */
	struct volume *source, *destination;
	struct loop *loop;

	pthread_mutex_t lock; /* the tap's: held for memory work only, no other is taken under it */
	enum mode mode;
	struct marks marks;
	struct list held;
	unsigned inside;    /* requests at the source */
	unsigned in_flight; /* changes among them */
	unsigned going;     /* messages on their way */

	/* the loop's */
	bool fresh, cancelled, paused, retired, overdue;
	bool whole; /* the first pass: nothing of it is in the destination on purpose */
	uint64_t rate, due_ns;
	uint64_t copied, written;
	unsigned passes;
	int64_t budget; /* bytes of changes that may go on in MODE_PACES */
	struct timer limit;
	uint8_t *data, *there; /* STRIDE each */
	struct piece *pieces;
	unsigned count;
};

static struct volume_move *move_of(struct volume_tap *tap)
{
	return (struct volume_move *)tap;
}

static bool is_change(const struct volume_request *request)
{
	return request->op == VOLUME_WRITE || request->op == VOLUME_DISCARD;
}

/* ---- the tap */

/* On the request's loop: the destination's from here on. */
static void forward(struct volume_move *move, struct volume_request *request)
{
	uint64_t waited;

	volume_waited(request);
	waited = request->waited_ns;
	request->done = request->tapped_done;
	request->tap = NULL;
	if (move->destination->torn) /* the source promised, and who asked can not take it back */
		request->flags &= ~(unsigned)VOLUME_ATOMIC;
	volume_submit(move->destination, request); /* which begins anew, and does not end it yet */
	request->waited_ns += waited;
}

/* Lock held. */
static void enter(struct volume_move *move, struct volume_request *request)
{
	request->tap_state = TAP_PASSED;
	move->inside++;
	if (!is_change(request))
		return;
	move->in_flight++;
	if (move->retired)
		volume_tap_left(request->volume, 1);
}

static bool admit(struct volume_tap *tap, struct volume_request *request)
{
	struct volume_move *move = move_of(tap);
	bool pass = false, on = false;

	pthread_mutex_lock(&move->lock);
	if (move->mode == MODE_FORWARDS) {
		on = true;
	} else if (move->mode != MODE_NOTES && is_change(request)) {
		request->tap_state = TAP_HELD;
		list_push_back(&move->held, &request->tap_link);
	} else {
		enter(move, request);
		pass = true;
	}
	pthread_mutex_unlock(&move->lock);
	if (on)
		forward(move, request);
	return pass;
}

static bool completed(struct volume_tap *tap, struct volume_request *request, int result)
{
	struct volume_move *move = move_of(tap);

	(void)result; /* what failed may have changed something */
	if (request->tap_state == TAP_REFUSED)
		return true;
	pthread_mutex_lock(&move->lock);
	move->inside--;
	if (is_change(request)) {
		if (move->marks.leaves)
			marks_set(&move->marks, request->offset, request->length); /* V2 */
		move->in_flight--;
		if (move->retired)
			volume_tap_left(request->volume, -1);
	}
	pthread_mutex_unlock(&move->lock);
	return true;
}

static bool cancel(struct volume_tap *tap, struct volume_request *request)
{
	struct volume_move *move = move_of(tap);
	enum tap_state state;

	pthread_mutex_lock(&move->lock);
	state = request->tap_state;
	if (state == TAP_HELD) {
		list_remove(&request->tap_link);
		request->tap_state = TAP_REFUSED;
	}
	pthread_mutex_unlock(&move->lock);
	if (state == TAP_HELD)
		volume_refuse(request, -ECANCELED);
	return state != TAP_PASSED;
}

static const struct volume_tap_ops tap_ops = {admit, completed, cancel};

/* On the request's loop, after it was held. */
static void go_on(struct message *message)
{
	struct volume_request *request = container_of(message, struct volume_request, tap_message);
	struct volume_move *move = move_of(request->tap);
	bool on;

	pthread_mutex_lock(&move->lock);
	on = move->mode == MODE_FORWARDS;
	if (!on)
		enter(move, request);
	move->going--;
	pthread_mutex_unlock(&move->lock);
	if (on)
		forward(move, request);
	else
		volume_pass(request);
}

/* Lock held. What is going counts as in flight for those who wait: it will be. */
static uint64_t send_first(struct volume_move *move)
{
	struct volume_request *request =
	    list_entry(list_pop_front(&move->held), struct volume_request, tap_link);
	uint64_t length = request->length;

	request->tap_state = TAP_GOING;
	move->going++;
	loop_post(request->loop, &request->tap_message, go_on);
	return length < MARKS_CHUNK ? MARKS_CHUNK : length;
}

static void set_mode(struct volume_move *move, enum mode mode)
{
	pthread_mutex_lock(&move->lock);
	move->mode = mode;
	while ((mode == MODE_NOTES || mode == MODE_FORWARDS) && !list_empty(&move->held))
		send_first(move);
	pthread_mutex_unlock(&move->lock);
}

/* V4. A request larger than what there is runs a debt instead of waiting for ever. */
static void let_some_go(struct volume_move *move, uint64_t copied)
{
	if (move->mode != MODE_PACES)
		return;
	move->budget += (int64_t)copied / 2;
	pthread_mutex_lock(&move->lock);
	while (move->budget > 0 && !list_empty(&move->held))
		move->budget -= (int64_t)send_first(move);
	pthread_mutex_unlock(&move->lock);
}

/* ---- copying */

static int failed(const struct volume *volume, const struct volume_io *io, int result,
		  const char *what, struct err *err)
{
	return err_set(err, result, "%s %s/%s at byte %llu: %s", what,
		       volume->pool ? pool_name(volume->pool) : "memory", volume->name,
		       (unsigned long long)io->request.offset, strerror(-result));
}

static int wait_all(struct volume_move *move, struct volume *volume, bool other, const char *what,
		    struct err *err)
{
	int result = 0;

	for (unsigned i = 0; i < move->count; i++) {
		struct volume_io *io = other ? &move->pieces[i].other : &move->pieces[i].io;
		int one = volume_io_wait(io);

		if (one < 0 && result == 0)
			result = failed(volume, io, one, what, err);
	}
	return result;
}

/* What is to become of one chunk of what was read. */
enum fate { FATE_SAME, FATE_ZERO, FATE_DATA };

static enum fate fate_of(const struct volume_move *move, uint64_t at, uint64_t length)
{
	bool zero = all_zero(move->data + at, length);

	if (move->whole && !move->fresh && memcmp(move->data + at, move->there + at, length) == 0)
		return FATE_SAME;
	if (zero && move->whole && move->fresh)
		return FATE_SAME; /* nothing was ever written there */
	return zero ? FATE_ZERO : FATE_DATA;
}

static int put(struct volume_move *move, enum fate fate, uint64_t base, uint64_t at,
	       uint64_t length, struct err *err)
{
	struct volume_io *io;

	if (fate == FATE_SAME)
		return 0;
	if (move->count == PIECES) {
		int result = wait_all(move, move->destination, false, "writing", err);

		move->count = 0;
		if (result < 0)
			return result;
	}
	io = &move->pieces[move->count++].io;
	if (fate == FATE_DATA)
		move->written += length;
	volume_io_start(io, move->destination, fate == FATE_ZERO ? VOLUME_DISCARD : VOLUME_WRITE, 0,
			base + at, fate == FATE_ZERO ? NULL : move->data + at, length);
	return 0;
}

/* Bytes @at to @at + @length of the stride from @base on, which have been read. */
static int write_piece(struct volume_move *move, uint64_t base, uint64_t at, uint64_t length,
		       struct err *err)
{
	uint64_t end = at + length, start = at;
	enum fate run = FATE_SAME;
	int result = 0;

	while (at < end && result == 0) {
		uint64_t step = MARKS_CHUNK - at % MARKS_CHUNK;
		enum fate fate;

		step = step < end - at ? step : end - at;
		fate = fate_of(move, at, step);
		if (fate != run) {
			result = put(move, run, base, start, at - start, err);
			start = at;
			run = fate;
		}
		at += step;
	}
	return result == 0 ? put(move, run, base, start, end - start, err) : result;
}

/* What has been gathered in the pieces: read, looked at and written. */
static int copy_pieces(struct volume_move *move, uint64_t base, struct err *err)
{
	bool compare = move->whole && !move->fresh;
	unsigned count = move->count;
	uint64_t from[PIECES], length[PIECES];
	int result, other;

	for (unsigned i = 0; i < count; i++) {
		struct piece *piece = &move->pieces[i];

		from[i] = piece->offset - base;
		length[i] = piece->length;
		volume_io_start(&piece->io, move->source, VOLUME_READ, 0, piece->offset,
				move->data + from[i], piece->length);
		if (compare)
			volume_io_start(&piece->other, move->destination, VOLUME_READ, 0,
					piece->offset, move->there + from[i], piece->length);
	}
	result = wait_all(move, move->source, false, "reading", err);
	other = compare ? wait_all(move, move->destination, true, "reading", err) : 0;
	move->count = 0;
	if (result == 0)
		result = other;
	for (unsigned i = 0; i < count && result == 0; i++)
		result = write_piece(move, base, from[i], length[i], err);
	other = wait_all(move, move->destination, false, "writing", err);
	move->count = 0;
	return result < 0 ? result : other;
}

static int gather(struct volume_move *move, uint64_t base, uint64_t at, uint64_t end,
		  struct err *err)
{
	while (at < end) {
		uint64_t length = end - at < VOLUME_TRANSFER_MAX ? end - at : VOLUME_TRANSFER_MAX;
		struct piece *piece;

		if (move->count == PIECES) {
			int result = copy_pieces(move, base, err);

			if (result < 0)
				return result;
		}
		piece = &move->pieces[move->count++];
		piece->offset = at;
		piece->length = length;
		at += length;
	}
	return 0;
}

static int look(struct volume_move *move, uint64_t at, uint64_t end,
		struct volume_extent extents[EXTENTS], unsigned *ret_count, struct err *err)
{
	struct volume_io io;
	int result;

	volume_io_prepare(&io, VOLUME_EXTENTS, 0, at, NULL, end - at);
	io.request.extents = extents;
	io.request.extent_max = EXTENTS;
	volume_submit(move->source, &io.request);
	result = volume_io_wait(&io);
	*ret_count = io.request.extent_count;
	if (result == 0 && *ret_count == 0)
		result = -EIO;
	return result < 0 ? failed(move->source, &io, result, "looking at", err) : 0;
}

/* What the source does not have is to read as zeros in the destination too. */
static int clear(struct volume_move *move, uint64_t offset, uint64_t length, struct err *err)
{
	struct volume_io io;
	int result;

	if (move->fresh && move->whole)
		return 0;
	volume_io_start(&io, move->destination, VOLUME_DISCARD, 0, offset, NULL, length);
	result = volume_io_wait(&io);
	return result < 0 ? failed(move->destination, &io, result, "clearing", err) : 0;
}

static int copy_range(struct volume_move *move, uint64_t offset, uint64_t length, struct err *err)
{
	struct volume_extent extents[EXTENTS];
	uint64_t at = offset, end = offset + length;
	unsigned count = 0;
	int result = 0;

	move->count = 0;
	while (at < end && result == 0) {
		result = look(move, at, end, extents, &count, err);
		for (unsigned i = 0; i < count && result == 0; i++) {
			if (extents[i].mapped)
				result = gather(move, offset, at, at + extents[i].length, err);
			else
				result = clear(move, at, extents[i].length, err);
			at += extents[i].length;
		}
	}
	if (result == 0)
		result = copy_pieces(move, offset, err);
	move->copied += length;
	return result;
}

/* ---- passes */

static bool take(struct volume_move *move, uint64_t from, uint64_t *ret_offset,
		 uint64_t *ret_length)
{
	bool any;

	pthread_mutex_lock(&move->lock);
	any = marks_next(&move->marks, from, STRIDE, ret_offset, ret_length);
	if (any && marks_clear(&move->marks, *ret_offset, *ret_length) < 0)
		marks_set(&move->marks, *ret_offset, *ret_length); /* copied once more */
	pthread_mutex_unlock(&move->lock);
	return any;
}

static void mark(struct volume_move *move, uint64_t offset, uint64_t length)
{
	pthread_mutex_lock(&move->lock);
	marks_set(&move->marks, offset, length);
	pthread_mutex_unlock(&move->lock);
}

static uint64_t left(struct volume_move *move)
{
	uint64_t bytes;

	pthread_mutex_lock(&move->lock);
	bytes = move->marks.leaves ? marks_bytes(&move->marks) : 0;
	pthread_mutex_unlock(&move->lock);
	return bytes;
}

/* Time for others on this loop; and for as long as the rate asks. */
static void rest(struct volume_move *move, uint64_t bytes)
{
	uint64_t now = loop_now(move->loop);

	if (move->rate && move->mode == MODE_NOTES) {
		if (move->due_ns < now)
			move->due_ns = now;
		move->due_ns += bytes * NS_PER_S / move->rate;
	} else {
		move->due_ns = now;
	}
	fiber_sleep(0);
	while (!move->cancelled && move->due_ns > (now = loop_now(move->loop)))
		fiber_sleep(move->due_ns - now < PAUSE_NS ? move->due_ns - now : PAUSE_NS);
	if (move->paused && move->mode == MODE_PACES)
		set_mode(move, MODE_NOTES);
	while (move->paused && !move->cancelled && move->mode == MODE_NOTES)
		fiber_sleep(PAUSE_NS);
}

/* Whatever is marked behind where it is, once. */
static int copy_pass(struct volume_move *move, struct err *err)
{
	uint64_t at = 0, offset, length;
	int result = 0;

	while (result == 0 && take(move, at, &offset, &length)) {
		result = copy_range(move, offset, length, err);
		if (result < 0) {
			mark(move, offset, length);
			break;
		}
		at = offset + length;
		let_some_go(move, length);
		if (move->mode != MODE_HOLDS)
			rest(move, length);
		if (move->cancelled || (move->mode != MODE_HOLDS && move->overdue))
			result = -ECANCELED;
	}
	return result;
}

int volume_move_copy(struct volume_move *move, struct err *err)
{
	int result = 0;

	move->overdue = false;
	if (move->whole) {
		rest(move, 0);
		result = copy_pass(move, err);
		if (result < 0)
			return result;
		move->whole = false;
		move->passes = 1;
	}
	while (result == 0 && !move->cancelled && left(move) > MOVE_REST) {
		if (move->passes >= MOVE_PASSES && !move->paused && move->mode == MODE_NOTES) {
			move->budget = 0;
			set_mode(move, MODE_PACES);
		}
		result = copy_pass(move, err);
		move->passes++;
	}
	set_mode(move, MODE_NOTES);
	return result == 0 && move->cancelled ? -ECANCELED : result;
}

/* ---- the switch */

static void too_long(struct timer *timer)
{
	struct volume_move *move = container_of(timer, struct volume_move, limit);

	move->overdue = true;
	set_mode(move, MODE_NOTES);
}

/* With nothing going, the tap has seen the last change that could be in flight. */
static bool drained(struct volume_move *move)
{
	bool over;

	pthread_mutex_lock(&move->lock);
	over = move->in_flight == 0 && move->going == 0;
	pthread_mutex_unlock(&move->lock);
	return over && volume_tap_quiet(move->source);
}

static int hold(struct volume_move *move, struct err *err)
{
	struct volume_io io;
	int result = 0;

	while (!move->overdue && !move->cancelled && !drained(move))
		fiber_sleep(POLL_NS);
	while (result == 0 && !move->overdue && !move->cancelled && left(move) > 0)
		result = copy_pass(move, err);
	if (result < 0 || move->overdue || move->cancelled)
		return result;
	volume_io_start(&io, move->destination, VOLUME_FLUSH, 0, 0, NULL, 0);
	result = volume_io_wait(&io);
	return result < 0 ? failed(move->destination, &io, result, "flushing", err) : 0;
}

int volume_move_hold(struct volume_move *move, struct err *err)
{
	int result;

	move->overdue = false;
	set_mode(move, MODE_HOLDS);
	timer_start(&move->limit, MOVE_HOLD_NS);
	result = hold(move, err);
	if (move->overdue)
		return -EAGAIN;
	if (move->cancelled)
		result = -ECANCELED;
	if (result < 0)
		volume_move_let_go(move);
	return result;
}

bool volume_move_held(struct volume_move *move)
{
	timer_stop(&move->limit);
	return !move->overdue && move->mode == MODE_HOLDS;
}

void volume_move_let_go(struct volume_move *move)
{
	timer_stop(&move->limit);
	if (move->mode != MODE_FORWARDS)
		set_mode(move, MODE_NOTES);
}

static void set_read_only(struct volume *volume, bool read_only)
{
	__atomic_store_n(&volume->read_only, read_only, __ATOMIC_RELEASE);
}

void volume_move_forward(struct volume_move *move)
{
	timer_stop(&move->limit);
	set_read_only(move->destination, move->source->read_only);
	set_mode(move, MODE_FORWARDS);
}

/* ---- its life */

static void buffers_free(struct volume_move *move)
{
	heap_free(move->data);
	heap_free(move->there);
	heap_free(move->pieces);
	move->data = move->there = NULL;
	move->pieces = NULL;
}

int volume_move_create(struct volume *source, struct volume *destination, bool fresh,
		       struct volume_move **ret_move, struct err *err)
{
	struct volume_move *move;

	if (volume_size(source) != volume_size(destination))
		return err_set(err, -EINVAL, "volume %s and its copy differ in size", source->name);
	if (__atomic_load_n(&source->tap, __ATOMIC_SEQ_CST))
		return err_set(err, -EBUSY, "volume %s is replicated", source->name);
	move = heap_zalloc(sizeof *move);
	if (!move || marks_init(&move->marks, volume_size(source)) < 0) {
		heap_free(move);
		return err_set(err, -ENOMEM, "out of memory");
	}
	move->data = heap_aligned(4096, STRIDE);
	move->there = fresh ? NULL : heap_aligned(4096, STRIDE);
	move->pieces = heap_zalloc_array(PIECES, sizeof *move->pieces);
	if (!move->data || (!fresh && !move->there) || !move->pieces) {
		buffers_free(move);
		marks_finish(&move->marks);
		heap_free(move);
		return err_set(err, -ENOMEM, "out of memory");
	}
	move->tap.ops = &tap_ops;
	move->source = source;
	move->destination = destination;
	move->loop = loop_current();
	move->fresh = fresh;
	move->whole = true;
	list_init(&move->held);
	pthread_mutex_init(&move->lock, NULL);
	timer_init(&move->limit, move->loop, too_long);
	marks_set_all(&move->marks);
	set_read_only(destination, true);
	volume_tap_set(source, &move->tap);
	*ret_move = move;
	return 0;
}

void volume_move_retire(struct volume_move *move)
{
	volume_move_let_go(move);
	volume_tap_set(move->source, NULL);
	pthread_mutex_lock(&move->lock);
	move->retired = true;
	volume_tap_left(move->source, (int)move->in_flight);
	marks_finish(&move->marks);
	pthread_mutex_unlock(&move->lock);
	buffers_free(move);
}

bool volume_move_quiet(struct volume_move *move)
{
	bool quiet;

	pthread_mutex_lock(&move->lock);
	quiet = move->inside == 0 && move->going == 0 && list_empty(&move->held);
	pthread_mutex_unlock(&move->lock);
	return quiet;
}

void volume_move_free(struct volume_move *move)
{
	if (!move)
		return;
	pthread_mutex_destroy(&move->lock);
	heap_free(move);
}

void volume_move_cancel(struct volume_move *move)
{
	move->cancelled = true;
}

void volume_move_pause(struct volume_move *move, bool pause)
{
	move->paused = pause;
}

void volume_move_rate(struct volume_move *move, uint64_t rate)
{
	move->rate = rate;
	move->due_ns = 0;
}

void volume_move_get_progress(struct volume_move *move, struct volume_move_progress *ret_progress)
{
	*ret_progress = (struct volume_move_progress){
	    .size = volume_size(move->source),
	    .left = left(move),
	    .copied = move->copied,
	    .written = move->written,
	    .passes = move->passes,
	    .slowing = move->mode == MODE_PACES,
	};
}
