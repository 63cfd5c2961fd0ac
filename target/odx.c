/* SPDX-License-Identifier: Apache-2.0 */
/* odx.c: copies by token (SPC-4 5.17.6, SBC-3 5.16, 5.47): POPULATE TOKEN makes a token that stands
 * for blocks, WRITE USING TOKEN writes what it stands for, RECEIVE ROD TOKEN INFORMATION hands the
 * token over and says what became of either.
 *
 * A token is "point in time copy - change vulnerable": the data is not kept, so the token is
 * revoked when one of its blocks is written. POPULATE TOKEN registers the token first and then
 * waits until no request on its blocks is left from before; from then on a write revokes before it
 * is submitted, and WRITE USING TOKEN looks between its read and its write. So nothing is ever
 * written that was not in the source when the token was made. Knowing a token is not enough: the
 * nexus that uses it must see the source among its own LUNs.
 *
 * Tokens live in a table of fixed size, in memory only: after a restart they are unknown, and the
 * host reads and writes instead. */
#include <string.h>

#include "target/internal.h"
#include "target/wire.h"

#define TOKENS          256u
#define TOKEN_LENGTH    512u
#define SECRET_AT       128u
#define SECRET          32u
#define DEFAULT_TIMEOUT 30u /* seconds without use */
#define MAX_TIMEOUT     600u
#define TYPE_VULNERABLE 0x00800001u
#define TYPE_ZERO       0xffff0001u
#define POPULATE_HEADER 16u
#define WRITE_HEADER    536u
#define RANGE_LENGTH    16u
#define ACTION_POPULATE 0x10
#define ACTION_WRITE    0x11
#define UNITS_BLOCKS    0xf1
#define STATUS_GOOD     0x01
#define STATUS_ERRORS   0x02
#define STATUS_RUNNING  0x10

struct block_range {
	uint64_t lba;
	uint32_t blocks;
};

enum token_state { TOKEN_NONE, TOKEN_VALID, TOKEN_REVOKED, TOKEN_DELETED };

struct token {
	enum token_state state;
	unsigned count; /* of ranges */
	uint8_t secret[SECRET];
	const struct scsi_lu *lu; /* compared, never followed */
	uint8_t naa[16];
	struct block_range ranges[COPY_RANGES];
	uint64_t blocks;
	uint64_t timeout, expires; /* nanoseconds; loop_now() scale */
};

/* Leaf lock: of the table, and of scsi_lu.token_count's changes. Taken by a write only where there
 * are tokens for its logical unit. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct token tokens[TOKENS];

static void count_token(const struct token *token, int by)
{
	struct scsi_lu *lu = (struct scsi_lu *)token->lu;

	if (lu)
		__atomic_fetch_add(&lu->token_count, (unsigned)by, __ATOMIC_RELEASE);
}

/* Valid tokens are counted in their logical unit. Lock held. */
static void end_token(struct token *token, enum token_state state)
{
	if (token->state == TOKEN_VALID)
		count_token(token, -1);
	token->state = state;
}

static bool touches(const struct token *token, uint64_t lba, uint64_t blocks)
{
	for (unsigned i = 0; i < token->count; i++) {
		const struct block_range *range = &token->ranges[i];

		if (lba < range->lba + range->blocks && range->lba < lba + blocks)
			return true;
	}
	return false;
}

void odx_source_changes(const struct scsi_lu *lu, uint64_t lba, uint64_t blocks)
{
	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < TOKENS; i++)
		if (tokens[i].state == TOKEN_VALID && tokens[i].lu == lu &&
		    touches(&tokens[i], lba, blocks))
			end_token(&tokens[i], TOKEN_REVOKED);
	pthread_mutex_unlock(&lock);
}

void odx_lu_gone(const struct scsi_lu *lu)
{
	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < TOKENS; i++)
		if (tokens[i].lu == lu) {
			end_token(&tokens[i], TOKEN_NONE);
			tokens[i].lu = NULL;
		}
	pthread_mutex_unlock(&lock);
}

