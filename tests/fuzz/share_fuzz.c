/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/crc32c.h"
#include "core/heap.h"
#include "core/log.h"
#include "core/world.h"
#include "shares/format.h"
#include "shares/handle.h"
#include "shares/page.h"
#include "shares/shares.h"

/* A hostile volume: a share of a few files whose pages and superblock are changed at will, with
 * sums made to fit; then it is checked, opened and used. Whatever is on it may be refused or be
 * found wrong, and nothing else: no crash, no hang, no leak. The first byte chooses between that
 * and the plain decoders. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define VOLUME_SIZE (16u << 20)
#define BLOCKS      (VOLUME_SIZE / BLOCK_SIZE)

static uint8_t *template[BLOCKS]; /* NULL: zeros */
static uint16_t pages[BLOCKS];    /* the template's tree */
static unsigned page_total;
static struct loop *loop;
static struct volume *volume;

/* ---- doing one thing after the other ---- */
struct step {
	struct message message;
	void (*start)(struct step *step);
	struct share_call call;
	struct volume_request io;
	struct iovec iov;
	struct vfs *vfs;
	struct vfs_request *request;
	struct share_check_report report;
	int result;
	bool done;
};

static void run(struct message *message)
{
	struct step *step = container_of(message, struct step, message);

	step->start(step);
}

static void ended(struct step *step, int result)
{
	step->result = result;
	step->done = true;
}

static int wait(struct step *step, void (*start)(struct step *step))
{
	step->start = start;
	step->done = false;
	loop_post(loop, &step->message, run);
	for (unsigned i = 0; !step->done; i++) {
		loop_poll(loop, 1000000);
		if (i > 20000)
			abort(); /* it hangs */
	}
	return step->result;
}

static void call_done(struct share_call *call, int result)
{
	ended(container_of(call, struct step, call), result);
}
static void io_done(struct volume_request *request, int result)
{
	ended(container_of(request, struct step, io), result);
}
static void start_format(struct step *step)
{
	share_format(volume, loop, 0, &step->call);
}
static void start_open(struct step *step)
{
	share_open(volume, loop, false, &step->call);
}
static void start_user(struct step *step)
{
	const struct share_user user = {.uid = 1,
					.set = SHARE_USER_FILES | SHARE_USER_BYTES,
					.limit_files = 3,
					.limit_bytes = 1 << 20};

	share_set_user(step->vfs, &user, &step->call);
}
static void start_list(struct step *step)
{
	static struct share_user users[16];

	share_list_users(step->vfs, users, 16, &step->call);
}
static void start_close(struct step *step)
{
	share_close(step->vfs, &step->call);
}
static void start_check(struct step *step)
{
	share_check_volume(volume, loop, &step->report, &step->call);
}
static void start_io(struct step *step)
{
	volume_submit(volume, &step->io);
}

static int share_step(struct step *step, void (*start)(struct step *step))
{
	step->call = (struct share_call){.done = call_done};
	return wait(step, start);
}

static void block_io(enum volume_op op, uint64_t block, uint8_t *memory)
{
	struct step step = {.iov = {.iov_base = memory, .iov_len = BLOCK_SIZE}};

	step.io = (struct volume_request){.op = op,
					  .offset = block * BLOCK_SIZE,
					  .length = BLOCK_SIZE,
					  .iov = &step.iov,
					  .iov_count = 1,
					  .done = io_done};
	if (wait(&step, start_io))
		abort();
}

static const struct vfs_credentials superuser;
static struct step *current;
static void request_done(struct vfs_request *request, int result)
{
	(void)request;
	ended(current, result);
}
static void start_request(struct step *step)
{
	current = step;
	vfs_submit(step->vfs, step->request);
}

static int submit(struct step *step, struct vfs_request *request)
{
	request->credentials = &superuser;
	request->done = request_done;
	step->request = request;
	return wait(step, start_request);
}

/* ---- the template ---- */
/* Some of it, so that runs of shared blocks have different owners. */
static void clone(struct step *step, const struct vfs_object *to)
{
	static struct vfs_object regular;
	struct vfs_request request = {.op = VFS_CLONE,
				      .object = regular,
				      .object2 = *to,
				      .offset = 8192,
				      .offset2 = 128 << 10,
				      .length = 12288};

	if (regular.length && submit(step, &request) && step->result != -EINVAL)
		abort();
	regular = *to;
}