/* A free place, or that of a token nobody can use any more. Lock held. */
static struct token *find_place(uint64_t now)
{
	struct token *dead = NULL;

	for (unsigned i = 0; i < TOKENS; i++) {
		if (tokens[i].state == TOKEN_NONE)
			return &tokens[i];
		if (tokens[i].state != TOKEN_VALID || tokens[i].expires <= now)
			dead = &tokens[i];
	}
	return dead;
}

/* Where the time goes does not tell how much of a guess was right. */
static bool same_secret(const uint8_t *a, const uint8_t *b)
{
	uint8_t differs = 0;

	for (unsigned i = 0; i < SECRET; i++)
		differs |= (uint8_t)(a[i] ^ b[i]);
	return differs == 0;
}

static struct token *find_token(const uint8_t *secret)
{
	for (unsigned i = 0; i < TOKENS; i++)
		if (tokens[i].state != TOKEN_NONE && same_secret(tokens[i].secret, secret))
			return &tokens[i];
	return NULL;
}

/* SPC-4 5.17.6.5: the token on the wire. */
static void put_token(uint8_t *p, const uint8_t naa[16], const uint8_t *secret, uint64_t blocks)
{
	memset(p, 0, TOKEN_LENGTH);
	put_be32(p, TYPE_VULNERABLE);
	put_be16(p + 6, TOKEN_LENGTH - 8);
	memcpy(p + 8, secret, 8); /* copy manager ROD token identifier */
	p[16] = 0xe4;             /* creator: an identification descriptor */
	p[20] = 1;
	p[21] = 3;
	p[23] = 16;
	memcpy(p + 24, naa, 16);
	put_be32(p + 44, VOLUME_BLOCK);
	put_be64(p + 56, blocks << SCSI_BLOCK_SHIFT); /* low half of 16 bytes */
	memcpy(p + SECRET_AT, secret, SECRET);
}

/* ---- block range descriptors */

static bool decode(struct scsi_task *task, uint32_t header)
{
	uint32_t length = get_be32(task->cdb + 10);

	if (length > header + COPY_RANGES * RANGE_LENGTH || (length > 0 && length < header))
		return sense_set(task, SENSE_ILLEGAL_REQUEST, ASC_PARAMETER_LIST_LENGTH);
	task->data_out_wanted = length;
	task->direction = length ? SCSI_DATA_OUT : SCSI_NO_DATA;
	return true;
}

bool odx_decode_populate(struct scsi_task *task)
{
	return decode(task, POPULATE_HEADER);
}

bool odx_decode_write(struct scsi_task *task)
{
	return decode(task, WRITE_HEADER);
}

static struct block_range range_at(const struct scsi_task *task, unsigned header, unsigned index)
{
	uint8_t raw[RANGE_LENGTH];

	task_copy_out(task, header + index * RANGE_LENGTH, raw, sizeof(raw));
	return (struct block_range){get_be64(raw), get_be32(raw + 8)};
}

static bool overlaps_earlier(const struct block_range *ranges, unsigned index)
{
	const struct block_range *range = &ranges[index];

	for (unsigned i = 0; i < index; i++)
		if (range->lba < ranges[i].lba + ranges[i].blocks &&
		    ranges[i].lba < range->lba + range->blocks)
			return true;
	return false;
}

/* Read the ranges of the list, all of them good. */
static bool read_ranges(struct scsi_task *task, unsigned header, struct block_range *ret_ranges,
			unsigned *ret_count, uint64_t *ret_blocks)
{
	uint64_t capacity = lu_blocks(task->itl->lu), total = 0;
	uint8_t raw[2];
	unsigned length, count;

	if (task->data_out_length < header)
		return sense_set(task, SENSE_ILLEGAL_REQUEST, ASC_PARAMETER_LIST_LENGTH);
	task_copy_out(task, header - 2, raw, 2);
	length = get_be16(raw);
	if (length < RANGE_LENGTH || length % RANGE_LENGTH)
		return sense_set_list_field(task, header - 2, -1);
	count = length / RANGE_LENGTH;
	if (count > COPY_RANGES)
		return sense_set(task, SENSE_ILLEGAL_REQUEST, ASC_TOO_MANY_SEGMENTS);
	if (header + length > task->data_out_length)
		return sense_set(task, SENSE_ILLEGAL_REQUEST, ASC_PARAMETER_LIST_LENGTH);
	for (unsigned i = 0; i < count; i++) {
		struct block_range range = range_at(task, header, i);

		if (range.lba > capacity || range.blocks > capacity - range.lba)
			return sense_set_information(task, SENSE_ILLEGAL_REQUEST,
						     ASC_LBA_OUT_OF_RANGE, range.lba);
		ret_ranges[i] = range;
		if (overlaps_earlier(ret_ranges, i))
			return sense_set_list_field(task, header + i * RANGE_LENGTH, -1);
		total += range.blocks;
		if (total > COPY_TOKEN_BLOCKS)
			return sense_set_list_field(task, header + i * RANGE_LENGTH + 8, -1);
	}
	*ret_count = count;
	*ret_blocks = total;
	return true;
}

/* ---- POPULATE TOKEN */

/* task->step: the range that is waited for. Having it for a moment alone means that every request
 * from before the token was registered is done. */
static void wait_for_range(struct scsi_task *task)
{
	uint8_t raw[2];
	unsigned count;

	task_unlock(task);
	task_copy_out(task, POPULATE_HEADER - 2, raw, 2);
	count = get_be16(raw) / RANGE_LENGTH;
	while (task->step < count) {
		struct block_range range = range_at(task, POPULATE_HEADER, task->step++);

		if (range.blocks > 0) {
			task_lock(task, range.lba, range.blocks, wait_for_range);
			return;
		}
	}
	task_finish(task);
}

static bool read_populate(struct scsi_task *task, struct token *ret_token)
{
	uint8_t raw[POPULATE_HEADER];
	uint32_t timeout;

	task_copy_out(task, 0, raw, sizeof(raw));
	timeout = get_be32(raw + 4);
	if (raw[2] & 0xfc)
		return sense_set_list_field(task, 2, 7);
	if (timeout > MAX_TIMEOUT)
		return sense_set_list_field(task, 4, -1);
	if (raw[2] & 0x02 && get_be32(raw + 8) != TYPE_VULNERABLE)
		return sense_set_list_field(task, 8, -1);
	if (!read_ranges(task, POPULATE_HEADER, ret_token->ranges, &ret_token->count,
			 &ret_token->blocks))
		return false;
	if (get_be16(raw) < POPULATE_HEADER - 2 + ret_token->count * RANGE_LENGTH)
		return sense_set_list_field(task, 0, -1);
	ret_token->timeout = (timeout ? timeout : DEFAULT_TIMEOUT) * 1000000000ull;
	return true;
}

static bool register_token(struct scsi_task *task, struct token *fresh)
{
	uint64_t now = loop_now(task->nexus->loop);
	struct token *place;

	loop_random(task->nexus->loop, fresh->secret, SECRET);
	fresh->state = TOKEN_VALID;
	fresh->lu = task->itl->lu;
	memcpy(fresh->naa, task->itl->lu->volume->identity.naa, 16);
	fresh->expires = now + fresh->timeout;
	pthread_mutex_lock(&lock);
	place = find_place(now);
	if (place) {
		end_token(place, TOKEN_NONE);
		*place = *fresh;
		count_token(place, 1);
	}
	pthread_mutex_unlock(&lock);
	return place || sense_set(task, SENSE_ILLEGAL_REQUEST, ASC_NO_ROD_TOKENS);
}

void odx_populate(struct scsi_task *task)
{
	struct token fresh = {0};

	if (task->data_out_wanted == 0 || !read_populate(task, &fresh) ||
	    !copy_result_start(task, ACTION_POPULATE, get_be32(task->cdb + 6), false) ||
	    !register_token(task, &fresh)) {
		task_finish(task);
		return;
	}
	memcpy(task->result->secret, fresh.secret, SECRET);
	task->result->blocks = fresh.blocks;
	wait_for_range(task);
}