static void populate(struct step *step)
{
	static uint8_t data[40000];
	static const enum vfs_type types[] = {VFS_REGULAR, VFS_DIRECTORY, VFS_SYMLINK, VFS_FIFO};

	for (unsigned i = 0; i < 40; i++) {
		char name[3] = {(char)('a' + i % 26), (char)('0' + i / 26), 0};
		struct vfs_request create = {.op = VFS_CREATE,
					     .object = step->vfs->root,
					     .name = name,
					     .name_length = 2,
					     .type = types[i % 4],
					     .create_how = VFS_CREATE_GUARDED,
					     .data = data + 1,
					     .data_length = 300};
		struct iovec iov = {.iov_base = data, .iov_len = sizeof(data)};
		struct vfs_request write = {.op = VFS_WRITE,
					    .offset = i * 5000ull,
					    .length = sizeof(data),
					    .iov = &iov,
					    .iov_count = 1};
		struct vfs_request xattr = {.op = VFS_XATTR_SET,
					    .name = "user",
					    .name_length = 4,
					    .data = data,
					    .data_length = i * 60};

		memset(data, 'x', sizeof(data));
		if (submit(step, &create))
			abort();
		write.object = xattr.object = create.result_object;
		if (types[i % 4] == VFS_REGULAR && i < 20 && submit(step, &write))
			abort();
		if (submit(step, &xattr))
			abort();
		if (types[i % 4] == VFS_REGULAR)
			clone(step, &create.result_object);
	}
}

static void keep(void)
{
	uint8_t *block = aligned_alloc(BLOCK_SIZE, BLOCK_SIZE);

	for (unsigned i = 0; block && i < BLOCKS; i++) {
		static const uint8_t zeros[BLOCK_SIZE];

		block_io(VOLUME_READ, i, block);
		if (memcmp(block, zeros, BLOCK_SIZE) == 0)
			continue;
		if (memcmp(block + 4, "GRSN", 4) == 0)
			pages[page_total++] = (uint16_t)i;
		template[i] = block;
		block = aligned_alloc(BLOCK_SIZE, BLOCK_SIZE);
	}
	free(block);
}

static void prepare(void)
{
	const struct world_ops *world;
	struct step step = {0};

	log_set_level((enum log_level) - 1);
	if (world_select("aio", &world, NULL) < 0 || loop_create(world, &loop, NULL) < 0 ||
	    memory_volume_create("v", VOLUME_SIZE, &volume, NULL) < 0 ||
	    share_step(&step, start_format) || share_step(&step, start_open))
		abort();
	step.vfs = step.call.vfs;
	populate(&step);
	if (share_step(&step, start_user) || share_step(&step, start_close))
		abort();
	keep();
	volume_unref(volume);
}

/* ---- one input ---- */
static void bring_up(const uint8_t *data, size_t size)
{
	static uint8_t *changed[BLOCKS];

	if (memory_volume_create("v", VOLUME_SIZE, &volume, NULL) < 0)
		abort();
	for (; size >= 4; data += 4, size -= 4) { /* page, offset, value */
		unsigned block = data[0] == 255   ? 0
				 : data[0] == 254 ? SUPERBLOCK_B
						  : pages[data[0] % page_total];
		unsigned at = 4 + (data[1] << 8 | data[2]) % (BLOCK_SIZE - 4);

		if (!changed[block]) {
			changed[block] = aligned_alloc(BLOCK_SIZE, BLOCK_SIZE);
			if (!changed[block])
				abort();
			memcpy(changed[block], template[block], BLOCK_SIZE);
		}
		changed[block][at] = data[3];
	}
	for (unsigned i = 0; i < BLOCKS; i++) {
		if (changed[i]) {
			put32(changed[i], crc32c(0, changed[i] + 4, BLOCK_SIZE - 4));
			block_io(VOLUME_WRITE, i, changed[i]);
			free(changed[i]);
			changed[i] = NULL;
		} else if (template[i]) {
			block_io(VOLUME_WRITE, i, template[i]);
		}
	}
}