/* ---- WRITE USING TOKEN */

static bool token_error(struct scsi_task *task, uint16_t asc)
{
	return sense_set(task, SENSE_ILLEGAL_REQUEST, asc);
}

/* The token in the list as it stands now. A use puts its end off. */
static bool look_up(struct scsi_task *task, struct token *ret_token)
{
	uint8_t raw[TOKEN_LENGTH], real[TOKEN_LENGTH];
	uint64_t now = loop_now(task->nexus->loop);
	struct token *token;

	task_copy_out(task, 16, raw, sizeof(raw));
	pthread_mutex_lock(&lock);
	token = find_token(raw + SECRET_AT);
	if (token && token->state == TOKEN_VALID && token->expires > now)
		token->expires = now + token->timeout;
	if (token)
		*ret_token = *token;
	pthread_mutex_unlock(&lock);
	if (!token || !nexus_find_naa(task->nexus, ret_token->naa))
		return token_error(task, ASC_TOKEN_UNKNOWN);
	put_token(real, ret_token->naa, ret_token->secret, ret_token->blocks);
	if (memcmp(raw, real, sizeof(raw)) != 0)
		return token_error(task, ASC_TOKEN_CORRUPT);
	if (ret_token->state == TOKEN_REVOKED)
		return token_error(task, ASC_TOKEN_REVOKED);
	if (ret_token->state == TOKEN_DELETED)
		return token_error(task, ASC_TOKEN_DELETED);
	return ret_token->expires > now || token_error(task, ASC_TOKEN_EXPIRED);
}

/* Between the read of a piece and its write. */
static bool intact(struct scsi_task *task)
{
	struct token token;

	return look_up(task, &token);
}

static void delete_token(const struct scsi_task *task)
{
	uint8_t secret[SECRET];
	struct token *token;

	task_copy_out(task, 16 + SECRET_AT, secret, sizeof(secret));
	pthread_mutex_lock(&lock);
	token = find_token(secret);
	if (token)
		end_token(token, TOKEN_DELETED);
	pthread_mutex_unlock(&lock);
}

/* Which of @ranges holds block @at of them all, and how many follow it there. */
static struct block_range part_of(const struct block_range *ranges, unsigned count, uint64_t at)
{
	for (unsigned i = 0; i < count; i++) {
		if (at < ranges[i].blocks)
			return (struct block_range){ranges[i].lba + at,
						    ranges[i].blocks - (uint32_t)at};
		at -= ranges[i].blocks;
	}
	return (struct block_range){0, 0};
}

struct write_list {
	uint8_t flags;
	uint64_t offset; /* into what the token stands for */
	uint32_t type;
	struct block_range ranges[COPY_RANGES];
	unsigned count;
	uint64_t blocks;
};

static bool read_write_list(struct scsi_task *task, struct write_list *ret_list)
{
	uint8_t raw[24];

	if (!read_ranges(task, WRITE_HEADER, ret_list->ranges, &ret_list->count, &ret_list->blocks))
		return false;
	task_copy_out(task, 0, raw, sizeof(raw));
	ret_list->flags = raw[2];
	ret_list->offset = get_be64(raw + 8);
	ret_list->type = get_be32(raw + 16);
	if (raw[2] & 0xfc)
		return sense_set_list_field(task, 2, 7);
	if (get_be16(raw) < WRITE_HEADER - 2 + ret_list->count * RANGE_LENGTH)
		return sense_set_list_field(task, 0, -1);
	if (get_be16(raw + 22) != TOKEN_LENGTH - 8)
		return token_error(task, ASC_TOKEN_LENGTH);
	if (ret_list->type != TYPE_ZERO && ret_list->type != TYPE_VULNERABLE)
		return token_error(task, ASC_TOKEN_TYPE);
	return true;
}

static void write_next(struct scsi_task *task);

/* task->progress: blocks done. */
static void part_done(struct scsi_task *task)
{
	task->progress += task->blocks;
	task->result->segments++;
	write_next(task);
}

static void zero_done(struct scsi_task *task)
{
	task->result->blocks += task->blocks;
	part_done(task);
}

static void zero_part(struct scsi_task *task, struct block_range to)
{
	task->blocks = to.blocks < SCSI_PIECE_BLOCKS ? to.blocks : SCSI_PIECE_BLOCKS;
	task_volume(task, VOLUME_DISCARD, to.lba, task->blocks, task_write_flags(task, false),
		    zero_done);
}

static void copy_part(struct scsi_task *task, const struct write_list *list, struct block_range to)
{
	struct block_range from;
	struct scsi_itl *source;
	struct token token;

	if (!look_up(task, &token)) {
		task_finish(task);
		return;
	}
	from = part_of(token.ranges, token.count, list->offset + task->progress);
	source = nexus_find_naa(task->nexus, token.naa);
	if (!source || from.blocks == 0) {
		task_fail(task, SENSE_ILLEGAL_REQUEST, ASC_TOKEN_UNKNOWN);
		return;
	}
	task->blocks = from.blocks < to.blocks ? from.blocks : to.blocks;
	copy_run(task, source, from.lba, task->itl, to.lba, task->blocks, intact, part_done);
}

static void write_next(struct scsi_task *task)
{
	struct write_list list;
	struct block_range to;

	if (!read_write_list(task, &list)) {
		task_finish(task);
		return;
	}
	if (task->progress >= list.blocks) {
		if (list.flags & 0x02 && list.type != TYPE_ZERO)
			delete_token(task);
		task_finish(task);
		return;
	}
	to = part_of(list.ranges, list.count, task->progress);
	if (list.type == TYPE_ZERO)
		zero_part(task, to);
	else
		copy_part(task, &list, to);
}

static bool check_write(struct scsi_task *task)
{
	struct write_list list;
	struct token token;

	if (!read_write_list(task, &list))
		return false;
	if (list.type == TYPE_ZERO)
		return true;
	if (!look_up(task, &token))
		return false;
	if (list.offset > token.blocks || list.blocks > token.blocks - list.offset)
		return sense_set_list_field(task, 8, -1);
	return true;
}

void odx_write(struct scsi_task *task)
{
	task->blocks = 0;
	if (task->data_out_wanted == 0 ||
	    !copy_result_start(task, ACTION_WRITE, get_be32(task->cdb + 6), false) ||
	    !check_write(task))
		task_finish(task);
	else
		task_get_buffer(task, COPY_BUFFER, write_next);
}

/* ---- RECEIVE ROD TOKEN INFORMATION (SPC-4 6.28) */

#define INFORMATION_HEADER 32u

static uint8_t copy_status(const struct copy_result *result)
{
	if (result->running)
		return STATUS_RUNNING;
	return result->status == SCSI_GOOD ? STATUS_GOOD : STATUS_ERRORS;
}

void odx_information(struct scsi_task *task)
{
	const struct copy_result *result =
	    copy_result_find(task->itl, false, get_be32(task->cdb + 2));
	uint8_t *data = task->buffer->data, *p;

	if (!result) {
		sense_set_cdb_field(task, 2, -1);
		task_finish(task);
		return;
	}
	data[4] = result->action;
	data[5] = copy_status(result);
	put_be16(data + 6, 1);           /* operation counter */
	put_be32(data + 8, 0xffffffffu); /* no estimate */
	data[12] = (uint8_t)(result->running ? 0 : result->status);
	data[13] = sizeof(result->sense); /* room for sense data */
	data[14] = result->sense_length;
	data[15] = UNITS_BLOCKS;
	put_be64(data + 16, result->blocks);
	put_be16(data + 24, result->segments);
	memcpy(data + INFORMATION_HEADER, result->sense, result->sense_length);
	p = data + INFORMATION_HEADER + sizeof(result->sense);
	if (result->action == ACTION_POPULATE && copy_status(result) == STATUS_GOOD) {
		put_be32(p, 2 + TOKEN_LENGTH);
		put_token(p + 6, task->itl->lu->volume->identity.naa, result->secret,
			  result->blocks);
		p += 2 + TOKEN_LENGTH;
	}
	p += 4;
	put_be32(data, (uint32_t)(p - data - 4));
	task_reply(task, (uint32_t)(p - data));
}