static void use_one(struct step *step, const struct vfs_dirent *entry)
{
	static _Alignas(8) uint8_t memory[65536];
	struct iovec iov = {.iov_base = memory, .iov_len = sizeof(memory)};
	struct vfs_request request[] = {
	    {.op = VFS_READ, .length = sizeof(memory), .iov = &iov, .iov_count = 1},
	    {.op = VFS_WRITE,
	     .offset = 6000,
	     .length = sizeof(memory),
	     .iov = &iov,
	     .iov_count = 1},
	    {.op = VFS_READLINK, .data = memory, .data_room = sizeof(memory)},
	    {.op = VFS_READDIR,
	     .data = memory,
	     .data_room = sizeof(memory),
	     .flags = VFS_WANT_ATTR},
	    {.op = VFS_XATTR_GET,
	     .name = "user",
	     .name_length = 4,
	     .data = memory,
	     .data_room = sizeof(memory)},
	    {.op = VFS_SEEK, .seek = VFS_SEEK_HOLE},
	    {.op = VFS_CLONE, .offset2 = 256 << 10},
	    {.op = VFS_WRITE,
	     .offset = 260 << 10,
	     .length = sizeof(memory),
	     .iov = &iov,
	     .iov_count = 1},
	    {.op = VFS_ALLOCATE, .length = 50000},
	    {.op = VFS_DEALLOCATE, .offset = 100, .length = 20000},
	    {.op = VFS_SETATTR, .set = {.mask = VFS_SET_SIZE | VFS_SET_MODE, .size = 777}},
	    {.op = VFS_SETATTR, .set = {.mask = VFS_SET_UID, .uid = 1}},
	    {.op = VFS_FSSTAT},
	};

	for (unsigned i = 0; i < sizeof(request) / sizeof(*request); i++) {
		request[i].object = request[i].object2 = entry->object;
		(void)submit(step, &request[i]);
	}
}

static void use(struct step *step)
{
	static _Alignas(8) uint8_t listing[65536];
	struct vfs_request list = {.op = VFS_READDIR,
				   .object = step->vfs->root,
				   .data = listing,
				   .data_room = sizeof(listing),
				   .flags = VFS_WANT_ATTR};
	uint32_t at = 0;

	if (submit(step, &list))
		return;
	while (at < list.data_length) {
		struct vfs_dirent *entry = (void *)(listing + at);
		struct vfs_request remove = {.op = VFS_REMOVE,
					     .object = step->vfs->root,
					     .name = entry->name,
					     .name_length = entry->name_length};

		use_one(step, entry);
		(void)submit(step, &remove);
		at += entry->next;
	}
}

static void hostile_volume(const uint8_t *data, size_t size)
{
	struct step step = {0};

	if (!loop)
		prepare();
	bring_up(data, size);
	(void)share_step(&step, start_check);
	if (share_step(&step, start_open) == 0) {
		step.vfs = step.call.vfs;
		(void)share_step(&step, start_user);
		(void)share_step(&step, start_list);
		use(&step);
		(void)share_step(&step, start_close);
	}
	volume_unref(volume);
}

static void decoders(const uint8_t *data, size_t size)
{
	static uint8_t block[BLOCK_SIZE], bits[BLOCK_SIZE];
	struct handle_parts parts;
	struct superblock sb;
	struct log_header header;
	struct log_record record;
	struct dirent_value dirent;
	struct xattr_value xattr;
	struct extent extent;
	struct shared shared;
	struct inode inode;
	struct user user;
	struct vfs_ace ace;
	const uint8_t *cursor = data;

	memset(block, 0, sizeof(block));
	memcpy(block, data, size < sizeof(block) ? size : sizeof(block));
	(void)share_superblock_decode(block, 1 << 20, &sb);
	(void)bitmap_decode(block, block + 8, 0, UINT64_MAX, bits);
	(void)log_decode(data, size, block + 8, &header);
	while (log_record_decode(&cursor, data + size, &record) == 1)
		;
	(void)inode_decode(data, size, &inode);
	(void)dirent_decode(data, size, &dirent);
	(void)xattr_decode(data, size, &xattr);
	(void)extent_decode(0, data, size, 100, 1 << 20, &extent);
	(void)user_decode(data, size, &user);
	(void)shared_decode(200, data, size, 100, 1 << 20, &shared);
	if (size >= ACE_BYTES)
		(void)ace_decode(data, &ace);
	if (size >= 8)
		(void)handle_peek(data, size, &parts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	if (data[0] % 4)
		hostile_volume(data + 1, size - 1);
	else
		decoders(data + 1, size - 1);
	return 0;
}