bool odx_decode_information(struct scsi_task *task)
{
	return xcopy_decode_results(task);
}

/* ---- VPD page 8Fh, third-party copy (SPC-4 7.8.17). Offsets are those of each descriptor. */

static uint8_t *descriptor(uint8_t *p, uint16_t type, uint16_t length)
{
	put_be16(p, type);
	put_be16(p + 2, length);
	return p + 4 + length;
}

/* Opcodes and service actions, from the table. */
static uint8_t *put_commands(uint8_t *p)
{
	uint8_t *start = p, *count = NULL;
	unsigned length;

	p += 5;
	for (unsigned i = 0; opcode_row(i); i++) {
		const struct scsi_opcode *row = opcode_row(i);

		if (row->opcode != 0x83 && row->opcode != 0x84)
			continue;
		if (!count || count[-1] != row->opcode) {
			*p++ = row->opcode;
			count = p++;
			*count = 0;
		}
		*p++ = row->service_action;
		++*count;
	}
	length = (unsigned)(p - start - 5);
	start[4] = (uint8_t)length;
	return descriptor(start, 0x0001, (uint16_t)((1 + length + 3) & ~3u));
}

unsigned odx_page(const struct scsi_task *task, uint8_t *start)
{
	uint8_t *p = start;

	(void)task;
	/* block device ROD token limits */
	put_be16(p + 10, COPY_RANGES);
	put_be32(p + 12, MAX_TIMEOUT);
	put_be32(p + 16, DEFAULT_TIMEOUT);
	put_be64(p + 20, COPY_TOKEN_BLOCKS);
	put_be64(p + 28, COPY_TOKEN_BLOCKS); /* optimal */
	p = descriptor(p, 0x0000, 0x20);
	p = put_commands(p);
	/* parameter data */
	put_be16(p + 8, COPY_TARGETS);
	put_be16(p + 10, COPY_SEGMENTS);
	put_be32(p + 12, COPY_LIST_MAX);
	p = descriptor(p, 0x0004, 0x1c);
	/* supported descriptors: block to block, identification */
	p[4] = 2;
	p[5] = 0x02;
	p[6] = 0xe4;
	p = descriptor(p, 0x0008, 4);
	/* supported CSCD identifiers: the logical unit itself */
	put_be16(p + 4, 2);
	put_be16(p + 6, 0xffff);
	p = descriptor(p, 0x000c, 4);
	/* ROD token features, with those of block devices */
	put_be32(p + 16, DEFAULT_TIMEOUT);
	put_be32(p + 20, MAX_TIMEOUT);
	put_be32(p + 24, MAX_TIMEOUT);
	put_be16(p + 46, 0x30);
	put_be16(p + 50, 0x2c);
	put_be64(p + 56, (uint64_t)COPY_TOKEN_BLOCKS << SCSI_BLOCK_SHIFT);
	put_be64(p + 64, (uint64_t)COPY_TOKEN_BLOCKS << SCSI_BLOCK_SHIFT);
	p = descriptor(p, 0x0106, 0x2c + 0x30);
	/* supported ROD types: made and taken; zero only taken */
	put_be16(p + 6, 128);
	put_be32(p + 8, TYPE_VULNERABLE);
	p[12] = 0x03;
	put_be32(p + 8 + 64, TYPE_ZERO);
	p[12 + 64] = 0x02;
	p = descriptor(p, 0x0108, 4 + 128);
	/* general copy operations */
	put_be32(p + 4, COPY_RESULTS);
	put_be32(p + 8, COPY_RESULTS);
	put_be32(p + 12, COPY_SEGMENT_MAX);
	p[16] = SCSI_BLOCK_SHIFT;
	p = descriptor(p, 0x8001, 0x20);
	return (unsigned)(p - start);
}
